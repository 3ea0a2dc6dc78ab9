-- Whoever comes with a higher turn shuts out whoever came before. $1: the turn. No row for one that is shut out itself.
insert into $generation.exchange as known (turn) values ($1)
on conflict (only_row) do update set turn = excluded.turn
where known.turn < excluded.turn
returning is_promoted
