use pipeline::events::{EventTimeOrigin, Kind, event_id};
use proptest::prelude::*;

use super::*;
use crate::sources::Refusal;
use crate::sources::mutations::{mutated, mutations};

const RECEIVED: i64 = 1_700_000_000_123_456;
const TRADE: &str = r#"{"channel":"trade","type":"update","data":[
    {"symbol":"BTC/USD","side":"buy","price":67187.30,"qty":0.00150000,"ord_type":"limit","trade_id":81000003,"timestamp":"2026-03-04T05:06:07.123456789Z"},
    {"symbol":"SOL/USDT","side":"sell","price":141.0000,"qty":2.5,"ord_type":"market","trade_id":901,"timestamp":"2026-03-04T05:06:08Z"}]}"#;
const TICKER: &str = r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"USDT/USD","bid":0.99970,"bid_qty":44620.6,
    "ask":0.99980,"ask_qty":1.5,"last":0.99980,"volume":270638277.50461281,"vwap":0.9,"low":0.9,"high":1.00000,"change":0.00005,
    "change_pct":-0.01,"trades":38144,"timestamp":"2026-03-04T05:06:07.123456Z"}]}"#;
const REST_TICKER: &str = r#"{"error":[],"result":{"XXBTZUSD":{"a":["67187.40000","1","1.000"],"b":["67187.20000","1","1.000"],
    "c":["67187.30000","0.0001"],"v":["0.78648221","163.28908096"],"p":["1","2"],"t":[35,3276],"l":["1","2"],"h":["1","2"],"o":"66000.0"},
    "SOLUSD":{"a":["141.2","1","1"],"b":["141.0","1","1"],"c":["141.10","3"],"v":["1","2.50"]}}}"#;
const REST_TRADES: &str = r#"{"error":[],"result":{"XXBTZUSD":[
    ["67188.00000","0.20000000",1772600769.5,"b","m","",81000004],
    ["67187.30000","0.00150000",1772600767.123456789,"b","l","",81000003]],"last":"1772600769500000000"}}"#;

fn read(frame: &str) -> Parsed {
    answer(frame, "")
}

fn answer(body: &str, request: &str) -> Parsed {
    parse(body.as_bytes(), request)
}

fn parse(bytes: &[u8], request: &str) -> Parsed {
    let kraken = Kraken { symbols: Arc::new(Symbols::built_in()) };
    kraken.parse(&Payload::new(SOURCE, bytes, RECEIVED, request))
}

fn codes(parsed: &Parsed) -> Vec<String> {
    let told = parsed.problems.iter().map(|problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect));
    told.map(|line| line.to_lowercase()).collect()
}

fn text(number: Option<pipeline::decimal::Decimal38>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

#[test]
fn a_trade_frame() {
    let parsed = read(TRADE);
    assert_eq!(codes(&parsed), [""; 0]);
    let [sol, btc] = &parsed.ticks[..] else { panic!("two ticks") };
    assert_eq!((btc.symbol.as_str(), btc.source_symbol.as_str(), btc.kind), ("BTC-USD", "BTC/USD", Kind::Trade));
    assert_eq!((btc.price.to_string().as_str(), text(btc.quantity).as_str()), ("67187.3", "0.0015"));
    // 2026-03-04T05:06:07.123456Z
    assert_eq!((btc.event_time, btc.event_time_origin), (1_772_600_767_123_456, EventTimeOrigin::Source));
    assert_eq!((btc.trade_id.as_deref(), btc.sequence), (Some("81000003"), None));
    assert_eq!(btc.event_id, event_id("kraken", "trade", "BTC/USD", "81000003"));
    assert_eq!((sol.symbol.as_str(), sol.price.to_string().as_str()), ("SOL-USDT", "141"));
    assert!(parsed.answered && parsed.consecutive_trades);
    let snapshot = read(&TRADE.replace("update", "snapshot"));
    assert_eq!(snapshot.ticks[1].event_id, btc.event_id, "a snapshot repeats the same trades");
}

#[test]
fn trades_are_told_in_the_order_of_their_ids() {
    let newest_first = TRADE.replace("SOL/USDT", "BTC/USD").replace(":901", ":81000002");
    let ids: Vec<_> = read(&newest_first).ticks.into_iter().filter_map(|tick| tick.trade_id).collect();
    assert_eq!(ids, ["81000002", "81000003"]);
}

#[test]
fn a_bad_trade_leaves_its_neighbour_alone() {
    for (from, to, problem) in [
        ("67187.30", "1e400", "too_many_digits data[0].price rejected"),
        ("67187.30", "-1", "not_positive data[0].price rejected"),
        ("67187.30", "0.00", "not_positive data[0].price rejected"),
        ("67187.30", "null", "null_field data[0].price rejected"),
        ("67187.30", "[]", "wrong_type data[0].price rejected"),
        ("67187.30", r#""many""#, "not_a_number data[0].price rejected"),
        ("67187.30", r#"1,"price":2"#, "duplicate_key data[0].price rejected"),
        ("67187.30", "0.1234567890123456789", "too_precise data[0].price rejected"),
        ("81000003", "8.1e7", "not_a_number data[0].trade_id rejected"),
        ("81000003", "null", "null_field data[0].trade_id rejected"),
        ("2026-03-04T05:06:07.123456789Z", "yesterday", "bad_time data[0].timestamp rejected"),
        ("2026-03-04T05:06:07.123456789Z", "1970-01-01T00:00:00Z", "bad_time data[0].timestamp rejected"),
        ("BTC/USD", "PI_XBTUSD", "derivative data[0].symbol rejected"),
        ("BTC/USD", "AAPLx/USD", "derivative data[0].symbol rejected"),
        ("BTC/USD", "BTCUSD", "unknown_product data[0].symbol rejected"),
        (r#""symbol":"BTC/USD","#, "", "missing_field data[0].symbol rejected"),
    ] {
        let frame = TRADE.replacen(from, to, 1);
        assert_ne!(frame, TRADE);
        let parsed = read(&frame);
        assert_eq!((codes(&parsed), parsed.ticks.len()), (vec![problem.to_owned()], 1), "{to}");
    }
    let bare = read(&TRADE.replacen("67187.30", "NaN", 1));
    assert_eq!(codes(&bare), ["not_json  noted", "not_a_number data[0].price rejected"]);
    let quantity = read(&TRADE.replacen("0.00150000", "-1", 1));
    assert_eq!((codes(&quantity), quantity.ticks.len()), (vec!["negative data[0].qty nulled".to_owned()], 2));
    let untimed = read(&TRADE.replacen(r#""2026-03-04T05:06:07.123456789Z""#, "null", 1));
    assert_eq!(codes(&untimed), ["missing_field data[0].timestamp noted"]);
    assert_eq!(untimed.ticks[1].event_time_origin, EventTimeOrigin::Received);
    let string = read(&TRADE.replacen("67187.30", r#""67187.30""#, 1));
    assert_eq!((codes(&string), string.ticks.len()), (vec!["unexpected_form data[0].price noted".to_owned()], 2));
}

#[test]
fn a_tickers_texts_are_its_identity() {
    let parsed = read(TICKER);
    assert_eq!(codes(&parsed), [""; 0]);
    let [tick] = &parsed.ticks[..] else { panic!("one tick") };
    assert_eq!(
        (tick.symbol.as_str(), tick.kind, tick.price.to_string().as_str()),
        ("USDT-USD", Kind::Ticker, "0.9998")
    );
    assert_eq!((text(tick.bid), text(tick.ask)), ("0.9997".to_owned(), "0.9998".to_owned()));
    assert_eq!((text(tick.volume_24h), text(tick.change_24h_pct)), ("270638277.50461281".into(), "-0.01".into()));
    assert_eq!((tick.event_time, tick.event_time_origin), (1_772_600_767_123_456, EventTimeOrigin::Source));
    let key = "2026-03-04T05:06:07.123456Z|0.99980|0.99970|0.99980";
    assert_eq!(tick.event_id, event_id("kraken", "ticker", "USDT/USD", key));
    assert!(!parsed.consecutive_trades && parsed.answered);
}

#[test]
fn a_ticker_of_an_older_server_has_the_time_of_receipt() {
    let older = read(&TICKER.replace(r#","timestamp":"2026-03-04T05:06:07.123456Z""#, ""));
    assert_eq!(codes(&older), [""; 0]);
    let tick = &older.ticks[0];
    assert_eq!((tick.event_time, tick.event_time_origin), (RECEIVED, EventTimeOrigin::Received));
    let key = format!("received={RECEIVED}|0.99980|0.99970|0.99980");
    assert_eq!(tick.event_id, event_id("kraken", "ticker", "USDT/USD", &key));
    let odd = read(&TICKER.replace("2026-03-04T05:06:07.123456Z", "soon"));
    assert_eq!(codes(&odd), ["bad_time data[0].timestamp nulled"]);
    assert_eq!(odd.ticks[0].event_id, tick.event_id);
}

#[test]
fn a_market_without_a_last_trade_has_the_middle_of_bid_and_ask() {
    let parsed = read(&TICKER.replace(r#""last":0.99980"#, r#""last":null"#));
    assert_eq!((codes(&parsed), parsed.ticks[0].price.to_string().as_str()), (vec![], "0.99975"));
    let wrong = read(&TICKER.replace(r#""last":0.99980"#, r#""last":-1"#));
    assert_eq!((codes(&wrong), wrong.ticks.len()), (vec!["not_positive data[0].last rejected".to_owned()], 0));
    let nothing = read(&TICKER.replace(r#""last":0.99980"#, r#""last":null"#).replace("0.99970", "null"));
    assert_eq!((codes(&nothing), nothing.ticks.len()), (vec!["null_field data[0].last rejected".to_owned()], 0));
}

#[test]
fn frames_without_a_price() {
    let status = r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":18446744073709551999}]}"#;
    for frame in [
        status,
        r#"{"channel":"heartbeat"}"#,
        r#"{"method":"pong","req_id":42,"time_in":"2026-03-04T05:06:07Z","time_out":"2026-03-04T05:06:07Z"}"#,
        r#"{"method":"subscribe","result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true,"req_id":1}"#,
        r#"{"channel":"trade","type":"snapshot","data":[]}"#,
    ] {
        let parsed = read(frame);
        assert_eq!((codes(&parsed), parsed.answered, parsed.ticks.len()), (vec![], true, 0), "{frame}");
        assert_eq!(parsed.refusal, None);
    }
    let away = read(&status.replace("online", "maintenance"));
    assert_eq!((codes(&away), away.answered), (vec!["not_online data[0].system noted".to_owned()], false));
}

#[test]
fn a_refused_symbol_leaves_the_others_alone() {
    let names = ["BTC/USD".to_owned(), "NOPE/USD".to_owned()];
    let request = feed::subscribe(&["trade", "ticker"], &names).join("\n");
    let error =
        r#"{"error":"Currency pair not supported NOPE/USD","method":"subscribe","success":false,"symbol":"NOPE/USD"}"#;
    for (frame, request) in [
        (error.to_owned(), request.as_str()),
        (error.to_owned(), ""),
        (error.replace(r#","symbol":"NOPE/USD""#, r#","req_id":1"#), request.as_str()),
    ] {
        let parsed = answer(&frame, request);
        assert_eq!(
            (codes(&parsed), parsed.refusal),
            (vec!["not_answered nope/usd rejected".to_owned()], None),
            "{frame}"
        );
        assert!(parsed.problems[0].detail.contains("Currency pair not supported"));
    }
    let alone = answer(error, &feed::subscribe(&["trade"], &names[1..])[0]);
    assert!(matches!(alone.refusal, Some(Refusal::Configuration(_))), "nothing that was asked for can come");
    assert_eq!(codes(&alone), ["error_answer  rejected"]);
}

#[test]
fn an_errors_words_say_what_to_do() {
    for (said, expected) in [
        ("Exceeded msg rate", "RateLimited"),
        ("EGeneral:Too many requests", "RateLimited"),
        ("Internal error", "Retry"),
        ("EService:Unavailable", "Retry"),
        ("Channel field must be a string", "Configuration"),
        // What it does not say, or nobody here has heard before, may pass.
        ("", "Retry"),
        ("A sentence of next year", "Retry"),
    ] {
        let parsed = read(&format!(r#"{{"method":"subscribe","success":false,"error":"{said}"}}"#));
        assert_eq!((codes(&parsed), parsed.answered), (vec!["error_answer  rejected".to_owned()], false), "{said}");
        assert!(format!("{:?}", parsed.refusal.expect(said)).starts_with(expected), "{said}");
    }
    for harmless in [
        r#"{"method":"subscribe","success":false,"error":"Already subscribed","symbol":"BTC/USD"}"#,
        r#"{"method":"unsubscribe","success":false,"error":"Subscription not found"}"#,
    ] {
        let parsed = read(harmless);
        assert_eq!((codes(&parsed), parsed.refusal), (vec!["error_answer  noted".to_owned()], None), "{harmless}");
    }
}

#[test]
fn what_is_no_frame_of_v2() {
    for (frame, problem, said) in [
        (
            r#"[337,[["67187.3","0.1","1772600767.1","s","l",""]],"trade","XBT/USD"]"#,
            "unsupported_shape  rejected",
            "v1",
        ),
        (r#"{"event":"systemStatus","status":"online"}"#, "unsupported_shape event rejected", "v1"),
        ("[1,2]", "unsupported_shape  rejected", "array"),
        ("[1,", "not_json  rejected", "breaks off"),
        (r#"{"feed":"ticker","product_id":"PI_XBTUSD","last":67187.5}"#, "derivative feed rejected", "futures"),
        (r#"{"result":"success","tickers":[{"symbol":"PF_XBTUSD"}]}"#, "derivative result rejected", "futures"),
        (r#"{"channel":"book","data":[]}"#, "unknown_type channel noted", "book"),
        (r#"{"method":"add_order","success":true}"#, "unknown_type method noted", "add_order"),
        (r#"{"channel":"trade"}"#, "missing_field data rejected", ""),
        (r#"{"channel":"trade","data":null}"#, "null_field data rejected", ""),
        (r#"{"channel":"trade","data":{}}"#, "wrong_type data rejected", ""),
        (r#"{"channel":"trade","data":[7]}"#, "wrong_type data[0] rejected", ""),
        (r#"{"channel":"ticker","data":[{"symbol":"BTC/USD"}]}"#, "missing_field data[0].last rejected", ""),
        (r#"{"channel":"trade","channel":"ticker","data":[]}"#, "missing_field channel rejected", ""),
        (r#"{"channel":"trade","data":[{"#, "not_json  rejected", "breaks off"),
        ("{}", "missing_field channel rejected", ""),
        ("7", "unsupported_shape  rejected", ""),
        ("", "not_json  rejected", ""),
        ("<html>502</html>", "not_json  rejected", ""),
    ] {
        let parsed = read(frame);
        assert_eq!(codes(&parsed), [problem], "{frame}");
        assert!(parsed.problems[0].detail.contains(said), "{frame}: {}", parsed.problems[0].detail);
        assert!(parsed.ticks.is_empty() && !parsed.answered, "{frame}");
    }
}

#[test]
fn a_rest_ticker() {
    let parsed = answer(REST_TICKER, "/0/public/Ticker?pair=XBTUSD,SOLUSD");
    assert_eq!(codes(&parsed), [""; 0]);
    let [btc, sol] = &parsed.ticks[..] else { panic!("two ticks") };
    assert_eq!((btc.symbol.as_str(), btc.source_symbol.as_str(), btc.kind), ("BTC-USD", "BTC/USD", Kind::Ticker));
    assert_eq!(
        (btc.price.to_string(), text(btc.bid), text(btc.ask)),
        ("67187.3".into(), "67187.2".into(), "67187.4".into())
    );
    assert_eq!(text(btc.volume_24h), "163.28908096", "the second is that of 24 hours");
    assert_eq!((btc.event_time, btc.event_time_origin), (RECEIVED, EventTimeOrigin::Received));
    let key = format!("received={RECEIVED}|67187.30000|67187.20000|67187.40000");
    assert_eq!(btc.event_id, event_id("kraken", "rest_ticker", "BTC/USD", &key));
    assert_eq!((sol.symbol.as_str(), sol.price.to_string().as_str()), ("SOL-USD", "141.1"));
    assert!(parsed.answered && !parsed.consecutive_trades);
    let asked_more = answer(REST_TICKER, "/0/public/Ticker?pair=XBTUSD%2CSOLUSD%2CETHUSD");
    assert_eq!(codes(&asked_more), ["not_answered ethusd rejected"]);
}

#[test]
fn what_is_wrong_with_a_rest_ticker_is_named() {
    for (from, to, problem, ticks) in [
        (r#"["67187.30000","0.0001"]"#, "[]", "missing_field result.xxbtzusd.c[0] rejected", 1),
        (r#"["67187.30000","0.0001"]"#, "null", "null_field result.xxbtzusd.c[0] rejected", 1),
        (r#""67187.30000""#, r#""0""#, "not_positive result.xxbtzusd.c[0] rejected", 1),
        (r#""67187.30000""#, r#""NaN""#, "not_a_number result.xxbtzusd.c[0] rejected", 1),
        (r#""67187.40000""#, r#""-1""#, "negative result.xxbtzusd.a[0] nulled", 2),
        (r#""163.28908096""#, "{}", "wrong_type result.xxbtzusd.v[1] nulled", 2),
        ("XXBTZUSD", "PF_XBTUSD", "derivative result.pf_xbtusd rejected", 1),
        ("XXBTZUSD", "AAPLxUSD", "derivative result.aaplxusd rejected", 1),
        ("XXBTZUSD", "XBTEURQ", "unknown_product result.xbteurq rejected", 1),
        (
            r#"{"a":["141.2","1","1"],"b":["141.0","1","1"],"c":["141.10","3"],"v":["1","2.50"]}"#,
            "7",
            "unsupported_shape result.solusd rejected",
            1,
        ),
        (r#""SOLUSD""#, r#""XXBTZUSD""#, "duplicate_key result.xxbtzusd rejected", 0),
    ] {
        let body = REST_TICKER.replacen(from, to, 1);
        assert_ne!(body, REST_TICKER);
        let parsed = read(&body);
        assert_eq!((codes(&parsed), parsed.ticks.len()), (vec![problem.to_owned()], ticks), "{to}");
    }
    let cut = &REST_TICKER[..REST_TICKER.find("141.0").expect("the second market")];
    let parsed = read(cut);
    assert_eq!((codes(&parsed), parsed.ticks.len()), (vec!["not_json  rejected".to_owned()], 1));
}

#[test]
fn past_trades_have_the_identities_of_the_feed() {
    let parsed = answer(REST_TRADES, "/0/public/Trades?pair=XBTUSD&since=1772600000000000000");
    assert_eq!(codes(&parsed), [""; 0]);
    let [first, second] = &parsed.ticks[..] else { panic!("two ticks") };
    let told = &read(TRADE).ticks[1];
    assert_eq!((first.event_id, first.event_time, first.price), (told.event_id, told.event_time, told.price));
    assert_eq!((first.quantity, first.source_symbol.as_str()), (told.quantity, "BTC/USD"));
    // 2026-03-04T05:06:09.5Z
    assert_eq!((second.event_time, second.trade_id.as_deref()), (1_772_600_769_500_000, Some("81000004")));
    assert!(parsed.answered && parsed.consecutive_trades);
}

#[test]
fn what_is_wrong_with_a_past_trade_is_named() {
    for (from, to, problem, ticks) in [
        (r#""67188.00000""#, "null", "null_field result.xxbtzusd[0][0] rejected", 1),
        ("1772600769.5", "1772600769500", "bad_time result.xxbtzusd[0][2] rejected", 1),
        ("1772600769.5", "1e400", "bad_time result.xxbtzusd[0][2] rejected", 1),
        (r#","",81000004"#, r#","""#, "missing_field result.xxbtzusd[0][6] rejected", 1),
        ("81000004", "-", "not_json  rejected", 0),
        (r#""0.20000000""#, r#""x""#, "not_a_number result.xxbtzusd[0][1] nulled", 2),
    ] {
        let parsed = read(&REST_TRADES.replacen(from, to, 1));
        assert_eq!((codes(&parsed), parsed.ticks.len()), (vec![problem.to_owned()], ticks), "{to}");
    }
    let cut = &REST_TRADES[..REST_TRADES.find("67187.3").expect("the second trade")];
    let parsed = read(cut);
    assert_eq!((codes(&parsed), parsed.ticks.len()), (vec!["not_json  rejected".to_owned()], 1));
    let candles =
        read(r#"{"error":[],"result":{"SOLUSD":[[1772600760,"1","1","1","1","1","1",5]],"last":1772600760}}"#);
    assert_eq!(
        (codes(&candles), candles.ticks.len()),
        (vec!["unsupported_shape result.solusd[0] rejected".to_owned()], 0)
    );
}

#[test]
fn an_error_by_rest() {
    for (body, expected) in [
        (r#"{"error":["EQuery:Unknown asset pair"]}"#, "Configuration"),
        (r#"{"error":["EGeneral:Too many requests"]}"#, "RateLimited"),
        (r#"{"error":["EAPI:Rate limit exceeded"],"result":{}}"#, "RateLimited"),
        (r#"{"error":["EService:Busy"]}"#, "Retry"),
        (r#"{"error":["EGeneral:Temporary lockout"]}"#, "Banned"),
        (r#"{"error":[7]}"#, "Configuration"),
    ] {
        let parsed = answer(body, "/0/public/Ticker?pair=XBTUSD");
        assert_eq!(
            (codes(&parsed), parsed.answered),
            (vec!["error_answer error rejected".to_owned()], false),
            "{body}"
        );
        assert!(format!("{:?}", parsed.refusal.expect(body)).starts_with(expected), "{body}");
    }
    let warned = read(&REST_TICKER.replacen(r#""error":[]"#, r#""error":["WGeneral:Soon"]"#, 1));
    assert_eq!((codes(&warned), warned.ticks.len()), (vec!["error_answer error noted".to_owned()], 2));
    for (body, problem) in [
        (r#"{"error":[]}"#, "missing_field result rejected"),
        (r#"{"error":[],"result":null}"#, "unsupported_shape result rejected"),
        (r#"{"error":[],"result":{"status":"online"}}"#, "unsupported_shape result.status rejected"),
        (r#"{"error":[],"result":{"XBTUSD":{"altname":"XBTUSD"}}}"#, "unsupported_shape result.xbtusd rejected"),
        (r#"{"error":[],"result":{}"#, "not_json  rejected"),
        (r#"{"error":["#, "not_json  rejected"),
    ] {
        assert_eq!(codes(&read(body)), [problem], "{body}");
    }
}

#[test]
fn what_is_sent_after_connecting() {
    let messages = feed::subscribe(&["trade", "ticker"], &["BTC/USD".to_owned()]);
    let sent: Vec<serde_json::Value> =
        messages.iter().map(|message| serde_json::from_str(message).expect("JSON")).collect();
    assert_eq!(
        sent,
        [
            serde_json::json!({"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": true}, "req_id": 1}),
            serde_json::json!({"method": "subscribe", "params": {"channel": "ticker", "symbol": ["BTC/USD"], "snapshot": true}, "req_id": 2}),
        ]
    );
}

proptest! {
    #[test]
    fn mutated_payloads_never_panic(mutations in mutations(), which in 0_usize..4) {
        let parsed = parse(&mutated([TRADE, TICKER, REST_TICKER, REST_TRADES][which], mutations), "");
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || !parsed.problems.is_empty(), "a payload that says nothing leaves a line");
    }
}
