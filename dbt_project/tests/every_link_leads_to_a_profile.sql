-- Links to a user who has no profile on the same day.
select links.*
from {{ ref('identity_links') }} as links
anti join {{ ref('user_profiles') }} as profiles on links.user_id = profiles.user_id and links.day = profiles.day
where links.user_id is not null
