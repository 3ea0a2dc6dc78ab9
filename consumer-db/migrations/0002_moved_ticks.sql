-- Where a correction moved an event away from.
--
-- A correction that changes event_time deletes the old row. The record it replaced may be read again (a replay) or for the
-- first time (another partition, read later): this table keeps it from standing up beside its correction, so that the same
-- records give the same ticks in whatever order they come. Corrections are rare, so it stays small.

create table moved_ticks (
    event_time timestamptz not null,
    event_id   uuid        not null,
    revision   integer     not null,
    primary key (event_time, event_id)
);

comment on table moved_ticks is 'Places that an event was moved away from by a correction of event_time.';
comment on column moved_ticks.event_time is 'The place left.';
comment on column moved_ticks.revision is 'No lower revision of the event may stand at that place.';
