-- Actors of the day that the lifetimes of the day miss.
select
    activity.day,
    activity.actor_id
from {{ ref('user_daily_activity') }} as activity
anti join {{ ref('user_lifetime') }} as lifetime
    on activity.actor_id = lifetime.actor_id and activity.day = lifetime.day
