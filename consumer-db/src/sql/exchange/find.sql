-- Goes on behind pairs.sql: notes the live rows that are to go, and the generation's that are to stand in their place. Where an
-- event stands live as it should, or as a record outside the scope decides, nothing of it is put in: a second row alone goes.
,
chosen as (
    select live, own from pairs where verdict in ('different', 'only_live', 'only_generation')
),
decided as (
    select (own).event_id as event_id from pairs where (own).event_id is not null and verdict in ('same', 'left_alone')
),
before as (
    insert into $generation.ticks_before
    select (live).* from chosen where (live).event_id is not null
),
after as (
    insert into $generation.ticks_after
    select (own).* from (select distinct on ((own).event_id) own from chosen where (own).event_id is not null) as chosen
    where (own).event_id not in (select event_id from decided)
)
select
