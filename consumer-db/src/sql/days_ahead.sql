select ensure_ticks_days_ahead()
