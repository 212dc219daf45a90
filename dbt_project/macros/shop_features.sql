{#- What the shop adds to `user_profiles`: none in the project as it is shipped. The copy of the project that a shop with
    features/*.sql works with has another text in place of this file (seg_assets/profiles/project.py). -#}
{% macro shop_features() %}{{ return({'features': [], 'digest': ''}) }}{% endmacro %}
