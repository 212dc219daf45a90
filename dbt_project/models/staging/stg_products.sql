-- One row per product of the catalogue as known on the day.
select
    product_id,
    category
from {{ source('lake', 'raw_products') }}
