use super::check;

const SOURCE: &str = "awesomeapi";

#[test]
fn dollars_of_several_years() {
    check(
        SOURCE,
        Some("/json/last/USD-BRL"),
        "last__USD_2022-05-24.json",
        &["USD-BRL 4.8205 FX 2022-05-24T20:27:37.000000Z bid=4.819 ask=4.822 change_24h_pct=0.16"],
    );
    check(
        SOURCE,
        Some("/json/last/USD-BRL"),
        "last__USD_pretty_2026-10-05.json",
        &["USD-BRL 4.99905 FX 2026-10-05T22:30:06.000000Z bid=4.9988 ask=4.9993 change_24h_pct=-4.274227"],
    );
    // An array of one; all of its prices have three digits after the point.
    for request in [None, Some("/json/USD-BRL")] {
        check(
            SOURCE,
            request,
            "single_array__USD_2025-01-17.json",
            &["USD-BRL 6.06 FX 2025-01-17T19:33:01.000000Z bid=6.059 ask=6.061 change_24h_pct=0.17"],
        );
    }
}

#[test]
fn a_stale_dollar_beside_a_fresh_euro_and_a_bitcoin() {
    // The dollar is five hours older, and its bid is below the day's low.
    let ticks = [
        "USD-BRL 4.8107 FX 2023-06-16T01:56:17.000000Z bid=4.8102 ask=4.8112 change_24h_pct=0.01",
        "EUR-BRL 5.2651 FX 2023-06-16T07:10:43.000000Z bid=5.2611 ask=5.2691 change_24h_pct=-0.07",
        "BTC-BRL 123699.5 REFERENCE 2023-06-16T07:11:04.000000Z bid=123694 ask=123705 change_24h_pct=2.46",
    ];
    let name = "last__USD_EUR_BTC_2023-06-16.json";
    check(SOURCE, Some("/json/last/USD-BRL,EUR-BRL,BTC-BRL"), name, &ticks);
    check(SOURCE, None, name, &ticks);
    let asked_for_more = [&ticks[..], &["not_answered rejected ETH-BRL"]].concat();
    check(SOURCE, Some("/json/last/USD-BRL,EUR-BRL,BTC-BRL,ETH-BRL"), name, &asked_for_more);
}

#[test]
fn a_bitcoin_whose_day_is_not_that_of_the_local_time() {
    check(
        SOURCE,
        Some("/json/last/BTC-BRL"),
        "last__BTC_2025-06-19.json",
        &["BTC-BRL 578115.5 REFERENCE 2025-06-19T22:31:50.000000Z bid=578115 ask=578116 change_24h_pct=-0.01"],
    );
}

#[test]
fn ten_days_of_which_only_the_first_has_a_name() {
    let ticks = [
        "USD-BRL 4.0672 FX 2020-01-03T21:29:57.000000Z bid=4.0669 ask=4.0675 change_24h_pct=1.02",
        "USD-BRL 4.06395 FX 2020-01-03T12:57:04.000000Z bid=4.0627 ask=4.0652 change_24h_pct=0.94",
        "USD-BRL 4.01075 FX 2020-01-02T12:03:34.000000Z bid=4.0104 ask=4.0111 change_24h_pct=-0.21",
        "USD-BRL 4.049 FX 2019-12-30T11:48:40.000000Z bid=4.048 ask=4.05 change_24h_pct=0.08",
        "USD-BRL 4.04595 FX 2019-12-27T21:14:58.000000Z bid=4.0456 ask=4.0463 change_24h_pct=-0.24",
        "USD-BRL 4.0384 FX 2019-12-27T12:06:14.000000Z bid=4.0371 ask=4.0397 change_24h_pct=-0.43",
        "USD-BRL 4.0838 FX 2019-12-25T22:00:02.000000Z bid=4.0833 ask=4.0843 change_24h_pct=0",
        "USD-BRL 4.0838 FX 2019-12-24T22:00:02.000000Z bid=4.0833 ask=4.0843 change_24h_pct=0",
        "USD-BRL 4.08355 FX 2019-12-23T22:00:01.000000Z bid=4.0833 ask=4.0838 change_24h_pct=0",
        "USD-BRL 4.1015 FX 2019-12-23T11:56:25.000000Z bid=4.1012 ask=4.1018 change_24h_pct=-0.02",
    ];
    for request in [None, Some("/json/daily/USD-BRL/10")] {
        check(SOURCE, request, "daily__USD_10_rows_2020-01-03.json", &ticks);
    }
}

#[test]
fn a_pair_that_does_not_exist() {
    check(SOURCE, Some("/json/last/USD-USD"), "error_404__USD-USD.json", &["error_answer rejected"]);
}
