//! Gaps, index weights and alerts: which record stands, that they share a transaction with the ticks, and what is unfit.

use consumer_db::DbSink;
use pipeline::consume::PartitionBatch;
use pipeline::events::{Alert, Gap, IndexWeight};
use pipeline::{example, topics};
use uuid::Uuid;

use crate::database::{TestDatabase, write};
use crate::log::{Log, NOON, batch_of, decimal, encoder, gap, one_batch, tick};

/// Writes records of a topic in one batch, one by one, and backwards: the table's rows are as expected each time.
async fn check(topic: &str, values: Vec<Vec<u8>>, query: &str, expected: &[&str]) {
    let count = values.len();
    let log = Log(vec![values.into_iter().enumerate().map(|(i, value)| (NOON / 1000 + i as i64, value)).collect()]);
    let one = |i: usize| log.batch_of(topic, 0, i, i + 1);
    let ways: [Vec<PartitionBatch>; 3] =
        [vec![log.batch_of(topic, 0, 0, count)], (0..count).map(one).collect(), (0..count).rev().map(one).collect()];
    let mut dumps = Vec::new();
    for way in ways {
        let database = TestDatabase::new().await;
        let mut sink = database.sink();
        for batch in way.iter().chain(&way) {
            assert!(write(&mut sink, std::slice::from_ref(batch)).await.is_empty());
        }
        assert_eq!(database.column(query).await, expected);
        dumps.push(database.dump().await);
    }
    assert!(dumps.iter().all(|dump| *dump == dumps[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_gap_a_closing_stands_and_of_closings_the_last() {
    let encoder = encoder().await;
    let told = [
        gap(1, 10, Some(20)),
        gap(1, 10, None),
        gap(2, 30, None),
        Gap { detail: "told again".to_owned(), ..gap(2, 31, None) },
        gap(3, 40, Some(50)),
        gap(3, 41, Some(60)),
        gap(3, 42, None),
        Gap { source: "*".to_owned(), symbols: Vec::new(), ..gap(4, 0, None) },
    ];
    let query = "select concat_ws(' ', right(id::text, 1), source, symbols::text, extract(epoch from started_at)::bigint % 60, \
                 coalesce((extract(epoch from ended_at)::bigint % 60)::text, 'open'), kafka_offset) from gaps order by id";
    let expected = [
        "1 coinbase {BTC-USD} 10 20 0",
        "2 coinbase {BTC-USD} 31 open 3",
        "3 coinbase {BTC-USD} 41 0 5",
        "4 * {} 0 open 7",
    ];
    check(topics::GAPS, told.iter().map(|gap| encoder.gap(gap)).collect(), query, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_weight_the_highest_revision_stands_and_of_equal_ones_the_first() {
    let encoder = encoder().await;
    let row = |code: &str, revision, part: &str| IndexWeight {
        event_id: pipeline::events::event_id("b3", "portfolio", "IBOV", code),
        revision,
        code: code.to_owned(),
        part: decimal(part),
        ..example::index_weight()
    };
    let told = [
        row("A", 0, "1"),
        row("A", 0, "2"),
        row("B", 1, "0.000000000000000001"),
        row("B", 0, "4"),
        row("C", 0, "5"),
        IndexWeight { retracted: true, segment: Some("Bancos".to_owned()), ..row("C", 1, "5") },
    ];
    let query = "select concat_ws(' ', index_name, pregao_date, code, revision, trim_scale(part), segment, \
                 case when retracted then 'retracted' end, '|' || type || '|') from index_weights order by code";
    let expected = [
        "IBOV 2026-03-02 A 0 1 |PN      N2|",
        "IBOV 2026-03-02 B 1 0.000000000000000001 |PN      N2|",
        "IBOV 2026-03-02 C 1 5 Bancos retracted |PN      N2|",
    ];
    check(topics::INDEX, told.iter().map(|row| encoder.index_weight(row)).collect(), query, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_alert_the_first_stands() {
    let encoder = encoder().await;
    let other = Alert { alert_id: Uuid::from_u128(2), symbol: None, price: None, ..example::alert() };
    let again = Alert { message: "in other words".to_owned(), ..example::alert() };
    let told = [example::alert(), again, other];
    let query = "select concat_ws(' ', coalesce(symbol, 'no symbol'), (price is null)::text, kind, state, severity, \
                 (message = 'in other words')::text, kafka_offset) from alerts order by kafka_offset";
    let Alert { symbol, kind, state, severity, .. } = example::alert();
    let symbol = symbol.unwrap_or("no symbol".to_owned());
    let expected = [
        format!("{symbol} false {kind} {state} {severity} false 0"),
        format!("no symbol true {kind} {state} {severity} false 2"),
    ];
    let values = told.iter().map(|alert| encoder.alert(alert)).collect();
    check(topics::ALERTS, values, query, &expected.each_ref().map(String::as_str)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_round_brings_is_one_transaction() {
    let database = TestDatabase::new().await;
    let encoder = encoder().await;
    let round = || async {
        vec![
            one_batch(&[tick("a", 5, "100")]).await,
            batch_of(topics::GAPS, vec![encoder.gap(&gap(1, 0, None))]),
            batch_of(topics::INDEX, vec![encoder.index_weight(&example::index_weight())]),
            batch_of(topics::ALERTS, vec![encoder.alert(&example::alert())]),
        ]
    };
    let counts = "select concat_ws(' ', (select count(*) from ticks), (select count(*) from candles where not complete), \
                  (select count(*) from gaps), (select count(*) from index_weights), (select count(*) from alerts))";
    let mut sink: DbSink = database.sink();
    database.execute("alter table alerts rename to elsewhere").await;
    crate::database::try_write(&mut sink, &round().await).await.expect_err("an outage");
    database.execute("alter table elsewhere rename to alerts").await;
    assert_eq!(database.value(counts).await, "0 0 0 0 0");
    assert!(write(&mut sink, &round().await).await.is_empty());
    assert_eq!(database.value(counts).await, "1 4 1 1 1");
    let written = database.value("select count(distinct inserted_at)::text from \
        (select inserted_at from ticks union all select inserted_at from gaps union all select inserted_at from alerts) as all_of_it").await;
    assert_eq!(written, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_held_is_one_dead_letter() {
    let database = TestDatabase::new().await;
    let encoder = encoder().await;
    let bad = Gap { detail: "a\0b".to_owned(), ..gap(1, 0, None) };
    let far = Gap { ended_at: Some(i64::MAX), ..gap(2, 0, None) };
    let gaps = [gap(3, 0, None), bad, far, gap(4, 0, None)];
    let mut values: Vec<Vec<u8>> = gaps.iter().map(|gap| encoder.gap(gap)).collect();
    values.push(b"garbage".to_vec());
    values.push(encoder.tick(&tick("a", 1, "1")));
    let letters = write(&mut database.sink(), &[batch_of(topics::GAPS, values)]).await;
    assert_eq!(letters.keys().map(|(_, offset)| *offset).collect::<Vec<_>>(), [1, 2, 4, 5]);
    assert!(letters[&(0, 1)].contains("zero byte") && letters[&(0, 2)].contains("ended_at out of range"));
    assert_eq!(database.value("select count(*)::text from gaps").await, "2");

    // A rule that the database alone knows; the ticks of the round go in.
    database.execute("alter table alerts add constraint no_secrets check (message <> 'secret')").await;
    let alerts = (0..20).map(|i| Alert {
        alert_id: Uuid::from_u128(i),
        message: if i == 13 { "secret" } else { "fine" }.to_owned(),
        ..example::alert()
    });
    let alerts = batch_of(topics::ALERTS, alerts.map(|alert| encoder.alert(&alert)).collect());
    let letters = write(&mut database.sink(), &[one_batch(&[tick("b", 2, "1")]).await, alerts]).await;
    assert_eq!(letters.keys().collect::<Vec<_>>(), [&(0, 13)]);
    assert!(letters[&(0, 13)].contains("no_secrets"), "{letters:?}");
    assert_eq!(
        database.value("select concat_ws(' ', (select count(*) from ticks), (select count(*) from alerts))").await,
        "1 19"
    );
}
