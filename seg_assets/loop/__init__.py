"""The loop over all rooms: what is stale, what to run next, who runs it, what is wrong and what mends it.

Not here: how any table is computed.
"""
