{#- Rows with a null in one of the columns. -#}
{% test never_null(model, columns) %}
select
    day,
    {{ columns | join(', ') }}
from {{ model }}
where {% for column in columns %}{{ column }} is null{{ ' or ' if not loop.last }}{% endfor %}
{% endtest %}
