-- Corrections that would have moved an event in time and were refused: dead letters.
--
-- A refused correction changes nothing: what it would have replaced stays where it was. The correction after it names the
-- place at which the refused one would have stood, and nothing stands there: this table leads from there to where the
-- event does stand, so that it is not left behind as a second row. In whatever order the three come.

select pg_advisory_xact_lock(1953063787, 1);

create table refused_moves (
    event_time          timestamptz not null,
    event_id            uuid        not null,
    previous_event_time timestamptz not null,
    revision            integer     not null,
    primary key (event_time, event_id, previous_event_time)
);

comment on table refused_moves is 'Corrections of event_time that are dead letters, for the corrections that follow them.';
comment on column refused_moves.event_time is 'Where the event would stand.';
comment on column refused_moves.previous_event_time is 'Where it was to be moved away from.';
comment on column refused_moves.revision is 'The refused one.';
