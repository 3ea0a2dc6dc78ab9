-- The two users that programs log in as, and whose rights each has: the roles are made by the Job migrate, which may come later than
-- this, so they are made here too. Run again it sets the passwords anew.
\set ON_ERROR_STOP on
\getenv writer WRITER_PASSWORD
\getenv reader READER_PASSWORD
select format('create role %I nologin', wanted)
from unnest(array['tickstream_writer', 'tickstream_reader']) as wanted
where to_regrole(wanted) is null \gexec
select format('create role %I login noinherit', wanted)
from unnest(array['tickstream_writer_login', 'tickstream_reader_login']) as wanted
where to_regrole(wanted) is null \gexec
alter role tickstream_writer_login password :'writer';
alter role tickstream_reader_login password :'reader';
grant tickstream_writer to tickstream_writer_login;
grant tickstream_reader to tickstream_reader_login;
