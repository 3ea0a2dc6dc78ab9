copy ticks_staging from stdin (format binary)
