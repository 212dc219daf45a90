"""Landing files to the event contract: raw_events, rejected_events, raw_users, raw_products."""
