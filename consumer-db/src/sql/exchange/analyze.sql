analyze $generation.ticks_before, $generation.ticks_after
