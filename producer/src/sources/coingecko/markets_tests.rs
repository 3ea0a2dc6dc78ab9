use super::super::tests::{check, parse};

const USD: &str = "/api/v3/coins/markets?vs_currency=usd&ids=bitcoin,ethereum";
const ETH: &str =
    r#"{"id":"ethereum","symbol":"eth","current_price":3050.25,"last_updated":"2026-03-04T05:06:07.000Z"}"#;
const ETH_TICK: &str = "ETH-USD 3050.25 @1772600767000000(SOURCE)";

#[test]
fn a_page_of_coins() {
    check(
        r#"[{"id":"bitcoin","symbol":"btc","name":"Bitcoin","current_price":67187.10,"market_cap":1323456789012,
             "market_cap_rank":1,"fully_diluted_valuation":1400000000000,"total_volume":28000000001.5,"high_24h":68000,
             "low_24h":66000,"price_change_24h":-912.5,"price_change_percentage_24h":-1.33875,"roi":null,
             "ath_date":"2025-01-01T00:00:00.000Z","last_updated":"2026-03-04T05:06:07.123Z"},
            {"id":"ethereum","symbol":"eth","current_price":5.617e-05,"market_cap":0.0,"market_cap_rank":null,
             "total_volume":null,"price_change_percentage_24h":null,"last_updated":null}]"#,
        "https://api.coingecko.com/api/v3/coins/markets?ids=bitcoin%2Cethereum&vs_currency=myr",
        &[
            "BTC-MYR 67187.1 volume=28000000001.5 cap=1323456789012 change=-1.33875 @1772600767123000(SOURCE)",
            "ETH-MYR 0.00005617 @1700000000123456(RECEIVED)",
        ],
        &[],
    );
}

#[test]
fn without_the_request_nobody_knows_the_currency() {
    for request in ["", "/api/v3/coins/markets", "/coins/markets?ids=ethereum", "/coins/markets?vs_currency={currency}"]
    {
        check(&format!("[{ETH}]"), request, &[], &["unknown_request  rejected"]);
    }
    check(
        &format!("[{ETH}]"),
        "/api/v3/simple/price?ids=ethereum&vs_currencies=usd",
        &[],
        &["unsupported_shape  rejected"],
    );
}

#[test]
fn each_bad_row_is_named_and_its_neighbours_are_kept() {
    let time = r#""last_updated":"2026-03-04T05:06:07.000Z""#;
    for (bitcoin, problems) in [
        (r#"{"id":"bitcoin","current_price":0}"#, &["not_positive bitcoin.current_price rejected"][..]),
        (r#"{"id":"bitcoin","current_price":-5}"#, &["not_positive bitcoin.current_price rejected"]),
        (r#"{"id":"bitcoin","current_price":null}"#, &["null_field bitcoin.current_price rejected"]),
        (r#"{"id":"bitcoin"}"#, &["missing_field bitcoin.current_price rejected"]),
        (r#"{"id":"bitcoin","current_price":1e400}"#, &["too_many_digits bitcoin.current_price rejected"]),
        (r#"{"id":"bitcoin","current_price":{"usd":1}}"#, &["wrong_type bitcoin.current_price rejected"]),
        (r#"{"id":"bitcoin","current_price":1,"current_price":2}"#, &["duplicate_key bitcoin.current_price rejected"]),
        (r#"{"id":null,"current_price":1}"#, &["null_field [1].id rejected", "not_answered bitcoin rejected"]),
        (r#"{"id":7,"current_price":1}"#, &["wrong_type [1].id rejected", "not_answered bitcoin rejected"]),
        ("null", &["null_field [1] rejected", "not_answered bitcoin rejected"]),
        ("17", &["wrong_type [1] rejected", "not_answered bitcoin rejected"]),
        // An id is a name and no symbol: the coin btc is not Bitcoin, whatever its symbol says.
        (
            r#"{"id":"bitcoin-2","symbol":"btc","current_price":1}"#,
            &["unknown_id bitcoin-2 rejected", "not_answered bitcoin rejected"],
        ),
        (
            r#"{"id":"bitcoin","current_price":1},{"id":"bitcoin","current_price":2}"#,
            &["duplicate_key bitcoin rejected"],
        ),
    ] {
        check(&format!("[{ETH},{bitcoin}]"), USD, &[ETH_TICK], problems);
    }
    check(
        &format!(r#"[{ETH},{{"id":"bitcoin","current_price":NaN}}]"#),
        USD,
        &[ETH_TICK],
        &["not_json  noted", "not_a_number bitcoin.current_price rejected"],
    );
    check(
        &format!(r#"[{ETH},{{"id":"bitcoin","current_price":5,{time}"#),
        USD,
        &[ETH_TICK],
        &["not_json  rejected", "not_answered bitcoin rejected"],
    );
    check(&format!("[{ETH},{ETH}]"), "/coins/markets?vs_currency=usd", &[ETH_TICK], &[]);
    check(
        "[]",
        USD,
        &[],
        &["empty_answer  rejected", "not_answered bitcoin rejected", "not_answered ethereum rejected"],
    );
}

#[test]
fn a_bad_auxiliary_field_costs_only_itself() {
    for (field, problem) in [
        (r#""market_cap":-1"#, "negative ethereum.market_cap nulled"),
        (r#""total_volume":"many""#, "not_a_number ethereum.total_volume nulled"),
        (r#""price_change_percentage_24h":[]"#, "wrong_type ethereum.price_change_percentage_24h nulled"),
    ] {
        let row = ETH.replace(r#""symbol":"eth""#, field);
        check(&format!("[{row}]"), "/coins/markets?vs_currency=usd", &[ETH_TICK], &[problem]);
    }
    for time in [r#""yesterday""#, "1772600767", r#""""#, r#""0001-01-01T00:00:00Z""#, "{}"] {
        let row = ETH.replace(r#""2026-03-04T05:06:07.000Z""#, time);
        check(
            &format!("[{row}]"),
            "/coins/markets?vs_currency=usd",
            &["ETH-USD 3050.25 @1700000000123456(RECEIVED)"],
            &["bad_time ethereum.last_updated nulled"],
        );
    }
}

#[test]
fn the_identity_is_not_that_of_simple_price() {
    let parsed = parse(&format!("[{ETH}]"), USD);
    let expected =
        pipeline::events::event_id("coingecko", "markets", "ethereum/usd", "2026-03-04T05:06:07.000Z|3050.25");
    assert_eq!(parsed.ticks[0].event_id, expected);
    assert_eq!(parsed.ticks[0].source_symbol, "ethereum/usd");
}

#[test]
fn a_list_without_end_is_read_as_far_as_one_of_this_source_goes() {
    let rows = vec!["null"; 50_000].join(",");
    let parsed = parse(&format!("[{ETH},{rows}]"), "/coins/markets?vs_currency=usd");
    assert_eq!(parsed.ticks.len(), 1);
    assert!(parsed.problems.len() <= 10_001, "{}", parsed.problems.len());
    assert_eq!(parsed.problems[0].code, "too_long");
}
