use pipeline::events::EventTimeOrigin;
use proptest::prelude::*;

use super::asked::{market_chart_request, markets_requests, simple_price_requests};
use super::*;
use crate::sources::Refusal;
use crate::sources::mutations::{mutated, mutations};

pub(super) const RECEIVED: i64 = 1_700_000_000_123_456;

pub(super) fn parse(body: &str, request: &str) -> Parsed {
    parse_bytes(body.as_bytes(), request)
}

fn parse_bytes(body: &[u8], request: &str) -> Parsed {
    let source = Coingecko { symbols: Arc::new(Symbols::built_in()) };
    source.parse(&Payload::new(SOURCE, body, RECEIVED, request))
}

/// Each tick as `symbol price [field=value…] @event_time(origin)`, each problem as `code path effect`.
#[track_caller]
pub(super) fn check(body: &str, request: &str, ticks: &[&str], problems: &[&str]) {
    let parsed = parse(body, request);
    let shown: Vec<String> = parsed.ticks.iter().map(shown).collect();
    let start: String = body.chars().take(300).collect();
    assert_eq!(shown, ticks, "{start}");
    assert_eq!(named(&parsed), problems, "{start}");
    assert_eq!(parsed.answered, !ticks.is_empty());
}

fn named(parsed: &Parsed) -> Vec<String> {
    let name = |problem: &Problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect).to_lowercase();
    parsed.problems.iter().map(name).collect()
}

fn shown(tick: &PriceTick) -> String {
    let mut text = format!("{} {}", tick.symbol, tick.price);
    for (name, value) in [("volume", tick.quote_volume_24h), ("cap", tick.market_cap), ("change", tick.change_24h_pct)]
    {
        if let Some(value) = value {
            text += &format!(" {name}={value}");
        }
    }
    assert_eq!((tick.kind.as_str(), tick.volume_24h, tick.received_at), ("REFERENCE", None, RECEIVED));
    assert_eq!(tick.event_time_origin == EventTimeOrigin::Received, tick.event_time == RECEIVED);
    text + &format!(" @{}({})", tick.event_time, tick.event_time_origin.as_str())
}

#[test]
fn answers_without_prices_are_named_for_what_they_are() {
    let bitcoin = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd";
    for (body, problems) in [
        ("", &["not_json  rejected"][..]),
        (" \n", &["not_json  rejected"]),
        ("<!DOCTYPE html><html><body>Just a moment...", &["not_json  rejected"]),
        ("error code: 1020", &["not_json  rejected"]),
        ("{}", &["empty_answer  rejected", "not_answered bitcoin rejected"]),
        ("{", &["not_json  rejected", "not_answered bitcoin rejected"]),
        ("[]", &["unsupported_shape  rejected"]),
        ("null", &["unsupported_shape  rejected"]),
        (r#""ok""#, &["unsupported_shape  rejected"]),
        ("7", &["unsupported_shape  rejected"]),
    ] {
        check(body, bitcoin, &[], problems);
        assert_eq!(parse(body, bitcoin).refusal, None, "{body}");
    }
    check("[]", "", &[], &["empty_answer  rejected"]);
    check("{}", "", &[], &["empty_answer  rejected"]);
    // The coin's own page, and what no endpoint that is read answers.
    let page = r#"{"id":"bitcoin","symbol":"btc","market_data":{"current_price":{"usd":5}}}"#;
    for request in ["", "/api/v3/coins/bitcoin", "/api/v3/coins/markets?vs_currency=usd"] {
        check(page, request, &[], &["unsupported_shape  rejected"]);
    }
    check("[[1,2,3,4,5]]", "/api/v3/coins/bitcoin/ohlc?vs_currency=usd", &[], &["unsupported_shape  rejected"]);
    check("[[1,2,3,4,5]]", "", &[], &["unsupported_shape  rejected"]);
    // Asked by symbol the keys are symbols, and a coin's id may be another coin's symbol.
    let by_symbol = "/api/v3/simple/price?symbols=near&vs_currencies=usd";
    check(r#"{"near":{"usd":5}}"#, by_symbol, &[], &["unsupported_shape  rejected"]);
}

#[test]
fn a_refusal_says_what_is_to_be_done() {
    let limited: fn(String) -> Refusal = Refusal::RateLimited;
    for (body, kind) in [
        (r#"{"status":{"error_code":429,"error_message":"slow down"}}"#, limited),
        (r#"{"status":{"error_code":"429","error_message":"slow down"}}"#, limited),
        (r#"{"error":{"status":{"error_code":429,"error_message":"slow down"}}}"#, limited),
        (r#"{"error":"Throttled"}"#, limited),
        (r#"{"error":"coin not found"}"#, Refusal::Configuration),
        (r#"{"error":"Missing parameter vs_currency"}"#, Refusal::Configuration),
        (r#"{"error":"invalid vs_currency"}"#, Refusal::Configuration),
        (r#"{"error":{"status":{"error_code":10002,"error_message":"API Key Missing"}}}"#, Refusal::Configuration),
        (r#"{"status":{"error_code":10005,"error_message":"not your plan"}}"#, Refusal::Configuration),
        (r#"{"status":{"error_code":10010,"error_message":"wrong host"}}"#, Refusal::Configuration),
        (r#"{"status":{"error_code":10011,"error_message":"wrong host"}}"#, Refusal::Configuration),
        (r#"{"status":{"error_code":1020,"error_message":"Access Denied"}}"#, Refusal::Retry),
        (r#"{"status":{"error_code":503}}"#, Refusal::Retry),
        (r#"{"timestamp":"2026-03-04T05:06:07.000Z","error":"Internal Server Error","path":"/"}"#, Refusal::Retry),
        (r#"{"error":{"code":7}}"#, Refusal::Retry),
    ] {
        for request in [
            "",
            "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd",
            "/api/v3/coins/markets?vs_currency=usd&ids=bitcoin",
            "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=1",
            "/api/v3/coins/ethereum",
        ] {
            check(body, request, &[], &["error_answer  rejected"]);
            let refusal = parse(body, request).refusal.expect(body);
            assert_eq!(refusal, kind(refusal.detail().to_owned()), "{body}");
        }
    }
    assert_eq!(parse(r#"{"status":{"error_code":0}}"#, "").refusal, None);
    // `status` is a coin as well.
    let status = "/api/v3/simple/price?ids=status&vs_currencies=usd";
    check(r#"{"status":{"usd":0.03}}"#, status, &[], &["unknown_id status rejected"]);
}

#[test]
fn a_request_is_read_however_it_was_kept() {
    for request in [
        "/api/v3/coins/markets?vs_currency=usd&ids=bitcoin%2Cethereum&precision=full",
        "https://api.coingecko.com/api/v3/coins/markets?ids=bitcoin,%20ethereum&vs_currency=USD",
        "coins/markets?ids=bitcoin,+Ethereum,&vs_currency=usd",
    ] {
        let asked = Asked::of(request);
        assert_eq!(asked.endpoint, Endpoint::Markets, "{request}");
        assert_eq!((asked.ids, asked.currencies), (vec!["bitcoin".into(), "ethereum".into()], vec!["usd".into()]));
    }
    let chart = Asked::of("/coins/bitcoin/market_chart/range?vs_currency=brl&from=1&to=2");
    assert_eq!((chart.endpoint, chart.ids), (Endpoint::MarketChart, vec!["bitcoin".into()]));
    let template = Asked::of("/coins/{id}/market_chart");
    assert_eq!((template.ids.len(), template.currencies.len()), (0, 0));
    assert_eq!(Asked::of("").endpoint, Endpoint::Unknown);
    assert_eq!(Asked::of("/api/v3/ping").endpoint, Endpoint::Other);
}

#[test]
fn what_is_asked_has_no_space_and_is_read_back() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let asked = |requests: &[String]| -> Vec<(Vec<String>, Vec<String>)> {
        let read = requests.iter().map(|request| Asked::of(request));
        read.map(|asked| (asked.ids, asked.currencies)).collect()
    };
    let grid = simple_price_requests(&["bitcoin/usd", "ethereum/usd", "ethereum/brl", "bitcoin/brl", "bitcoin/brl"]);
    assert_eq!(asked(&grid), [(list(&["bitcoin", "ethereum"]), list(&["usd", "brl"]))]);
    // What nobody wants, such as bitcoin in bitcoin, is not asked for.
    let names = ["bitcoin/usd", "ethereum/usd", "ethereum/btc"];
    let each = [(list(&["bitcoin", "ethereum"]), list(&["usd"])), (list(&["ethereum"]), list(&["btc"]))];
    let prices = simple_price_requests(&names);
    let markets = markets_requests(&names);
    assert_eq!((asked(&prices), asked(&markets)), (each.to_vec(), each.to_vec()));
    assert_eq!(Asked::of(&prices[0]).endpoint, Endpoint::SimplePrice);
    assert_eq!(Asked::of(&markets[0]).endpoint, Endpoint::Markets);

    let chart = market_chart_request("bitcoin/usd", 1_700_000_000_500_000, 1_700_000_600_500_000).expect("a name");
    assert!(chart.starts_with("/api/v3/coins/bitcoin/market_chart/range?vs_currency=usd&"), "{chart}");
    assert!(chart.contains("&from=1700000000&to=1700000601&"), "{chart}");
    assert_eq!(market_chart_request("bitcoin", 0, 1), None);
    for request in [grid, prices, markets, vec![chart]].concat() {
        assert!(!request.contains(' ') && request.contains("precision=full"), "{request}");
    }
}

proptest! {
    /// Whatever happens to an answer's bytes, the parser returns, and a price that it gives is positive.
    #[test]
    fn mutated_answers_never_panic(
        of in 0_usize..4,
        mutations in mutations(),
    ) {
        let body = [
            r#"{"bitcoin":{"usd":67187.3358936566,"usd_market_cap":1323456789012.25,"usd_24h_change":-1.4e-2,"last_updated_at":1699999990},"ethereum":{"usd":"7","brl":NaN}}"#,
            r#"[{"id":"bitcoin","current_price":67187.33,"market_cap":0,"total_volume":null,"last_updated":"2026-03-04T05:06:07.123Z"},{"id":"ethereum","current_price":1e-05}]"#,
            r#"{"prices":[[1700000000000,67187.3],[1700000300000,67190],[1700000290000,67190]],"market_caps":[[1700000000000,1.5]],"total_volumes":[[1700000000000,2]]}"#,
            r#"{"status":{"error_code":429,"error_message":"slow down"},"error":"coin not found"}"#,
        ][of];
        let body = mutated(body, mutations);
        for request in [
            "",
            "/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd,brl",
            "/api/v3/coins/markets?vs_currency=usd",
            "/api/v3/coins/bitcoin/market_chart?vs_currency=usd",
        ] {
            for tick in parse_bytes(&body, request).ticks {
                prop_assert!(!tick.price.is_zero() && !tick.price.is_negative());
            }
        }
    }
}
