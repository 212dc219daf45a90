-- One row per user whose attributes the shop knows on the day.
select
    user_id,
    sex,
    age_band,
    region,
    income_band,
    household_size
from {{ source('lake', 'raw_users') }}
