select event_time, event_id, reason from refused_by_checks()
