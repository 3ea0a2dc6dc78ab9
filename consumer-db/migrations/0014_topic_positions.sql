-- How far each partition of a topic is in this database, written in the transaction that writes its rows.
--
-- Kafka's committed offset says what was written; a failover to a standby that had not everything yet, a backup that is
-- restored and a database that is made anew do not know of it. Whatever is written here is as old as the rows are, so a
-- consumer that begins at the lower of the two loses nothing.

select pg_advisory_xact_lock(1953063787, 1);

create table topic_positions (
    topic_id        uuid        not null,
    kafka_partition integer     not null,
    topic           text        not null,
    next_offset     bigint      not null,
    updated_at      timestamptz not null default now(),
    primary key (topic_id, kafka_partition)
) with (fillfactor = 10); -- written with every batch: room on the page keeps that out of the index

comment on table topic_positions is
    'How far each partition of a topic is in this database: rows, or dead letters, of all records below next_offset.';
comment on column topic_positions.topic_id is 'Kafka''s id of the topic: a topic that is made again has another.';
comment on column topic_positions.topic is 'Its name.';
comment on column topic_positions.next_offset is 'Where a consumer goes on.';
comment on column topic_positions.updated_at is 'When this row was last written.';

-- A database that was filled before this table: a partition that it does not name is as far as the group has committed.
-- In another one, what it does not name is not here.
insert into topic_positions (topic_id, kafka_partition, topic, next_offset)
select '00000000-0000-0000-0000-000000000000', -1, '*', 0
where exists (select from ticks)
   or exists (select from gaps)
   or exists (select from index_weights)
   or exists (select from alerts);
