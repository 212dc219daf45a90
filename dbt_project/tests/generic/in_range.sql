{#- Rows with a value outside low..high; null is allowed. One scan, whatever the number of columns. -#}
{% test in_range(model, columns, low, high) %}
select
    day,
    {{ columns | join(', ') }}
from {{ model }}
where {% for column in columns %}{{ column }} < {{ low }} or {{ column }} > {{ high }}{{ ' or ' if not loop.last }}{% endfor %}
{% endtest %}
