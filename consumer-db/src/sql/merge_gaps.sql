-- Writes the told gaps where they win over what is known: a closing over an opening, then the last that the broker took.
-- Gives what was and what is, since the candles in the times of both are to be judged again. The writer is alone.
with told as (
    select distinct on (id) gap.*
    from jsonb_to_recordset($1::text::jsonb) as gap (
        id uuid, source text, symbols text[], reason text, started_at timestamptz, ended_at timestamptz, detail text,
        broker_time timestamptz, kafka_partition integer, kafka_offset bigint
    )
    order by id, ended_at is not null desc, broker_time desc, kafka_partition desc, kafka_offset desc
),
written as (
    insert into gaps (
        id, source, symbols, reason, started_at, ended_at, detail, broker_time, kafka_partition, kafka_offset
    )
    select id, source, symbols, reason, started_at, ended_at, detail, broker_time, kafka_partition, kafka_offset
    from told
    order by id
    on conflict (id) do update set
        source = excluded.source,
        symbols = excluded.symbols,
        reason = excluded.reason,
        started_at = excluded.started_at,
        ended_at = excluded.ended_at,
        detail = excluded.detail,
        broker_time = excluded.broker_time,
        kafka_partition = excluded.kafka_partition,
        kafka_offset = excluded.kafka_offset,
        inserted_at = excluded.inserted_at
    where (excluded.ended_at is not null, excluded.broker_time, excluded.kafka_partition, excluded.kafka_offset)
        > (gaps.ended_at is not null, gaps.broker_time, gaps.kafka_partition, gaps.kafka_offset)
    returning id, source, symbols, started_at, ended_at
),
changed as (
    select written.id
    from written
    left join gaps using (id)
    where (written.source, written.symbols, written.started_at, written.ended_at)
        is distinct from (gaps.source, gaps.symbols, gaps.started_at, gaps.ended_at)
)
select jsonb_build_object('source', source, 'symbols', symbols, 'started_at', started_at, 'ended_at', ended_at)::text
from (
    select source, symbols, started_at, ended_at from written join changed using (id)
    union
    select gaps.source, gaps.symbols, gaps.started_at, gaps.ended_at from gaps join changed using (id)
) as concerned
