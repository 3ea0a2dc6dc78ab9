-- What a batch must know, asked after its lock was taken: retention waits for that lock to raise the horizon, and migrations
-- wait for it. $1, $2: the times that its ticks lie between. $3, $4, $5: where each partition is to go on; is_behind when the
-- database is not so far.
select ticks_from::timestamp at time zone 'UTC' as horizon,
       exists (select from moved_ticks where event_time between $1 and $2) as any_moved,
       exists (
           select from unnest($3::uuid[], $4::int[], $5::bigint[]) as due (topic_id, kafka_partition, next_offset)
           join topic_positions as known using (topic_id, kafka_partition)
           where known.next_offset < due.next_offset
       ) as is_behind,
       (select max(version) from _sqlx_migrations) as schema_version
from retention
