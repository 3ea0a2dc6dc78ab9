select event_id, revision from $generation.ticks_after
