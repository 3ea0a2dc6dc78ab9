delete from $generation.ticks_before;
delete from $generation.ticks_after;
delete from $generation.candles_before;
delete from $generation.candles_after;
delete from $generation.latest_before;
delete from $generation.latest_after
