-- Category profiles of users who have no profile on the same day.
select
    categories.day,
    categories.user_id
from {{ ref('user_category_profiles') }} as categories
anti join {{ ref('user_profiles') }} as profiles
    on categories.user_id = profiles.user_id and categories.day = profiles.day
