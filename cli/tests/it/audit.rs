//! One story on the one topic that is compared with Postgres: a market that is the same everywhere, then each way in which
//! it can stop being so, found and mended again.

use pipeline::dead_letter::{DeadLetter, DeadLetters};
use pipeline::topic_id::TopicIds;
use pipeline::topics::TICKS;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use sqlx::PgConnection;
use stack::Stack;
use uuid::Uuid;

use crate::lake::Lake;
use crate::market::{self, EVENT_TIME_MICROS, Market, Sent, kafka, log_end, records};
use crate::{Answer, command, database, rows, run, topics};

struct Audit {
    stack: &'static Stack,
    database_url: String,
    prefix: String,
}

impl Audit {
    async fn run(&self, more: &[&str]) -> Answer {
        let mut audit = command(self.stack, &["audit", "--topic", TICKS, "-o", "json"]);
        audit.args(more).env("DATABASE_URL", &self.database_url).env("S3_PREFIX", &self.prefix);
        run(audit).await
    }

    /// All agree; gives the report.
    async fn equal(&self, more: &[&str]) -> Value {
        let answer = self.run(more).await;
        assert_eq!(answer.code, 0, "{}\n{}", answer.stdout, answer.stderr);
        let report = answer.json();
        assert_eq!((&report["equal"], &report["totals"]["differences"]), (&true.into(), &0.into()));
        report
    }

    /// Exactly these differences are found, each said in a line that contains all the words of one entry.
    async fn differs(&self, expected: &[&[&str]]) -> Value {
        let answer = self.run(&[]).await;
        assert_eq!(answer.code, 1, "{}\n{}", answer.stdout, answer.stderr);
        let report = answer.json();
        let lines: Vec<&str> =
            report["differences"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, words) in lines.iter().zip(expected) {
            let missing: Vec<_> = words.iter().filter(|words| !line.contains(**words)).collect();
            assert!(missing.is_empty(), "{line:?} does not say {missing:?}");
        }
        report
    }
}

/// Sends the dead letter of one record twice, as a consumer that was killed in between would.
async fn dead_letter(stack: &Stack, group: &str, topic_id: Uuid, sent: &Sent) {
    let letters = DeadLetters::new(&kafka(stack), group).expect("producer");
    let letter = DeadLetter {
        topic: TICKS.to_owned(),
        partition: sent.partition,
        offset: sent.offset,
        reason: "test".to_owned(),
    };
    for _ in 0..2 {
        letters.send(&records(std::slice::from_ref(sent)), Some(topic_id), &[&letter]).await.expect("sent");
    }
}

async fn insert(connection: &mut PgConnection, n: u64, partition: i32, offset: i64) {
    rows::insert(connection, &market::tick(n), partition, offset).await;
}

async fn delete(connection: &mut PgConnection, event_id: Uuid) {
    let deleted = sqlx::query("delete from ticks where event_id = $1").bind(event_id).execute(&mut *connection).await;
    assert_eq!(deleted.expect("delete").rows_affected(), 1);
    rows::settle(connection).await;
}

/// What retention does: the log of a partition begins at `offset` from now on.
async fn cut(stack: &Stack, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = kafka(stack).admin().create().expect("admin client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TICKS, partition, Offset::Offset(offset)).expect("an offset");
    admin.delete_records(&list, &AdminOptions::new()).await.expect("delete records");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_difference_between_topic_lake_and_database_is_found_and_named() {
    let stack = stack::shared().await;
    topics::applied(stack).await;
    let ids = TopicIds::new(&kafka(stack)).expect("client");
    let topic_id = ids.topic_id(TICKS, 0).await.expect("a topic id");
    let lake = Lake::new(stack, "cli-audit", ids.cluster_id().await.expect("a cluster id"), topic_id).await;
    let (mut connection, database_url) = database(stack, "cli_audit").await;
    let audit = Audit { stack, database_url, prefix: lake.prefix.clone() };
    let market = Market::new(stack).await;

    // Partition 0: five ticks, one of them again, garbage, an aborted transaction, a committed one. Partition 1: three
    // ticks and, last of all, an aborted transaction. Partitions 2 and 3: nothing.
    let mut zero = market.ticks(0, [0, 1, 2, 3, 4, 1]).await;
    let garbage = market.garbage(0).await;
    zero.push(garbage.clone());
    let aborted = market.transaction(0, [100, 101, 102], false).await;
    zero.extend(market.transaction(0, [5, 6], true).await);
    let one = market.ticks(1, [7, 8, 9]).await;
    market.transaction(1, [103], false).await;
    let [end_zero, end_one] = [log_end(stack, 0), log_end(stack, 1)];
    assert!(end_zero > zero.len() as i64 + 3 && end_one > 4, "markers take offsets: {end_zero} {end_one}");

    dead_letter(stack, "consumer-lake", topic_id, &garbage).await;
    dead_letter(stack, "consumer-db", topic_id, &garbage).await;
    lake.origin(0, zero[0].offset).await;
    lake.origin(1, one[0].offset).await;
    let (second, third) = (zero[3].offset, zero[7].offset);
    let [_, _] = lake.object(0, zero[0].offset, second, &zero[..3]).await;
    let [middle, middle_bronze] = lake.object(0, second, third, &zero[3..7]).await;
    let [last, _] = lake.object(0, third, end_zero, &zero[7..]).await;
    lake.object(1, one[0].offset, one[2].offset + 1, &one).await;
    for sent in zero.iter().chain(&one) {
        let Some(event) = sent.event.filter(|_| sent.offset != zero[5].offset) else { continue };
        insert(&mut connection, event, sent.partition, sent.offset).await;
    }

    // The same everywhere: aborted records do not count, the repeated tick is one event, the garbage is one dead letter.
    let report = audit.equal(&[]).await;
    let totals = serde_json::json!({
        "delivered": 12, "lake_records": 12, "lake_objects": 4, "bronze_rows": 11, "dead_letters": 1,
        "distinct_event_ids": 10, "postgres_rows": 10, "differences": 0
    });
    assert_eq!(report["totals"], totals, "{report:#}");
    assert_eq!(report["partitions"][0]["dead_letters_lake"], 1);
    assert_eq!((&report["database"]["decoded"], &report["database"]["undecodable"]), (&11.into(), &1.into()));
    let mut as_table = command(stack, &["audit", "--topic", TICKS]);
    as_table.env("DATABASE_URL", &audit.database_url).env("S3_PREFIX", &audit.prefix);
    let table = run(as_table).await;
    assert!(table.stdout.contains("EQUAL  12 records in the topics = 12 in the lake"), "{}", table.stdout);

    // A lake that was written from an earlier topic of the same name.
    let earlier = Uuid::from_u128(1);
    Lake::new(stack, "cli-audit-earlier", ids.cluster_id().await.expect("a cluster id"), earlier).await;
    let other = Audit { stack, database_url: audit.database_url.clone(), prefix: "cli-audit-earlier".to_owned() };
    let anew = format!("epoch 0000 is of topic id {earlier}");
    let nothing = "it holds nothing of this partition";
    other.differs(&[&[&anew, "the topic was made anew"], &["9 records", nothing], &["3 records", nothing]]).await;

    // A raw object is gone: from the middle, from the end. One that lost its metadata still says in its footer what it is.
    let taken = lake.take(&middle).await;
    let hole = format!("no raw object covers offsets {second} to {}, 4 records", third - 1);
    audit.differs(&[&["market.ticks.v1[0]: a hole in the lake", &hole]]).await;
    lake.put_back_bare(&taken).await;
    audit.equal(&[]).await;
    lake.put_back(&taken).await;
    let taken = lake.take(&last).await;
    let behind = format!("2 records from offset {third} on are not in the lake yet");
    audit.differs(&[&["market.ticks.v1[0]", &behind]]).await;
    lake.put_back(&taken).await;

    // A raw object that another one covers already; one with a record too few.
    let extra = format!("the raw object at {} begins before offset {third}", second + 1);
    let [overlapping, overlapping_bronze] = lake.object(0, second + 1, third, &zero[4..7]).await;
    let counts = format!("the raw object at {} holds 3 records", second + 1);
    audit.differs(&[&[&extra], &[&counts, "the topic delivered 0"]]).await;
    lake.take(&overlapping).await;
    lake.take(&overlapping_bronze).await;
    let taken = lake.take(&middle).await;
    lake.object(0, second, third, &zero[4..7]).await;
    let short = format!("the raw object at {second} holds 3 records from offset {second} to {}", third - 1);
    audit.differs(&[&[&short, "the topic delivered 4"]]).await;
    lake.put_back(&taken).await;
    lake.bronze(&middle_bronze, 3).await;
    audit.equal(&[]).await;

    // Bronze is gone, or has a row too few.
    let taken = lake.take(&middle_bronze).await;
    audit.differs(&[&[&middle_bronze, "is missing", "4 records"]]).await;
    lake.bronze(&middle_bronze, 2).await;
    audit.differs(&[&["holds 4 records, its bronze 2 rows, and 1 are dead letters of group consumer-lake"]]).await;
    lake.put_back(&taken).await;

    // A row is gone; a row is there that no record stands for.
    delete(&mut connection, market::id(8)).await;
    let place = format!("{} at partition 1 offset {}", market::id(8), one[1].offset);
    let report = audit.differs(&[&["1 events of the topic have no row in Postgres", &place]]).await;
    assert_eq!((&report["totals"]["distinct_event_ids"], &report["totals"]["postgres_rows"]), (&10.into(), &9.into()));
    insert(&mut connection, 8, 1, one[1].offset).await;
    insert(&mut connection, 100, 0, aborted[0].offset).await;
    audit.differs(&[&["1 rows in Postgres are of no event of the topic", &market::id(100).to_string()]]).await;
    delete(&mut connection, market::id(100)).await;

    // A record that does not decode and that nobody has set aside.
    let lonely = market.garbage(1).await;
    let bad =
        format!("1 undecodable records are no dead letters of group consumer-db: partition 1 offset {}", lonely.offset);
    audit.differs(&[&["1 records from offset", "not in the lake yet"], &[&bad]]).await;
    dead_letter(stack, "consumer-db", topic_id, &lonely).await;
    audit.differs(&[&["1 records from offset", "not in the lake yet"]]).await;
    dead_letter(stack, "consumer-lake", topic_id, &lonely).await;
    lake.object(1, one[2].offset + 1, lonely.offset + 1, &[lonely]).await;
    audit.equal(&[]).await;

    // A part that cannot be reached is said, and is no success.
    let mut alone = command(stack, &["audit", "--topic", TICKS]);
    alone.env_remove("DATABASE_URL").env("S3_PREFIX", &audit.prefix);
    let answer = run(alone).await;
    assert_eq!(answer.code, 2);
    assert!(answer.stdout.contains("NOT AUDITED  database: no database is named"), "{}", answer.stdout);
    let lake_only = audit.equal(&["--only", "lake"]).await;
    assert_eq!((&lake_only["database"], &lake_only["totals"]["lake_records"]), (&Value::Null, &13.into()));
    let database_only = audit.equal(&["--only", "db"]).await;
    assert_eq!(
        (&database_only["totals"]["lake_records"], &database_only["totals"]["postgres_rows"]),
        (&Value::Null, &10.into())
    );

    // Retention of the database has dropped their day: no row is missing then.
    let horizon = "update retention set ticks_from = date '1970-01-01' + ($1 / 86400000000)::int + 1";
    sqlx::raw_sql("create table kept as select * from ticks").execute(&mut connection).await.expect("kept");
    sqlx::raw_sql("delete from ticks").execute(&mut connection).await.expect("dropped");
    assert_eq!(audit.run(&["--only", "db"]).await.code, 1, "without a horizon they are missing");
    sqlx::query(horizon).bind(EVENT_TIME_MICROS).execute(&mut connection).await.expect("raised");
    let report = audit.equal(&["--only", "db"]).await;
    assert_eq!(
        (&report["database"]["retired_events"], &report["totals"]["distinct_event_ids"]),
        (&10.into(), &0.into())
    );
    let back = "insert into ticks select * from kept; drop table kept; update retention set ticks_from = '-infinity'";
    sqlx::raw_sql(back).execute(&mut connection).await.expect("as before");

    // Retention takes the oldest records of the topic, mid-object: lake and database keep them, and are not wrong for it.
    cut(stack, 0, zero[1].offset).await;
    let report = audit.equal(&[]).await;
    assert_eq!(
        (&report["partitions"][0]["lake_records"], &report["partitions"][0]["lake_records_older"]),
        (&8.into(), &1.into())
    );
    assert_eq!(report["database"]["rows_older"], 1);
    // It takes what the lake never had: that is a loss.
    let unread = market.ticks(1, [10]).await;
    insert(&mut connection, 10, 1, unread[0].offset).await;
    cut(stack, 1, unread[0].offset + 1).await;
    let lost =
        format!("lost: offsets {0} to {0} were removed from the topic before the lake had them", unread[0].offset);
    audit.differs(&[&["market.ticks.v1[1]", &lost]]).await;
}
