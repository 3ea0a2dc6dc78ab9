//! Coinbase's recorded frames, of both feeds.

use super::{check, recorded, said};
use crate::normalizing::normalize;

#[test]
fn advanced_trade() {
    // A perpetual; the second message of the connection was not recorded; a refused subscription.
    check(
        "coinbase",
        None,
        "advanced_ws__ticker_session_BTC-PERP-INTX_2026-09-05.jsonl",
        &[
            "derivative rejected events[0].tickers[0].product_id @1",
            "frames_missing noted @2",
            "error_answer rejected @5",
        ],
    );
    check(
        "coinbase",
        None,
        "advanced_ws__ticker_update_BTC-USD_2026-06-14.json",
        &["BTC-USD 64281.7 TICKER 2026-06-14T05:35:45.435813Z bid=64281.7 ask=64281.71 volume_24h=3974.98800786 \
           change_24h_pct=1.21471769193719"],
    );
    check(
        "coinbase",
        None,
        "advanced_ws_market_trades__constructed.json",
        &[
            "BTC-USD 68900.5 TRADE 2026-04-07T14:30:02.789012Z quantity=0.0015 trade_id=995098700",
            "BTC-USD 68900 TRADE 2026-04-07T14:30:02.800000Z quantity=0.05 trade_id=995098701",
        ],
    );
}

#[test]
fn what_a_subscriber_sent_is_no_answer() {
    let expected = ["unknown_type noted type @1", "unknown_type noted type @2", "unknown_type noted type @3"];
    check("coinbase", None, "exchange_ws__subscribe_requests_2021-04-17.jsonl", &expected);
}

#[test]
fn errors() {
    let expected = ["error_answer rejected @1", "error_answer rejected @2"];
    check("coinbase", None, "exchange_ws__errors.jsonl", &expected);
}

#[test]
fn heartbeats() {
    // Two heartbeats of ADA-EUR, six trades apart, and no trade between them.
    check("coinbase", None, "exchange_ws__heartbeats_2021_2022.jsonl", &["trades_missing noted"]);
}

/// 3 acknowledgements; every other frame is a ticker, a last_match or a match of a spot product.
#[test]
fn a_session_of_the_exchange_feed() {
    let name = "exchange_ws__session_first_half_2021-04-17.jsonl";
    let Some(said) = said("coinbase", None, name) else { return };
    let expected: Vec<&str> = include_str!("coinbase_session.txt").lines().collect();
    assert_eq!(said, expected);
}

#[test]
fn the_ticker_and_the_match_of_one_trade_are_one_event() {
    let name = "coinbase/exchange_ws__session_first_half_2021-04-17.jsonl";
    let Some(path) = recorded(name) else { return };
    let output = normalize(&["--source", "coinbase", &path], None);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let ids: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["tick"].clone())
        .filter(|tick| tick["trade_id"] == "1568268")
        .map(|tick| tick["event_id"].clone())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}
