{#- The SQL of `user_profiles` with the shop's columns, as one select: what the contract is checked against. -#}
{% macro with_features(sql, features) -%}
{%- if not features -%}
    {{ return(sql) }}
{%- endif -%}
with user_profiles as (
    select
        plain.*,
        {{ as_of() }} as day
    from ({{ sql }}) as plain
)
{%- for feature in features %},
{{ feature.name }} as (
{{ feature.sql }}
)
{%- endfor %}
select
    user_profiles.* exclude (day)
    {%- for feature in features %}{% for column in feature.columns %},
    {{ feature.name }}.{{ adapter.quote(column) }}
    {%- endfor %}{% endfor %}
from user_profiles
{%- for feature in features %}
left join {{ feature.name }} on user_profiles.user_id = {{ feature.name }}.user_id
{%- endfor %}
{%- endmacro %}
