-- The same rows, three times: where they come from, a bare table for COPY, and a table with the keys of `ticks`.
create unlogged table limit_source as select * from ticks;
create table limit_copied (like ticks including defaults);
create table limit_keyed (like ticks including defaults) partition by range (event_time);
create table limit_keyed_all partition of limit_keyed default;
alter table limit_keyed add primary key (event_time, event_id);
create index on limit_keyed (symbol, event_time);
checkpoint;
