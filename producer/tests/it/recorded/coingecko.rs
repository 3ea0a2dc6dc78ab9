//! CoinGecko's recorded answers.

use super::{check, recorded, said};

#[test]
fn simple_prices() {
    let bitcoin = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd";
    check(
        "coingecko",
        None,
        "docs__simple_price_2026-05-18.json",
        &["BTC-USD 76975 REFERENCE 2026-05-18T08:17:38.000000Z quote_volume_24h=29096603418.89408 \
           market_cap=1542226908349.8406 change_24h_pct=-1.4093297098441402"],
    );
    check("coingecko", Some(bitcoin), "simple_price__btc_usd_2021-05-15.json", &["BTC-USD 49013 REFERENCE received"]);
    check(
        "coingecko",
        Some(bitcoin),
        "simple_price__btc_usd_all_flags_2023-10-25.json",
        &["BTC-USD 34664 REFERENCE 2023-10-25T19:36:34.000000Z quote_volume_24h=27952066301.047348 \
           market_cap=675835016546.567 change_24h_pct=2.6519150329293883"],
    );
    check(
        "coingecko",
        None,
        "simple_price__btc_eth_no_last_updated_2021.json",
        &[
            "BTC-USD 35674 REFERENCE received quote_volume_24h=35636689529.785774 market_cap=668148892256.3638 \
             change_24h_pct=-4.35081290184123",
            "ETH-USD 2380.23 REFERENCE received quote_volume_24h=28220756437.30981 market_cap=276714108452.90765 \
             change_24h_pct=1.0382271224597475",
        ],
    );
    check(
        "coingecko",
        Some(bitcoin),
        "simple_price__unknown_id_silent_miss.json",
        &["empty_answer rejected", "not_answered rejected bitcoin"],
    );
}

#[test]
fn a_page_of_markets_has_the_currency_of_its_request() {
    let in_currency =
        |currency: &str| format!("https://api.coingecko.com/api/v3/coins/markets?ids=bitcoin&vs_currency={currency}");
    check(
        "coingecko",
        Some(&in_currency("usd")),
        "coins_markets__btc_usd_2021-05-15.json",
        &["BTC-USD 49053 REFERENCE 2021-05-15T15:59:43.867000Z quote_volume_24h=61679663434 \
           market_cap=917825524991 change_24h_pct=-4.37931"],
    );
    check(
        "coingecko",
        Some(&in_currency("myr")),
        "coins_markets__btc_myr_2021-05-15.json",
        &["BTC-MYR 202369 REFERENCE 2021-05-15T15:59:43.867000Z quote_volume_24h=254459451496 \
           market_cap=3786489203349 change_24h_pct=-4.37931"],
    );
    check("coingecko", None, "coins_markets__btc_usd_2021-05-15.json", &["unknown_request rejected"]);
    check(
        "coingecko",
        Some("/api/v3/coins/markets?ids=ethereum&vs_currency=usd"),
        "coins_markets__btc_usd_2021-05-15.json",
        &["unknown_id rejected bitcoin", "not_answered rejected ethereum"],
    );
}

#[test]
fn a_chart_has_the_coin_and_the_currency_of_its_request() {
    let bitcoin = "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=1";
    check(
        "coingecko",
        Some(bitcoin),
        "docs__market_chart_2026-05-17.json",
        &[
            "BTC-USD 77953.82550382407 REFERENCE 2026-05-17T14:24:59.041000Z quote_volume_24h=18688431751.857048 \
             market_cap=1560631481361.8042",
            "BTC-USD 78052.87543398788 REFERENCE 2026-05-17T14:29:59.661000Z quote_volume_24h=18974828816.446976 \
             market_cap=1562027330524.267",
        ],
    );
    for request in [None, Some("/coins/{id}/market_chart")] {
        check("coingecko", request, "docs__market_chart_2026-05-17.json", &["unknown_request rejected prices"]);
    }
}

#[test]
fn ninety_days_of_history() {
    let request = "https://api.coingecko.com/api/v3/coins/bitcoin/market_chart?days=90&interval=daily&vs_currency=usd";
    let Some(said) = said("coingecko", Some(request), "market_chart__daily.json") else { return };
    assert_eq!(said.len(), 91);
    for (index, line) in [
        (
            0,
            "BTC-USD 48607.8745224845 REFERENCE 2021-02-15T00:00:00.000000Z quote_volume_24h=57738376570.131905 \
             market_cap=905515462576.995",
        ),
        (
            1,
            "BTC-USD 47898.487027633135 REFERENCE 2021-02-16T00:00:00.000000Z quote_volume_24h=61061855793.76279 \
             market_cap=892345220938.2782",
        ),
        (
            89,
            "BTC-USD 49913.26314398822 REFERENCE 2021-05-15T00:00:00.000000Z quote_volume_24h=56820196964.51265 \
             market_cap=935962705739.4398",
        ),
        (
            90,
            "BTC-USD 49078.83040364477 REFERENCE 2021-05-15T14:39:54.000000Z quote_volume_24h=59650085993.00212 \
             market_cap=918302952945.7565",
        ),
    ] {
        assert_eq!(said[index], line);
    }
    // Those between, by their text in the payload: the three lists have the same times.
    let path = recorded("coingecko/market_chart__daily.json").expect("it was there");
    let text = std::fs::read_to_string(path).expect("it is UTF-8");
    let values = |name: &str| -> Vec<String> {
        let (_, list) = text.split_once(&format!("\"{name}\":[[")).expect("a list of this name");
        let (list, _) = list.split_once("]]").expect("its end");
        list.split("],[").map(|point| point.split_once(',').expect("a pair").1.to_owned()).collect()
    };
    let (prices, caps, volumes) = (values("prices"), values("market_caps"), values("total_volumes"));
    for (index, line) in said.iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let expected = [
            "BTC-USD",
            &prices[index],
            &format!("quote_volume_24h={}", volumes[index]),
            &format!("market_cap={}", caps[index]),
        ];
        assert_eq!([words[0], words[1], words[4], words[5]], expected);
    }
}

#[test]
fn errors() {
    let request = "https://api.coingecko.com/api/v3/simple/price";
    for request in [None, Some(request)] {
        check("coingecko", request, "error_422__missing_ids.json", &["error_answer rejected"]);
    }
    for request in [None, Some("/coins/ethereum"), Some("/api/v3/simple/price?ids=bitcoin&vs_currencies=usd")] {
        check("coingecko", request, "error_429__rate_limit_2022-09-29.json", &["error_answer rejected"]);
    }
}
