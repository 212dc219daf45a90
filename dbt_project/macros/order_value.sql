{#- Mean value of an order, in units of currency. -#}
{% macro order_value_mean(orders, cents) -%}
    {{ cents }}::double / nullif({{ orders }} * 100, 0)::double
{%- endmacro %}

{#- Sample variance of the value of an order, null below two orders. n * sum(x^2) - sum(x)^2 is exact in integers, so
    the result does not depend on the order in which anything was added. -#}
{% macro order_value_var(orders, cents, cents_squared) -%}
    (
        {{ orders }}::decimal(38, 0) * {{ cents_squared }}
        - {{ cents }}::decimal(38, 0) * {{ cents }}::decimal(38, 0)
    )::double
    / nullif({{ orders }} * ({{ orders }} - 1) * 10000, 0)::double
{%- endmacro %}
