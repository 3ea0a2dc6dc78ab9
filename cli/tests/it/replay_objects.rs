//! Live bronze that is not what the log says, made what a generation of the log has, and put back: a row that was altered, an object
//! that is lost, one that an older decoder made and the refiner took up. Killed at random, while ticks go on arriving.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ::lake::bronze::{Stored, of_rows, stored};
use ::lake::raw::Compression;
use arrow::array::{AsArray, RecordBatch};
use jiff::Timestamp;
use pipeline::store::{Condition, Object, Put, Store};
use serde_json::json;

use crate::replay_exchange::apart;
use crate::replay_generation::bulk;
use crate::replay_installation::Installation;
use crate::replay_kills::{by_chance, start_and_kill};
use crate::replay_lake::{counts, hour_of, live, plan, raised};
use crate::replay_story::told;
use crate::{Answer, run};

const HOUR: i64 = 3_600_000_000;
const COUNT: u32 = 300;
const WAVES: usize = 3;
const KILLS: u32 = 4;
const VERSION: &str = "tickstream-decoder-version";
const TICKS: &str = "bronze/ticks/";

/// An installation with consumer-lake at work, and ticks of one minute of an hour that is over, some objects of them.
struct World {
    installation: Arc<Installation>,
    store: Store,
    at: i64,
    span: [String; 4],
}

impl World {
    async fn new(name: &str) -> Self {
        let mut installation = Installation::without_services(name).await;
        installation.serve("consumer-lake");
        let store = installation.store().await;
        installation.right_trades(1, 20).await;
        let begin = apart().await;
        let at = (Timestamp::now().as_microsecond() / HOUR - 2) * HOUR;
        let ticks = bulk(COUNT, at);
        let mut published = 0;
        for wave in ticks.chunks(ticks.len() / WAVES) {
            installation.publish(wave).await;
            published += wave.len() as u64;
            installation.wait_for("the lake has it", async || records(&store).await >= published + 20).await;
        }
        let end = apart().await;
        installation.right_trades(1_000, 20).await;
        installation.wait_for("the lake has it", async || records(&store).await >= published + 40).await;
        let span = ["--from-datetime", &begin, "--to-datetime", &end].map(str::to_owned);
        Self { installation: Arc::new(installation), store, at, span }
    }

    async fn generation(&self, name: &str, more: &[&str]) {
        let span: Vec<&str> = self.span.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let file = plan(&self.installation, name, &span).await;
        self.installation.ends(0, &["replay", "execute", file.to_str().expect("UTF-8")]).await;
    }

    async fn refine(&self) -> Answer {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_tickstream")).with_file_name("refiner"));
        command.arg("once").env_clear().envs(self.installation.stack.env());
        command.env("S3_PREFIX", &self.installation.prefix).env("REFINER_MEMORY_MB", "256");
        run(command).await
    }

    async fn refined(&self) {
        let answer = self.refine().await;
        assert_eq!(answer.code, 0, "{}\n{}", answer.stdout, answer.stderr);
    }

    async fn get(&self, key: &str) -> Option<Object> {
        self.store.get(key).await.expect("an answer")
    }

    /// Bronze of the plan's ticks alone, of several symbols, by its keys.
    async fn of_the_plan(&self) -> BTreeMap<String, Object> {
        let mut found = BTreeMap::new();
        for key in live(&self.store).await.into_keys().filter(|key| key.starts_with(TICKS)) {
            let object = self.get(&key).await.expect("it was listed");
            let Stored { rows, .. } = stored(object.bytes.clone()).expect("bronze");
            let sources = rows.column_by_name("source").expect("a source").as_string::<i32>();
            if sources.iter().all(|source| source == Some("bulk")) && symbols(&rows).len() > 1 {
                found.insert(key, object);
            }
        }
        assert!(found.len() >= WAVES, "{:?}", found.keys());
        found
    }

    /// Puts an object that says that it is of this version.
    async fn plant(&self, key: &str, over: &Object, rows: &RecordBatch, version: u32) {
        let Stored { bad, .. } = stored(over.bytes.clone()).expect("bronze");
        let bronze = of_rows(rows, bad, Compression::Zstd).expect("an object");
        let mut metadata = over.head.metadata.clone();
        metadata.insert(VERSION.to_owned(), version.to_string());
        metadata.insert("tickstream-rows".to_owned(), bronze.rows.to_string());
        let put = self.store.put(key, bronze.bytes, metadata, Condition::IfMatch(&over.head.etag)).await;
        assert!(matches!(put, Ok(Put::Done { .. })), "{put:?}");
    }

    /// Kills it some times, then lets it come to its end. `seen` is asked in between.
    async fn killed_and_ended(&self, step: &str, name: &str, seen: impl AsyncFn()) -> Answer {
        let command = ["replay", step, name, "--no-wait"];
        for _ in 0..KILLS {
            let after = by_chance(Duration::from_millis(1_500));
            tokio::task::block_in_place(|| start_and_kill(&self.installation, &command, after));
            seen().await;
        }
        self.installation.ends(0, &command).await
    }
}

/// In the raw objects of ticks.
async fn records(store: &Store) -> u64 {
    let mut count = 0;
    for key in live(store).await.into_keys().filter(|key| key.starts_with(TICKS)) {
        let head = store.head(&key).await.expect("an answer").expect("it was listed");
        count += head.metadata["tickstream-rows"].parse::<u64>().expect("a number");
    }
    count
}

fn symbols(rows: &RecordBatch) -> Vec<String> {
    let column = rows.column_by_name("symbol").expect("a symbol").as_string::<i32>();
    let mut found: Vec<String> = column.iter().flatten().map(str::to_owned).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn row_of(rows: &RecordBatch, symbol: &str) -> usize {
    let column = rows.column_by_name("symbol").expect("a symbol").as_string::<i32>();
    column.iter().position(|found| found == Some(symbol)).expect("a row of it")
}

/// What others do not touch: everything but these, and what is made of them.
fn others(of: &BTreeMap<String, String>, but: &[&String]) -> BTreeMap<String, String> {
    let is_lower = |key: &str| (key.starts_with("raw/") || key.starts_with("bronze/")) && !key.contains("/_notes/");
    let of = of.iter().filter(|(key, _)| is_lower(key) && !but.contains(key));
    of.map(|(key, etag)| (key.clone(), etag.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_that_is_not_what_the_log_says_is_made_so_and_put_back_while_ticks_arrive() {
    let world = World::new("replay-objects").await;
    let (installation, store) = (world.installation.clone(), world.store.clone());
    world.refined().await;
    let ticks = installation.live();
    world.generation("mended", &[]).await;
    assert_eq!(counts(&installation, 0, "mended").await["bronze"]["same"], json!(COUNT));

    let objects = world.of_the_plan().await;
    let [altered, lost, older] = [0, 1, 2].map(|number| objects.keys().nth(number).expect("enough").clone());
    let rows = |key: &String| stored(objects[key].bytes.clone()).expect("bronze").rows;
    world.plant(&altered, &objects[&altered], &raised(&rows(&altered), 0), 3).await;
    let fewer = rows(&older);
    world.plant(&older, &objects[&older], &raised(&fewer.slice(1, fewer.num_rows() - 1), 0), 1).await;
    // The refiner made silver of it when it was all that there was.
    let note = json!({ "bronze": older, "version": 1, "replaces": objects[&older].head.etag }).to_string();
    let put = store.put("bronze/_notes/ticks/older.json", note.into(), [].into(), Condition::IfNoneMatch).await;
    assert!(matches!(put, Ok(Put::Done { .. })), "{put:?}");
    world.refined().await;
    store.delete(&lost).await.expect("deleted");
    let planted = [world.get(&altered).await, None, world.get(&older).await];
    let right = [&altered, &lost, &older].map(|key| objects[key].clone());
    let hour = live(&store).await.into_keys();
    let hour = hour.into_iter().find(|key| key.starts_with("silver/ticks/") && key.contains(&hour_of(world.at)));
    let hour = hour.expect("the hour's object");
    let as_planted = world.get(&hour).await;
    let before = others(&live(&store).await, &[&altered, &lost, &older]);

    let diff = installation.ends(1, &["replay", "diff", "mended", "--limit", "4"]).await;
    told("tickstream replay diff mended --limit 4", &diff);
    let found = counts(&installation, 1, "mended").await;
    let gone = rows(&lost).num_rows() + 1;
    assert_eq!((&found["bronze"]["different"], &found["bronze"]["only_generation"]), (&json!(2), &json!(gone)));
    assert_eq!((&found["silver"]["different"], &found["silver"]["only_generation"]), (&json!(2), &json!(1)));

    // Each object is what it was or what it should be, whenever it is looked at.
    let is_one_of_two = async || {
        for (key, (planted, right)) in [&altered, &lost, &older].into_iter().zip(planted.iter().zip(&right)) {
            let now = world.get(key).await;
            assert!(now == *planted || now.as_ref().map(|now| &now.bytes) == Some(&right.bytes), "{key}");
        }
    };
    let mended = async || {
        let promoted = world.killed_and_ended("promote", "mended", is_one_of_two).await;
        world.refined().await;
        let ended = installation.ends(0, &["replay", "promote", "mended"]).await;
        for (key, right) in [&altered, &lost, &older].into_iter().zip(&right) {
            assert_eq!(world.get(key).await.as_ref(), Some(right));
        }
        let found = counts(&installation, 0, "mended").await;
        assert_eq!(found["bronze"]["same"], json!(COUNT));
        (promoted, ended)
    };
    let (_, ended) = mended().await;
    told("tickstream replay promote mended", &ended);
    assert!(ended.stdout.contains("lake bronze") && ended.stdout.contains("lake silver and gold"), "{}", ended.stdout);
    let after = live(&store).await;
    let unchanged = before.iter().filter(|(key, etag)| after.get(*key) == Some(*etag)).count();
    assert_eq!(unchanged, before.len(), "what the plan does not name keeps its ETag");
    assert!(installation.ends(0, &["replay", "promote", "mended"]).await.stderr.contains("promoted already"));

    let back = world.killed_and_ended("rollback", "mended", is_one_of_two).await;
    told("tickstream replay rollback mended --no-wait", &back);
    assert!(back.stderr.contains(&format!("left alone: {lost}: there was none before")), "{}", back.stderr);
    for (key, planted) in [(&altered, &planted[0]), (&older, &planted[2])] {
        assert_eq!(world.get(key).await, *planted, "byte for byte, with its metadata");
    }
    world.refined().await;
    installation.ends(0, &["replay", "rollback", "mended"]).await;
    assert_eq!(world.get(&hour).await, as_planted, "silver is what it was made of then");
    let found = counts(&installation, 1, "mended").await;
    assert_eq!((&found["bronze"]["different"], &found["bronze"]["only_generation"]), (&json!(2), &json!(1)));

    let (promoted, _) = mended().await;
    assert!(promoted.stderr.contains("bronze objects are made what the log says"), "{}", promoted.stderr);
    let sent = ticks.end().await;
    let all = u64::from(COUNT) + 40 + sent;
    installation.wait_for("no live tick is lost", async || records(&store).await == all).await;
    installation
        .wait_for("the audit finds nothing", async || {
            world.refined().await;
            installation.run(&["audit", "--deep", "--only", "lake", "--topic", "market.ticks.v1"]).await.code == 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_object_only_the_rows_of_the_plan_are_exchanged_and_what_changed_since_stays() {
    let world = World::new("replay-objects-rows").await;
    let (installation, store) = (world.installation.clone(), world.store.clone());
    let (key, right) = world.of_the_plan().await.into_iter().next().expect("an object");
    let rows = stored(right.bytes.clone()).expect("bronze").rows;
    let [of_plan, other] = [0, 1].map(|number| symbols(&rows)[number].clone());
    let spoilt = raised(&rows, row_of(&rows, &other));
    let expected = of_rows(&spoilt, Vec::new(), Compression::Zstd).expect("an object");
    world.plant(&key, &right, &raised(&spoilt, row_of(&rows, &of_plan)), 3).await;
    let planted = world.get(&key).await.expect("it was planted");
    let before = live(&store).await;
    world.generation("some", &["--source", "lake-raw", "--symbol", &of_plan]).await;

    let promoted = installation.ends(0, &["replay", "promote", "some", "--no-wait"]).await;
    told("tickstream replay promote some --no-wait", &promoted);
    assert!(
        promoted.stderr.contains("1 of ") && promoted.stderr.contains("1 rows are other ones"),
        "{}",
        promoted.stderr
    );
    assert_eq!(world.get(&key).await.expect("it stands").bytes, expected.bytes, "the other symbol's row is as it was");
    let notes = |key: &String| key.contains("/_notes/");
    let differ = |now: &BTreeMap<String, String>| -> Vec<String> {
        now.iter()
            .filter(|(key, etag)| !notes(key) && before.get(*key) != Some(*etag))
            .map(|(key, _)| key.clone())
            .collect()
    };
    assert_eq!(differ(&live(&store).await), std::slice::from_ref(&key));

    installation.ends(0, &["replay", "rollback", "some", "--no-wait"]).await;
    assert_eq!(world.get(&key).await, Some(planted.clone()));
    assert_eq!(differ(&live(&store).await), [""; 0]);
    installation.ends(0, &["replay", "promote", "some", "--no-wait"]).await;
    let now = world.get(&key).await.expect("it stands");
    world.plant(&key, &now, &rows, 3).await;
    let back = installation.ends(0, &["replay", "rollback", "some", "--no-wait"]).await;
    let named = format!("left alone: {key}: it is not what the promotion made of it any more");
    assert!(back.stderr.contains(&named), "{}", back.stderr);
    assert_eq!(world.get(&key).await.expect("it stands").bytes, right.bytes);

    // What the raw object does not come to is not put, whatever the generation has.
    installation.ends(0, &["replay", "promote", "some", "--no-wait"]).await;
    let own = format!("generations/some/{key}");
    let of_generation = world.get(&own).await;
    let (own, of_generation) = match of_generation {
        Some(object) => (own, object),
        None => {
            let listed = store.list("generations/some/bronze/ticks/", None).await.expect("a listing");
            let own = listed[0].key.clone();
            let object = world.get(&own).await.expect("it was listed");
            (own, object)
        }
    };
    let of_own = stored(of_generation.bytes.clone()).expect("bronze").rows;
    world.plant(&own, &of_generation, &raised(&of_own, 0), 3).await;
    let refused = installation.ends(0, &["replay", "promote", "some", "--no-wait"]).await;
    assert!(refused.stderr.contains("comes to other rows than the generation has"), "{}", refused.stderr);
    assert_eq!(world.get(&key).await.expect("it stands").bytes, right.bytes);
}
