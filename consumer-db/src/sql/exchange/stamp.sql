update $generation.ticks_after set inserted_at = now()
