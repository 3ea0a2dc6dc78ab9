use pipeline::events::{EventTimeOrigin, Kind, event_id};
use proptest::prelude::*;

use super::*;
use crate::sources::coinbase::tests::{answer, codes, parse, read};
use crate::sources::mutations::{mutated, mutations};

const MATCH: &str = r#"{"type":"match","trade_id":8619001,"maker_order_id":"a","taker_order_id":"b","side":"sell",
    "size":"0.00150000","price":"67187.30","product_id":"BTC-USD","sequence":74210998321,"time":"2026-03-04T05:06:07.123456Z"}"#;

#[test]
fn a_match_is_a_trade() {
    let parsed = read(MATCH);
    assert_eq!(codes(&parsed), [""; 0]);
    let [tick] = &parsed.ticks[..] else { panic!("one tick") };
    assert_eq!((tick.symbol.as_str(), tick.base.as_str(), tick.quote.as_str()), ("BTC-USD", "BTC", "USD"));
    assert_eq!((tick.kind, tick.price.to_string().as_str()), (Kind::Trade, "67187.3"));
    assert_eq!(tick.quantity.map(|quantity| quantity.to_string()).as_deref(), Some("0.0015"));
    // 2026-03-04T05:06:07.123456Z
    assert_eq!((tick.event_time, tick.event_time_origin), (1_772_600_767_123_456, EventTimeOrigin::Source));
    assert_eq!((tick.sequence, tick.trade_id.as_deref()), (Some(74_210_998_321), Some("8619001")));
    assert_eq!(tick.event_id, event_id("coinbase", "trade", "BTC-USD", "8619001"));
}

#[test]
fn the_channel_is_no_part_of_a_trades_identity() {
    let ticker = r#"{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"67187.30","open_24h":"1","volume_24h":"94381.28",
        "best_bid":"67187.29","best_ask":"67187.31","side":"buy","time":"2026-03-04T05:06:07.123456Z","trade_id":8619001,"last_size":"0.00150000"}"#;
    let ids: Vec<_> = [MATCH.to_owned(), MATCH.replace("\"match\"", "\"last_match\""), ticker.to_owned()]
        .iter()
        .map(|frame| read(frame).ticks[0].event_id)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let tick = &read(ticker).ticks[0];
    assert_eq!(tick.bid.map(|bid| bid.to_string()).as_deref(), Some("67187.29"));
    assert_eq!(tick.volume_24h.map(|volume| volume.to_string()).as_deref(), Some("94381.28"));
    assert_eq!(tick.quantity.map(|quantity| quantity.to_string()).as_deref(), Some("0.0015"));
}

#[test]
fn a_ticker_without_a_trade_is_a_price_all_the_same() {
    let ticker = r#"{"type":"ticker","sequence":5928281084,"product_id":"BTC-USD","price":"8507.30","volume_24h":"4529.10","best_bid":"8507.29","best_ask":"8507.30"}"#;
    let parsed = read(ticker);
    assert_eq!(codes(&parsed), ["missing_field trade_id noted"]);
    let tick = &parsed.ticks[0];
    assert_eq!((tick.kind, tick.price.to_string().as_str(), tick.trade_id.as_deref()), (Kind::Ticker, "8507.3", None));
    assert_eq!((tick.event_time_origin, tick.sequence), (EventTimeOrigin::Received, Some(5_928_281_084)));
    assert_eq!(tick.bid.map(|bid| bid.to_string()).as_deref(), Some("8507.29"));
    assert!(!parsed.consecutive_trades);
    let priceless = read(&ticker.replace("8507.30", "0"));
    assert_eq!(
        (codes(&priceless).last().map(String::as_str), priceless.ticks.len()),
        (Some("not_positive price rejected"), 0)
    );
}

#[test]
fn what_is_wrong_with_a_trade_is_named() {
    for (from, to, problem) in [
        (r#""price":"67187.30""#, r#""price":"0""#, "not_positive price rejected"),
        (r#""price":"67187.30""#, r#""price":"-1""#, "not_positive price rejected"),
        (r#""price":"67187.30""#, r#""price":"NaN""#, "not_a_number price rejected"),
        (r#""price":"67187.30""#, r#""price":NaN"#, "not_json  noted"),
        (r#""price":"67187.30""#, r#""price":null"#, "null_field price rejected"),
        (r#""price":"67187.30""#, r#""price":{}"#, "wrong_type price rejected"),
        (r#""price":"67187.30""#, r#""price":"1","price":"2""#, "duplicate_key price rejected"),
        (r#""price":"67187.30""#, r#""price":"0.1234567890123456789""#, "too_precise price rejected"),
        (r#""trade_id":8619001,"#, "", "missing_field trade_id rejected"),
        (r#""trade_id":8619001"#, r#""trade_id":8.6e6"#, "not_a_number trade_id rejected"),
        (r#""trade_id":8619001"#, r#""trade_id":"+8619001""#, "not_a_number trade_id rejected"),
        (r#""BTC-USD""#, r#""BTC-PERP-INTX""#, "derivative product_id rejected"),
        (r#""BTC-USD""#, r#""BIT-31JAN25-CDE""#, "derivative product_id rejected"),
        (r#""BTC-USD""#, r#""BTCUSD""#, "unknown_product product_id rejected"),
        (r#""BTC-USD""#, r#""""#, "missing_field product_id rejected"),
        ("2026-03-04T05:06:07.123456Z", "2026-03-04 05:06:07 +0000 UTC m=+1", "bad_time time rejected"),
    ] {
        let frame = MATCH.replacen(from, to, 1);
        assert_ne!(frame, MATCH);
        let parsed = read(&frame);
        assert!(parsed.ticks.is_empty(), "{frame}");
        assert_eq!(codes(&parsed).first().map(String::as_str), Some(problem), "{frame}");
    }
    let padded = read(&MATCH.replace("8619001", "\"0008619001\""));
    assert_eq!((padded.ticks[0].event_id, codes(&padded).len()), (read(MATCH).ticks[0].event_id, 0));
    let without_size = read(&MATCH.replace("\"0.00150000\"", "\"much\""));
    assert_eq!((without_size.ticks.len(), codes(&without_size)), (1, vec!["not_a_number size nulled".to_owned()]));
    let number = read(&MATCH.replace("\"67187.30\"", "67187.30"));
    assert_eq!(number.ticks[0].price.to_string(), "67187.3");
    assert_eq!(codes(&number), ["unexpected_form price noted"]);
}

#[test]
fn frames_that_are_no_trade() {
    let heartbeat = read(
        r#"{"type":"heartbeat","last_trade_id":23080426,"product_id":"ETH-BTC","sequence":4,"time":"2021-11-02T11:30:50.710150Z"}"#,
    );
    let latest = LatestTrade { source_symbol: "ETH-BTC".to_owned(), trade_id: 23_080_426, at: 1_635_852_650_710_150 };
    assert_eq!((heartbeat.latest_trade, heartbeat.answered, heartbeat.problems.len()), (Some(latest), true, 0));

    let other = read(r#"{"type":"received","product_id":"BTC-USD"}"#);
    assert_eq!((codes(&other), other.answered), (vec!["unknown_type type noted".to_owned()], false));
}

#[test]
fn what_was_asked_and_is_not_in_the_acknowledgement_is_named() {
    let acknowledged = r#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["ETH-USD"]},{"name":"matches","product_ids":["BTC-USD"]}]}"#;
    let products = ["BTC-USD".to_owned(), "ETH-USD".to_owned()];
    let parsed = answer(acknowledged, &subscribe(&products));
    assert_eq!((codes(&parsed), parsed.answered), (vec!["not_answered eth-usd rejected".to_owned()], true));
    assert_eq!(codes(&read(acknowledged)), [""; 0], "nothing is missing where the request is not known");

    // Of three requests the first is acknowledged before the third: what is not there yet may be the next.
    let of_level2 = r#"{"type":"subscriptions","channels":[{"name":"level2","product_ids":["BTC-USD"]}]}"#;
    let level2 = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2"]}"#;
    assert_eq!(codes(&answer(of_level2, &format!("{level2}\n{}", subscribe(&products)))), [""; 0]);
    assert_eq!(codes(&answer(of_level2, &subscribe(&products))).len(), 2);
}

#[test]
fn what_is_subscribed_to_is_matches_and_heartbeats_only() {
    let request: serde_json::Value = serde_json::from_str(&subscribe(&["BTC-USD".to_owned()])).expect("JSON");
    assert_eq!(request, json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches", "heartbeat"]}));
}

#[test]
fn a_ticker_may_stand_for_several_trades() {
    assert!(read(MATCH).consecutive_trades);
    assert!(!read(&MATCH.replace("\"match\"", "\"ticker\"")).consecutive_trades);
}

#[test]
fn a_trade_without_a_time_has_that_of_receipt() {
    let parsed = read(&MATCH.replace(r#""2026-03-04T05:06:07.123456Z""#, "null"));
    assert_eq!(codes(&parsed), ["missing_field time noted"]);
    assert_eq!(parsed.ticks[0].event_time_origin, EventTimeOrigin::Received);
    assert_eq!(parsed.ticks[0].event_id, read(MATCH).ticks[0].event_id);
}

const HISTORY: &str = r#"[{"trade_id":8619003,"side":"buy","size":"0.2","price":"67188.00","time":"2026-03-04T05:06:09Z"},
    {"trade_id":8619002,"side":"buy","size":"0.1","price":"oops","time":"2026-03-04T05:06:08Z"},
    {"trade_id":8619001,"side":"sell","size":"0.00150000","price":"67187.30","time":"2026-03-04T05:06:07.123456Z"}]"#;

#[test]
fn history_has_the_identities_of_the_feed() {
    let parsed = answer(HISTORY, "/products/BTC-USD/trades?limit=3");
    assert_eq!(codes(&parsed), ["not_a_number [1].price rejected"]);
    let told: Vec<_> = parsed.ticks.iter().map(|tick| (tick.trade_id.as_deref(), tick.price.to_string())).collect();
    assert_eq!(told, [(Some("8619001"), "67187.3".to_owned()), (Some("8619003"), "67188".to_owned())]);
    let matched = &read(MATCH).ticks[0];
    assert_eq!(parsed.ticks[0].event_id, matched.event_id);
    assert_eq!((parsed.ticks[0].event_time, parsed.ticks[0].quantity), (matched.event_time, matched.quantity));
    assert!(parsed.answered && parsed.consecutive_trades);
}

#[test]
fn history_is_read_up_to_where_it_breaks_off() {
    let cut = &HISTORY[..HISTORY.find("8619001").expect("the last row")];
    let parsed = answer(cut, "/products/BTC-USD/trades");
    assert_eq!(codes(&parsed), ["not_a_number [1].price rejected", "not_json  rejected"]);
    assert_eq!((parsed.ticks.len(), parsed.answered), (1, true));
}

#[test]
fn history_needs_a_product_and_times() {
    for (body, request, problem) in [
        (HISTORY, "", "unsupported_shape  rejected"),
        (HISTORY, "/products/BTC-USD/book", "unsupported_shape  rejected"),
        (HISTORY, "/products/BTC-PERP-INTX/trades", "derivative product_id rejected"),
        (HISTORY, "/products/BTCUSD/trades", "unknown_product product_id rejected"),
        ("[7]", "/products/BTC-USD/trades", "wrong_type [0] rejected"),
        (r#"[{"trade_id":1,"price":"5"}]"#, "/products/BTC-USD/trades", "missing_field [0].time rejected"),
    ] {
        let parsed = answer(body, request);
        assert_eq!(codes(&parsed), [problem], "{request}");
        assert!(parsed.ticks.is_empty() && !parsed.answered);
    }
    let none = answer("[]", "/products/BTC-USD/trades");
    assert!(none.answered && none.problems.is_empty(), "a product without trades is an answer");
}

#[test]
fn the_latest_trade_by_rest_is_that_of_the_feed() {
    let body = r#"{"ask":"67187.31","bid":"67187.29","volume":"94381.28","trade_id":8619001,"price":"67187.30","size":"0.00150000","time":"2026-03-04T05:06:07.123456Z"}"#;
    let parsed = answer(body, "/products/BTC-USD/ticker");
    assert_eq!((codes(&parsed), parsed.consecutive_trades), (vec![], false));
    let tick = &parsed.ticks[0];
    assert_eq!(tick.event_id, read(MATCH).ticks[0].event_id);
    let told = [tick.bid, tick.ask, tick.volume_24h].map(|number| number.expect("it is told").to_string());
    assert_eq!(told, ["67187.29", "67187.31", "94381.28"]);
    for request in ["", "/products/BTC-USD/trades", "/products/BTC-USD/ticker/x", "/products/BTC-USD/tickers"] {
        assert_eq!(codes(&answer(body, request)), ["unsupported_shape  rejected"], "{request}");
    }
}

proptest! {
    #[test]
    fn mutated_frames_never_panic(mutations in mutations()) {
        let parsed = parse(&mutated(MATCH, mutations), "");
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || !parsed.problems.is_empty(), "a frame that says nothing leaves a line");
    }

    #[test]
    fn mutated_history_never_panics(mutations in mutations()) {
        let parsed = parse(&mutated(HISTORY, mutations), "/products/BTC-USD/trades");
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || !parsed.problems.is_empty(), "a body that says nothing leaves a line");
    }
}
