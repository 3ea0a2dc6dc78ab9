//! Events for tests: any that the types can hold.

use bytes::Bytes;
use jiff::civil::Date;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use crate::decimal::Decimal38;
use crate::events::{
    Alert, AlertKind, AlertState, EventTimeOrigin, Gap, GapReason, IndexWeight, Kind, PayloadRecord, PriceTick,
    Severity, SourceHealth, event_id,
};
use crate::{epoch_day, example};

pub(crate) fn decimal() -> impl Strategy<Value = Decimal38> {
    // Each number of digits is as likely as any other; uniform bits would nearly always be 38 digits.
    (any::<i128>(), 0_u32..38).prop_map(|(bits, digits)| {
        Decimal38::from_unscaled(bits % 10_i128.pow(digits + 1)).expect("at most 38 digits are left")
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Z]{3}-[A-Z]{3}", "\\PC{0,40}"]
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub(crate) fn tick() -> impl Strategy<Value = PriceTick> {
    let names = (uuid(), any::<i32>(), text(), text(), text(), text(), select(Kind::ALL), decimal());
    let amounts =
        (of(decimal()), of(decimal()), of(decimal()), of(decimal()), of(decimal()), of(decimal()), of(decimal()));
    let times =
        (any::<i64>(), select(EventTimeOrigin::ALL), any::<i64>(), of(any::<i64>()), of(text()), text(), uuid());
    let before = (of(any::<i64>()), of(text()), any::<bool>(), of(any::<i64>()));
    (names, amounts, times, before).prop_map(|(names, amounts, times, before)| {
        let (event_id, revision, source, symbol, base, quote, kind, price) = names;
        let (quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct) = amounts;
        let (event_time, event_time_origin, received_at, sequence, trade_id, source_symbol, payload_id) = times;
        let (previous_event_time, previous_symbol, retracted, fx_age_ms) = before;
        PriceTick {
            event_id,
            revision,
            source,
            symbol,
            base,
            quote,
            kind,
            price,
            quantity,
            bid,
            ask,
            volume_24h,
            quote_volume_24h,
            market_cap,
            change_24h_pct,
            event_time,
            event_time_origin,
            received_at,
            sequence,
            trade_id,
            source_symbol,
            payload_id,
            previous_event_time,
            previous_symbol,
            retracted,
            fx_age_ms,
        }
    })
}

pub(crate) fn gap() -> impl Strategy<Value = Gap> {
    (uuid(), text(), vec(text(), 0..5), select(GapReason::ALL), any::<i64>(), of(any::<i64>()), text()).prop_map(
        |(id, source, symbols, reason, started_at, ended_at, detail)| Gap {
            id,
            source,
            symbols,
            reason,
            started_at,
            ended_at,
            detail,
        },
    )
}

pub(crate) fn health() -> impl Strategy<Value = SourceHealth> {
    let used = (of(any::<i64>()), of(any::<i64>()), of(text()));
    (text(), any::<i64>(), of(any::<i64>()), text(), of(any::<i64>()), used).prop_map(
        |(source, at, last_answer_at, state, budget_left, (used_today, used_this_month, producer))| SourceHealth {
            source,
            at,
            last_answer_at,
            state,
            budget_left,
            used_today,
            used_this_month,
            producer,
        },
    )
}

/// Any day that the calendar has.
fn day() -> impl Strategy<Value = Date> {
    (epoch_day::to_days(Date::MIN)..=epoch_day::to_days(Date::MAX))
        .prop_map(|days| epoch_day::from_days(days).expect("within the calendar"))
}

pub(crate) fn index_weight() -> impl Strategy<Value = IndexWeight> {
    let names = (uuid(), any::<i32>(), text(), text(), text(), text(), text(), of(text()));
    (names, decimal(), decimal(), day(), any::<i64>(), uuid(), any::<bool>()).prop_map(
        |(names, part, theoretical_quantity, pregao_date, received_at, payload_id, retracted)| {
            let (event_id, revision, source, index_name, code, asset, asset_type, segment) = names;
            IndexWeight {
                event_id,
                revision,
                source,
                index_name,
                code,
                asset,
                asset_type,
                segment,
                part,
                theoretical_quantity,
                pregao_date,
                received_at,
                payload_id,
                retracted,
            }
        },
    )
}

pub(crate) fn payload() -> impl Strategy<Value = PayloadRecord> {
    let content = vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let place = (text(), any::<i32>(), any::<i32>());
    (uuid(), text(), text(), of(any::<i32>()), any::<i64>(), place, content).prop_map(
        |(payload_id, source, request, status, received_at, (content_encoding, part, parts), content)| PayloadRecord {
            payload_id,
            source,
            request,
            status,
            received_at,
            content_encoding,
            part,
            parts,
            content,
        },
    )
}

pub(crate) fn alert() -> impl Strategy<Value = Alert> {
    let rule = (uuid(), text(), text());
    let words = (select(AlertKind::ALL), select(AlertState::ALL), select(Severity::ALL));
    let about = (of(text()), of(text()), of(decimal()), of(decimal()), of(decimal()));
    let trigger = (any::<i64>(), any::<i64>(), of(uuid()), text(), any::<i32>(), any::<i64>());
    (rule, words, about, trigger, text()).prop_map(|(rule, words, about, trigger, message)| {
        let (alert_id, rule, rule_hash) = rule;
        let (kind, state, severity) = words;
        let (symbol, source, price, reference, change_pct) = about;
        let (event_time, fired_at, event_id, trigger_topic, trigger_partition, trigger_offset) = trigger;
        Alert {
            alert_id,
            rule,
            rule_hash,
            kind,
            state,
            severity,
            symbol,
            source,
            price,
            reference,
            change_pct,
            event_time,
            fired_at,
            event_id,
            trigger_topic,
            trigger_partition,
            trigger_offset,
            message,
        }
    })
}

/// The `number`th of many different trades.
pub(crate) fn numbered_tick(number: i64) -> PriceTick {
    let trade_id = (861_234_567 + number).to_string();
    let cents = 6_718_733 + number % 10_000;
    PriceTick {
        event_id: event_id("coinbase", "matches", "BTC-USD", &trade_id),
        price: Decimal38::parse(&format!("{cents}e-2")).expect("two digits after the point"),
        event_time: 1_760_000_000_000_000 + number * 1_000,
        received_at: 1_760_000_000_050_000 + number * 1_000,
        sequence: Some(51_234_567_890 + number),
        trade_id: Some(trade_id),
        ..example::tick()
    }
}
