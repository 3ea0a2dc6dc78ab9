use pipeline::events::event_id;

use super::super::tests::{check, parse};

const USD: &str = "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=1";
const FIRST: &str = "BTC-USD 67000.5 @1700000000000000(SOURCE)";

#[test]
fn points_with_their_volumes_and_caps() {
    check(
        r#"{"prices":[[1700000000000,67000.50],[1700000300123,67001]],
            "market_caps":[[1700000000000,1323456789012.25],[1700000300123,0.0]],
            "total_volumes":[[1700000300123,28000000001.5],[1700000600000,1]]}"#,
        "/api/v3/coins/bitcoin/market_chart/range?vs_currency=brl&from=1700000000&to=1700000600",
        &[
            "BTC-BRL 67000.5 cap=1323456789012.25 @1700000000000000(SOURCE)",
            "BTC-BRL 67001 volume=28000000001.5 @1700000300123000(SOURCE)",
        ],
        &[],
    );
}

#[test]
fn coin_and_currency_stand_in_the_request_only() {
    let body = r#"{"prices":[[1700000000000,67000.50]],"market_caps":[],"total_volumes":[]}"#;
    for request in ["", "/coins/{id}/market_chart", "/coins/bitcoin/market_chart?days=1", "/simple/price?ids=bitcoin"] {
        check(body, request, &[], &["unknown_request prices rejected"]);
    }
    let other = "/coins/link/market_chart?vs_currency=usd";
    check(body, other, &[], &["unknown_id link rejected"]);
    check(r#"{"prices":[],"market_caps":[]}"#, USD, &[], &["empty_answer prices rejected"]);
    check("{}", USD, &[], &["empty_answer  rejected", "not_answered bitcoin rejected"]);
    check("[]", USD, &[], &["unsupported_shape  rejected"]);
}

#[test]
fn the_last_point_is_not_told_twice_and_time_goes_forward() {
    let second = "BTC-USD 67001 @1700000300000000(SOURCE)";
    let first = "[1700000000000,67000.50]";
    for (rest, ticks, problems) in [
        // The price of now again, with an older time.
        (
            "[1700000300000,67001],[1700000290000,67001.0]",
            &[FIRST, second][..],
            &["repeated_point prices[2] noted"][..],
        ),
        // The same point again.
        ("[1700000300000,67001],[1700000300000,67001]", &[FIRST, second], &[]),
        // A newer time with the same price is news: the price is unchanged.
        ("[1700000300000,67000.5]", &[FIRST, "BTC-USD 67000.5 @1700000300000000(SOURCE)"], &[]),
        // Out of order with a price of its own.
        (
            "[1700000300000,67001],[1700000290000,66999]",
            &[FIRST, "BTC-USD 66999 @1700000290000000(SOURCE)", second],
            &[],
        ),
        // Two prices at one time: neither is believed.
        ("[1700000300000,67001],[1700000300000,67002]", &[FIRST], &["duplicate_key prices[1] rejected"]),
    ] {
        check(&format!(r#"{{"prices":[{first},{rest}]}}"#), USD, ticks, problems);
    }
}

#[test]
fn each_bad_point_is_named_and_its_neighbours_are_kept() {
    let last = "BTC-USD 5 @1700000600000000(SOURCE)";
    for (point, problem) in [
        ("[1700000300000,null]", "null_field prices[1][1] rejected"),
        ("[1700000300000,0]", "not_positive prices[1][1] rejected"),
        ("[1700000300000,-1]", "not_positive prices[1][1] rejected"),
        ("[1700000300000,1e400]", "too_many_digits prices[1][1] rejected"),
        ("[1700000300000,0.0000000000000000001]", "too_precise prices[1][1] rejected"),
        ("[1700000300000,\"many\"]", "not_a_number prices[1][1] rejected"),
        ("[1700000300000,[5]]", "wrong_type prices[1][1] rejected"),
        ("[1700000300,5]", "bad_time prices[1][0] rejected"),
        ("[1.7000003e12,5]", "not_a_number prices[1][0] rejected"),
        ("[null,5]", "wrong_type prices[1][0] rejected"),
        ("[1700000300000]", "wrong_type prices[1] rejected"),
        ("[1700000300000,5,6]", "wrong_type prices[1] rejected"),
        ("{}", "wrong_type prices[1] rejected"),
        ("null", "wrong_type prices[1] rejected"),
    ] {
        let body = format!(r#"{{"prices":[[1700000000000,67000.50],{point},[1700000600000,5]]}}"#);
        check(&body, USD, &[FIRST, last], &[problem]);
    }
    check(
        r#"{"prices":[[1700000000000,67000.50]],"market_caps":[[1700000000000,-5]],
            "total_volumes":[[1700000000000,1],[1700000000000,2],[null,3],7,[1700000000000,null]]}"#,
        USD,
        &[FIRST],
        &[
            "duplicate_key total_volumes[1] nulled",
            "wrong_type total_volumes[2][0] nulled",
            "wrong_type total_volumes[3] nulled",
            "negative market_caps[0][1] nulled",
        ],
    );
}

#[test]
fn what_stands_before_the_break_is_read() {
    check(r#"{"prices":[[1700000000000,67000.50],[1700000300000,6"#, USD, &[FIRST], &["not_json  rejected"]);
    check(
        r#"{"prices":[[1700000000000,67000.50]],"market_caps":[[1700000000000,8],[17000"#,
        USD,
        &["BTC-USD 67000.5 cap=8 @1700000000000000(SOURCE)"],
        &["not_json  rejected"],
    );
}

#[test]
fn the_identity_is_the_points_time_and_digits() {
    let parsed = parse(r#"{"prices":[[1700000000000,67000.50]]}"#, USD);
    let expected = event_id("coingecko", "market_chart", "bitcoin/usd", "1700000000000|67000.50");
    assert_eq!(parsed.ticks[0].event_id, expected);
}
