{#- Compute a model once for each asked day and publish each day into the lake.

    The loop over the days is Python (seg_assets.profiles.days, called through the dbt-duckdb plugin `lake`), so that
    dbt and Python publish in one way: staging file, footer with provenance, rename. -#}
{% materialization lake_day, adapter='duckdb' %}
    {%- set target = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}

    {%- set job = {
        'table': model.name, 'sql': sql,
        'start_date': var('start_date') | string, 'end_date': var('end_date') | string,
    } -%}
    {#- Opens this thread's connection, which the plugin then uses too. -#}
    {%- do run_query('select 1') -%}
    {#- The contract is checked against the first day's inputs, before anything is written. -#}
    {%- do adapter.store_relation('lake', target, [], '', '', dict(job, step='open')) -%}
    {%- if config.get('contract').enforced -%}
        {{ get_assert_columns_equivalent(sql) }}
        {%- set job = dict(job, sql=get_select_subquery(sql)) -%}
    {%- endif -%}
    {%- do adapter.store_relation('lake', target, [], '', '', dict(job, step='build')) -%}

    {%- call statement('main') -%}
        select count(*) from {{ target }}
    {%- endcall -%}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
