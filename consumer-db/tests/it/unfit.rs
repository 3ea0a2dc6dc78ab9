//! What no database would take goes to the dead letters, alone.

use pipeline::events::{Alert, PriceTick};
use pipeline::{example, topics};
use uuid::Uuid;

use crate::database::{TestDatabase, write};
use crate::log::{DAY, NOON, batch_of, batch_of_values, encoder, moved, one_batch, tick};

fn thousand() -> Vec<PriceTick> {
    (0..1000).map(|i| tick(&format!("t{i}"), i, &format!("{}.5", 1000 + i))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_among_a_thousand_is_one_dead_letter() {
    let database = TestDatabase::new().await;
    let encoder = encoder().await;
    let mut values: Vec<Vec<u8>> = thousand().iter().map(|tick| encoder.tick(tick)).collect();
    values[500] = b"garbage".to_vec();
    let letters = write(&mut database.sink(), &[batch_of_values(values)]).await;
    assert_eq!(letters.keys().collect::<Vec<_>>(), [&(0, 500)]);
    assert_eq!(database.value("select count(*)::text from ticks").await, "999");
}

/// A rule that the database alone knows: the row is found by halving.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_is_one_dead_letter() {
    let database = TestDatabase::new().await;
    database.execute("alter table ticks add constraint no_prices_of_the_beast check (price <> 666)").await;
    let mut ticks = thousand();
    ticks[777].price = crate::log::decimal("666");
    let batch = one_batch(&ticks).await;
    let mut sink = database.sink();
    let letters = write(&mut sink, std::slice::from_ref(&batch)).await;
    assert_eq!(letters.keys().collect::<Vec<_>>(), [&(0, 777)]);
    let reason = &letters[&(0, 777)];
    assert!(reason.contains("23514") && reason.contains("no_prices_of_the_beast"), "{reason}");
    assert_eq!(database.value("select count(*)::text from ticks").await, "999");

    assert_eq!(write(&mut sink, &[batch]).await, letters, "the same again after a lost commit");
    assert_eq!(database.value("select count(*)::text from ticks").await, "999");
}

/// What a trigger raises as a check violation looks like a missing partition, and is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_refuses_is_one_dead_letter() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "create function no_beast() returns trigger language plpgsql as $$ begin
                 if to_jsonb(new) ->> 'price' like '666%' then
                     raise exception 'the beast' using errcode = 'check_violation';
                 end if;
                 return new;
             end $$;
             create trigger no_beast before insert on ticks for each row execute function no_beast();
             create trigger no_beast before insert on alerts for each row execute function no_beast()",
        )
        .await;
    let beast = crate::log::decimal("666");
    let mut ticks = thousand();
    ticks[3].price = beast;
    ticks[777].price = beast;
    let batch = one_batch(&ticks).await;
    let alert = |id, price| Alert { alert_id: Uuid::from_u128(id), price: Some(price), ..example::alert() };
    let alerts = [alert(1, beast), alert(2, crate::log::decimal("1"))];
    let encoder = encoder().await;
    let alerts = batch_of(topics::ALERTS, alerts.iter().map(|alert| encoder.alert(alert)).collect());
    let mut sink = database.sink();
    // New, and then known, which goes another way.
    for _ in 0..2 {
        let letters = write(&mut sink, &[batch.clone(), alerts.clone()]).await;
        assert_eq!(letters.keys().collect::<Vec<_>>(), [&(0, 0), &(0, 3), &(0, 777)]);
        assert!(letters.values().all(|reason| reason.contains("the beast")), "{letters:?}");
    }
    let counts = "select (select count(*) from ticks) || ' ' || (select count(*) from alerts)";
    assert_eq!(database.value(counts).await, "998 1");
}

/// A refused correction must leave no trace: not its row, not the place it left, not the revision that it stood before.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_correction_leaves_what_it_would_have_corrected() {
    let database = TestDatabase::new().await;
    database.execute("alter table ticks add check (price <> 666)").await;
    let (stays, replaced) = (tick("stays", 1, "100"), tick("replaced", 2, "200"));
    let moves = PriceTick { price: crate::log::decimal("666"), ..moved(&stays, 9) };
    let replaces = PriceTick { revision: 1, price: crate::log::decimal("666"), ..replaced.clone() };
    let letters = write(&mut database.sink(), &[one_batch(&[stays, replaced, moves, replaces]).await]).await;
    assert_eq!(letters.keys().collect::<Vec<_>>(), [&(0, 2), &(0, 3)]);
    let rows = database.column("select trade_id from ticks where revision = 0 order by event_time").await;
    assert_eq!(rows, ["stays", "replaced"]);
    assert_eq!(database.value("select count(*)::text from moved_ticks").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_postgres_cannot_hold_never_reach_it() {
    let database = TestDatabase::new().await;
    let good = tick("good", 0, "1");
    let at = |event_time| PriceTick { event_time, ..tick(&format!("at {event_time}"), 0, "1") };
    let minute = 60 * crate::log::SECOND;
    let bad = [
        (at(0), "event_time out of range: 1970-01-01T00:00:00Z"),
        (at(4_102_444_800_000_000), "event_time out of range: 2100-01-01T00:00:00Z"),
        (at(i64::MIN), "event_time out of range"),
        (at(i64::MAX), "event_time out of range"),
        (at(NOON + minute - 400 * DAY - 1), "event_time out of range"),
        (at(NOON + minute + DAY + 1), "event_time out of range"),
        (PriceTick { received_at: i64::MAX, ..good.clone() }, "received_at out of range"),
        (PriceTick { received_at: i64::MIN, ..good.clone() }, "received_at out of range"),
        (PriceTick { previous_event_time: Some(i64::MIN), ..good.clone() }, "previous_event_time out of range"),
        (PriceTick { trade_id: Some("a\0b".to_owned()), ..good.clone() }, "trade_id contains a zero byte"),
        (PriceTick { source_symbol: "\0".to_owned(), ..good.clone() }, "source_symbol contains a zero byte"),
        (PriceTick { symbol: "X".repeat(257), ..good.clone() }, "symbol has 257 bytes"),
        (PriceTick { source: "ü".repeat(2000), ..good.clone() }, "source has 4000 bytes"),
    ];
    let mut ticks: Vec<PriceTick> = bad.iter().map(|(tick, _)| tick.clone()).collect();
    ticks.push(PriceTick { source_symbol: "S".repeat(500_000), ..good });
    let oldest = at(NOON + minute - 400 * DAY);
    let newest = at(NOON + minute + DAY);
    ticks.extend([oldest, newest]);

    let letters = write(&mut database.sink(), &[one_batch(&ticks).await]).await;
    assert_eq!(letters.len(), bad.len());
    for (offset, (_, reason)) in bad.iter().enumerate() {
        let found = &letters[&(0, offset as i64)];
        assert!(found.starts_with(reason), "{found} instead of {reason}");
    }
    let query = "select to_char(event_time at time zone 'UTC', 'YYYY-MM-DD') from ticks order by event_time";
    assert_eq!(database.column(query).await, ["2025-01-25", "2026-03-01", "2026-03-02"]);
    let partitions = "select count(*)::text from pg_inherits where inhparent = 'ticks'::regclass";
    assert_eq!(database.value(partitions).await, "3", "one a day that has ticks");
}
