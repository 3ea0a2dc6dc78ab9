use clap::Parser;
use pipeline::decimal::Decimal38;
use pipeline::events::{EventTimeOrigin, event_id};
use proptest::prelude::*;

use super::*;
use crate::sources::mutations::{mutated, mutations};

const RECEIVED: i64 = 1_700_000_000_123_456;
const TRADE: &str = r#"{"data":{"id":316000477,"timestamp":"1772600767","amount":0.0792,"amount_str":"0.07920000","price":67187.3,"price_str":"67187.30","type":0,"microtimestamp":"1772600767123456","buy_order_id":1443875737346049,"sell_order_id":1443875731320832},"channel":"live_trades_btcusd","event":"trade"}"#;

fn read(frame: &str) -> Parsed {
    let bitstamp = Bitstamp { symbols: Arc::new(Symbols::built_in()) };
    bitstamp.parse(&Payload::new(SOURCE, frame.as_bytes(), RECEIVED, ""))
}

fn codes(parsed: &Parsed) -> Vec<String> {
    let told = parsed.problems.iter().map(|problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect));
    told.collect()
}

fn text(number: Option<Decimal38>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

#[test]
fn a_trade() {
    let parsed = read(TRADE);
    assert_eq!(codes(&parsed), [""; 0]);
    let [tick] = &parsed.ticks[..] else { panic!("one tick") };
    assert_eq!((tick.symbol.as_str(), tick.base.as_str(), tick.quote.as_str()), ("BTC-USD", "BTC", "USD"));
    assert_eq!((tick.kind, tick.price.to_string().as_str()), (Kind::Trade, "67187.3"));
    assert_eq!((text(tick.quantity), tick.trade_id.as_deref()), ("0.0792".to_owned(), Some("316000477")));
    // 2026-03-04T05:06:07.123456Z
    assert_eq!((tick.event_time, tick.event_time_origin), (1_772_600_767_123_456, EventTimeOrigin::Source));
    assert_eq!(tick.event_id, event_id("bitstamp", "trade", "btcusd", "316000477"));
    // The ids run over all pairs.
    assert!(parsed.answered && !parsed.consecutive_trades);
    // A pair that the table is without.
    assert_eq!(read(&TRADE.replace("btcusd", "zrxgbp")).ticks[0].symbol, "ZRX-GBP");
}

#[test]
fn the_digits_are_those_of_the_text() {
    let rounded = read(&TRADE.replace("\"price\":67187.3,", "\"price\":67187.30000000001,"));
    assert_eq!((rounded.ticks[0].price.to_string().as_str(), codes(&rounded).len()), ("67187.3", 0));
    let number_only =
        read(&TRADE.replace(r#""price_str":"67187.30","#, "").replace(r#""amount_str":"0.07920000","#, ""));
    assert_eq!(number_only.ticks[0].price.to_string(), "67187.3");
    assert_eq!(text(number_only.ticks[0].quantity), "0.0792");
    assert_eq!(codes(&number_only), ["missing_field data.price_str Noted"]);
    let timeless = read(&TRADE.replace(r#""microtimestamp":"1772600767123456","#, ""));
    assert_eq!(
        (timeless.ticks[0].event_time, codes(&timeless)),
        (1_772_600_767_000_000, vec!["missing_field data.microtimestamp Noted".to_owned()])
    );
    let timeless =
        read(&TRADE.replace(r#""microtimestamp":"1772600767123456","#, "").replace(r#""timestamp":"1772600767","#, ""));
    assert_eq!(
        (timeless.ticks[0].event_time, codes(&timeless)),
        (RECEIVED, vec!["missing_field data.microtimestamp Noted".to_owned()])
    );
}

#[test]
fn what_is_wrong_with_a_trade_is_named() {
    let price = r#""price_str":"67187.30""#;
    let time = r#""microtimestamp":"1772600767123456""#;
    for (from, to, problem) in [
        (price, r#""price_str":"0.00""#, "not_positive data.price_str Rejected"),
        (price, r#""price_str":"-1""#, "not_positive data.price_str Rejected"),
        (price, r#""price_str":"1e400""#, "too_many_digits data.price_str Rejected"),
        (price, r#""price_str":"NaN""#, "not_a_number data.price_str Rejected"),
        (price, r#""price_str":[]"#, "wrong_type data.price_str Rejected"),
        (price, r#""price_str":"1","price_str":"2""#, "duplicate_key data.price_str Rejected"),
        (r#""id":316000477"#, r#""id":null"#, "null_field data.id Rejected"),
        (r#""id":316000477"#, r#""id":3.16e8"#, "not_a_number data.id Rejected"),
        (time, r#""microtimestamp":"1772600767""#, "bad_time data.microtimestamp Rejected"),
        (time, r#""microtimestamp":"now""#, "not_a_number data.microtimestamp Rejected"),
        (r#""amount_str":"0.07920000""#, r#""amount_str":"-1""#, "negative data.amount_str Nulled"),
        ("live_trades_btcusd", "live_trades_btcusd-perp", "derivative channel Rejected"),
        ("live_trades_btcusd", "live_trades_btcxyz", "unknown_product channel Rejected"),
        ("live_trades_btcusd", "live_trades_BTCUSD", "unknown_product channel Rejected"),
        ("live_trades_btcusd", "live_trades_", "unknown_product channel Rejected"),
        ("live_trades_btcusd", "private-my_trades_btcusd-1", "unknown_type channel Noted"),
        (r#""channel":"live_trades_btcusd","#, "", "missing_field channel Rejected"),
    ] {
        let frame = TRADE.replacen(from, to, 1);
        assert_ne!(frame, TRADE);
        let parsed = read(&frame);
        assert_eq!(codes(&parsed), [problem], "{frame}");
        assert_eq!(parsed.ticks.len(), usize::from(problem.ends_with("Nulled")), "{frame}");
    }
}

#[test]
fn frames_that_are_no_trade() {
    for frame in [
        r#"{"event":"bts:subscription_succeeded","channel":"live_trades_btcusd","data":{}}"#,
        r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#,
    ] {
        let parsed = read(frame);
        assert!(parsed.answered && parsed.problems.is_empty() && parsed.ticks.is_empty(), "{frame}");
    }
    let reconnect = read(r#"{"event":"bts:request_reconnect","channel":"","data":""}"#);
    assert!(matches!(reconnect.wish, Some(Wish::Reconnect(_))) && reconnect.problems.is_empty());
    for (data, kind) in [
        (r#"{"code":4009,"message":"Connection is unauthorized."}"#, "configuration"),
        (r#"{"code":null,"message":"Bad subscription string."}"#, "configuration"),
        (r#"{"code":null,"message":"Invalid channel provided."}"#, "configuration"),
        (r#"{"code":null,"message":"Too many connections."}"#, "limited"),
        (r#"{"code":null,"message":"Something went wrong."}"#, "retry"),
        ("null", "retry"),
    ] {
        let parsed = read(&format!(r#"{{"event":"bts:error","channel":"","data":{data}}}"#));
        let refused = match parsed.refusal.as_ref().expect("a refusal") {
            Refusal::Retry(_) => "retry",
            Refusal::RateLimited(_) => "limited",
            Refusal::Configuration(_) => "configuration",
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (refused, codes(&parsed), parsed.answered),
            (kind, vec!["error_answer  Rejected".to_owned()], false)
        );
    }
    for (frame, problem) in [
        (r#"{"event":"data","channel":"order_book_btcusd","data":{"bids":[],"asks":[]}}"#, "unknown_type event Noted"),
        (r#"{"event":"order_created","channel":"live_orders_btcusd","data":{}}"#, "unknown_type event Noted"),
        (r#"{"event":"trade","channel":"live_trades_btcusd"}"#, "missing_field data Rejected"),
        (r#"{"event":"trade","channel":"live_trades_btcusd","data":[]}"#, "wrong_type data Rejected"),
        (r#"{"channel":"live_trades_btcusd","data":{}}"#, "missing_field event Rejected"),
        ("[]", "unsupported_shape  Rejected"),
        ("", "not_json  Rejected"),
        ("<html>", "not_json  Rejected"),
        (&TRADE[..100], "not_json  Rejected"),
    ] {
        let parsed = read(frame);
        assert_eq!(codes(&parsed), [problem], "{frame}");
        assert!(parsed.ticks.is_empty() && !parsed.answered, "{frame}");
    }
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: BitstampArgs,
}

fn socketed(args: &[&str]) -> anyhow::Result<Socketed> {
    let cli = Cli::try_parse_from(["x"].iter().chain(args)).expect("well formed");
    cli.args.socketed(&Arc::new(Symbols::built_in()))
}

#[test]
fn every_pair_is_subscribed_to_by_itself() {
    let socketed = socketed(&["--bitstamp-symbols", "BTC-USD,ETH-EUR"]).expect("it can be");
    let sent: Vec<serde_json::Value> =
        socketed.subscribe.iter().map(|message| serde_json::from_str(message).expect("JSON")).collect();
    let channel = |name: &str| json!({"event": "bts:subscribe", "data": {"channel": name}});
    assert_eq!(sent, [channel("live_trades_btcusd"), channel("live_trades_etheur")]);
    assert!(socketed.subscribe.iter().all(|message| message.len() < 512));
    assert_eq!(socketed.ping, Some((Duration::from_secs(15), r#"{"event":"bts:heartbeat"}"#.to_owned())));
    assert_eq!(socketed.asked, ["BTC-USD", "ETH-EUR"]);
}

#[test]
fn what_cannot_be_meant_is_told_in_a_line() {
    for (args, said) in
        [(["--bitstamp-symbols", "BTC-USDT"], "BITSTAMP_SYMBOLS"), (["--bitstamp-ws-url", "x"], "BITSTAMP_WS_URL")]
    {
        let error = socketed(&args).err().expect("it cannot be meant");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().contains(said) && error.to_string().lines().count() == 1, "{error}");
    }
}

proptest! {
    #[test]
    fn mutated_frames_never_panic(changes in mutations()) {
        let frame = mutated(TRADE, changes);
        let bitstamp = Bitstamp { symbols: Arc::new(Symbols::built_in()) };
        let parsed = bitstamp.parse(&Payload::new(SOURCE, &frame, RECEIVED, ""));
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || parsed.wish.is_some() || !parsed.problems.is_empty());
    }
}
