{#- Rows whose columns are not unique within a day. -#}
{% test unique_on_day(model, columns) %}
select
    day,
    {{ columns | join(', ') }},
    count(*) as copies
from {{ model }}
group by all
having count(*) > 1
{% endtest %}
