-- One row per visitor who is known to be a user as of the day; the first link wins and is never changed. And one per id
-- that is no person: without a user, from the day on which it came with too many ids of the other kind.
with known as (
    select
        anonymous_id,
        user_id,
        linked_day
    from {{ source('yesterday', 'identity_links') }}
),

pairs as (
    select
        anonymous_id,
        user_id,
        event_time,
        event_id
    from {{ ref('stg_events') }}
    where anonymous_id is not null and user_id is not null
),

-- The most that a person has of devices a day, and a household of persons; and the share of all that a large shop allows.
-- `seg_assets/events/persons.py` has the same two numbers.
everyone as (
    select
        greatest(5, 0.01 * count(distinct anonymous_id)) as most_visitors,
        greatest(5, 0.01 * count(distinct user_id)) as most_users
    from pairs
),

no_persons as (
    select pairs.user_id as id
    from pairs
    group by pairs.user_id
    having count(distinct pairs.anonymous_id) > (select everyone.most_visitors from everyone)
    union
    select pairs.anonymous_id as id
    from pairs
    group by pairs.anonymous_id
    having count(distinct pairs.user_id) > (select everyone.most_users from everyone)
    union
    select known.anonymous_id as id
    from known
    where known.user_id is null
),

seen as (
    select
        pairs.anonymous_id,
        pairs.user_id
    from pairs
    anti join no_persons on pairs.anonymous_id = no_persons.id
    anti join no_persons as users on pairs.user_id = users.id
    qualify row_number() over (partition by pairs.anonymous_id order by pairs.event_time, pairs.event_id) = 1
    union all
    select
        id as anonymous_id,
        null as user_id
    from no_persons
)

select
    anonymous_id,
    user_id,
    linked_day
from known
union all
select
    seen.anonymous_id,
    seen.user_id,
    {{ as_of() }} as linked_day
from seen
left join known on seen.anonymous_id = known.anonymous_id
where known.anonymous_id is null
