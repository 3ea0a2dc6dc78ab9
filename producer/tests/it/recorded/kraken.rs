//! Kraken's recorded frames and bodies.

use super::check;

#[test]
fn tickers() {
    // The exchange's status, an acknowledgement and a heartbeat say nothing of prices; one symbol of two is refused.
    check(
        "kraken",
        None,
        "v2_ws__ticker_session_USDT-USD_2026-09-24.jsonl",
        &[
            "not_answered rejected NOPE/USD @3",
            "USDT-USD 0.99981 TICKER 2026-09-24T03:54:18.054886Z bid=0.9998 ask=0.99981 volume_24h=270638277.50461281 \
             change_24h_pct=0.01",
        ],
    );
    check(
        "kraken",
        None,
        "v2_ws_ticker_snapshot__nautilus_constructed.json",
        &["BTC-USD 105899.4 TICKER 2022-12-25T09:30:59.123456Z bid=105944.2 ask=105944.3 volume_24h=163.28908096 \
           change_24h_pct=0.24"],
    );
}

#[test]
fn trades() {
    check(
        "kraken",
        None,
        "v2_ws_trade_update__nautilus_constructed.json",
        &[
            "BTC-USD 105944.2 TRADE 2023-10-06T17:35:55.440295Z quantity=0.00027625 trade_id=10218208",
            "BTC-USD 105910.5 TRADE 2023-10-06T17:35:56.123456Z quantity=0.0001246 trade_id=10218209",
        ],
    );
}

#[test]
fn what_says_nothing_of_prices() {
    check("kraken", None, "v2_ws_pong__docs.json", &[]);
    check("kraken", None, "v2_ws_subscribe_ack__docs.json", &[]);
}

#[test]
fn a_rest_ticker() {
    let line = "BTC-USDT 105899.4 TICKER received bid=105944.2 ask=105944.3 volume_24h=163.28908096";
    check("kraken", None, "rest_ticker__XBTUSDT.json", &[line]);
    check("kraken", Some("/0/public/Ticker?pair=XBTUSDT"), "rest_ticker__XBTUSDT.json", &[line]);
    let asked = Some("/0/public/Ticker?pair=XBTUSDT,ETHUSDT");
    check("kraken", asked, "rest_ticker__XBTUSDT.json", &[line, "not_answered rejected ETHUSDT"]);
}
