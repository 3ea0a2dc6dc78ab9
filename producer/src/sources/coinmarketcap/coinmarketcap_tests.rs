use pipeline::events::{EventTimeOrigin, event_id};
use proptest::prelude::*;

use super::asked::quotes_requests;
use super::*;
use crate::sources::mutations::{mutated, mutations};
use crate::sources::{Refusal, Until};

const RECEIVED: i64 = 1_700_000_000_123_456;
const BY_ID: &str = "/v2/cryptocurrency/quotes/latest?id=1,1027&convert=USD";
const BY_SYMBOL: &str = "/v2/cryptocurrency/quotes/latest?symbol=GST&convert=USD";
const QUOTE: &str = r#"{"price":5.10,"last_updated":"2026-03-04T05:06:07.000Z"}"#;
const AT: &str = "@1772600767000000(SOURCE)";

fn parse_bytes(body: &[u8], request: &str) -> Parsed {
    let source = Coinmarketcap { symbols: Arc::new(Symbols::built_in()) };
    source.parse(&Payload::new(SOURCE, body, RECEIVED, request))
}

fn parse(body: &str, request: &str) -> Parsed {
    parse_bytes(body.as_bytes(), request)
}

/// An answer without an error, with this data.
fn answer(data: &str) -> String {
    format!(
        r#"{{"status":{{"timestamp":"2026-03-04T05:06:10.000Z","error_code":0,"error_message":null,"elapsed":9,"credit_count":1}},"data":{data}}}"#
    )
}

fn coin(id: u32, symbol: &str, rank: &str, quotes: &str) -> String {
    format!(
        r#"{{"id":{id},"name":"N","symbol":"{symbol}","slug":"s-{id}","is_active":1,"cmc_rank":{rank},"tags":[{{"slug":"pow"}}],"platform":null,"last_updated":"2026-03-04T05:00:00.000Z","quote":{quotes}}}"#
    )
}

fn usd(id: u32, symbol: &str, rank: &str) -> String {
    coin(id, symbol, rank, &format!(r#"{{"USD":{QUOTE}}}"#))
}

/// Each tick as `symbol price [field=value…] @event_time(origin)`, each problem as `code path effect`.
#[track_caller]
fn check(body: &str, request: &str, ticks: &[&str], problems: &[&str]) {
    let parsed = parse(body, request);
    let start: String = body.chars().take(400).collect();
    assert_eq!(parsed.ticks.iter().map(shown).collect::<Vec<_>>(), ticks, "{start}");
    let name = |problem: &Problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect).to_lowercase();
    assert_eq!(parsed.problems.iter().map(name).collect::<Vec<_>>(), problems, "{start}");
    assert_eq!(parsed.answered, !ticks.is_empty());
}

fn shown(tick: &PriceTick) -> String {
    let mut text = format!("{} {}", tick.symbol, tick.price);
    for (name, value) in [("volume", tick.quote_volume_24h), ("cap", tick.market_cap), ("change", tick.change_24h_pct)]
    {
        if let Some(value) = value {
            text += &format!(" {name}={value}");
        }
    }
    assert_eq!((tick.kind, tick.volume_24h, tick.received_at), (Kind::Reference, None, RECEIVED));
    assert_eq!(tick.event_time_origin == EventTimeOrigin::Received, tick.event_time == RECEIVED);
    text + &format!(" @{}({})", tick.event_time, tick.event_time_origin.as_str())
}

#[test]
fn v1_by_symbol_is_an_object() {
    let quotes = r#"{"BRL":{"price":366120.5700,"volume_24h":140000000001.5,"volume_change_24h":-12.7,"percent_change_24h":-1.4,
        "market_cap":7123456789012.25,"fully_diluted_market_cap":1,"last_updated":"2026-03-04T05:06:07.250Z"}}"#;
    check(
        &answer(&format!(r#"{{"BTC":{}}}"#, coin(1, "BTC", "1", quotes))),
        "/v1/cryptocurrency/quotes/latest?symbol=BTC&convert=BRL",
        &["BTC-BRL 366120.57 volume=140000000001.5 cap=7123456789012.25 change=-1.4 @1772600767250000(SOURCE)"],
        &[],
    );
}

#[test]
fn v2_by_id_is_an_object_an_id_and_v3_is_lists() {
    let (bitcoin, ether) = (usd(1, "BTC", "1"), usd(1027, "ETH", "2"));
    let ticks = [format!("BTC-USD 5.1 {AT}"), format!("ETH-USD 5.1 {AT}")];
    let ticks = [ticks[0].as_str(), ticks[1].as_str()];
    for request in [BY_ID, "", "/v2/cryptocurrency/quotes/latest?id=1%2C1027", "/v2/x?slug=s-1,s-1027"] {
        check(&answer(&format!(r#"{{"1":{bitcoin},"1027":{ether}}}"#)), request, &ticks, &[]);
    }
    let v3 = |id, symbol| {
        let quotes = QUOTE.replace('{', r#"[{"id":2781,"symbol":"USD","#) + "]";
        coin(id, symbol, "1", &quotes)
    };
    check(&answer(&format!("[{},{}]", v3(1, "BTC"), v3(1027, "ETH"))), BY_ID, &ticks, &[]);
    check(&answer(&format!("[{bitcoin},{ether}]")), "/v1/cryptocurrency/listings/latest?limit=2", &ticks, &[]);
}

#[test]
fn a_coin_without_a_line_in_the_table_has_its_own_symbol() {
    let quotes = r#"{"USD":{"price":5.617e-05,"last_updated":"2026-03-04T05:06:07.000Z"}}"#;
    check(
        &answer(&format!(r#"{{"16352":{}}}"#, coin(16352, "GST", "660", quotes))),
        "/v2/cryptocurrency/quotes/latest?id=16352",
        &[&format!("GST-USD 0.00005617 {AT}")],
        &[],
    );
    // But not that of another coin, nor one that is no code.
    for (symbol, id) in [("BTC", 9999), ("btc", 9999), ("$TRUMP", 9999), ("st ETH", 9999)] {
        let path = format!("unknown_id data.{id} rejected");
        check(&answer(&format!(r#"{{"{id}":{}}}"#, usd(id, symbol, "3"))), "", &[], &[&path]);
    }
}

#[test]
fn of_coins_that_share_a_symbol_the_one_in_the_table_is_meant() {
    let request = "/v2/cryptocurrency/quotes/latest?symbol=BTC";
    let tick = format!("BTC-USD 5.1 {AT}");
    for coins in [
        [usd(31469, "BTC", "4000"), usd(1, "BTC", "1"), usd(32295, "BTC", "null")],
        [usd(31469, "BTC", "1"), usd(32295, "BTC", "2"), usd(1, "BTC", "null")],
    ] {
        check(&answer(&format!(r#"{{"BTC":[{}]}}"#, coins.join(","))), request, &[&tick], &[]);
    }
    // Without it none of them is BTC.
    check(
        &answer(&format!(r#"{{"BTC":[{}]}}"#, usd(31469, "BTC", "1"))),
        request,
        &[],
        &["unknown_id data.btc[0] rejected"],
    );
}

#[test]
fn of_coins_that_nobody_knows_the_best_ranked_is_meant_and_never_the_first() {
    let other = |id, rank: &str| usd(id, "GST", rank).replace("5.10", "7");
    let taken = format!("GST-USD 5.1 {AT}");
    let inactive = other(3, "1").replace(r#""is_active":1"#, r#""is_active":0"#);
    for (coins, ticks, problems) in [
        (
            [other(9, "700"), usd(16352, "GST", "660"), other(8, "null")],
            &[&*taken][..],
            &["ambiguous_symbol data.gst[1] noted"][..],
        ),
        // Only one is ranked and traded: there was nothing to choose.
        ([other(9, "null"), usd(16352, "GST", "660"), inactive.clone()], &[&*taken], &[]),
        ([other(9, "null"), inactive, other(8, "null")], &[], &["ambiguous_symbol data.gst[0] rejected"]),
    ] {
        check(&answer(&format!(r#"{{"GST":[{}]}}"#, coins.join(","))), BY_SYMBOL, ticks, problems);
    }
    // Both asked for by id: one symbol cannot be both.
    check(
        &answer(&format!(r#"{{"9":{},"16352":{}}}"#, other(9, "700"), usd(16352, "GST", "660"))),
        "/v2/cryptocurrency/quotes/latest?id=9,16352",
        &[&taken],
        &["ambiguous_symbol data.16352 rejected"],
    );
}

#[test]
fn the_sandbox_gives_no_price_of_what_was_asked() {
    let made_up = |id, symbol| usd(id, symbol, "3").replace("5.10", "0.5");
    for (data, request, problems) in [
        (format!(r#"{{"1":{}}}"#, made_up(8321, "BTC")), "/x?id=1", &["other_coin data.1 rejected"][..]),
        (format!(r#"{{"BTC":{}}}"#, made_up(8321, "BTC")), "/x?symbol=BTC", &["unknown_id data.btc rejected"]),
        (format!(r#"{{"BTC":{}}}"#, made_up(1, "kd8f2")), "/x?symbol=BTC", &["other_coin data.btc rejected"]),
        (format!(r#"{{"BTC":{}}}"#, made_up(8321, "GST")), "", &["other_coin data.btc rejected"]),
        (
            format!(r#"{{"8321":{}}}"#, made_up(8321, "GST")),
            "/x?id=1",
            &["unknown_id data.8321 rejected", "not_answered 1 rejected"],
        ),
        (
            format!("[{}]", made_up(8321, "GST")),
            "/x?symbol=BTC",
            &["unknown_id data[0] rejected", "not_answered btc rejected"],
        ),
    ] {
        check(&answer(&data), request, &[], problems);
    }
}

#[test]
fn what_was_asked_and_not_answered_is_named() {
    let tick = format!("BTC-USD 5.1 {AT}");
    check(&answer(&format!(r#"{{"1":{}}}"#, usd(1, "BTC", "1"))), BY_ID, &[&tick], &["not_answered 1027 rejected"]);
    check(
        &answer(&format!(r#"{{"1":{}}}"#, usd(1, "BTC", "1"))),
        "/v2/cryptocurrency/quotes/latest?id=1&convert=BRL",
        &[],
        &["unknown_product data.1.quote.usd rejected", "not_answered 1/brl rejected"],
    );
    check(&answer(r#"{"GST":[]}"#), BY_SYMBOL, &[], &["empty_answer data rejected", "not_answered gst rejected"]);
    check(&answer("{}"), BY_SYMBOL, &[], &["empty_answer data rejected", "not_answered gst rejected"]);
    check(&answer("[]"), "", &[], &["empty_answer data rejected"]);
    let by_number = coin(1, "BTC", "1", &format!(r#"{{"2781":{QUOTE}}}"#));
    check(
        &answer(&format!(r#"{{"1":{by_number}}}"#)),
        "/x?id=1&convert_id=2781",
        &[],
        &["unknown_product data.1.quote.2781 rejected"],
    );
}

#[test]
fn the_quotes_time_is_the_events_and_the_coins_only_where_it_has_none() {
    for (quote, tick, problems) in [
        (r#"{"price":5,"last_updated":"2026-03-04T05:06:07.000Z"}"#, format!("BTC-USD 5 {AT}"), &[][..]),
        (r#"{"price":5}"#, "BTC-USD 5 @1772600400000000(SOURCE)".to_owned(), &[]),
        (r#"{"price":5,"last_updated":null}"#, "BTC-USD 5 @1772600400000000(SOURCE)".to_owned(), &[]),
        (
            r#"{"price":5,"last_updated":"today"}"#,
            format!("BTC-USD 5 @{RECEIVED}(RECEIVED)"),
            &["bad_time data.1.quote.usd.last_updated nulled"],
        ),
    ] {
        let body = answer(&format!(r#"{{"1":{}}}"#, coin(1, "BTC", "1", &format!(r#"{{"USD":{quote}}}"#))));
        check(&body, "", &[&tick], problems);
    }
    let timeless = answer(r#"{"1":{"id":1,"symbol":"BTC","quote":{"USD":{"price":5}}}}"#);
    check(&timeless, "", &[&format!("BTC-USD 5 @{RECEIVED}(RECEIVED)")], &[]);
}

#[test]
fn each_bad_row_is_named_and_its_neighbours_are_kept() {
    let ether = usd(1027, "ETH", "2");
    let tick = format!("ETH-USD 5.1 {AT}");
    let quoted = |quote: &str| coin(1, "BTC", "1", &format!(r#"{{"USD":{quote}}}"#));
    for (bitcoin, problem) in [
        (quoted(r#"{"price":null}"#), "null_field data.1.quote.usd.price rejected"),
        (quoted(r#"{"price":0}"#), "not_positive data.1.quote.usd.price rejected"),
        (quoted(r#"{"price":-3}"#), "not_positive data.1.quote.usd.price rejected"),
        (quoted(r#"{"price":1e400}"#), "too_many_digits data.1.quote.usd.price rejected"),
        (quoted(r#"{"price":1.0123456789012345e-05}"#), "too_precise data.1.quote.usd.price rejected"),
        (quoted(r#"{"price":"much"}"#), "not_a_number data.1.quote.usd.price rejected"),
        (quoted(r#"{"price":[1]}"#), "wrong_type data.1.quote.usd.price rejected"),
        (quoted(r#"{"price":1,"price":2}"#), "duplicate_key data.1.quote.usd.price rejected"),
        (quoted("{}"), "missing_field data.1.quote.usd.price rejected"),
        (quoted("null"), "null_field data.1.quote.usd rejected"),
        (quoted("5"), "wrong_type data.1.quote.usd rejected"),
        (quoted(&format!(r#"{QUOTE},"USD":{{"price":6}}"#)), "duplicate_key data.1.quote.usd rejected"),
        (coin(1, "BTC", "1", "null"), "null_field data.1.quote rejected"),
        (coin(1, "BTC", "1", "7"), "wrong_type data.1.quote rejected"),
        (
            coin(1, "BTC", "1", r#"[{"symbol":"USD","price":5},{"symbol":"USD","price":6}]"#),
            "duplicate_key data.1.quote[1] rejected",
        ),
        (coin(1, "BTC", "1", r#"[{"price":5}]"#), "missing_field data.1.quote[0].symbol rejected"),
        (r#"{"id":1,"symbol":"BTC"}"#.to_owned(), "missing_field data.1.quote rejected"),
        (r#"{"id":null,"symbol":"BTC"}"#.to_owned(), "null_field data.1.id rejected"),
        (r#"{"id":1.0,"symbol":"BTC"}"#.to_owned(), "not_a_number data.1.id rejected"),
        (r#"{"id":1}"#.to_owned(), "missing_field data.1.symbol rejected"),
        ("null".to_owned(), "null_field data.1 rejected"),
        ("5".to_owned(), "wrong_type data.1 rejected"),
        (format!(r#"{},"1":{{}}"#, usd(1, "BTC", "1")), "duplicate_key data.1 rejected"),
    ] {
        let request = "/v2/cryptocurrency/quotes/latest?id=1,1027";
        check(&answer(&format!(r#"{{"1":{bitcoin},"1027":{ether}}}"#)), request, &[&tick], &[problem]);
        check(&answer(&format!(r#"{{"1027":{ether},"1":{bitcoin}}}"#)), request, &[&tick], &[problem]);
    }
    check(
        &answer(&format!(r#"{{"1":{},"1027":{ether}}}"#, quoted(r#"{"price":NaN}"#))),
        BY_ID,
        &[&tick],
        &["not_json  noted", "not_a_number data.1.quote.usd.price rejected"],
    );
    let whole = answer(&format!(r#"{{"1027":{ether},"1":{}}}"#, usd(1, "BTC", "1")));
    check(&whole[..whole.len() - 60], BY_ID, &[&tick], &["not_json  rejected", "not_answered 1 rejected"]);
}

#[test]
fn a_bad_auxiliary_field_costs_only_itself() {
    let tick = format!("BTC-USD 5.1 {AT}");
    for (field, problems) in [
        (r#""market_cap":0"#, &[][..]),
        (r#""market_cap":null,"volume_24h":null"#, &[]),
        (r#""self_reported_market_cap":9"#, &[]),
        (r#""market_cap":-1"#, &["negative data.1.quote.usd.market_cap nulled"]),
        (r#""volume_24h":"lots""#, &["not_a_number data.1.quote.usd.volume_24h nulled"]),
        (r#""percent_change_24h":{}"#, &["wrong_type data.1.quote.usd.percent_change_24h nulled"]),
    ] {
        let quote = QUOTE.replace(r#""price":5.10"#, &format!(r#""price":5.10,{field}"#));
        let body = answer(&format!(r#"{{"1":{}}}"#, coin(1, "BTC", "1", &format!(r#"{{"USD":{quote}}}"#))));
        check(&body, "", &[&tick], problems);
    }
    let unranked = usd(1, "BTC", "\"first\"");
    check(&answer(&format!(r#"{{"1":{unranked}}}"#)), "", &[&tick], &["not_a_number data.1.cmc_rank nulled"]);
}

#[test]
fn the_status_is_read_whatever_http_said() {
    type Kind = fn(String) -> Refusal;
    let kinds: [(&str, Kind); 14] = [
        ("1001", Refusal::Configuration),
        ("1002", Refusal::Configuration),
        ("1003", Refusal::Configuration),
        ("1004", Refusal::Configuration),
        ("1005", Refusal::Configuration),
        ("1006", Refusal::Configuration),
        ("1007", Refusal::Configuration),
        ("400", Refusal::Configuration),
        ("1008", Refusal::RateLimited),
        ("1011", Refusal::RateLimited),
        ("1009", |detail| Refusal::Exhausted(Until::NextDay, detail)),
        ("1010", |detail| Refusal::Exhausted(Until::NextMonth, detail)),
        ("500", Refusal::Retry),
        ("777", Refusal::Retry),
    ];
    for (code, kind) in kinds {
        for code in [code.to_owned(), format!("\"{code}\"")] {
            let body = format!(
                r#"{{"status":{{"error_code":{code},"error_message":"said so","credit_count":0}},"data":{{"1":{}}}}}"#,
                usd(1, "BTC", "1")
            );
            check(&body, BY_ID, &[], &["error_answer status rejected"]);
            let parsed = parse(&body, BY_ID);
            let refusal = parsed.refusal.expect(&body);
            assert!(refusal.detail().contains("said so"), "{refusal:?}");
            assert_eq!(refusal, kind(refusal.detail().to_owned()));
            assert_eq!(parsed.spent, Some(0));
        }
    }
    let data = format!(r#"{{"1":{}}}"#, usd(1, "BTC", "1"));
    for status in
        [r#"{"error_code":"0","credit_count":"3"}"#, r#"{"error_code":null,"credit_count":3}"#, r#"{"credit_count":3}"#]
    {
        let parsed = parse(&format!(r#"{{"status":{status},"data":{data}}}"#), "");
        assert_eq!((parsed.ticks.len(), parsed.spent, parsed.refusal), (1, Some(3), None), "{status}");
    }
    for (status, spent) in [(r#"{"credit_count":-3}"#, None), (r#"{"credit_count":1e3}"#, None), ("7", None)] {
        assert_eq!(parse(&format!(r#"{{"status":{status},"data":{data}}}"#), "").spent, spent, "{status}");
    }
    for status in [r#"{"error_code":[1]}"#, r#"{"error_code":0,"error_code":1008}"#] {
        let parsed = parse(&format!(r#"{{"status":{status},"data":{data}}}"#), "");
        assert!(matches!(parsed.refusal, Some(Refusal::Retry(_))) && parsed.ticks.is_empty(), "{status}");
    }
    let gateway = parse(r#"{"statusCode":401,"error":"Unauthorized","message":"no"}"#, "");
    assert!(matches!(gateway.refusal, Some(Refusal::Configuration(_))));
}

#[test]
fn answers_without_coins_are_named_for_what_they_are() {
    let asked = "not_answered 1 rejected";
    for (body, problems) in [
        ("", &["not_json  rejected"][..]),
        ("<html><body>502 Bad Gateway</body></html>", &["not_json  rejected"]),
        ("[]", &["unsupported_shape  rejected"]),
        ("null", &["unsupported_shape  rejected"]),
        ("{}", &["missing_field data rejected"]),
        (r#"{"status":{"error_code":0},"data":null}"#, &["null_field data rejected"]),
        (r#"{"status":{"error_code":0},"data":"none"}"#, &["wrong_type data rejected"]),
        (
            r#"{"data":{"id":1,"symbol":"BTC","amount":50,"quote":{"USD":{"price":3359365}}}}"#,
            &["unsupported_shape data rejected"],
        ),
        (
            r#"{"data":{"id":1,"symbol":"BTC","quotes":[{"quote":{"USD":{"price":5}}}]}}"#,
            &["unsupported_shape data rejected"],
        ),
        (r#"{"data":{},"data":[]}"#, &["duplicate_key data rejected"]),
        (r#"{"status":{"error_code":0},"da"#, &["not_json  rejected", asked]),
        (
            r#"{"status":{"error_code":0},"data":{"1":{"id":1,"quote":{"USD":{"price":12"#,
            &["not_json  rejected", asked],
        ),
    ] {
        check(body, "/x?id=1", &[], problems);
        assert_eq!(parse(body, "/x?id=1").refusal, None, "{body}");
    }
}

#[test]
fn the_identity_is_the_quotes_time_and_digits() {
    let body = answer(&format!(r#"{{"1":{}}}"#, usd(1, "BTC", "1")));
    let tick = &parse(&body, BY_ID).ticks[0];
    assert_eq!(tick.event_id, event_id("coinmarketcap", "quotes", "1/USD", "2026-03-04T05:06:07.000Z|5.10"));
    assert_eq!(tick.source_symbol, "1/USD");
}

#[test]
fn a_list_without_end_is_read_as_far_as_one_of_this_source_goes() {
    let rows = vec!["{}"; 200_000].join(",");
    let parsed = parse(&answer(&format!("[{},{rows}]", usd(1, "BTC", "1"))), "");
    assert_eq!(parsed.ticks.len(), 1);
    assert!(parsed.problems.len() < 20_010, "{}", parsed.problems.len());
    let keys: Vec<String> = (0..200_000).map(|n| format!("\"{n}\":{{}}")).collect();
    check(&answer(&format!("{{{}}}", keys.join(","))), "", &[], &["too_long data rejected"]);
}

#[test]
fn what_is_asked_is_a_currency_and_a_credit_a_call() {
    assert_eq!(
        quotes_requests(&["1/USD", "1027/USD", "1/BRL", "1/USD"]),
        ["/v2/cryptocurrency/quotes/latest?id=1,1027&convert=USD", "/v2/cryptocurrency/quotes/latest?id=1&convert=BRL"]
    );
    let names: Vec<String> = (1..=150).map(|id| format!("{id}/USD")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let requests = quotes_requests(&names);
    assert_eq!(requests.iter().map(|request| Asked::of(request).ids.len()).collect::<Vec<_>>(), [100, 50]);
    assert!(requests.iter().all(|request| !request.contains(' ')));
}

proptest! {
    /// Whatever happens to an answer's bytes, the parser returns, and a price that it gives is positive.
    #[test]
    fn mutated_answers_never_panic(
        list in any::<bool>(),
        mutations in mutations(),
    ) {
        let coins = [usd(9, "GST", "7"), usd(1, "BTC", "1"), usd(16352, "GST", "660")];
        let data = if list {
            format!(r#"{{"BTC":[{}],"GST":[{},{}]}}"#, coins[1], coins[0], coins[2])
        } else {
            format!(r#"{{"9":{},"1":{},"16352":{}}}"#, coins[0], coins[1], coins[2])
        };
        let body = mutated(&answer(&data), mutations);
        for request in ["", BY_ID, BY_SYMBOL, "/v3/cryptocurrency/quotes/latest?symbol=BTC,GST&convert=BRL"] {
            for tick in parse_bytes(&body, request).ticks {
                prop_assert!(!tick.price.is_zero() && !tick.price.is_negative());
            }
        }
    }
}
