delete from ticks_staging
