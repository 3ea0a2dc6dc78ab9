//! Generations beside what is live: made of payloads, of the topic and of the raw lake, compared, interrupted, dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use pipeline::events::{PriceTick, event_id};
use pipeline::example;
use pipeline::topic_id::TopicIds;
use pipeline::topics::TICKS;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection};

use crate::replay_installation::{Installation, Wrong};
use crate::replay_story::told;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const KILLS: u64 = 5;

/// What a plan file says, as `replay plan` would write it: all of the topic's records up to now.
struct Planned<'a> {
    name: &'a str,
    source: &'a str,
    symbols: &'a [&'a str],
    targets: &'a [&'a str],
    /// Of receipt.
    span: Option<[&'a str; 2]>,
}

impl<'a> Planned<'a> {
    fn of(name: &'a str, source: &'a str) -> Self {
        Self { name, source, symbols: &[], targets: &["db"], span: None }
    }

    async fn write(&self, installation: &Installation) -> PathBuf {
        let ids = TopicIds::new(&installation.args).expect("client");
        let (cluster_id, topic_id) = (ids.cluster_id().await, ids.topic_id(TICKS, 0).await);
        let (cluster_id, topic_id) = (cluster_id.expect("an id"), topic_id.expect("an id"));
        let now = Timestamp::now();
        let mut partitions = Vec::new();
        for (partition, (log_start, log_end)) in ends(installation).into_iter().enumerate() {
            let records = log_end - log_start;
            partitions.push(format!(
                r#"{{"topic":"{TICKS}","topic_id":"{topic_id}","partition":{partition},"from":{log_start},"to":{log_end},"from_time":null,"to_time":null,"records":{records},"bytes":{},"log_start":{log_start},"log_end":{log_end},"margin_ms":null}}"#,
                records * 200
            ));
        }
        let time = |text: &str| json!(text.parse::<Timestamp>().expect("a time"));
        let [from, to] = self.span.map_or([Value::Null, Value::Null], |span| span.map(time));
        let without = format!(
            r#"{{"version":1,"name":"{}","made_at":{},"cluster_id":"{cluster_id}","mode":"side_by_side","source":"{}","symbols":{},"sources":[],"targets":{},"from_time":{from},"to_time":{to},"groups":[],"partitions":[{}],"digest":""#,
            self.name,
            json!(now),
            self.source,
            json!(self.symbols),
            json!(self.targets),
            partitions.join(",")
        );
        let digest: String =
            Sha256::digest(format!("{without}\"}}")).iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = installation.stack.data_dir().join(&installation.prefix);
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{}.json", self.name));
        std::fs::write(&path, format!("{without}{digest}\"}}\n")).expect("a plan");
        path
    }
}

fn ends(installation: &Installation) -> Vec<(i64, i64)> {
    let consumer: BaseConsumer = installation.args.consumer(None).create().expect("consumer");
    let metadata = consumer.fetch_metadata(Some(TICKS), Duration::from_secs(10)).expect("metadata");
    let partitions = metadata.topics()[0].partitions().len();
    let ends = |partition| consumer.fetch_watermarks(TICKS, partition, Duration::from_secs(10)).expect("watermarks");
    (0..i32::try_from(partitions).expect("few")).map(ends).collect()
}

async fn column(installation: &Installation, query: String) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut installation.connect().await).await.expect("rows")
}

/// Every live table but for what the consumer writes without a record.
async fn live(installation: &Installation) -> Vec<String> {
    let mut tables = Vec::new();
    for table in ["ticks", "moved_ticks", "latest_prices", "candles", "gaps", "topic_positions", "retention"] {
        let query = format!(
            "select '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from public.{table} t"
        );
        tables.extend(column(installation, query).await);
    }
    tables
}

/// The rows of a generation. Where a correction stands in its topic, and when, depends on what was begun before it.
async fn rows(installation: &Installation, name: &str) -> Vec<String> {
    let query = format!(
        "select (to_jsonb(t) - 'inserted_at' - case when kafka_partition < 0 then '{{kafka_offset,broker_time}}'::text[] else '{{}}' end)::text \
         from gen_{name}.ticks t order by event_time, event_id"
    );
    column(installation, query).await
}

async fn wait_for_rows(installation: &Installation, count: usize) {
    let query = "select count(*)::text from ticks".to_owned();
    installation
        .wait_for("the ticks are in the database", async || {
            column(installation, query.clone()).await == [count.to_string()]
        })
        .await;
}

/// Ticks of seven symbols, a microsecond apart from `at` on.
pub fn bulk(count: u32, at: i64) -> Vec<PriceTick> {
    let tick = |number: u32| PriceTick {
        event_id: event_id("bulk", "trades", "SOL-USD", &number.to_string()),
        source: "bulk".to_owned(),
        symbol: format!("S{}-USD", number % 7),
        event_time: at + i64::from(number),
        received_at: at,
        ..example::tick()
    };
    (0..count).map(tick).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_prices_are_named_by_event_and_column_and_a_killed_execution_ends_as_one_that_was_not() {
    let mut installation = Installation::without_services("cli-generation").await;
    installation.serve("consumer-db");
    let (wrong, [begin, end]) = installation.wrong_trades(1, 1).await;
    installation.publish(&bulk(20_000, Timestamp::now().as_microsecond() - HOUR)).await;
    let published: BTreeSet<_> =
        wrong.iter().filter_map(|wrong| wrong.was.as_ref()).map(|tick| tick.event_id).collect();
    wait_for_rows(&installation, 20_000 + published.len()).await;
    let before = live(&installation).await;

    let planned = Planned { span: Some([&begin, &end]), ..Planned::of("mended", "payloads") };
    let plan = planned.write(&installation).await;
    let early = installation.ends(2, &["replay", "diff", "mended"]).await;
    assert!(early.line().contains("there is no replay mended"), "{}", early.stderr);
    let plan_path = plan.to_str().expect("text");
    let written = installation.ends(0, &["replay", "execute", plan_path]).await;
    assert_eq!(written.stdout, "the generation mended is written: 20011 rows, 9 corrections\n");
    let again = installation.ends(0, &["replay", "execute", plan_path]).await;
    assert_eq!(again.stdout, "mended is executed already: it is executed\n");

    let diff = installation.ends(1, &["replay", "diff", "mended", "-o", "json"]).await;
    let lines = diff.json_lines();
    assert_eq!(
        lines[0]["counts"],
        json!({"different": 8, "only_generation": 1, "only_live": 0, "left_alone": 0, "same": 20_002})
    );
    let mut found: BTreeMap<(String, String), (String, Value, Value)> = BTreeMap::new();
    for line in &lines[1..] {
        let text = |name: &str| line[name].as_str().expect("text").to_owned();
        let value = (text("change"), line["live"].clone(), line["generation"].clone());
        found.insert((text("event_id"), text("column")), value);
    }
    assert_eq!(found, expected(&wrong));
    told("tickstream replay diff mended", &installation.ends(1, &["replay", "diff", "mended"]).await);
    let table = installation.ends(1, &["replay", "diff", "mended", "--limit", "2"]).await;
    assert_eq!(table.stdout.lines().count(), 4, "{}", table.stdout);
    let csv = installation.ends(1, &["replay", "diff", "mended", "-o", "csv"]).await;
    assert_eq!(csv.stdout.lines().count(), lines.len(), "{}", csv.stdout);
    assert_eq!(live(&installation).await, before);

    let expected = rows(&installation, "mended").await;
    let planned = Planned { name: "killed", ..planned };
    let plan = planned.write(&installation).await;
    let execute = ["replay", "execute", plan.to_str().expect("text")];
    let mut killed = 0;
    for round in 0..KILLS {
        let mut command = installation.command(&execute);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
        tokio::time::sleep(Duration::from_millis(150 + round * 350)).await;
        running.kill().expect("killed or ended");
        killed += usize::from(running.wait().expect("a child").code().is_none());
    }
    assert!(killed > 0, "each run ended before it was killed");
    installation.ends(0, &execute).await;
    assert_eq!(rows(&installation, "killed").await, expected, "{killed} kills");
    let diff = installation.ends(1, &["replay", "diff", "killed", "-o", "json"]).await;
    assert_eq!(diff.json_lines(), lines);

    // A schema of the same name that no replay made is neither written nor dropped.
    let mut connection = installation.connect().await;
    sqlx::raw_sql("create schema gen_other; create table gen_other.mine ()")
        .execute(&mut connection)
        .await
        .expect("made");
    let other = Planned { name: "other", ..planned }.write(&installation).await;
    let refused = installation.ends(2, &["replay", "execute", other.to_str().expect("text")]).await;
    assert!(refused.stderr.contains("schema gen_other is there and was not made of this plan"), "{}", refused.stderr);
    let refused = installation.ends(2, &["replay", "drop", "other"]).await;
    assert!(refused.line().contains("schema gen_other was not made by a replay"), "{}", refused.stderr);

    for name in ["mended", "killed"] {
        let dropped = installation.ends(0, &["replay", "drop", name]).await;
        let says = format!("{name} is dropped: schema gen_{name} and topic market.ticks.v1.gen.{name}\n");
        assert_eq!(dropped.stdout, says);
        let again = installation.ends(0, &["replay", "drop", name]).await;
        assert_eq!(again.stdout, format!("{name} is dropped: nothing was left of it\n"));
        assert_eq!(installation.ends(2, &["replay", "diff", name]).await.stdout, "");
    }
    let schemas = "select nspname::text from pg_namespace where nspname like 'gen\\_%'".to_owned();
    assert_eq!(column(&installation, schemas).await, ["gen_other"]);
    assert_eq!(live(&installation).await, before);
    connection.close().await.expect("closed");
}

/// By event and column: what is told of it, what is live, and what the generation has.
fn expected(wrong: &[Wrong]) -> BTreeMap<(String, String), (String, Value, Value)> {
    let mut expected = BTreeMap::new();
    for wrong in wrong {
        let tick = wrong.right.as_ref().or(wrong.was.as_ref()).expect("one of the two");
        let mut line = |column: &str, change: &str, live: Value, generation: Value| {
            expected.insert((tick.event_id.to_string(), column.to_owned()), (change.to_owned(), live, generation));
        };
        match (&wrong.was, &wrong.right) {
            (None, Some(right)) => {
                line("price", "only_generation", Value::Null, json!(right.price.to_string()));
            }
            (Some(_), None) => line("retracted", "different", json!("false"), json!("true")),
            (Some(was), Some(right)) => {
                let time = |micros: i64| json!(Timestamp::from_microsecond(micros).expect("a time"));
                let columns = [
                    ("price", json!(was.price.to_string()), json!(right.price.to_string())),
                    ("event_time", time(was.event_time), time(right.event_time)),
                    ("symbol", json!(was.symbol), json!(right.symbol)),
                    ("base", json!(was.base), json!(right.base)),
                ];
                for (column, live, generation) in columns.into_iter().filter(|(_, live, generation)| live != generation)
                {
                    line(column, "different", live, generation);
                }
            }
            (None, None) => {}
        }
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_of_a_clean_system_is_what_is_live_and_an_altered_row_is_named() {
    let mut installation = Installation::without_services("cli-generation-topic").await;
    installation.serve("consumer-db");
    installation.serve("consumer-lake");
    let at = Timestamp::now().as_microsecond() - HOUR;
    let mut ticks = bulk(3_000, at);
    // Repeats and corrections, in time and in symbol; a record that nobody can read.
    let moved =
        PriceTick { revision: 1, event_time: at - SECOND, previous_event_time: Some(at + 1), ..ticks[1].clone() };
    let other = PriceTick {
        revision: 1,
        symbol: "X-USD".to_owned(),
        previous_symbol: Some(ticks[2].symbol.clone()),
        ..ticks[2].clone()
    };
    let repeated = PriceTick { received_at: at + 7, ..ticks[3].clone() };
    installation.publish(&ticks).await;
    ticks = vec![moved, other, repeated];
    installation.publish(&ticks).await;
    wait_for_rows(&installation, 3_000).await;
    installation
        .wait_for("the corrections are in the database", async || {
            let query = "select count(*)::text from ticks where revision = 1".to_owned();
            column(&installation, query).await == ["2"]
        })
        .await;
    let before = live(&installation).await;

    for planned in [
        Planned::of("topic", "topic"),
        Planned { symbols: &["S1-USD", "S4-USD"], ..Planned::of("some", "topic") },
        Planned::of("raw", "lake_raw"),
    ] {
        let (name, plan) = (planned.name, planned.write(&installation).await);
        installation
            .wait_for("the lake has what the plan asks for", async || {
                let ran = installation.run(&["replay", "execute", plan.to_str().expect("text")]).await;
                let is_early = ran.stderr.contains("the raw lake has") || ran.stderr.contains("the lake has no epoch");
                assert!(ran.code == 0 || is_early, "{}", ran.stderr);
                ran.code == 0
            })
            .await;
        let diff = installation.ends(0, &["replay", "diff", name]).await;
        assert!(
            diff.stdout.starts_with("0 events differ, 0 are only in the generation, 0 only live; "),
            "{}",
            diff.stdout
        );
        assert_eq!(diff.stdout.lines().count(), 1);
        let csv = installation.ends(0, &["replay", "diff", name, "-o", "csv"]).await;
        assert_eq!(csv.stdout, "layer,change,event_id,symbol,source,event_time,column,live,generation\n");
    }
    assert_eq!(rows(&installation, "raw").await, rows(&installation, "topic").await);
    let some = rows(&installation, "some").await.len();
    assert!((800..=860).contains(&some), "{some}");
    assert_eq!(live(&installation).await, before);

    let alter = "update ticks set price = 1, source_symbol = 'x' where event_id = \
                 (select min(event_id::text)::uuid from ticks where revision = 0); \
                 delete from ticks where event_id = (select max(event_id::text)::uuid from ticks where revision = 0)";
    sqlx::raw_sql(alter).execute(&mut installation.connect().await).await.expect("altered");
    let diff = installation.ends(1, &["replay", "diff", "topic", "-o", "json"]).await;
    let lines = diff.json_lines();
    assert_eq!(
        lines[0]["counts"],
        json!({"different": 1, "only_generation": 1, "only_live": 0, "left_alone": 0, "same": 2_998})
    );
    let told: BTreeSet<(&str, &str)> = lines[1..]
        .iter()
        .map(|line| (line["change"].as_str().expect("text"), line["column"].as_str().expect("text")))
        .collect();
    assert_eq!(
        told,
        BTreeSet::from([("different", "price"), ("different", "source_symbol"), ("only_generation", "price")])
    );
    assert!(diff.stderr.trim_end().ends_with("2 events are not as the generation topic has them"), "{}", diff.stderr);
}
