//! Events for tests: any that the types can hold, and one that reads like a real one.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use crate::decimal::Decimal38;
use crate::events::{EventTimeOrigin, Gap, GapReason, Kind, PriceTick, SourceHealth, event_id};

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
    let before = (of(any::<i64>()), of(text()), any::<bool>());
    (names, amounts, times, before).prop_map(|(names, amounts, times, before)| {
        let (event_id, revision, source, symbol, base, quote, kind, price) = names;
        let (quantity, bid, ask, volume_24h, quote_volume_24h, market_cap, change_24h_pct) = amounts;
        let (event_time, event_time_origin, received_at, sequence, trade_id, source_symbol, payload_id) = times;
        let (previous_event_time, previous_symbol, retracted) = before;
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
    (text(), any::<i64>(), of(any::<i64>()), text(), of(any::<i64>())).prop_map(
        |(source, at, last_answer_at, state, budget_left)| SourceHealth {
            source,
            at,
            last_answer_at,
            state,
            budget_left,
        },
    )
}

/// One trade as an exchange tells it.
pub(crate) fn example_tick() -> PriceTick {
    numbered_tick(1)
}

/// A source that answers.
pub(crate) fn example_health() -> SourceHealth {
    SourceHealth {
        source: "coinbase".into(),
        at: 1_760_000_000_000_000,
        last_answer_at: Some(1_760_000_000_000_000),
        state: "OK".into(),
        budget_left: None,
    }
}

/// The `number`th of many different trades.
pub(crate) fn numbered_tick(number: i64) -> PriceTick {
    let trade_id = (861_234_567 + number).to_string();
    let cents = 6_718_733 + number % 10_000;
    PriceTick {
        event_id: event_id("coinbase", "matches", "BTC-USD", &trade_id),
        revision: 0,
        source: "coinbase".into(),
        symbol: "BTC-USD".into(),
        base: "BTC".into(),
        quote: "USD".into(),
        kind: Kind::Trade,
        price: Decimal38::parse(&format!("{cents}e-2")).expect("two digits after the point"),
        quantity: Some(Decimal38::parse("0.00041205").expect("a decimal")),
        bid: None,
        ask: None,
        volume_24h: None,
        quote_volume_24h: None,
        market_cap: None,
        change_24h_pct: None,
        event_time: 1_760_000_000_000_000 + number * 1_000,
        event_time_origin: EventTimeOrigin::Source,
        received_at: 1_760_000_000_050_000 + number * 1_000,
        sequence: Some(51_234_567_890 + number),
        trade_id: Some(trade_id),
        source_symbol: "BTC-USD".into(),
        payload_id: Uuid::from_u128(7),
        previous_event_time: None,
        previous_symbol: None,
        retracted: false,
    }
}
