{#- The day that a model is computed for. Unit tests override it. -#}
{% macro as_of() %}getvariable('as_of')::date{% endmacro %}

{#- How many days the shop's calendar had before the day: the position of the day in a day set. -#}
{% macro day_number() %}getvariable('day_number')::int{% endmacro %}
