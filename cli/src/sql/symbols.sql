-- Which symbols and sources there are, to help with one that there is not.
select symbol, source from latest_prices order by symbol, source
