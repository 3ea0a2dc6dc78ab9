select distinct symbol from latest_prices order by symbol
