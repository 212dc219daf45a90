{#- Compute a model once for each day that is asked for, and publish each day into the lake.

    dbt compiles the SQL, checks the contract and runs the tests. The loop over the days is a Python job of
    dbt-duckdb (seg_assets.profiles.dbt_plugin): it runs in dbt's process, on the model's own connection, and publishes
    as all of the project does: staging file, footer with provenance, rename. -#}
{% materialization lake_day, adapter='duckdb' %}
    {%- set target = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}

    {%- set shop = shop_features() if model.name == 'user_profiles' else {'features': [], 'digest': ''} -%}
    {%- if config.get('contract').enforced -%}
        {#- Against views without rows (the plugin's), before anything is written. -#}
        {{ get_assert_columns_equivalent(with_features(sql, shop.features)) }}
        {%- set sql = sql if shop.features else get_select_subquery(sql) -%}
    {%- endif -%}
    {%- set asked = {
        'run': tojson(var('run')), 'start_date': var('start_date') | string, 'end_date': var('end_date') | string,
    } -%}
    {%- call statement('main', language='python') -%}
import json

from seg_assets.profiles.dbt_plugin import Job

job = Job(__spec__, **json.loads({{ tojson(tojson({'table': model.name, 'sql': sql, 'asked': asked, 'shop': shop})) }}))
model, materialize, dbtObj = job.model, job.materialize, job.dbtObj
    {%- endcall -%}

    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
