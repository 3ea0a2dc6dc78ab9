//! Binance's recorded frames and answers.

use super::{check, said};

fn one(request: Option<&str>, name: &str, expected: &str) {
    check("binance", request, name, &[expected]);
}

#[test]
fn summaries_of_a_day() {
    one(
        None,
        "docs__ws_24hrMiniTicker.json",
        "BNB-BTC 0.0025 TICKER 2022-12-31T19:43:02.136000Z volume_24h=10000 quote_volume_24h=18",
    );
    one(
        Some("/stream?streams=btcusdt@ticker"),
        "ws_combined_24hrTicker__BTCUSDT_2020-01-28.json",
        "BTC-USDT 9338.96 TICKER 2020-01-28T23:40:09.477000Z bid=9338.03 ask=9339.7 volume_24h=72229.53692 \
         quote_volume_24h=654275356.16896672 change_24h_pct=4.72",
    );
    one(
        Some("/api/v3/ticker/24hr?symbol=BTCUSDT"),
        "rest_24hr__BTCUSDT_2020-04-15.json",
        "BTC-USDT 6705.82 TICKER 2020-04-15T22:54:38.494000Z bid=6705.88 ask=6706.21 volume_24h=57857.494857 \
         quote_volume_24h=392659910.6266075 change_24h_pct=-2.427",
    );
    one(
        Some("/api/v3/ticker/24hr?symbol=ETHBTC"),
        "rest_24hr__ETHBTC_2021-01-27.json",
        "ETH-BTC 0.041034 TICKER 2021-01-27T02:43:24.283000Z bid=0.041033 ask=0.041034 volume_24h=410969.512 \
         quote_volume_24h=16980.13811233 change_24h_pct=-1.757",
    );
}

#[test]
fn answers_without_a_time() {
    one(
        Some("/api/v3/ticker/bookTicker?symbol=BTCUSDT"),
        "rest_bookTicker__BTCUSDT_2020.json",
        "BTC-USDT 6621.825 QUOTE received bid=6621.55 ask=6622.1",
    );
    one(
        Some("/api/v3/ticker/price?symbol=BTCUSDT"),
        "rest_price__BTCUSDT_2020.json",
        "BTC-USDT 6622.57 TICKER received",
    );
}

/// Two moments of two sessions: in between, all that was traded.
#[test]
fn trades() {
    check(
        "binance",
        Some("/stream?streams=btcusdt@trade/ethusdt@trade"),
        "ws_combined_trade__live_captures_a.jsonl",
        &[
            "BTC-USDT 89690.38 TRADE 2026-01-02T20:52:48.237000Z quantity=0.00006 trade_id=5729884604",
            "ETH-USDT 3117.25 TRADE 2026-01-02T20:52:49.112000Z quantity=0.0017 trade_id=3408559518",
            "BTC-USDT 73409.99 TRADE 2026-05-28T03:49:51.742000Z quantity=0.00007 trade_id=6328956968",
            "trades_missing noted @3",
            "ETH-USDT 1979.94 TRADE 2026-05-28T04:13:40.915000Z quantity=0.0051 trade_id=4049338705",
            "trades_missing noted @4",
        ],
    );
    one(
        Some("wss://data-stream.binance.vision/ws"),
        "ws_raw_aggTrade__BTCUSDT_2026-06-14.json",
        "BTC-USDT 64348.95 TRADE 2026-06-14T05:56:16.889000Z quantity=0.00009 trade_id=3988316038",
    );
}

#[test]
fn best_bids_and_asks() {
    check(
        "binance",
        None,
        "ws_combined_bookTicker_kline__spot_2021-10-12.jsonl",
        &[
            "NKN-USDT 0.35235 QUOTE received bid=0.3521 ask=0.3526 sequence=499869768",
            "NKN-USDT 0.3523 QUOTE received bid=0.3521 ask=0.3525 sequence=499869769",
            "NKN-USDT 0.35225 QUOTE received bid=0.3521 ask=0.3524 sequence=499869778",
            "NKN-USDT 0.35225 QUOTE received bid=0.3521 ask=0.3524 sequence=499869797",
            "NKN-USDT 0.3523 QUOTE received bid=0.3521 ask=0.3525 sequence=499869800",
            "NKN-USDT 0.35225 QUOTE received bid=0.3521 ask=0.3524 sequence=499869805",
            "NKN-USDT 0.3523 QUOTE received bid=0.3521 ask=0.3525 sequence=499869810",
            "LRC-BTC 0.000006375 QUOTE received bid=0.00000637 ask=0.00000638 sequence=259345545",
            "NKN-USDT 0.35225 QUOTE received bid=0.3521 ask=0.3524 sequence=499869813",
            "NKN-USDT 0.35225 QUOTE received bid=0.3521 ask=0.3524 sequence=499869830",
            "LRC-BTC 0.000006375 QUOTE received bid=0.00000637 ask=0.00000638 sequence=259345546",
            "NKN-USDT 0.35225 QUOTE received bid=0.3521 ask=0.3524 sequence=499869842",
            "NKN-USDT 0.35235 QUOTE received bid=0.3521 ask=0.3526 sequence=499869843",
            "NKN-USDT 0.35235 QUOTE received bid=0.3521 ask=0.3526 sequence=499869844",
            "NKN-USDT 0.35235 QUOTE received bid=0.3521 ask=0.3526 sequence=499869848",
            "unknown_type noted data.e @16",
            "unknown_type noted data.e @17",
        ],
    );
}

#[test]
fn aggregate_trades_beside_best_bids_and_asks() {
    let Some(said) = said("binance", None, "ws_combined_mixed__binanceus_2021-10-12.jsonl") else { return };
    let expected: Vec<&str> = include_str!("binance_mixed.txt").lines().collect();
    assert_eq!(said, expected);
}

/// The acknowledgement says nothing that is printed.
#[test]
fn errors() {
    check(
        "binance",
        None,
        "docs__ws_subscribe_ack_and_errors.jsonl",
        &["error_answer rejected @2", "error_answer rejected @3", "error_answer rejected @4"],
    );
    one(Some("/api/v3/ticker/24hr?symbol=NOPE"), "error_400__-1121.json", "error_answer rejected");
    one(None, "error_429__-1003.json", "error_answer rejected");
}
