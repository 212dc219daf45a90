{#- Rows with a negative value. -#}
{% test never_negative(model, columns) %}
select
    day,
    {{ columns | join(', ') }}
from {{ model }}
where {% for column in columns %}{{ column }} < 0{{ ' or ' if not loop.last }}{% endfor %}
{% endtest %}
