use std::sync::Arc;

use pipeline::events::event_id;

use super::super::Coingecko;
use super::super::tests::{RECEIVED, check, parse};
use crate::parse::payload::Payload;
use crate::sources::Source;
use crate::symbols::Symbols;

fn asked(ids: &[&str], currencies: &[&str]) -> String {
    format!("/api/v3/simple/price?ids={}&vs_currencies={}", ids.join(","), currencies.join(","))
}

#[test]
fn a_whole_answer_in_two_currencies() {
    check(
        r#"{"bitcoin":{"usd":67187.3358936566,"usd_market_cap":1323456789012.25,"usd_24h_vol":28000000001.5,
            "usd_24h_change":-1.40932970984414,"brl":366120.57,"brl_market_cap":0.0,"brl_24h_vol":null,
            "last_updated_at":1699999990},
           "shiba-inu":{"usd":5.617e-05,"brl":0.00030,"last_updated_at":1699999991}}"#,
        &asked(&["bitcoin", "shiba-inu"], &["usd", "brl"]),
        &[
            "BTC-USD 67187.3358936566 volume=28000000001.5 cap=1323456789012.25 change=-1.40932970984414 @1699999990000000(SOURCE)",
            "BTC-BRL 366120.57 @1699999990000000(SOURCE)",
            "SHIB-USD 0.00005617 @1699999991000000(SOURCE)",
            "SHIB-BRL 0.0003 @1699999991000000(SOURCE)",
        ],
        &[],
    );
}

#[test]
fn each_bad_row_is_named_and_its_neighbours_are_kept() {
    let good = r#""ethereum":{"usd":7,"last_updated_at":1699999990}"#;
    let eth = "ETH-USD 7 @1699999990000000(SOURCE)";
    let both = asked(&["bitcoin", "ethereum"], &["usd"]);
    for (bitcoin, problem) in [
        (r#"{"usd":0}"#, "not_positive bitcoin.usd rejected"),
        (r#"{"usd":-1.5}"#, "not_positive bitcoin.usd rejected"),
        (r#"{"usd":null}"#, "null_field bitcoin.usd rejected"),
        (r#"{"usd":true}"#, "wrong_type bitcoin.usd rejected"),
        (r#"{"usd":[1]}"#, "wrong_type bitcoin.usd rejected"),
        (r#"{"usd":"1,234.5"}"#, "not_a_number bitcoin.usd rejected"),
        (r#"{"usd":1.0000000000000000001}"#, "too_precise bitcoin.usd rejected"),
        (r#"{"usd":1e300}"#, "too_many_digits bitcoin.usd rejected"),
        (r#"{"usd":1,"usd":2}"#, "duplicate_key bitcoin.usd rejected"),
        (r#"{"usd_market_cap":5}"#, "missing_field bitcoin.usd rejected"),
        ("{}", "missing_field bitcoin.usd rejected"),
        ("null", "null_field bitcoin rejected"),
        ("34664", "wrong_type bitcoin rejected"),
        ("[]", "wrong_type bitcoin rejected"),
    ] {
        check(&format!(r#"{{"bitcoin":{bitcoin},{good}}}"#), &both, &[eth], &[problem]);
        check(&format!(r#"{{{good},"bitcoin":{bitcoin}}}"#), &both, &[eth], &[problem]);
    }
    check(&format!("{{{good}}}"), &both, &[eth], &["not_answered bitcoin rejected"]);
    check(
        &format!(r#"{{"bitcoin":{{"usd":NaN}},{good}}}"#),
        &both,
        &[eth],
        &["not_json  noted", "not_a_number bitcoin.usd rejected"],
    );
    check(
        &format!(r#"{{{good},"bitcoin":{{"us"#),
        &both,
        &[eth],
        &["not_json  rejected", "not_answered bitcoin rejected"],
    );
    check(
        &format!(r#"{{"bitcoin":{{"usd":1}},{good},"bitcoin":{{"usd":2}}}}"#),
        &both,
        &[eth],
        &["duplicate_key bitcoin rejected"],
    );
    check(
        &format!(r#"{{"bitcoinn":{{"usd":1}},{good}}}"#),
        &asked(&["ethereum"], &["usd"]),
        &[eth],
        &["unknown_id bitcoinn rejected"],
    );
}

#[test]
fn a_bad_auxiliary_field_costs_only_itself() {
    let at = "@1699999990000000(SOURCE)";
    let bitcoin = asked(&["bitcoin"], &["usd"]);
    for (field, problem) in [
        (r#""usd_market_cap":1.0000000000000000001"#, "too_precise bitcoin.usd_market_cap nulled"),
        (r#""usd_market_cap":-5"#, "negative bitcoin.usd_market_cap nulled"),
        (r#""usd_24h_vol":"many""#, "not_a_number bitcoin.usd_24h_vol nulled"),
        (r#""usd_24h_vol":{}"#, "wrong_type bitcoin.usd_24h_vol nulled"),
        (r#""usd_24h_change":1,"usd_24h_change":2"#, "duplicate_key bitcoin.usd_24h_change nulled"),
    ] {
        let body = format!(r#"{{"bitcoin":{{"usd":5,{field},"last_updated_at":1699999990}}}}"#);
        check(&body, &bitcoin, &[&format!("BTC-USD 5 {at}")], &[problem]);
    }
    check(
        r#"{"bitcoin":{"usd":"34664.10","last_updated_at":1699999990}}"#,
        &bitcoin,
        &[&format!("BTC-USD 34664.1 {at}")],
        &["unexpected_form bitcoin.usd noted"],
    );
}

#[test]
fn a_time_that_cannot_be_meant_gives_way_to_the_time_of_receipt() {
    let bitcoin = asked(&["bitcoin"], &["usd"]);
    let received = ["BTC-USD 5 @1700000000123456(RECEIVED)"];
    check(r#"{"bitcoin":{"usd":5}}"#, &bitcoin, &received, &[]);
    check(r#"{"bitcoin":{"usd":5,"last_updated_at":null}}"#, &bitcoin, &received, &[]);
    for time in ["1699999990000", "0", "-1", "1.5", "\"soon\"", "[]", "99999999999999999999"] {
        let body = format!(r#"{{"bitcoin":{{"usd":5,"last_updated_at":{time}}}}}"#);
        check(&body, &bitcoin, &received, &["bad_time bitcoin.last_updated_at nulled"]);
    }
}

#[test]
fn the_identity_is_the_sources_time_and_digits_and_nothing_that_may_be_corrected() {
    let bitcoin = asked(&["bitcoin"], &["usd"]);
    let id = |body: &str, received_at: i64| {
        Coingecko { symbols: Arc::new(Symbols::built_in()) }
            .parse(&Payload::new("coingecko", body.as_bytes(), received_at, &bitcoin))
            .ticks[0]
            .event_id
    };
    let told = r#"{"bitcoin":{"usd":5.10,"usd_24h_vol":1,"last_updated_at":1699999990}}"#;
    assert_eq!(id(told, RECEIVED), event_id("coingecko", "simple_price", "bitcoin/usd", "1699999990|5.10"));
    assert_eq!(id(told, RECEIVED), id(told, RECEIVED + 60_000_000), "the same words heard again");
    assert_ne!(id(told, RECEIVED), id(&told.replace("5.10", "5.11"), RECEIVED));
    assert_ne!(id(told, RECEIVED), id(&told.replace("990}", "991}"), RECEIVED));
    let timeless = r#"{"bitcoin":{"usd":5.10}}"#;
    assert_eq!(
        id(timeless, RECEIVED),
        event_id("coingecko", "simple_price", "bitcoin/usd", "received=1700000000123456|5.10")
    );
    assert_ne!(id(timeless, RECEIVED), id(timeless, RECEIVED + 1));
}

#[test]
fn a_recorded_request_says_what_is_missing() {
    let known = "/api/v3/simple/price?ids=bitcoin%2Cethereum&vs_currencies=usd&include_market_cap=true";
    check(
        r#"{"bitcoin":{"usd":5}}"#,
        known,
        &["BTC-USD 5 @1700000000123456(RECEIVED)"],
        &["not_answered ethereum rejected"],
    );
    let unknown = "/simple/price?ids=<unknown>&vs_currencies=<currency>";
    check(
        r#"{"bitcoin":{"usd":5,"usd_24h_vol":2,"eur":4}}"#,
        unknown,
        &["BTC-USD 5 volume=2 @1700000000123456(RECEIVED)", "BTC-EUR 4 @1700000000123456(RECEIVED)"],
        &[],
    );
}

#[test]
fn a_crowd_of_strangers_is_neither_slow_nor_a_crowd_of_problems() {
    let strangers: Vec<String> = (0..200_000).map(|n| format!("\"coin-{n}\":{{\"usd\":1}}")).collect();
    let parsed = parse(&format!("{{{}}}", strangers.join(",")), &asked(&["bitcoin"], &["usd"]));
    assert!(parsed.problems.len() < 30, "{}", parsed.problems.len());
    let currencies: Vec<String> = (0..200_000).map(|n| format!("\"c{n}\":1")).collect();
    check(&format!("{{\"bitcoin\":{{{}}}}}", currencies.join(",")), "", &[], &["too_long bitcoin rejected"]);
}
