-- Nobody takes the turn away until this transaction ends. No row where somebody has. $1: the turn.
select is_promoted, taken, put, candles, latest from $generation.exchange where turn = $1 for update
