{#- Rows with a value outside low..high; null is allowed. -#}
{% test in_range(model, columns, low, high) %}
{% for column in columns %}
select
    day,
    '{{ column }}' as column_name,
    {{ column }}::double as value
from {{ model }}
where {{ column }} < {{ low }} or {{ column }} > {{ high }}
{{ 'union all' if not loop.last }}
{% endfor %}
{% endtest %}
