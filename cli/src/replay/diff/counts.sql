select verdict, count(*) from pairs group by verdict
