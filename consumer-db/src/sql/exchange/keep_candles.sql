-- Copies the given candles, as they stand, to $rows.
insert into $generation.$rows
select candles.*
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    as touched (symbol, source, price_basis, timeframe, bucket)
join candles using (symbol, source, price_basis, timeframe, bucket)
