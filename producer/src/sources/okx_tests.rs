use clap::Parser;
use pipeline::decimal::Decimal38;
use pipeline::events::{EventTimeOrigin, event_id};
use proptest::prelude::*;

use super::*;
use crate::sources::mutations::{mutated, mutations};

const RECEIVED: i64 = 1_700_000_000_123_456;
const TRADES: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.90","sz":"0.12060306","side":"buy","ts":"1772600767123","count":"3"}]}"#;
const TICKERS: &str = r#"{"arg":{"channel":"tickers","instId":"BTC-BRL"},"data":[{"instType":"SPOT","instId":"BTC-BRL","last":"371234.50","lastSz":"0.1","askPx":"371300","askSz":"11","bidPx":"371200.1","bidSz":"5","open24h":"1","high24h":"1","low24h":"1","volCcy24h":"2222000.10","vol24h":"6.01","sodUtc0":"1","sodUtc8":"1","ts":"1772600767123"}]}"#;

fn read(frame: &str) -> Parsed {
    let okx = Okx { symbols: Arc::new(Symbols::built_in()) };
    okx.parse(&Payload::new(SOURCE, frame.as_bytes(), RECEIVED, ""))
}

fn codes(parsed: &Parsed) -> Vec<String> {
    let told = parsed.problems.iter().map(|problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect));
    told.collect()
}

fn only(parsed: &Parsed) -> &PriceTick {
    assert_eq!(codes(parsed), [""; 0]);
    let [tick] = &parsed.ticks[..] else { panic!("one tick, not {}", parsed.ticks.len()) };
    assert!(parsed.answered);
    tick
}

fn text(number: Option<Decimal38>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

#[test]
fn a_trade() {
    let parsed = read(TRADES);
    let tick = only(&parsed);
    assert_eq!((tick.symbol.as_str(), tick.base.as_str(), tick.quote.as_str()), ("BTC-USDT", "BTC", "USDT"));
    assert_eq!((tick.kind, tick.price.to_string().as_str()), (Kind::Trade, "42219.9"));
    assert_eq!((text(tick.quantity), tick.trade_id.as_deref()), ("0.12060306".to_owned(), Some("130639474")));
    // 2026-03-04T05:06:07.123Z
    assert_eq!((tick.event_time, tick.event_time_origin), (1_772_600_767_123_000, EventTimeOrigin::Source));
    assert_eq!(tick.event_id, event_id("okx", "trades", "BTC-USDT", "130639474"));
    // Fills are put together, so a jump of the ids is no loss.
    assert!(!parsed.consecutive_trades);
    let all = read(&TRADES.replace("\"trades\"", "\"trades-all\""));
    assert_eq!(only(&all).event_id, tick.event_id);
    let answer = TRADES.replace(r#""arg":{"channel":"trades","instId":"BTC-USDT"}"#, r#""code":"0","msg":"""#);
    assert_eq!(only(&read(&answer)).event_id, tick.event_id);
}

#[test]
fn a_ticker() {
    let parsed = read(TICKERS);
    let tick = only(&parsed);
    assert_eq!((tick.symbol.as_str(), tick.kind), ("BTC-BRL", Kind::Ticker));
    assert_eq!(tick.price.to_string(), "371234.5");
    assert_eq!((text(tick.bid), text(tick.ask)), ("371200.1".to_owned(), "371300".to_owned()));
    assert_eq!((text(tick.volume_24h), text(tick.quote_volume_24h)), ("6.01".to_owned(), "2222000.1".to_owned()));
    assert_eq!(tick.event_time, 1_772_600_767_123_000);
    assert_eq!(tick.event_id, event_id("okx", "tickers", "BTC-BRL", "1772600767123|371234.50"));

    let one_sided = read(&TICKERS.replace("\"371300\"", "\"\"").replace("\"371200.1\"", "\"0\""));
    assert_eq!((text(only(&one_sided).bid), text(only(&one_sided).ask)), ("none".to_owned(), "none".to_owned()));
    let timeless = read(&TICKERS.replace(r#","ts":"1772600767123""#, ""));
    let tick = only(&timeless);
    assert_eq!((tick.event_time, tick.event_time_origin), (RECEIVED, EventTimeOrigin::Received));
    let key = format!("received={RECEIVED}|371234.50");
    assert_eq!(tick.event_id, event_id("okx", "tickers", "BTC-BRL", &key));
    let other_unit = read(&TICKERS.replace("\"1772600767123\"", "\"1772600767\""));
    assert_eq!((other_unit.ticks.len(), codes(&other_unit)), (1, vec!["bad_time data[0].ts Nulled".to_owned()]));
}

#[test]
fn derivatives_never_pass_as_spot() {
    for instrument in ["BTC-USDT-SWAP", "BTC-USD-241227", "BTC-USD-241227-50000-C", "UNI-USD-SWAP"] {
        for frame in [TRADES.replace("BTC-USDT", instrument), TICKERS.replace("BTC-BRL", instrument)] {
            let parsed = read(&frame);
            assert_eq!(codes(&parsed), ["derivative data[0].instId Rejected"], "{frame}");
            assert!(parsed.ticks.is_empty() && !parsed.answered, "{frame}");
        }
    }
    let typed = read(&TICKERS.replace("\"SPOT\"", "\"SWAP\""));
    assert_eq!((typed.ticks.len(), codes(&typed)), (0, vec!["derivative data[0].instId Rejected".to_owned()]));
}

#[test]
fn what_is_wrong_with_a_row_is_named_and_its_neighbours_stay() {
    let row = r#"{"instId":"BTC-USDT","tradeId":"7","px":"1.5","sz":"2","side":"buy","ts":"1772600767123"}"#;
    for (from, to, problem) in [
        (r#""px":"1.5""#, r#""px":"0""#, "not_positive data[1].px Rejected"),
        (r#""px":"1.5""#, r#""px":"-1.5""#, "not_positive data[1].px Rejected"),
        (r#""px":"1.5""#, r#""px":"1e400""#, "too_many_digits data[1].px Rejected"),
        (r#""px":"1.5""#, r#""px":"""#, "not_a_number data[1].px Rejected"),
        (r#""px":"1.5""#, r#""px":null"#, "null_field data[1].px Rejected"),
        (r#""px":"1.5""#, r#""px":true"#, "wrong_type data[1].px Rejected"),
        (r#""px":"1.5""#, r#""px":"1","px":"2""#, "duplicate_key data[1].px Rejected"),
        (r#""px":"1.5","#, "", "missing_field data[1].px Rejected"),
        (r#""tradeId":"7""#, r#""tradeId":"+7""#, "not_a_number data[1].tradeId Rejected"),
        (r#""tradeId":"7","#, "", "missing_field data[1].tradeId Rejected"),
        (r#""ts":"1772600767123""#, r#""ts":"1""#, "bad_time data[1].ts Rejected"),
        (r#""sz":"2""#, r#""sz":"-2""#, "negative data[1].sz Nulled"),
        (r#","ts":"1772600767123""#, "", "missing_field data[1].ts Noted"),
        (r#""instId":"BTC-USDT""#, r#""instId":"btc-usdt""#, "unknown_product data[1].instId Rejected"),
        (r#""instId":"BTC-USDT""#, r#""instId":"BTCUSDT""#, "unknown_product data[1].instId Rejected"),
        (r#""instId":"BTC-USDT""#, r#""instId":7"#, "wrong_type data[1].instId Rejected"),
        (row, "7", "wrong_type data[1] Rejected"),
    ] {
        let bad = row.replacen(from, to, 1);
        assert_ne!(bad, row);
        let frame = format!(
            r#"{{"arg":{{"channel":"trades","instId":"BTC-USDT"}},"data":[{row},{bad},{}]}}"#,
            row.replace("\"7\"", "\"8\"")
        );
        let parsed = read(&frame);
        let expected = if problem.ends_with("Rejected") { 2 } else { 3 };
        assert_eq!((codes(&parsed), parsed.ticks.len()), (vec![problem.to_owned()], expected), "{frame}");
        assert!(parsed.answered);
    }
    // The channel names the instrument where a row does not.
    let unnamed = read(&TRADES.replace(r#""data":[{"instId":"BTC-USDT","#, r#""data":[{"#));
    assert_eq!(only(&unnamed).source_symbol, "BTC-USDT");
    // A pair that the table is without.
    assert_eq!(only(&read(&TRADES.replace("BTC-USDT", "ZRX-EUR"))).symbol, "ZRX-EUR");
}

#[test]
fn words_events_and_errors() {
    assert!(read("pong").answered && read("pong\n").problems.is_empty());
    assert_eq!(read("ping").wish, Some(Wish::Reply("pong".to_owned())));
    for frame in [
        r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
        r#"{"event":"unsubscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}"#,
    ] {
        let parsed = read(frame);
        assert!(parsed.answered && parsed.problems.is_empty(), "{frame}");
    }
    let notice = read(
        r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#,
    );
    assert!(matches!(&notice.wish, Some(Wish::Reconnect(why)) if why.contains("upgrade")));
    assert!(notice.refusal.is_none() && notice.problems.is_empty());
    for (code, kind) in [
        ("60012", "configuration"),
        ("60018", "configuration"),
        ("64003", "configuration"),
        ("60014", "limited"),
        ("60015", "retry"),
        ("63999", "retry"),
        ("what", "retry"),
    ] {
        let parsed =
            read(&format!(r#"{{"event":"error","code":"{code}","msg":"Invalid request","connId":"a4d3ae55"}}"#));
        assert_eq!((codes(&parsed), parsed.answered), (vec!["error_answer  Rejected".to_owned()], false));
        assert_eq!(parsed.refusal.as_ref().map(kind_of), Some(kind), "{code}");
    }
    for (body, kind) in [
        (r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#, "limited"),
        (r#"{"code":50001,"msg":"Service temporarily unavailable"}"#, "retry"),
        (r#"{"code":"51001","msg":"Instrument ID does not exist","data":[]}"#, "configuration"),
    ] {
        assert_eq!(read(body).refusal.as_ref().map(kind_of), Some(kind), "{body}");
    }
}

#[test]
fn one_instrument_that_is_turned_down_leaves_the_others() {
    let error = r#"{"event":"error","code":"60018","msg":"Wrong URL or channel:trades,instId:NOPE-USDT doesn't exist. Please use the correct URL.","connId":"a"}"#;
    let answer = |request: &str| {
        let okx = Okx { symbols: Arc::new(Symbols::built_in()) };
        okx.parse(&Payload::new(SOURCE, error.as_bytes(), RECEIVED, request))
    };
    let args = |names: &[&str]| {
        let args: Vec<_> = names.iter().map(|name| json!({"channel": "trades", "instId": name})).collect();
        json!({"op": "subscribe", "args": args}).to_string()
    };
    let one_of_two = answer(&args(&["BTC-USDT", "NOPE-USDT"]));
    assert_eq!((codes(&one_of_two), one_of_two.refusal), (vec!["not_answered NOPE-USDT Rejected".to_owned()], None));
    // The only one, one that was not asked for, and nobody knows.
    for request in [args(&["NOPE-USDT", "NOPE-USDT"]), args(&["BTC-USDT", "ETH-USDT"]), String::new()] {
        let parsed = answer(&request);
        assert_eq!(codes(&parsed), ["error_answer  Rejected"], "{request}");
        assert_eq!(parsed.refusal.as_ref().map(kind_of), Some("configuration"), "{request}");
    }
}

fn kind_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Retry(_) => "retry",
        Refusal::RateLimited(_) => "limited",
        Refusal::Exhausted(..) => "exhausted",
        Refusal::Configuration(_) => "configuration",
        Refusal::Banned(..) => "banned",
    }
}

#[test]
fn what_is_not_read_is_named() {
    for (frame, problem) in [
        (
            r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[],"bids":[]}]}"#,
            "unknown_type arg.channel Noted",
        ),
        (r#"{"event":"login"}"#, "unknown_type event Noted"),
        (r#"{"event":null}"#, "null_field event Rejected"),
        (r#"{"arg":{"channel":"trades"}}"#, "missing_field data Rejected"),
        (r#"{"arg":{"channel":"trades"},"data":{}}"#, "wrong_type data Rejected"),
        (r#"{"arg":{"channel":"trades"},"data":[],"data":[1]}"#, "duplicate_key data Rejected"),
        ("{}", "missing_field data Rejected"),
        ("[]", "unsupported_shape  Rejected"),
        ("", "not_json  Rejected"),
        ("<html>", "not_json  Rejected"),
        (&TRADES[..150], "not_json  Rejected"),
    ] {
        let parsed = read(frame);
        assert_eq!(codes(&parsed), [problem], "{frame}");
        assert!(parsed.ticks.is_empty() && !parsed.answered, "{frame}");
    }
    let many = read(&format!(r#"{{"arg":{{"channel":"trades"}},"data":[{}1]}}"#, "1,".repeat(5_000)));
    assert_eq!(many.problems.len(), NAMED + 1);
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: OkxArgs,
}

fn socketed(args: &[&str]) -> anyhow::Result<Socketed> {
    let cli = Cli::try_parse_from(["x"].iter().chain(args)).expect("well formed");
    cli.args.socketed(&Arc::new(Symbols::built_in()))
}

#[test]
fn one_message_subscribes_to_all() {
    let socketed =
        socketed(&["--okx-symbols", "BTC-USDT,ETH-BTC", "--okx-channels", "trades,tickers"]).expect("it can be");
    let [subscribe] = &socketed.subscribe[..] else { panic!("one message") };
    let subscribe: serde_json::Value = serde_json::from_str(subscribe).expect("JSON");
    let arg = |channel: &str, instrument: &str| json!({"channel": channel, "instId": instrument});
    let args =
        [arg("trades", "BTC-USDT"), arg("tickers", "BTC-USDT"), arg("trades", "ETH-BTC"), arg("tickers", "ETH-BTC")];
    assert_eq!(subscribe, json!({"op": "subscribe", "args": args}));
    assert_eq!(socketed.ping, Some((Duration::from_secs(15), "ping".to_owned())));
    assert_eq!(socketed.asked, ["BTC-USDT", "ETH-BTC"]);
}

#[test]
fn what_cannot_be_meant_is_told_in_a_line() {
    for (args, said) in [(["--okx-symbols", "BTC-USD"], "OKX_SYMBOLS"), (["--okx-ws-url", "okx"], "OKX_WS_URL")] {
        let error = socketed(&args).err().expect("it cannot be meant");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().contains(said) && error.to_string().lines().count() == 1, "{error}");
    }
}

proptest! {
    #[test]
    fn mutated_frames_never_panic(ticker: bool, changes in mutations()) {
        let frame = mutated(if ticker { TICKERS } else { TRADES }, changes);
        let okx = Okx { symbols: Arc::new(Symbols::built_in()) };
        let parsed = okx.parse(&Payload::new(SOURCE, &frame, RECEIVED, ""));
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || parsed.wish.is_some() || !parsed.problems.is_empty());
    }
}
