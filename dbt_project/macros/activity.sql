{#- What an actor did, as counts and exact sums. Each adds up over days and over the actors of one person. -#}
{% macro counters() %}
    {{ return([
        'events', 'views', 'searches', 'carts', 'cart_removals', 'wishlists', 'checkouts', 'reviews', 'ratings',
        'rating_tenths', 'shares', 'coupons', 'campaigns', 'service', 'sessions', 'cart_visits', 'cart_visits_bought',
        'orders', 'order_lines', 'gross_cents', 'discount_cents', 'refunds', 'refund_cents',
        'channel_web', 'channel_app', 'channel_store', 'channel_email', 'channel_social',
        'device_desktop', 'device_mobile', 'device_tablet', 'device_other',
    ]) }}
{% endmacro %}

{#- Event types that are plainly counted: column to event type. -#}
{% macro counted_events() %}
    {{ return({
        'views': 'view_item', 'searches': 'search', 'carts': 'add_to_cart', 'cart_removals': 'remove_from_cart',
        'wishlists': 'add_to_wishlist', 'checkouts': 'begin_checkout', 'reviews': 'review', 'shares': 'share',
        'coupons': 'coupon_redeem', 'campaigns': 'campaign_exposure', 'service': 'customer_service',
        'refunds': 'refund',
    }) }}
{% endmacro %}

{#- Counts that a profile shows for each window: column of a profile to counter. -#}
{% macro shown_counts() %}
    {{ return({
        'orders': 'orders', 'refunds': 'refunds', 'sessions': 'sessions', 'views': 'views', 'searches': 'searches',
        'carts': 'carts', 'coupons': 'coupons', 'campaigns': 'campaigns', 'service': 'service',
    }) }}
{% endmacro %}

{#- Whole units of the smallest coin, as an exact integer. -#}
{% macro cents(amount) -%}
    (least(greatest(coalesce({{ amount }}, 0), -{{ var('largest_amount') }}), {{ var('largest_amount') }}) * 100)::bigint
{%- endmacro %}

{#- Who acted: the user, or the visitor as 'anon:<anonymous_id>'. A user id that itself starts with 'anon:' or
    'user:' is written 'user:<user_id>', so that no visitor can be taken for a user. -#}
{% macro actor_of(user_id, anonymous_id) -%}
    case
        when {{ user_id }} is null then 'anon:' || {{ anonymous_id }}
        when {{ user_id }} like 'anon:%' or {{ user_id }} like 'user:%' then 'user:' || {{ user_id }}
        else {{ user_id }}
    end
{%- endmacro %}

{#- The user of an actor, given the link of its visitor (null: a visitor nobody knows). -#}
{% macro user_of(actor_id, linked_user_id) -%}
    case
        when {{ actor_id }} like 'anon:%' then {{ linked_user_id }}
        when {{ actor_id }} like 'user:%' then substr({{ actor_id }}, 6)
        else {{ actor_id }}
    end
{%- endmacro %}

{#- The visitor of an actor, null for a user. -#}
{% macro visitor_of(actor_id) -%}
    case when {{ actor_id }} like 'anon:%' then substr({{ actor_id }}, 6) end
{%- endmacro %}
