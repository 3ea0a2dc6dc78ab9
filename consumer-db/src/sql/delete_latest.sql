delete from latest_prices
using unnest($1::text[], $2::text[]) as pair (symbol, source)
where latest_prices.symbol = pair.symbol and latest_prices.source = pair.source
