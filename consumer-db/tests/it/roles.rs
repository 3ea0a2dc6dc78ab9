//! What a login may do that is a member of one of the three roles, and what it may not.

use consumer_db::{Database, retain};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::database::{TestDatabase, write};
use crate::log::{moved, one_batch, retracted, tick};

/// A login of its own, dropped with nothing to own.
async fn login(database: &TestDatabase, member_of: &str) -> String {
    let name = format!("{member_of}_{}", database.name);
    database.execute_on_server(&format!("create role {name} login password 'pw'")).await;
    if member_of != "nobody" {
        database.execute_on_server(&format!("grant tickstream_{member_of} to {name}")).await;
    }
    let (_, address) = database.url.rsplit_once('@').expect("a URL with a password");
    format!("postgres://{name}:pw@{address}")
}

async fn refused(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connected");
    let error = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.expect_err(statement);
    let error = error.as_database_error().expect("an answer").code().map(|code| code.to_string());
    // 42501: no right; 3F000 and 42P01 would mean that the statement is wrong.
    assert_eq!(error.as_deref(), Some("42501"), "{statement}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_does_the_whole_work_and_nothing_else() {
    let database = TestDatabase::new().await;
    let url = login(&database, "writer").await;
    let writer = Database::new(&SecretString::from(url.as_str())).expect("a good URL");
    writer.check_schema().await.expect("a writer may look");
    let mut sink = database.sink_through(writer.clone());
    let (first, second) = (tick("a", 1, "100"), tick("b", 2, "200"));
    // A day is made, a tick moves to another one, a row is replaced, and one is taken back.
    write(&mut sink, &[one_batch(&[first.clone(), second.clone()]).await]).await;
    write(&mut sink, &[one_batch(&[moved(&first, 24 * 3600), retracted(&second)]).await]).await;
    write(&mut sink, &[one_batch(&[first, second]).await]).await;
    let rows = "select trade_id || ' ' || revision || ' ' || event_time::date from ticks order by 1";
    assert_eq!(database.column(rows).await, ["a 1 2026-03-02", "b 1 2026-03-01"]);
    assert_eq!(database.value("select ensure_ticks_days_ahead()::text").await, "3");

    for statement in [
        "drop table ticks",
        "drop table ticks_20260301",
        "alter table ticks add column more text",
        "alter table ticks detach partition ticks_20260301",
        "truncate ticks",
        "update retention set ticks_from = '2030-01-01'",
        "create table public.mine (a int)",
        "delete from _sqlx_migrations",
    ] {
        refused(&url, statement).await;
    }
    let error = retain(&writer, 1, false).await.expect_err("a writer drops no day").to_string();
    assert!(error.contains("owner") && error.contains("consumer-db retain"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_every_table_and_view_and_others_nothing() {
    let database = TestDatabase::new().await;
    write(&mut database.sink(), &[one_batch(&[tick("a", 1, "100")]).await]).await;
    let (reader, nobody) = (login(&database, "reader").await, login(&database, "nobody").await);
    let relations = "select relname::text from pg_class where relnamespace = 'public'::regnamespace \
                     and relkind in ('r', 'p', 'v') and relname <> '_sqlx_migrations' order by 1";
    let relations = database.column(relations).await;
    assert!(relations.len() >= 10, "{relations:?}");
    let mut connection = PgConnection::connect(&reader).await.expect("connected");
    for relation in &relations {
        let statement = format!("select count(*) from {relation}");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect(relation);
        refused(&nobody, &format!("select 1 from {relation}")).await;
    }
    for table in relations.iter().filter(|relation| relation.starts_with("ticks") || *relation == "latest_prices") {
        refused(&reader, &format!("delete from {table}")).await;
        refused(&reader, &format!("insert into {table} select * from {table}")).await;
    }
    refused(&reader, "select ensure_ticks_day('2026-01-01')").await;
    refused(&nobody, "select ensure_ticks_day('2026-01-01')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_may_not_create_roles_migrates_all_the_same() {
    let database = TestDatabase::empty().await;
    let url = login(&database, "nobody").await;
    let name = format!("nobody_{}", database.name);
    database.execute_on_server(&format!("alter database {} owner to {name}", database.name)).await;
    let owner = Database::new(&SecretString::from(url.as_str())).expect("a good URL");
    owner.migrate().await.expect("migrated");
    owner.migrate().await.expect("and again");
    let mut sink = database.sink_through(owner.clone());
    write(&mut sink, &[one_batch(&[tick("a", 1, "100")]).await]).await;
    let owners = "select distinct tableowner::text from pg_tables where schemaname = 'public'";
    assert_eq!(database.value(owners).await, name, "what is there belongs to who made it");
    assert_eq!(retain(&owner, 1, false).await.expect("an owner drops days"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_migrations_at_once_and_behind_a_reader_that_does_not_end() {
    let database = TestDatabase::empty().await;
    let others = [TestDatabase::empty().await, TestDatabase::empty().await];
    let [one, two, three] = [database.database(), database.database(), database.database()];
    let [four, five] = [others[0].database(), others[1].database()];
    let migrated = tokio::join!(one.migrate(), two.migrate(), three.migrate(), four.migrate(), five.migrate());
    for result in [migrated.0, migrated.1, migrated.2, migrated.3, migrated.4] {
        result.expect("migrated");
    }

    // Undone, and held up by somebody's transaction: it comes back until it gets its turn, and readers pass meanwhile.
    database.execute("drop index ticks_broker_time; delete from _sqlx_migrations where version = 7").await;
    let mut holder = database.connect().await;
    let mut holding = holder.begin().await.expect("begin");
    sqlx::query("lock table ticks in share row exclusive mode").execute(&mut *holding).await.expect("locked");
    let waits = "select count(*)::text from pg_stat_activity where datname = current_database() \
                 and wait_event_type = 'Lock' and query like '%ticks_broker_time%'";
    let reading = async {
        while database.value(waits).await == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(database.value("select count(*)::text from ticks").await, "0", "a reader does not wait");
        holding.rollback().await.expect("let go");
    };
    let place = database.database();
    let (result, ()) = tokio::join!(place.migrate(), reading);
    result.expect("migrated");
    assert_eq!(database.value("select count(*)::text from pg_class where relname = 'ticks_broker_time'").await, "1");
}

/// `ensure_ticks_day` runs as the owner: what others have made in the schema under known names must not run with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_made_by_nothing_but_postgres_own_functions() {
    let database = TestDatabase::new().await;
    let url = login(&database, "writer").await;
    database.execute("grant create on schema public to public").await;
    let mut writer = PgConnection::connect(&url).await.expect("connected");
    // Each fits its call better than Postgres's own does.
    let traps = "create function public.trap(oid, regclass) returns boolean language plpgsql as $$ begin
                     raise exception 'trapped as %', current_user;
                 end $$;
                 create operator public.= (function = public.trap, leftarg = oid, rightarg = regclass);
                 create function public.to_char(date, text) returns text language plpgsql as $$ begin
                     raise exception 'trapped as %', current_user;
                 end $$;
                 create function public.format(text, text) returns text language plpgsql as $$ begin
                     raise exception 'trapped as %', current_user;
                 end $$";
    sqlx::raw_sql(traps).execute(&mut writer).await.expect("made");
    let made: Result<bool, _> =
        sqlx::query_scalar("select ensure_ticks_day('2026-03-05')").fetch_one(&mut writer).await;
    assert!(made.expect("made"), "it was not there");
    let again: Result<bool, _> =
        sqlx::query_scalar("select ensure_ticks_day('2026-03-05')").fetch_one(&mut writer).await;
    assert!(!again.unwrap_or(true), "it is there");
}
