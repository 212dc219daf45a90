{#- Tables are named without database and schema: while a model is built, a temporary view of its own connection
    stands for each input and shows exactly the days that the catalog lists for it. -#}
{% macro ref() %}
    {%- set relation = builtins.ref(*varargs, **kwargs) -%}
    {%- do return(relation.include(database=false, schema=false)) -%}
{% endmacro %}

{% macro source(source_name, table_name) %}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {%- do return(relation.include(database=false, schema=false)) -%}
{% endmacro %}
