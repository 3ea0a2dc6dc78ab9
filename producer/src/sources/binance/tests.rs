use pipeline::events::{EventTimeOrigin, event_id};
use proptest::prelude::*;

use super::*;
use crate::sources::Refusal;
use crate::sources::mutations::{mutated, mutations};

const RECEIVED: i64 = 1_700_000_000_123_456;
const TRADE: &str = r#"{"e":"trade","E":1772600767125,"s":"BTCUSDT","t":5729000001,"p":"67187.30000000","q":"0.00150000","T":1772600767123,"m":true,"M":true}"#;
const AGGREGATE: &str = r#"{"e":"aggTrade","E":1772600767125,"s":"BTCBRL","a":398000001,"p":"371234.50000000","q":"0.25000000","f":640,"l":643,"T":1772600767123,"m":false,"M":true}"#;
const BOOK: &str =
    r#"{"u":400900217,"s":"ELFBUSD","b":"0.35210000","B":"672.00000000","a":"0.35260001","A":"31.99000000"}"#;
const DAY: &str = r#"{"e":"24hrTicker","E":1772600767125,"s":"ETHUSDT","p":"-94.40000000","P":"-2.427","w":"3102.5","x":"3211.6","c":"3117.25000000","Q":"0.1","b":"3117.24000000","B":"31","a":"3117.26000000","A":"40","o":"3211.65","h":"3300","l":"3000","v":"8913.30000000","q":"27653935.15000000","O":1772514367124,"C":1772600767124,"F":1,"L":18150,"n":18151}"#;

fn read(frame: &str) -> Parsed {
    answer(frame, "")
}

fn answer(body: &str, request: &str) -> Parsed {
    let binance = Binance { symbols: Arc::new(Symbols::built_in()) };
    binance.parse(&Payload::new(SOURCE, body.as_bytes(), RECEIVED, request))
}

fn combined(stream: &str, data: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{data}}}"#)
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
fn a_trade_is_the_same_raw_and_combined() {
    let parsed = read(TRADE);
    let tick = only(&parsed);
    assert_eq!((tick.symbol.as_str(), tick.base.as_str(), tick.quote.as_str()), ("BTC-USDT", "BTC", "USDT"));
    assert_eq!((tick.kind, tick.price.to_string().as_str()), (Kind::Trade, "67187.3"));
    assert_eq!((text(tick.quantity), tick.trade_id.as_deref()), ("0.0015".to_owned(), Some("5729000001")));
    // 2026-03-04T05:06:07.123Z: the time of the trade, and neither its id nor the time of the event.
    assert_eq!((tick.event_time, tick.event_time_origin), (1_772_600_767_123_000, EventTimeOrigin::Source));
    assert_eq!((tick.source_symbol.as_str(), tick.sequence), ("BTCUSDT", None));
    assert_eq!(tick.event_id, event_id("binance", "trade", "BTCUSDT", "5729000001"));
    assert!(parsed.consecutive_trades);
    assert_eq!(only(&read(&combined("btcusdt@trade", TRADE))).event_id, tick.event_id);
}

#[test]
fn times_in_microseconds_are_told_by_their_digits() {
    let micros = TRADE.replace("1772600767123", "1772600767123456").replace("1772600767125", "1772600767125456");
    assert_eq!(only(&read(&micros)).event_time, 1_772_600_767_123_456);
    assert_eq!(only(&read(&micros)).event_id, only(&read(TRADE)).event_id);
    assert_eq!(only(&read(&DAY.replace("1772600767125", "1772600767125456"))).event_time, 1_772_600_767_125_456);
    let nanos = read(&TRADE.replace("1772600767123", "1772600767123456789"));
    assert_eq!(codes(&nanos), ["bad_time T Rejected"]);
}

#[test]
fn an_aggregate_trade_has_a_number_range_of_its_own() {
    let parsed = read(&combined("btcbrl@aggTrade", AGGREGATE));
    let tick = only(&parsed);
    assert_eq!((tick.symbol.as_str(), tick.kind), ("BTC-BRL", Kind::Trade));
    assert_eq!((tick.price.to_string(), text(tick.quantity)), ("371234.5".to_owned(), "0.25".to_owned()));
    assert_eq!(tick.trade_id.as_deref(), Some("398000001"));
    assert_eq!(tick.event_id, event_id("binance", "aggTrade", "BTCBRL", "398000001"));
    assert!(parsed.consecutive_trades);
}

#[test]
fn a_book_ticker_is_the_exact_middle_at_the_time_of_receipt() {
    for frame in [BOOK.to_owned(), combined("elfbusd@bookTicker", BOOK)] {
        let parsed = read(&frame);
        let tick = only(&parsed);
        assert_eq!((tick.symbol.as_str(), tick.kind), ("ELF-BUSD", Kind::Quote));
        assert_eq!(tick.price.to_string(), "0.352350005");
        assert_eq!((text(tick.bid), text(tick.ask)), ("0.3521".to_owned(), "0.35260001".to_owned()));
        assert_eq!((tick.event_time, tick.event_time_origin), (RECEIVED, EventTimeOrigin::Received));
        assert_eq!((tick.sequence, tick.trade_id.as_deref()), (Some(400_900_217), None));
        assert_eq!(tick.event_id, event_id("binance", "bookTicker", "ELFBUSD", "400900217"));
        assert!(!parsed.consecutive_trades);
    }
    for (from, to, problem) in [
        (r#""b":"0.35210000""#, r#""b":"0.00000000""#, "not_positive b Rejected"),
        (r#""a":"0.35260001","#, "", "missing_field a Rejected"),
        (r#""u":400900217,"#, "", "missing_field u Rejected"),
        (r#""a":"0.35260001""#, r#""a":"0.000000000000000001""#, "too_precise a Rejected"),
    ] {
        let parsed = read(&BOOK.replacen(from, to, 1));
        assert_eq!((codes(&parsed), parsed.ticks.len()), (vec![problem.to_owned()], 0), "{to}");
    }
}

#[test]
fn a_ticker_is_its_last_price_with_the_day_beside_it() {
    let parsed = read(&combined("ethusdt@ticker", DAY));
    let tick = only(&parsed);
    assert_eq!((tick.symbol.as_str(), tick.kind), ("ETH-USDT", Kind::Ticker));
    assert_eq!(tick.price.to_string(), "3117.25");
    assert_eq!((text(tick.bid), text(tick.ask)), ("3117.24".to_owned(), "3117.26".to_owned()));
    assert_eq!((text(tick.volume_24h), text(tick.quote_volume_24h)), ("8913.3".to_owned(), "27653935.15".to_owned()));
    assert_eq!((text(tick.change_24h_pct), text(tick.quantity)), ("-2.427".to_owned(), "none".to_owned()));
    assert_eq!(tick.event_time, 1_772_600_767_125_000);
    assert_eq!(tick.event_id, event_id("binance", "24hrTicker", "ETHUSDT", "1772600767125|3117.25000000"));

    let mini = r#"{"e":"24hrMiniTicker","E":1772600767125,"s":"BNBBTC","c":"0.00890000","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18"}"#;
    let parsed = read(&format!("[{mini},{}]", mini.replace("BNBBTC", "ETHBTC")));
    assert_eq!(parsed.ticks.iter().map(|tick| tick.symbol.as_str()).collect::<Vec<_>>(), ["BNB-BTC", "ETH-BTC"]);
    let tick = &parsed.ticks[0];
    assert_eq!(
        (tick.price.to_string(), text(tick.volume_24h), text(tick.quote_volume_24h)),
        ("0.0089".to_owned(), "10000".to_owned(), "18".to_owned())
    );
    assert_eq!(tick.event_id, event_id("binance", "24hrMiniTicker", "BNBBTC", "1772600767125|0.00890000"));
    let all = read(&combined("!miniTicker@arr", &format!("[{mini},7]")));
    assert_eq!((all.ticks.len(), codes(&all)), (1, vec!["unsupported_shape data[1] Rejected".to_owned()]));
}

#[test]
fn a_ticker_without_a_time_is_of_when_it_came() {
    let parsed = read(&DAY.replace(r#""E":1772600767125,"#, ""));
    let tick = only(&parsed);
    assert_eq!((tick.event_time, tick.event_time_origin), (RECEIVED, EventTimeOrigin::Received));
    let key = format!("received={RECEIVED}|3117.25000000");
    assert_eq!(tick.event_id, event_id("binance", "24hrTicker", "ETHUSDT", &key));
    let micros = read(&DAY.replace("\"E\":1772600767125", "\"E\":177260076712500000"));
    assert_eq!((micros.ticks[0].event_time, codes(&micros)), (RECEIVED, vec!["bad_time E Nulled".to_owned()]));
}

#[test]
fn what_is_wrong_with_a_trade_is_named() {
    let price = r#""p":"67187.30000000""#;
    for (from, to, problem) in [
        (price, r#""p":"0.00000000""#, "not_positive p Rejected"),
        (price, r#""p":"-1""#, "not_positive p Rejected"),
        (price, r#""p":"1e400""#, "too_many_digits p Rejected"),
        (price, r#""p":"NaN""#, "not_a_number p Rejected"),
        (price, r#""p":NaN"#, "not_json  Noted"),
        (price, r#""p":null"#, "null_field p Rejected"),
        (price, r#""p":["1"]"#, "wrong_type p Rejected"),
        (price, r#""p":"1","p":"2""#, "duplicate_key p Rejected"),
        (price, r#""P":"67187.30000000""#, "missing_field p Rejected"),
        (price, r#""p":"0.1234567890123456789""#, "too_precise p Rejected"),
        (r#""t":5729000001,"#, "", "missing_field t Rejected"),
        (r#""t":5729000001"#, r#""t":5.7e9"#, "not_a_number t Rejected"),
        (r#""T":1772600767123"#, r#""T":1772600767"#, "bad_time T Rejected"),
        (r#""T":1772600767123"#, r#""T":"soon""#, "not_a_number T Rejected"),
        (r#""s":"BTCUSDT""#, r#""s":"""#, "missing_field s Rejected"),
        (r#""s":"BTCUSDT""#, r#""s":"btcusdt""#, "unknown_product s Rejected"),
        (r#""s":"BTCUSDT""#, r#""s":"BTCXYZ""#, "unknown_product s Rejected"),
        (r#""s":"BTCUSDT""#, r#""s":"USDT""#, "unknown_product s Rejected"),
        (r#""e":"trade""#, r#""e":1"#, "wrong_type e Rejected"),
        (r#""e":"trade""#, r#""e":"trade","e":"aggTrade""#, "duplicate_key e Rejected"),
    ] {
        let frame = TRADE.replacen(from, to, 1);
        assert_ne!(frame, TRADE);
        let parsed = read(&frame);
        assert!(parsed.ticks.is_empty(), "{frame}");
        assert_eq!(codes(&parsed).first().map(String::as_str), Some(problem), "{frame}");
        let below = read(&combined("btcusdt@trade", &frame));
        assert_eq!((below.ticks.len(), below.problems.len()), (0, parsed.problems.len()), "{frame}");
    }
    let without_size = read(&TRADE.replace("\"0.00150000\"", "\"-4\""));
    assert_eq!((without_size.ticks.len(), codes(&without_size)), (1, vec!["negative q Nulled".to_owned()]));
    let number = read(&TRADE.replace("\"67187.30000000\"", "67187.30000000"));
    assert_eq!((number.ticks.len(), codes(&number)), (1, vec!["unexpected_form p Noted".to_owned()]));
    let timeless = read(&TRADE.replace(r#""T":1772600767123"#, r#""T":null"#));
    assert_eq!((timeless.ticks[0].event_time, codes(&timeless)), (RECEIVED, vec!["missing_field T Noted".to_owned()]));
    let below = read(&combined("btcusdt@trade", &TRADE.replace("67187.30000000", "much")));
    assert_eq!(codes(&below), ["not_a_number data.p Rejected"]);
}

#[test]
fn derivatives_never_pass_as_spot() {
    let spot = r#","M":true"#;
    let futures_ticker = DAY
        .replace(r#""x":"3211.6","#, "")
        .replace(r#""b":"3117.24000000","B":"31","a":"3117.26000000","A":"40","#, "");
    let mini = r#"{"e":"24hrMiniTicker","E":1772600767125,"s":"BTCUSD_200630","ps":"BTCUSD","c":"9","o":"8","h":"9","l":"7","v":"1","q":"1"}"#;
    for frame in [
        TRADE.replace(spot, r#","X":"MARKET""#),
        TRADE.replace(spot, ""),
        TRADE.replace(spot, r#","M":true,"st":1"#),
        TRADE.replace("BTCUSDT", "BTCUSDT_241227"),
        TRADE.replace("BTCUSDT", "BTCUSD_PERP"),
        TRADE.replace("BTCUSDT", "BTCPERP"),
        TRADE.replace("BTCUSDT", "BTC-241227-50000-C"),
        AGGREGATE.replace(spot, ""),
        BOOK.replacen('{', r#"{"e":"bookTicker","T":1772600767123,"E":1772600767125,"#, 1),
        BOOK.replacen('{', r#"{"ps":"BTCUSD","#, 1),
        futures_ticker,
        mini.to_owned(),
        mini.replace(r#""ps":"BTCUSD","#, ""),
    ] {
        for frame in [combined("x@y", &frame), frame] {
            let parsed = read(&frame);
            let [problem] = &codes(&parsed)[..] else { panic!("one problem: {frame}") };
            assert!(problem.starts_with("derivative ") && problem.ends_with(" Rejected"), "{problem} {frame}");
            assert!(parsed.ticks.is_empty() && !parsed.answered, "{frame}");
        }
    }
    let asked = answer(DAY, "wss://fstream.binance.com/ws/ethusdt@ticker");
    assert_eq!((codes(&asked), asked.ticks.len()), (vec!["derivative  Rejected".to_owned()], 0));
}

#[test]
fn acknowledgements_errors_and_notices() {
    for frame in [r#"{"result":null,"id":1}"#, r#"{"result":["btcusdt@trade"],"id":3}"#] {
        let parsed = read(frame);
        assert!(parsed.answered && parsed.problems.is_empty() && parsed.refusal.is_none(), "{frame}");
    }
    let until = 1_772_600_900_000_i64;
    let banned = format!(
        r#"{{"code":-1003,"msg":"Way too much request weight used; IP(203.0.113.9) banned until {until}. Please use WebSocket Streams."}}"#
    );
    let endless = r#"{"code":-1003,"msg":"IP banned until further notice"}"#;
    let is = |refusal: &Refusal| match refusal {
        Refusal::Retry(_) => "retry".to_owned(),
        Refusal::RateLimited(_) => "limited".to_owned(),
        Refusal::Configuration(_) => "configuration".to_owned(),
        Refusal::Exhausted(..) => "exhausted".to_owned(),
        Refusal::Banned(until, _) => format!("banned {until:?}"),
    };
    for (frame, kind) in [
        (r#"{"code":-1121,"msg":"Invalid symbol."}"#, "configuration"),
        (r#"{"code":"-1121","msg":"Invalid symbol."}"#, "configuration"),
        (r#"{"error":{"code":-1100,"msg":"Illegal characters."},"id":1}"#, "configuration"),
        (r#"{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}"#, "configuration"),
        (r#"{"code": 0,"msg":"Service unavailable from a restricted location"}"#, "configuration"),
        (r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}"#, "configuration"),
        (r#"{"code":-1003,"msg":"Too much request weight used; current limit is 6000."}"#, "limited"),
        (r#"{"code":4,"msg":"Too many requests"}"#, "limited"),
        (&banned, "banned Some(1772600900000000)"),
        (endless, "banned None"),
        (r#"{"code":-1001,"msg":"Internal error; unable to process your request."}"#, "retry"),
        (r#"{"error":{"what":1},"id":1}"#, "retry"),
    ] {
        let parsed = read(frame);
        assert_eq!(parsed.refusal.as_ref().map(is).as_deref(), Some(kind), "{frame}");
        assert_eq!((codes(&parsed), parsed.answered), (vec!["error_answer  Rejected".to_owned()], false), "{frame}");
    }
    let event = r#"{"e":"serverShutdown","E":1772600767125}"#;
    for frame in [event.to_owned(), combined("!serverShutdown", event), combined("!serverShutdown", "null")] {
        let parsed = read(&frame);
        assert!(matches!(parsed.wish, Some(Wish::Reconnect(_))), "{frame}");
        assert!(parsed.problems.is_empty() && parsed.refusal.is_none(), "{frame}");
    }
}

#[test]
fn a_summary_that_was_asked_for() {
    let day = r#"{"symbol":"BTCUSDT","priceChange":"-166.8","priceChangePercent":"-2.427","weightedAvgPrice":"6786.6","prevClosePrice":"6872.3","lastPrice":"6705.82000000","lastQty":"0.01","bidPrice":"6705.88000000","bidQty":"0.1","askPrice":"6706.21000000","askQty":"0.2","openPrice":"6872.6","highPrice":"6933","lowPrice":"6680","volume":"57857.49485700","quoteVolume":"392659910.62660750","openTime":1772514367125,"closeTime":1772600767125,"firstId":1,"lastId":2,"count":2}"#;
    let request = "/api/v3/ticker/24hr?symbol=BTCUSDT";
    let parsed = answer(day, request);
    let tick = only(&parsed);
    assert_eq!((tick.kind, tick.price.to_string().as_str()), (Kind::Ticker, "6705.82"));
    assert_eq!((text(tick.bid), text(tick.ask)), ("6705.88".to_owned(), "6706.21".to_owned()));
    assert_eq!(
        (text(tick.volume_24h), text(tick.quote_volume_24h)),
        ("57857.494857".to_owned(), "392659910.6266075".to_owned())
    );
    assert_eq!((text(tick.change_24h_pct), tick.event_time), ("-2.427".to_owned(), 1_772_600_767_125_000));
    assert_eq!(tick.event_id, event_id("binance", "ticker/24hr", "BTCUSDT", "1772600767125|6705.82000000"));

    let all = answer(&format!("[{day},{}]", day.replace("BTCUSDT", "ETHUSDT")), "/api/v3/ticker/24hr");
    assert_eq!((all.ticks.len(), codes(&all).len(), all.ticks[1].symbol.as_str()), (2, 0, "ETH-USDT"));
    let cut = answer(&format!("[{day},{}", &day[..200]), "/api/v3/ticker/24hr");
    assert_eq!((cut.ticks.len(), codes(&cut)), (1, vec!["not_json  Rejected".to_owned()]));
    let cut = answer(&day[..400], request);
    assert_eq!((cut.ticks.len(), codes(&cut)), (0, vec!["not_json  Rejected".to_owned()]));
    let mini = r#"{"symbol":"BNBBTC","openPrice":"1","highPrice":"1","lowPrice":"1","lastPrice":"0.0089","volume":"5","quoteVolume":"0.04","openTime":1772514367125,"closeTime":1772600767125,"firstId":1,"lastId":2,"count":2}"#;
    assert_eq!(only(&answer(mini, "")).symbol, "BNB-BTC");

    let book =
        r#"{"symbol":"BTCUSDT","bidPrice":"6621.55000000","bidQty":"0.1","askPrice":"6622.10000000","askQty":"0.1"}"#;
    let parsed = answer(book, "");
    let tick = only(&parsed);
    assert_eq!((tick.kind, tick.price.to_string().as_str()), (Kind::Quote, "6621.825"));
    assert_eq!((tick.event_time, tick.event_time_origin), (RECEIVED, EventTimeOrigin::Received));
    let key = format!("received={RECEIVED}|6621.55000000|6622.10000000");
    assert_eq!(tick.event_id, event_id("binance", "ticker/bookTicker", "BTCUSDT", &key));

    let price = r#"{"symbol":"USDTBRL","price":"5.43200000"}"#;
    let parsed = answer(price, "");
    let tick = only(&parsed);
    assert_eq!((tick.symbol.as_str(), tick.kind, tick.price.to_string().as_str()), ("USDT-BRL", Kind::Ticker, "5.432"));
    let key = format!("received={RECEIVED}|5.43200000");
    assert_eq!(tick.event_id, event_id("binance", "ticker/price", "USDTBRL", &key));

    for (body, request) in [
        (day.to_owned(), "/fapi/v1/ticker/24hr?symbol=BTCUSDT"),
        (day.replace(r#""prevClosePrice":"6872.3","#, "").replace("bidPrice", "bidP").replace("askPrice", "askP"), ""),
        (book.replace('}', r#","time":1772600767125}"#), ""),
        (price.replace('}', r#","time":1772600767125}"#), ""),
        (price.replace("USDTBRL", "BTCUSD_PERP"), ""),
    ] {
        let parsed = answer(&body, request);
        assert!(parsed.ticks.is_empty(), "{body}");
        assert_eq!(parsed.problems.first().map(|problem| problem.code), Some("derivative"), "{body}");
    }
}

#[test]
fn history_has_the_identities_of_the_stream() {
    let trades = r#"[{"id":5729000001,"price":"67187.30000000","qty":"0.00150000","quoteQty":"100.7","time":1772600767123,"isBuyerMaker":true,"isBestMatch":true},
        {"id":5729000002,"price":"0","qty":"1","quoteQty":"0","time":1772600767124,"isBuyerMaker":true,"isBestMatch":true},
        {"id":5729000003,"price":"67187.4","qty":"1","quoteQty":"0","isBuyerMaker":true,"isBestMatch":true}]"#;
    let parsed = answer(trades, "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=5729000001");
    let told = only(&read(TRADE)).clone();
    let again = PriceTick { payload_id: told.payload_id, ..parsed.ticks[0].clone() };
    assert_eq!((again, parsed.ticks.len(), parsed.consecutive_trades), (told, 1, true));
    // Unlike a trade of now, one of history is not of when it came.
    assert_eq!(codes(&parsed), ["not_positive [1].price Rejected", "missing_field [2].time Rejected"]);

    let aggregate = r#"[{"a":398000001,"p":"371234.50000000","q":"0.25000000","f":640,"l":643,"T":1772600767123,"m":false,"M":true}]"#;
    let parsed = answer(aggregate, "/api/v3/aggTrades?limit=1&symbol=BTCBRL");
    assert_eq!(only(&parsed).event_id, only(&read(AGGREGATE)).event_id);

    assert_eq!(codes(&answer(aggregate, "/api/v3/aggTrades")), ["unknown_product [0] Rejected"]);
    assert_eq!(codes(&answer(aggregate, "/fapi/v1/aggTrades?symbol=BTCBRL")), ["derivative [0] Rejected"]);
    let futures = trades.replace(r#","isBestMatch":true"#, "");
    assert_eq!(codes(&answer(&futures, "/x?symbol=BTCUSDT"))[0], "derivative [0] Rejected");
    let nothing = answer("[]", "/api/v3/aggTrades?symbol=BTCBRL");
    assert_eq!((codes(&nothing), nothing.answered), (vec!["empty_answer  Noted".to_owned()], true));
}

#[test]
fn an_answer_of_the_websocket_api_is_named() {
    let parsed = read(r#"{"id":"a1","status":200,"result":{"symbol":"BNBBTC","price":"0.0136"},"rateLimits":[]}"#);
    assert_eq!((codes(&parsed), parsed.ticks.len()), (vec!["unknown_type result Noted".to_owned()], 0));
}

#[test]
fn what_is_not_read_is_named() {
    let kline = r#"{"e":"kline","E":1772600767125,"s":"OMGBUSD","k":{"t":1,"T":2,"c":"13.8"}}"#;
    for (frame, problem) in [
        (kline, "unknown_type e Noted"),
        (&combined("omgbusd@kline_1m", kline), "unknown_type data.e Noted"),
        (&combined("btcusdt@depth5", r#"{"lastUpdateId":160,"bids":[],"asks":[]}"#), "unknown_type stream Noted"),
        (r#"{"stream":"btcusdt@trade"}"#, "missing_field data Rejected"),
        (r#"{"stream":"btcusdt@trade","data":null}"#, "null_field data Rejected"),
        (r#"{"stream":"btcusdt@trade","data":"x"}"#, "wrong_type data Rejected"),
        (r#"{"stream":"btcusdt@trade","data":1,"data":2}"#, "duplicate_key data Rejected"),
        (r#"{"mins":5,"price":"9.35","closeTime":1772600767125}"#, "unsupported_shape  Rejected"),
        ("{}", "unsupported_shape  Rejected"),
        (r#"[[1772600767125,"0.01"]]"#, "unsupported_shape [0] Rejected"),
        ("7", "unsupported_shape  Rejected"),
        ("", "not_json  Rejected"),
        (" \n", "not_json  Rejected"),
        ("<html><body>502 Bad Gateway</body></html>", "not_json  Rejected"),
        (r#"{"e":"trade","t":1"#, "not_json  Rejected"),
        ("\u{1}\u{2}", "not_json  Rejected"),
    ] {
        let parsed = read(frame);
        assert_eq!(codes(&parsed), [problem], "{frame}");
        assert!(parsed.ticks.is_empty() && !parsed.answered && parsed.refusal.is_none(), "{frame}");
    }
}

#[test]
fn the_problems_of_a_large_answer_are_bounded() {
    let parsed = read(&format!("[{}1]", "1,".repeat(20_000)));
    assert_eq!(parsed.problems.len(), NAMED + 1);
    assert_eq!(parsed.problems[NAMED].detail, format!("and {} more problems", 20_001 - NAMED));
}

proptest! {
    #[test]
    fn mutated_payloads_never_panic(which in 0_usize..5, changes in mutations()) {
        let array = format!("[{DAY}]");
        let payload = mutated([&combined("btcusdt@trade", TRADE), AGGREGATE, BOOK, DAY, &array][which], changes);
        let binance = Binance { symbols: Arc::new(Symbols::built_in()) };
        let parsed = binance.parse(&Payload::new(SOURCE, &payload, RECEIVED, "/api/v3/aggTrades?symbol=BTCUSDT"));
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || parsed.wish.is_some() || !parsed.problems.is_empty());
    }
}
