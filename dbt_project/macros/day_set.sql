{#- A set of days as a string of bits, one for each day of the calendar, in whole bytes. Distinct days of a person
    with several actors do not add up, so the sets are kept; a day costs one bit for each actor. -#}
{% macro day_set_add(days, is_member) %}{{ return(adapter.dispatch('day_set_add')(days, is_member)) }}{% endmacro %}
{% macro day_set_count(days) %}{{ return(adapter.dispatch('day_set_count')(days)) }}{% endmacro %}
{% macro day_set_union(days) %}{{ return(adapter.dispatch('day_set_union')(days)) }}{% endmacro %}

{% macro duckdb__day_set_add(days, is_member) -%}
    set_bit(
        case
            when {{ days }} is null then repeat('0', ({{ day_number() }} // 8 + 1) * 8)::bit
            when {{ day_number() }} % 8 = 0 then ({{ days }} || '\x00'::blob)::bit
            else {{ days }}::bit
        end,
        {{ day_number() }},
        ({{ is_member }})::int
    )::blob
{%- endmacro %}

{% macro duckdb__day_set_count(days) -%}
    coalesce(bit_count({{ days }}::bit), 0)::bigint
{%- endmacro %}

{% macro duckdb__day_set_union(days) -%}
    bit_or({{ days }}::bit)::blob
{%- endmacro %}
