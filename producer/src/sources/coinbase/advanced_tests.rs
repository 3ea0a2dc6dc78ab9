use pipeline::events::{EventTimeOrigin, event_id};
use proptest::prelude::*;

use super::*;
use crate::sources::coinbase::tests::{RECEIVED, answer, codes, parse, read};
use crate::sources::mutations::{mutated, mutations};

const TICKER: &str = r#"{"channel":"ticker","client_id":"","timestamp":"2026-03-04T05:06:07.123456789Z","sequence_num":16,"events":[
    {"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"67187.30","volume_24_h":"3974.98800786",
    "low_24_h":"66000","high_24_h":"68000","low_52_w":"1","high_52_w":"2","price_percent_chg_24_h":"-1.21471769193719",
    "best_bid":"67187.29","best_ask":"67187.310","best_bid_quantity":"1","best_ask_quantity":"2"},
    {"type":"ticker","product_id":"BTC-PERP-INTX","price":"67190","best_bid":"67189","best_ask":"67191"}]}]}"#;
const TRADES: &str = r#"{"channel":"market_trades","client_id":"","timestamp":"2026-03-04T05:06:08Z","sequence_num":5,"events":[
    {"type":"snapshot","trades":[
    {"trade_id":"8619003","product_id":"BTC-USD","price":"67188.00","size":"0.2","side":"BUY","time":"2026-03-04T05:06:07.300000Z"},
    {"trade_id":"8619002","product_id":"BTC-USD","price":"67187.90","size":"0.1","side":"BUY","time":"2026-03-04T05:06:07.200000Z"},
    {"trade_id":"8619001","product_id":"BTC-USD","price":"67187.30","size":"0.00150000","side":"SELL","time":"2026-03-04T05:06:07.123456Z"}]}]}"#;

fn text(number: Option<pipeline::decimal::Decimal38>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

#[test]
fn a_ticker_has_its_frames_time_and_its_texts_for_an_identity() {
    let parsed = read(TICKER);
    assert_eq!(codes(&parsed), ["derivative events[0].tickers[1].product_id rejected"]);
    let [tick] = &parsed.ticks[..] else { panic!("one tick") };
    assert_eq!(
        (tick.symbol.as_str(), tick.kind, tick.price.to_string().as_str()),
        ("BTC-USD", Kind::Ticker, "67187.3")
    );
    assert_eq!((text(tick.bid), text(tick.ask)), ("67187.29".to_owned(), "67187.31".to_owned()));
    assert_eq!(
        (text(tick.volume_24h), text(tick.change_24h_pct)),
        ("3974.98800786".into(), "-1.21471769193719".into())
    );
    // 2026-03-04T05:06:07.123456Z
    assert_eq!((tick.event_time, tick.event_time_origin), (1_772_600_767_123_456, EventTimeOrigin::Source));
    assert_eq!((tick.trade_id.as_ref(), tick.sequence), (None, None), "the frame's number is not the product's");
    let key = "2026-03-04T05:06:07.123456789Z|67187.30|67187.29|67187.310";
    assert_eq!(tick.event_id, event_id("coinbase", "advanced_ticker", "BTC-USD", key));
    assert_eq!((parsed.connection_sequence, parsed.answered, parsed.consecutive_trades), (Some(16), true, false));
    let batch = read(&TICKER.replace(r#""channel":"ticker""#, r#""channel":"ticker_batch""#));
    assert_eq!(batch.ticks[0].event_id, tick.event_id, "the channel is no part of it");
}

#[test]
fn a_ticker_without_a_readable_time_has_that_of_receipt() {
    for (from, to, problems) in [
        (r#""timestamp":"2026-03-04T05:06:07.123456789Z","#, "", 1),
        (r#""2026-03-04T05:06:07.123456789Z""#, "null", 1),
        (r#""2026-03-04T05:06:07.123456789Z""#, r#""2026-03-04 05:06:07 +0000 UTC m=+1""#, 2),
        (r#""2026-03-04T05:06:07.123456789Z""#, "1772600767", 2),
    ] {
        let parsed = read(&TICKER.replacen(from, to, 1));
        let tick = &parsed.ticks[0];
        assert_eq!((tick.event_time, tick.event_time_origin), (RECEIVED, EventTimeOrigin::Received), "{to}");
        let key = format!("received={RECEIVED}|67187.30|67187.29|67187.310");
        assert_eq!(tick.event_id, event_id("coinbase", "advanced_ticker", "BTC-USD", &key));
        assert_eq!(codes(&parsed).len(), problems, "{:?}", codes(&parsed));
        assert_eq!(codes(&parsed)[0] == "bad_time timestamp nulled", problems == 2);
    }
}

#[test]
fn trades_are_those_of_the_exchange_feed_in_the_order_of_their_ids() {
    let parsed = read(TRADES);
    assert_eq!(codes(&parsed), [""; 0]);
    let told: Vec<_> = parsed.ticks.iter().map(|tick| (tick.trade_id.as_deref(), tick.price.to_string())).collect();
    let expected = [("8619001", "67187.3"), ("8619002", "67187.9"), ("8619003", "67188")];
    assert_eq!(told, expected.map(|(id, price)| (Some(id), price.to_owned())));
    let matched = read(
        r#"{"type":"match","trade_id":8619001,"size":"0.00150000","price":"67187.30","product_id":"BTC-USD","sequence":7,"time":"2026-03-04T05:06:07.123456Z"}"#,
    );
    assert_eq!(parsed.ticks[0].event_id, matched.ticks[0].event_id);
    assert_eq!((parsed.ticks[0].kind, text(parsed.ticks[0].quantity)), (Kind::Trade, "0.0015".to_owned()));
    // 2026-03-04T05:06:07.123456Z
    assert_eq!(parsed.ticks[0].event_time, 1_772_600_767_123_456);
    assert!(parsed.consecutive_trades && parsed.answered);
    assert_eq!(parsed.connection_sequence, Some(5));
}

#[test]
fn a_bad_row_leaves_its_neighbours_alone() {
    for (from, to, problem) in [
        (r#""price":"67187.90""#, r#""price":"1e400""#, "too_many_digits events[0].trades[1].price rejected"),
        (r#""price":"67187.90""#, r#""price":"-67187.90""#, "not_positive events[0].trades[1].price rejected"),
        (r#""price":"67187.90""#, r#""price":"0""#, "not_positive events[0].trades[1].price rejected"),
        (r#""price":"67187.90""#, r#""price":null"#, "null_field events[0].trades[1].price rejected"),
        (r#""price":"67187.90""#, r#""price":"NaN""#, "not_a_number events[0].trades[1].price rejected"),
        (r#""price":"67187.90""#, r#""price":"1","price":"2""#, "duplicate_key events[0].trades[1].price rejected"),
        (r#""trade_id":"8619002""#, r#""trade_id":"a1""#, "not_a_number events[0].trades[1].trade_id rejected"),
        (r#""trade_id":"8619002","#, "", "missing_field events[0].trades[1].trade_id rejected"),
        (r#"07.200000Z""#, r#"07.2 PM""#, "bad_time events[0].trades[1].time rejected"),
        (
            r#""8619002","product_id":"BTC-USD""#,
            r#""8619002","product_id":"BTC-PERP-INTX""#,
            "derivative events[0].trades[1].product_id rejected",
        ),
    ] {
        let frame = TRADES.replacen(from, to, 1);
        assert_ne!(frame, TRADES);
        let parsed = read(&frame);
        assert_eq!(codes(&parsed), [problem], "{to}");
        assert_eq!(parsed.ticks.len(), 2, "{to}");
    }
    let parsed = read(&TICKER.replacen("67187.29", "-1", 1).replacen("3974.98800786", "many", 1));
    let nulled =
        ["negative events[0].tickers[0].best_bid nulled", "not_a_number events[0].tickers[0].volume_24_h nulled"];
    assert_eq!(codes(&parsed)[..2], nulled);
    assert_eq!((parsed.ticks[0].bid, parsed.ticks[0].volume_24h), (None, None));
}

#[test]
fn frames_of_another_shape_are_named() {
    for (frame, problem) in [
        (r#"{"channel":"ticker"}"#, "missing_field events rejected"),
        (r#"{"channel":"ticker","events":null}"#, "null_field events rejected"),
        (r#"{"channel":"ticker","events":{}}"#, "wrong_type events rejected"),
        (r#"{"channel":"ticker","events":[7]}"#, "wrong_type events[0] rejected"),
        (r#"{"channel":"ticker","events":[{}]}"#, "missing_field events[0].tickers rejected"),
        (r#"{"channel":"ticker","events":[{"tickers":[[]]}]}"#, "wrong_type events[0].tickers[0] rejected"),
        (
            r#"{"channel":"ticker","events":[{"tickers":[{}]}]}"#,
            "missing_field events[0].tickers[0].product_id rejected",
        ),
        (r#"{"channel":"market_trades","events":[{"trades":7}]}"#, "wrong_type events[0].trades rejected"),
        (r#"{"channel":"subscriptions"}"#, "missing_field events rejected"),
        (r#"{"channel":"l2_data","events":[]}"#, "unknown_type channel noted"),
    ] {
        let parsed = read(frame);
        assert!(codes(&parsed).contains(&problem.to_owned()), "{frame}: {:?}", codes(&parsed));
        assert!(parsed.ticks.is_empty(), "{frame}");
    }
    let none = read(r#"{"channel":"market_trades","events":[{"type":"snapshot","trades":[]}]}"#);
    assert!(none.answered && none.problems.is_empty(), "a product without trades is an answer");
}

#[test]
fn every_frame_has_the_connections_number() {
    let heartbeat = r#"{"channel":"heartbeats","client_id":"","timestamp":"2026-03-04T05:06:07Z","sequence_num":4,"events":[
        {"current_time":"2026-03-04 05:06:07.123456789 +0000 UTC m=+139651.272674714","heartbeat_counter":139651}]}"#;
    let acknowledged = r#"{"channel":"subscriptions","timestamp":"2026-03-04T05:06:07Z","sequence_num":2,"events":[{"subscriptions":{"ticker":["BTC-USD"]}}]}"#;
    for (frame, number) in [(heartbeat, Some(4)), (acknowledged, Some(2)), (TRADES, Some(5))] {
        let parsed = read(frame);
        assert_eq!((parsed.connection_sequence, parsed.answered, codes(&parsed)), (number, true, vec![]), "{frame}");
    }
    let odd = read(&heartbeat.replace(r#""sequence_num":4"#, r#""sequence_num":"four""#));
    assert_eq!((odd.connection_sequence, codes(&odd)), (None, vec!["not_a_number sequence_num nulled".to_owned()]));
    let error = read(r#"{"type":"error","message":"authentication failure"}"#);
    assert_eq!((error.connection_sequence, error.refusal.is_some()), (None, true));
}

#[test]
fn what_was_asked_and_is_not_in_the_acknowledgement_is_named() {
    let messages = subscribe(&["BTC-USD".to_owned(), "ETH-USD".to_owned()]);
    let request = messages.join("\n");
    let frame = |subscriptions: &str| {
        format!(r#"{{"channel":"subscriptions","events":[{{"subscriptions":{subscriptions}}}]}}"#)
    };
    for (subscriptions, missing) in [
        (r#"{"market_trades":["BTC-USD","ETH-USD"]}"#, vec![]),
        (r#"{"heartbeats":["heartbeats"],"market_trades":["ETH-USD","BTC-USD"]}"#, vec![]),
        (r#"{"heartbeats":["heartbeats"]}"#, vec![]),
        (r#"{"market_trades":["ETH-USD"]}"#, vec!["not_answered btc-usd rejected".to_owned()]),
    ] {
        assert_eq!(codes(&answer(&frame(subscriptions), &request)), missing, "{subscriptions}");
    }
    assert_eq!(codes(&answer(&frame("{}"), &messages[0])).len(), 2, "the only message that was sent asked for both");
    let sent: serde_json::Value = serde_json::from_str(&messages[0]).expect("JSON");
    assert_eq!(sent, json!({"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channel": "market_trades"}));
}

proptest! {
    #[test]
    fn mutated_frames_never_panic(mutations in mutations(), ticker in any::<bool>()) {
        let parsed = parse(&mutated(if ticker { TICKER } else { TRADES }, mutations), "");
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || !parsed.problems.is_empty(), "a frame that says nothing leaves a line");
    }
}
