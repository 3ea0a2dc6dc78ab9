//! Real payloads, where the folder of them is there: exact prices, written down from reading the payloads.

use std::path::PathBuf;

use crate::normalizing::{lines, normalize};

fn recorded(name: &str) -> Option<String> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/recorded")).join(name);
    if path.exists() {
        return Some(path.to_str().expect("UTF-8").to_owned());
    }
    eprintln!("SKIP: the recorded payload {name} is not there (../shared/recorded)");
    None
}

fn check(source: &str, request: Option<&str>, name: &str, expected: &[&str]) {
    let Some(path) = recorded(&format!("{source}/{name}")) else { return };
    let mut args = vec!["--source", source];
    args.extend(request.map(|request| ["--request", request]).iter().flatten());
    args.push(&path);
    assert_eq!(lines(&normalize(&args, None)), expected, "{name}");
}

#[test]
fn coingecko() {
    let bitcoin = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd";
    check("coingecko", None, "docs__simple_price_2026-05-18.json", &["BTC-USD 76975"]);
    check("coingecko", Some(bitcoin), "simple_price__btc_usd_2021-05-15.json", &["BTC-USD 49013"]);
    check("coingecko", Some(bitcoin), "simple_price__btc_usd_all_flags_2023-10-25.json", &["BTC-USD 34664"]);
    check("coingecko", None, "simple_price__btc_eth_no_last_updated_2021.json", &["BTC-USD 35674", "ETH-USD 2380.23"]);
    check(
        "coingecko",
        Some(bitcoin),
        "simple_price__unknown_id_silent_miss.json",
        &["empty_answer null", "not_answered null"],
    );
    check("coingecko", None, "error_422__missing_ids.json", &["error_answer null"]);
    check("coingecko", None, "error_429__rate_limit_2022-09-29.json", &["error_answer null"]);
    for other in ["coins_markets__btc_usd_2021-05-15.json", "market_chart__daily.json"] {
        check("coingecko", None, other, &["unsupported_shape null"]);
    }
}

#[test]
fn coinbase() {
    check(
        "coinbase",
        None,
        "advanced_ws__ticker_session_BTC-PERP-INTX_2026-09-05.jsonl",
        &["unsupported_shape 1", "unsupported_shape 2", "unsupported_shape 3", "unsupported_shape 4", "error_answer 5"],
    );
    check("coinbase", None, "advanced_ws_market_trades__constructed.json", &["unsupported_shape null"]);
    check("coinbase", None, "exchange_ws__errors.jsonl", &["error_answer 1", "error_answer 2"]);
    // Two heartbeats of ADA-EUR, six trades apart, and no trade between them.
    check("coinbase", None, "exchange_ws__heartbeats_2021_2022.jsonl", &["trades_missing null"]);
}

#[test]
fn a_recorded_coinbase_session() {
    let name = "coinbase/exchange_ws__session_first_half_2021-04-17.jsonl";
    let Some(path) = recorded(name) else { return };
    let output = normalize(&["--source", "coinbase", &path], None);
    let said = lines(&output);
    let first = [
        "BAND-GBP 14.7775",
        "SKL-GBP 0.5752",
        "BAND-GBP 14.7775",
        "SKL-GBP 0.5752",
        "NU-GBP 0.4394",
        "NU-GBP 0.4394",
        "YFI-BTC 0.82601",
        "YFI-BTC 0.82601",
        "SKL-BTC 0.00001303",
        "CRV-EUR 3.2981",
    ];
    assert_eq!(said[..first.len()], first);
    // 3 acknowledgements; every other frame is a ticker, a last_match or a match of a spot product.
    assert_eq!(said.len(), 108 - 3, "{said:?}");
    assert!(said.contains(&"SKL-USD 0.7916".to_owned()));
    // The ticker and the match of one trade are one event.
    let events: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["tick"].clone())
        .collect();
    let of_trade = |id: &str| -> Vec<_> { events.iter().filter(|tick| tick["trade_id"] == id).collect() };
    let twice = of_trade("1568268");
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0]["event_id"], twice[1]["event_id"]);
    assert_eq!((twice[0]["price"].as_str(), twice[0]["quantity"].as_str()), (Some("0.791"), Some("450")));
    // 2021-04-17T16:43:37.121358Z
    assert_eq!(twice[0]["event_time"], 1_618_677_817_121_358_i64);
}
