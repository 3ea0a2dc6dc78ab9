-- Copies the latest prices of the given symbols and sources, as they stand, to $rows.
insert into $generation.$rows
select latest_prices.*
from unnest($1::text[], $2::text[]) as pair (symbol, source)
join latest_prices using (symbol, source)
