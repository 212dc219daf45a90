{#- CTEs `links`, `touched` and `touched_actors`, which the models of profiles begin with. Touched are the users who have to be
    computed: somebody of theirs acted on a day that entered or left a window since yesterday, or a visitor became
    known as theirs today. Every other user's row is yesterday's, a day older. -#}
{% macro touched_ctes() -%}
links as (
    select
        'anon:' || anonymous_id as actor_id,
        user_id,
        linked_day
    from {{ ref('identity_links') }}
    -- A row without a user says that an id is no person.
    where user_id is not null
),

touched as (
    select distinct {{ user_of('edges.actor_id', 'links.user_id') }} as user_id
    from {{ source('carry', 'edge_actors') }} as edges
    left join links on edges.actor_id = links.actor_id
    union
    select user_id
    from links
    where linked_day = {{ as_of() }}
),

touched_actors as (
    select {{ actor_of('touched.user_id', 'null') }} as actor_id
    from touched
    where touched.user_id is not null
    union all
    select links.actor_id
    from links
    semi join touched on links.user_id = touched.user_id
),
{%- endmacro %}
