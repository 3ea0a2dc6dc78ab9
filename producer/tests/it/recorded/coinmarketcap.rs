//! CoinMarketCap's recorded answers.

use super::check;

const SOURCE: &str = "coinmarketcap";

#[test]
fn v1_by_symbol() {
    let name = "v1_quotes_latest__BTC_by_symbol_2021-11-07.json";
    let tick = "BTC-USD 62284.59175999739 REFERENCE 2021-11-07T18:26:02.000000Z quote_volume_24h=25124838813.622734 \
                market_cap=1175100036013.9607 change_24h_pct=2.34221431";
    for request in [None, Some("/v1/cryptocurrency/quotes/latest?symbol=BTC&convert=USD")] {
        check(SOURCE, request, name, &[tick]);
    }
    check(
        SOURCE,
        Some("/v1/cryptocurrency/quotes/latest?symbol=BTC,ETH&convert=BRL"),
        name,
        &["not_answered rejected ETH", "unknown_product rejected data.BTC.quote.USD", "not_answered rejected 1/BRL"],
    );
}

#[test]
fn v2_by_id() {
    let name = "v2_quotes_latest__BTC_by_id_2022-06-16.json";
    let tick = "BTC-USD 21864.74930690019 REFERENCE 2022-06-16T07:18:00.000000Z quote_volume_24h=50466092571.5209 \
                market_cap=416935209390.64685 change_24h_pct=2.66543925";
    for request in [None, Some("/v2/cryptocurrency/quotes/latest?id=1")] {
        check(SOURCE, request, name, &[tick]);
    }
    check(
        SOURCE,
        Some("/v2/cryptocurrency/quotes/latest?id=1027"),
        name,
        &["unknown_id rejected data.1", "not_answered rejected 1027"],
    );
}

#[test]
fn v2_by_symbol() {
    let name = "v2_quotes_latest__BTC_by_symbol_array_2022-06-16.json";
    let tick = "BTC-USD 21871.88352845583 REFERENCE 2022-06-16T07:10:00.000000Z quote_volume_24h=50482520018.50814 \
                market_cap=417071250655.8079 change_24h_pct=2.53462368";
    for request in [None, Some("/v2/cryptocurrency/quotes/latest?symbol=BTC")] {
        check(SOURCE, request, name, &[tick]);
    }
}

#[test]
fn v2_coins_that_the_table_does_not_have() {
    let name = "v2_quotes_latest__SOL_GST_GMT_by_id_2022-10-01.json";
    let ticks = [
        "SOL-USD 33.03043526476253 REFERENCE 2022-10-01T11:59:00.000000Z quote_volume_24h=1121539908.9734333 \
         market_cap=11735207383.220284 change_24h_pct=-2.73835604",
        "GST-USD 0.025757357203913717 REFERENCE 2022-10-01T11:59:00.000000Z quote_volume_24h=7139308.02976775 \
         market_cap=14932570.12445457 change_24h_pct=-3.76602495",
        "GMT-USD 0.6428978923437237 REFERENCE 2022-10-01T11:59:00.000000Z quote_volume_24h=68519561.32475537 \
         market_cap=385738735.40623426 change_24h_pct=0.62101952",
    ];
    for request in [None, Some("/v2/cryptocurrency/quotes/latest?id=18069,16352,5426")] {
        check(SOURCE, request, name, &ticks);
    }
}

#[test]
fn errors() {
    for name in ["error_400__400.json", "error_401__1002.json", "error_429__1008.json"] {
        for request in [None, Some("/v2/cryptocurrency/quotes/latest"), Some("/v2/cryptocurrency/quotes/latest?id=1")] {
            check(SOURCE, request, name, &["error_answer rejected status"]);
        }
    }
}
