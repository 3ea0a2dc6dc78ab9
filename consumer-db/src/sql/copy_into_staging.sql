copy ticks_staging ($columns) from stdin (format binary)
