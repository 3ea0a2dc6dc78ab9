//! Live rows that are not what the log says, exchanged for what a generation of the log has, and put back: altered, deleted, made
//! up and moved by hand, with candles and latest prices that are wrong by themselves, while ticks go on arriving.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pipeline::events::PriceTick;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::replay_generation::bulk;
use crate::replay_installation::Installation;
use crate::replay_story::told;

const MINUTE: i64 = 60_000_000;
const COUNT: u32 = 300;
const KILLS: u32 = 6;
/// Told by windows and plain arithmetic, as consumer-db's own tests tell it.
const CANDLES_THAT_DIFFER: &str = include_str!("../../../consumer-db/tests/it/sql/candles_that_differ.sql");
const WRONG_LATEST: &str = include_str!("../../src/sql/wrong_latest.sql");
/// What no live tick changes.
const TABLES: [&str; 3] = ["ticks", "candles", "latest_prices"];

/// An installation with a plan of 300 ticks; what was published before and after them is outside.
struct World {
    installation: Arc<Installation>,
    ticks: Vec<PriceTick>,
    plan: PathBuf,
}

impl World {
    async fn new(name: &str) -> Self {
        let mut installation = Installation::without_services(name).await;
        installation.serve("consumer-db");
        installation.right_trades(1, 20).await;
        let begin = apart().await;
        let at = (Timestamp::now().as_microsecond() / MINUTE - 60) * MINUTE;
        let ticks = bulk(COUNT, at);
        installation.publish(&ticks).await;
        let end = apart().await;
        let corrected = PriceTick { revision: 1, price: "5".parse().expect("a price"), ..ticks[10].clone() };
        let moved = PriceTick {
            revision: 1,
            event_time: at - MINUTE,
            previous_event_time: Some(ticks[11].event_time),
            ..ticks[11].clone()
        };
        installation.publish(&[corrected, moved]).await;
        installation
            .wait_for("the ticks are in the database", async || {
                let counted = "select count(*) || ' ' || count(*) filter (where revision = 1) from ticks";
                texts(&installation, counted).await == [format!("{} 2", COUNT + 20)]
            })
            .await;
        let plan = installation.stack.data_dir().join(&installation.prefix).join("mended.json");
        std::fs::create_dir_all(plan.parent().expect("a folder")).expect("a folder");
        let file = plan.to_str().expect("UTF-8");
        let span = ["--from-datetime", &begin, "--to-datetime", &end, "--target", "db", "--out", file];
        installation.ends(0, &[&["replay", "plan", "--name", "mended"], &span[..]].concat()).await;
        Self { installation: Arc::new(installation), ticks, plan }
    }

    fn id(&self, number: usize) -> Uuid {
        self.ticks[number].event_id
    }

    async fn execute(&self) {
        self.installation.ends(0, &["replay", "execute", self.plan.to_str().expect("UTF-8")]).await;
    }

    /// Gives the event that was made up.
    async fn alter(&self) -> Uuid {
        let ghost = Uuid::new_v4();
        let [altered, deleted, copied, moved, corrected] = [0, 1, 2, 3, 10].map(|number| self.id(number));
        let statements = format!(
            "update ticks set price = 1, source_symbol = 'x' where event_id = '{altered}'; \
             delete from ticks where event_id in ('{deleted}', '{corrected}'); \
             create temporary table made_up as select * from ticks where event_id = '{copied}'; \
             update made_up set event_id = '{ghost}', price = 77; \
             insert into ticks select * from made_up; \
             update ticks set event_time = event_time + interval '10 minutes' where event_id = '{moved}'; \
             update candles set high = 99999999 where symbol = 'S4-USD' and timeframe = '1m' and ticks > 1; \
             update candles set close = 3, complete = not complete where symbol = 'S5-USD' and timeframe = '1d'; \
             update latest_prices set price = 7 where symbol = 'S6-USD'; \
             delete from latest_prices where symbol = 'S5-USD'"
        );
        let mut connection = self.installation.connect().await;
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect("altered");
        ghost
    }

    /// All of them, byte for byte, but what live ticks make.
    async fn dump(&self) -> Vec<String> {
        self.rows("to_jsonb(t)").await
    }

    /// Without the times at which rows were written.
    async fn content(&self) -> Vec<String> {
        self.rows("to_jsonb(t) - 'inserted_at' - 'updated_at'").await
    }

    async fn rows(&self, row: &str) -> Vec<String> {
        let mut rows = Vec::new();
        for table in TABLES {
            let query = format!("select '{table} ' || ({row})::text from {table} t where source <> 'live' order by 1");
            rows.extend(texts(&self.installation, &query).await);
        }
        rows
    }

    async fn nothing_is_wrong(&self) {
        assert_eq!(texts(&self.installation, CANDLES_THAT_DIFFER).await, [""; 0]);
        let mut connection = self.installation.connect().await;
        let wrong = sqlx::query(WRONG_LATEST).bind(10_i64).fetch_all(&mut connection).await.expect("rows");
        assert!(wrong.is_empty(), "{} latest prices", wrong.len());
    }

    async fn counts(&self, code: i32) -> Value {
        self.installation.ends(code, &["replay", "diff", "mended", "-o", "json"]).await.json_lines()[0]["counts"]
            .clone()
    }

    async fn state(&self) -> String {
        let shown = self.installation.ends(0, &["replay", "show", "mended", "-o", "json"]).await.json();
        shown["state"].as_str().expect("a state").to_owned()
    }

    fn start(&self, step: &str) -> Child {
        let mut command = self.installation.command(&["replay", step, "mended"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts")
    }

    /// Nobody writes rows until this is dropped.
    async fn lock(&self) -> PgConnection {
        let mut connection = self.installation.connect().await;
        sqlx::raw_sql("select pg_advisory_lock(1953063787, 1)").execute(&mut connection).await.expect("the lock");
        connection
    }

    /// Until the replay is in this state, and so many wait for that lock.
    async fn wait_for_waiting(&self, state: &str, count: usize) {
        let query = "select mode from pg_locks join pg_database on pg_database.oid = database \
                     where datname = current_database() and locktype = 'advisory' and not granted";
        self.installation
            .wait_for("it waits", async || {
                self.state().await == state && texts(&self.installation, query).await.len() >= count
            })
            .await;
    }
}

async fn texts(installation: &Installation, query: &str) -> Vec<String> {
    let query = AssertSqlSafe(query.to_owned());
    sqlx::query_scalar(query).fetch_all(&mut installation.connect().await).await.expect("rows")
}

/// A time that no record has.
pub async fn apart() -> String {
    tokio::time::sleep(Duration::from_millis(50)).await;
    let time = Timestamp::now().to_string();
    tokio::time::sleep(Duration::from_millis(50)).await;
    time
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_not_what_the_log_says_are_exchanged_and_put_back_while_ticks_arrive() {
    let world = World::new("replay-exchange").await;
    let installation = world.installation.clone();
    let live = installation.live();
    world.execute().await;
    let before = world.content().await;
    let same = json!({"different": 0, "only_generation": 0, "only_live": 0, "left_alone": 2, "same": COUNT - 2});
    assert_eq!(world.counts(0).await, same);
    let ghost = world.alter().await;
    let altered = world.dump().await;
    let wrong = json!({"different": 2, "only_generation": 2, "only_live": 1, "left_alone": 1, "same": COUNT - 5});
    assert_eq!(world.counts(1).await, wrong);
    let outside = installation.checksum("source = 'coinbase'").await;
    assert!(outside.starts_with("20 "), "{outside}");

    let diff = installation.ends(1, &["replay", "diff", "mended"]).await;
    told("tickstream replay diff mended", &diff);
    let promoted = installation.ends(0, &["replay", "promote", "mended"]).await;
    told("tickstream replay promote mended", &promoted);
    let says = "3 rows stand in Postgres for 3 that were not what the log says; ";
    assert!(promoted.stderr.contains(says), "{}", promoted.stderr);
    let named = format!("left alone: {}, which the log decides by a record outside the plan", world.id(10));
    assert!(promoted.stderr.contains(&named), "{}", promoted.stderr);
    assert!(promoted.stdout.contains("postgres"), "{}", promoted.stdout);
    let left = json!({"different": 0, "only_generation": 1, "only_live": 0, "left_alone": 1, "same": COUNT - 2});
    assert_eq!(world.counts(1).await, left);
    world.nothing_is_wrong().await;
    let right = world.content().await;
    let is_tick = |row: &&String| row.starts_with("ticks ");
    let lost: Vec<&String> = before.iter().filter(is_tick).filter(|row| !right.contains(row)).collect();
    assert!(lost.len() == 1 && lost[0].contains(&world.id(10).to_string()), "the one that is left alone: {lost:?}");
    assert_eq!(right.iter().filter(is_tick).filter(|row| !before.contains(row)).count(), 0);
    assert_eq!(installation.checksum("source = 'coinbase'").await, outside);
    let again = installation.ends(0, &["replay", "promote", "mended"]).await;
    assert!(again.stderr.contains("promoted already"), "{}", again.stderr);

    let back = installation.ends(0, &["replay", "rollback", "mended"]).await;
    told("tickstream replay rollback mended", &back);
    assert_eq!(world.dump().await, altered, "byte for byte");
    assert_eq!(world.state().await, "rolled_back");

    installation.ends(0, &["replay", "promote", "mended"]).await;
    assert_eq!(world.content().await, right);
    // What comes now stays: a tick in a minute that was made again, and a correction of a row that was put in.
    let news = PriceTick { event_id: Uuid::new_v4(), price: "4".parse().expect("a price"), ..world.ticks[0].clone() };
    let foreign = PriceTick { revision: 1, price: "6".parse().expect("a price"), ..world.ticks[1].clone() };
    installation.publish(&[news.clone(), foreign.clone()]).await;
    let events = [news.event_id, foreign.event_id];
    let prices = async || -> BTreeSet<String> {
        installation.shown(&events).await.into_values().map(|(price, ..)| price.to_string()).collect()
    };
    let expected = BTreeSet::from(["4".to_owned(), "6".to_owned()]);
    installation.wait_for("they are in the database", async || prices().await == expected).await;
    let back = installation.ends(0, &["replay", "rollback", "mended"]).await;
    let named = format!("left alone: {}, which is not as it was found any more", foreign.event_id);
    assert!(back.stderr.contains(&named), "{}", back.stderr);
    assert_eq!(prices().await, expected);
    assert_eq!(installation.shown(&[ghost]).await.len(), 1, "what was there is there again");
    let counted = "select ticks::text from candles where symbol = 'S0-USD' and timeframe = '1d' union all \
                   select count(*)::text from ticks where symbol = 'S0-USD'";
    let counted = texts(&installation, counted).await;
    assert_eq!(counted[0], counted[1], "the new tick is in its candle");
    let sent = live.end().await;
    let arrived = format!("select count(*)::text from ticks where source = 'live' having count(*) = {sent}");
    installation.wait_for("no live tick is lost", async || texts(&installation, &arrived).await.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_stage_it_rolls_forward_and_who_was_shut_out_exchanges_nothing() {
    let world = World::new("replay-exchange-kills").await;
    let installation = world.installation.clone();
    world.execute().await;
    world.alter().await;
    let (altered, as_altered) = (world.dump().await, world.content().await);

    // In Postgres nothing is committed yet.
    let lock = world.lock().await;
    let mut running = world.start("promote");
    world.wait_for_waiting("switching", 1).await;
    running.kill().expect("killed");
    running.wait().expect("a child");
    drop(lock);
    assert_eq!(world.dump().await, altered);
    installation.ends(0, &["replay", "promote", "mended"]).await;
    let right = world.content().await;
    world.nothing_is_wrong().await;
    installation.ends(0, &["replay", "rollback", "mended"]).await;
    assert_eq!(world.dump().await, altered);

    // Another one takes over while it waits: it is told so, and writes nothing.
    let lock = world.lock().await;
    let first = world.start("promote");
    world.wait_for_waiting("switching", 1).await;
    let second = world.start("rollback");
    world.wait_for_waiting("rolling_back", 2).await;
    drop(lock);
    let ended = |child: Child| tokio::task::spawn_blocking(move || child.wait_with_output().expect("a child"));
    let (first, second) = (ended(first).await.expect("no panic"), ended(second).await.expect("no panic"));
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(first.status.code() == Some(1) && told.contains("has taken over"), "{told}");
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!((world.state().await, world.dump().await), ("rolled_back".to_owned(), altered.clone()));

    let mut killed = 0;
    for round in 0..KILLS {
        for step in ["promote", "rollback"] {
            let mut running = world.start(step);
            tokio::time::sleep(Duration::from_millis(400 + u64::from(round) * 300)).await;
            running.kill().expect("killed or ended");
            killed += usize::from(running.wait().expect("a child").code().is_none());
            let between = world.content().await;
            assert!(between == right || between == as_altered, "one of the two, {step} killed in round {round}");
            installation.ends(0, &["replay", step, "mended"]).await;
            if step == "promote" {
                assert_eq!(world.content().await, right);
            } else {
                assert_eq!(world.dump().await, altered);
            }
        }
    }
    assert!(killed > 0, "each ended before it was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_executions_at_once_one_goes_on_and_the_other_is_told() {
    let world = World::new("replay-execute-twice").await;
    let lock = world.lock().await;
    let start = || {
        let mut command = world.installation.command(&["replay", "execute", world.plan.to_str().expect("UTF-8")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
    };
    let revision = async |wanted: i64| {
        world
            .installation
            .wait_for("the record is written", async || {
                let shown = world.installation.run(&["replay", "show", "mended", "-o", "json"]).await;
                shown.code == 0 && shown.json()["revision"] == wanted
            })
            .await;
    };
    let first = start();
    revision(1).await;
    let second = start();
    revision(2).await;
    drop(lock);
    let ended = |child: Child| tokio::task::spawn_blocking(move || child.wait_with_output().expect("a child"));
    let (first, second) = (ended(first).await.expect("no panic"), ended(second).await.expect("no panic"));
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(first.status.code() == Some(1) && told.contains("another `tickstream replay`"), "{told}");
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(String::from_utf8_lossy(&second.stdout).contains(&format!("{COUNT} rows")));
    let same = json!({"different": 0, "only_generation": 0, "only_live": 0, "left_alone": 2, "same": COUNT - 2});
    assert_eq!(world.counts(0).await, same);
}
