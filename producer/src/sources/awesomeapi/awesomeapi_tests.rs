use pipeline::events::{EventTimeOrigin, event_id};
use proptest::prelude::*;

use super::*;
use crate::sources::mutations::{mutated, mutations};

const RECEIVED: i64 = 1_700_000_000_123_456;

fn parse(body: &[u8], request: &str) -> Parsed {
    let source = Awesomeapi { symbols: Arc::new(Symbols::built_in()) };
    source.parse(&Payload::new(SOURCE, body, RECEIVED, request))
}

/// Each tick as `symbol price kind bid/ask change @seconds`, each problem as `code path effect`.
#[track_caller]
fn check(body: &str, request: &str, ticks: &[&str], problems: &[&str]) {
    let parsed = parse(body.as_bytes(), request);
    assert_eq!(parsed.ticks.iter().map(shown).collect::<Vec<_>>(), ticks, "{body}");
    assert_eq!(named(&parsed), problems, "{body}");
    assert_eq!(parsed.answered, !ticks.is_empty());
}

fn named(parsed: &Parsed) -> Vec<String> {
    let name = |problem: &Problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect).to_lowercase();
    parsed.problems.iter().map(name).collect()
}

fn shown(tick: &PriceTick) -> String {
    let or_none = |value: Option<Decimal38>| value.map_or("-".to_owned(), |value| value.to_string());
    let time = match tick.event_time_origin {
        EventTimeOrigin::Source => (tick.event_time / 1_000_000).to_string(),
        EventTimeOrigin::Received => "received".to_owned(),
    };
    format!(
        "{} {} {} {}/{} {} @{time}",
        tick.symbol,
        tick.price,
        tick.kind.as_str(),
        or_none(tick.bid),
        or_none(tick.ask),
        or_none(tick.change_24h_pct)
    )
}

const USD: &str = r#"{"code":"USD","codein":"BRL","name":"Dólar Americano/Real Brasileiro","high":"5.4417","low":"5.3902",
    "varBid":"-0.0213","pctChange":"-0.39","bid":"5.4031","ask":"5.4042","timestamp":"1751630401","create_date":"2025-07-04 09:00:01"}"#;
const BTC: &str = r#"{"code":"BTC","codein":"BRL","name":"Bitcoin/Real Brasileiro","high":"215","low":"209.1",
    "varBid":"3907","pctChange":"1.86","bid":"213.408","ask":"213.51","timestamp":"1660000000","create_date":"2022-08-08 20:06:40"}"#;

fn last(rows: &[(&str, &str)]) -> String {
    let rows: Vec<String> = rows.iter().map(|(key, row)| format!("\"{key}\":{row}")).collect();
    format!("{{{}}}", rows.join(","))
}

#[test]
fn a_whole_answer() {
    check(
        &last(&[("USDBRL", USD), ("BTCBRL", BTC)]),
        "/json/last/USD-BRL,BTC-BRL",
        &[
            "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401",
            "BTC-BRL 213459 REFERENCE 213408/213510 1.86 @1660000000",
        ],
        &[],
    );
    let tick = &parse(last(&[("USDBRL", USD)]).as_bytes(), "").ticks[0];
    assert_eq!((tick.source_symbol.as_str(), tick.base.as_str(), tick.quote.as_str()), ("USD-BRL", "USD", "BRL"));
    assert_eq!(tick.event_id, event_id("awesomeapi", "last", "USD-BRL", "1751630401|5.4031|5.4042"));
    // The digits as they came are the identity, whatever is made of them.
    let tick = &parse(last(&[("BTCBRL", BTC)]).as_bytes(), "").ticks[0];
    assert_eq!(tick.event_id, event_id("awesomeapi", "last", "BTC-BRL", "1660000000|213.408|213.51"));
}

#[test]
fn the_same_quote_is_the_same_event_in_every_form_of_answer() {
    let ids: Vec<_> = [
        (last(&[("USDBRL", USD)]), "/json/last/USD-BRL"),
        (last(&[("USD", USD)]), "/json/all"),
        (format!("[{USD}]"), "/json/USD-BRL"),
        (format!("[{USD}]"), ""),
        (USD.to_owned(), ""),
    ]
    .iter()
    .map(|(body, request)| parse(body.as_bytes(), request).ticks[0].event_id)
    .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn older_rows_inherit_whose_rate_they_are() {
    let days = format!(
        r#"[{USD},
            {{"high":"5.46","low":"5.41","varBid":"0.004","pctChange":"0.07","bid":"5.4244","ask":"5.4254","timestamp":"1751575801"}},
            {{"high":"5.46","low":"5.41","varBid":"0","pctChange":"0","bid":"5.4204","ask":"5.4214","timestamp":"1751489401"}}]"#
    );
    let ticks = [
        "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401",
        "USD-BRL 5.4249 FX 5.4244/5.4254 0.07 @1751575801",
        "USD-BRL 5.4209 FX 5.4204/5.4214 0 @1751489401",
    ];
    for request in ["/json/daily/USD-BRL/3", "/json/USD-BRL/3", ""] {
        check(&days, request, &ticks, &[]);
        let tick = &parse(days.as_bytes(), request).ticks[2];
        assert_eq!(tick.event_id, event_id("awesomeapi", "last", "USD-BRL", "1751489401|5.4204|5.4214"));
    }
    // A bad first row takes none with it, and a row of history needs a time.
    let nameless = days.replace(r#""code":"USD","codein":"BRL","name":"Dólar Americano/Real Brasileiro","#, "");
    check(&nameless, "/json/daily/USD-BRL/3", &ticks, &[]);
    check(
        &nameless,
        "",
        &[],
        &["missing_field [0].code rejected", "missing_field [0].codein rejected"]
            .into_iter()
            .chain(["missing_field [1].code rejected", "missing_field [1].codein rejected"])
            .chain(["missing_field [2].code rejected", "missing_field [2].codein rejected"])
            .collect::<Vec<_>>(),
    );
    check(&days.replace("5.4031", "-5"), "/json/daily/USD-BRL/3", &ticks[1..], &["not_positive [0].bid rejected"]);
    check(
        &days.replace(r#","timestamp":"1751575801""#, ""),
        "/json/daily/USD-BRL/3",
        &[ticks[0], ticks[2]],
        &["missing_field [1].timestamp rejected"],
    );
    check(&format!("[null,{USD}]"), "/json/daily/USD-BRL/3", &ticks[..1], &["wrong_type [0] rejected"]);
    check(&days[..days.len() - 20], "/json/daily/USD-BRL/3", &ticks[..2], &["not_json  rejected"]);
}

#[test]
fn the_tourism_dollar_is_neither_tether_nor_the_banks() {
    let row = |code: &str, codein: &str, name: &str| {
        format!(
            r#"{{"code":"{code}","codein":"{codein}","name":"{name}","high":"5.655","low":"5.61","varBid":"0","pctChange":"0",
                "bid":"5.44","ask":"5.8","timestamp":"1751630401","create_date":"2025-07-04 09:00:01"}}"#
        )
    };
    let tick = ["USD-BRLT 5.62 FX 5.44/5.8 0 @1751630401"];
    for (key, code, codein, name) in [
        ("USDT", "USD", "BRLT", "Dólar Americano/Real Brasileiro Turismo"),
        ("USDT", "USD", "BRLT", ""),
        ("USDT", "USD", "BRL", "Dólar Turismo"),
        ("USDT", "USDT", "BRL", "Dólar Turismo"),
        ("USDT", "USDT", "BRL", "DÓLAR TURISMO"),
        ("USDT", "USD", "BRL", ""),
        ("USDBRLT", "USD", "BRLT", "Dólar Americano/Real Brasileiro Turismo"),
        ("USDTBRL", "USDT", "BRL", "Dólar Turismo"),
    ] {
        check(&last(&[(key, &row(code, codein, name))]), "", &tick, &[]);
    }
    for (key, code, name) in [("USDTBRL", "USDT", ""), ("USDTBRL", "USDT", "Tether/Real"), ("USDT", "USDT", "Tether")] {
        let problem = format!("unknown_product {}.code rejected", key.to_lowercase());
        check(&last(&[(key, &row(code, "BRL", name))]), "", &[], &[&problem]);
    }
    // Beside the dollar of the banks, with the very same digits, they are two events.
    let both = last(&[("USD", &row("USD", "BRL", "Dólar Comercial")), ("USDT", &row("USD", "BRL", "Dólar Turismo"))]);
    let ticks = parse(both.as_bytes(), "/json/all").ticks;
    assert_eq!((ticks[0].symbol.as_str(), ticks[1].symbol.as_str()), ("USD-BRL", "USD-BRLT"));
    assert_ne!(ticks[0].event_id, ticks[1].event_id);
    let asked = last(&[("USDBRLT", &row("USD", "BRLT", ""))]);
    check(&asked, "/json/last/USD-BRLT,USD-BRL", &tick, &["not_answered usd-brl rejected"]);
}

#[test]
fn what_is_wrong_with_a_row_is_named() {
    for (from, to, problems) in [
        (r#""bid":"5.4031""#, r#""bid":"0""#, &["not_positive usdbrl.bid rejected"][..]),
        (r#""bid":"5.4031""#, r#""bid":null"#, &["null_field usdbrl.bid rejected"]),
        (r#""bid":"5.4031","#, "", &["missing_field usdbrl.bid rejected"]),
        (r#""bid":"5.4031""#, r#""bid":true"#, &["wrong_type usdbrl.bid rejected"]),
        (r#""bid":"5.4031""#, r#""bid":"NaN""#, &["not_a_number usdbrl.bid rejected"]),
        (r#""bid":"5.4031""#, r#""bid":NaN"#, &["not_json  noted", "not_a_number usdbrl.bid rejected"]),
        (r#""bid":"5.4031""#, r#""bid":"5.40.31""#, &["not_a_number usdbrl.bid rejected"]),
        (r#""bid":"5.4031""#, r#""bid":"5","bid":"6""#, &["duplicate_key usdbrl.bid rejected"]),
        (r#""bid":"5.4031""#, r#""bid":"0.0000000000000000001""#, &["too_precise usdbrl.bid rejected"]),
        (r#""bid":"5.4031""#, r#""bid":"123456789012345678901""#, &["too_many_digits usdbrl.bid rejected"]),
        (r#""ask":"5.4042""#, r#""ask":"5404.2""#, &["ambiguous_number usdbrl.ask rejected"]),
        (r#""bid":"5.4031""#, r#""bid":"5403.1""#, &["ambiguous_number usdbrl.bid rejected"]),
        (r#""code":"USD","#, "", &["missing_field usdbrl.code rejected"]),
        (r#""codein":"BRL""#, r#""codein":null"#, &["null_field usdbrl.codein rejected"]),
        (r#""code":"USD""#, r#""code":"dollar""#, &["unknown_product usdbrl.code rejected"]),
        (r#""code":"USD""#, r#""code":"BRL""#, &["unknown_product usdbrl.code rejected"]),
    ] {
        let row = USD.replacen(from, to, 1);
        assert_ne!(row, USD, "{from}");
        check(&last(&[("USDBRL", &row)]), "/json/last/USD-BRL", &[], problems);
    }
}

#[test]
fn a_wrong_field_beside_the_bid_is_left_out_and_named() {
    let bid_only = "USD-BRL 5.4031 FX 5.4031/- -0.39 @1751630401";
    for (from, to, tick, problems) in [
        (r#""ask":"5.4042","#, "", bid_only, &["missing_field usdbrl.ask nulled"][..]),
        (r#""ask":"5.4042""#, r#""ask":null"#, bid_only, &["null_field usdbrl.ask nulled"]),
        (r#""ask":"5.4042""#, r#""ask":"0""#, bid_only, &["not_positive usdbrl.ask nulled"]),
        (
            r#""pctChange":"-0.39""#,
            r#""pctChange":"a bit""#,
            "USD-BRL 5.40365 FX 5.4031/5.4042 - @1751630401",
            &["not_a_number usdbrl.pctchange nulled"],
        ),
        (
            r#""timestamp":"1751630401""#,
            r#""timestamp":"2025-07-04""#,
            "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @received",
            &["bad_time usdbrl.timestamp nulled"],
        ),
        (r#""timestamp":"1751630401","#, "", "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @received", &[]),
        (
            r#""timestamp":"1751630401""#,
            r#""timestamp":"1751630401000""#,
            "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401",
            &[],
        ),
        // A bid below the day's low, and one field that is a number.
        (r#""low":"5.3902""#, r#""low":"5.4100""#, "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401", &[]),
        (
            r#""bid":"5.4031""#,
            r#""bid":5.4031"#,
            "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401",
            &["unexpected_form usdbrl.bid noted"],
        ),
    ] {
        let row = USD.replacen(from, to, 1);
        assert_ne!(row, USD, "{from}");
        check(&last(&[("USDBRL", &row)]), "", &[tick], problems);
    }
    let untimed = USD.replace(r#""timestamp":"1751630401","#, "");
    let tick = &parse(last(&[("USDBRL", &untimed)]).as_bytes(), "").ticks[0];
    let key = format!("received={RECEIVED}|5.4031|5.4042");
    assert_eq!(tick.event_id, event_id("awesomeapi", "last", "USD-BRL", &key));
    let precise = USD.replace("5.4042", "5.400000000000000001");
    check(&last(&[("USDBRL", &precise)]), "", &[], &["too_precise usdbrl.ask rejected"]);
}

#[test]
fn a_spread_that_cannot_be_refuses_the_row() {
    for ask in ["0.5404", "54.042", "999"] {
        let body = last(&[("USDBRL", &USD.replace("5.4042", ask))]);
        check(&body, "", &[], &["wide_spread usdbrl.ask rejected"]);
    }
    let coin = |bid: &str, ask: &str| {
        let row = r#"{"code":"ETH","codein":"BRL","name":"Ethereum/Real Brasileiro","varBid":"0","pctChange":"0","bid":"BID","ask":"ASK","timestamp":"1751630401"}"#;
        last(&[("ETHBRL", &row.replace("BID", bid).replace("ASK", ask))])
    };
    let bid_only = "ETH-BRL 1470.25 REFERENCE 1470.25/- 0 @1751630401";
    check(&coin("1470.25", "999999.5"), "", &[], &["ambiguous_number ethbrl.ask rejected"]);
    check(&coin("1470.25", "16.5"), "", &[bid_only], &["ambiguous_number ethbrl.ask nulled"]);
    check(&coin("16700.5", "1470.25"), "", &[], &["wide_spread ethbrl.ask rejected"]);
    let kept = "ETH-BRL 9085.375 REFERENCE 1470.25/16700.5 0 @1751630401";
    check(&coin("1470.25", "16700.5"), "", &[kept], &["wide_spread ethbrl.ask noted"]);
}

#[test]
fn an_ask_that_is_taken_is_not_called_left_out() {
    let body = last(&[("USDBRL", &USD.replace("\"5.4042\"", "5.4042"))]);
    let tick = "USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401";
    check(&body, "", &[tick], &["unexpected_form usdbrl.ask noted"]);
}

#[test]
fn thousands_are_told_from_decimals_or_refused() {
    let quiet = BTC.replace("3907", "0").replace("1.86", "0");
    check(&last(&[("BTCBRL", &quiet)]), "", &[], &["ambiguous_number btcbrl.bid rejected"]);
    let why = &parse(last(&[("BTCBRL", &quiet)]).as_bytes(), "").problems[0].detail;
    assert!(why.contains("213.408") && why.contains("thousand"), "{why}");
    let mixed = quiet.replace("213.51", "213.510,75");
    check(&last(&[("BTCBRL", &mixed)]), "", &["BTC-BRL 213459.375 REFERENCE 213408/213510.75 0 @1660000000"], &[]);
    let grouped = quiet.replace("213.408", "1.213.408").replace("213.51", "1.213.510");
    check(&last(&[("BTCBRL", &grouped)]), "", &["BTC-BRL 1213459 REFERENCE 1213408/1213510 0 @1660000000"], &[]);
    // The row that cannot be told takes no other with it.
    check(
        &last(&[("BTCBRL", &quiet), ("USDBRL", USD)]),
        "/json/last/BTC-BRL,USD-BRL",
        &["USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401"],
        &["ambiguous_number btcbrl.bid rejected"],
    );
    let without_change = USD.replace("5.4031", "5.403").replace("-0.0213", "0").replace("-0.39", "0");
    check(&last(&[("USDBRL", &without_change)]), "", &["USD-BRL 5.4036 FX 5.403/5.4042 0 @1751630401"], &[]);
}

#[test]
fn a_row_that_is_no_row_is_named_and_its_neighbours_are_kept() {
    let tick = ["USD-BRL 5.40365 FX 5.4031/5.4042 -0.39 @1751630401"];
    for (other, problem) in [
        ("null", "null_field eurbrl rejected"),
        ("\"5.4\"", "wrong_type eurbrl rejected"),
        ("[]", "wrong_type eurbrl rejected"),
    ] {
        check(&last(&[("EURBRL", other), ("USDBRL", USD)]), "/json/last/USD-BRL,EUR-BRL", &tick, &[problem]);
    }
    let twice = last(&[("USDBRL", USD), ("EURBRL", "{}"), ("EURBRL", "{\"bid\":\"1\"}")]);
    check(&twice, "", &tick, &["duplicate_key eurbrl rejected"]);
    let whole = last(&[("USDBRL", USD), ("BTCBRL", BTC)]);
    check(
        &whole[..whole.len() - 30],
        "/json/last/USD-BRL,BTC-BRL",
        &tick,
        &["not_json  rejected", "not_answered btc-brl rejected"],
    );
    check(&last(&[("USDBRL", USD)]), "/json/last/USD-BRL%2CEUR-BRL?t=1", &tick, &["not_answered eur-brl rejected"]);
}

#[test]
fn answers_without_rates_are_named_for_what_they_are() {
    for (body, problem) in [
        ("", "not_json  rejected"),
        ("<html>502</html>", "not_json  rejected"),
        ("null", "unsupported_shape  rejected"),
        ("17", "unsupported_shape  rejected"),
    ] {
        check(body, "/json/last/USD-BRL", &[], &[problem]);
    }
    check("{}", "/json/last/USD-BRL", &[], &["empty_answer  rejected", "not_answered usd-brl rejected"]);
    check("[]", "/json/USD-BRL", &[], &["empty_answer  rejected", "not_answered usd-brl rejected"]);
    check("{}", "", &[], &["empty_answer  rejected"]);
    let many: Vec<String> = (0..=MOST_ROWS).map(|at| format!("\"k{at}\":1")).collect();
    check(&format!("{{{}}}", many.join(",")), "", &[], &["too_long  rejected"]);
}

#[test]
fn errors_tell_what_to_do() {
    for (body, refusal) in [
        (
            r#"{"status":404,"code":"CoinNotExists","message":"moeda nao encontrada ABC-BRL"}"#,
            Refusal::Configuration("404 CoinNotExists moeda nao encontrada ABC-BRL".to_owned()),
        ),
        (r#"{"status":404,"code":"CoinNotExists"}"#, Refusal::Configuration("404 CoinNotExists".to_owned())),
        (
            r#"{"status":"429","code":"QuotaExceeded","message":"limite"}"#,
            Refusal::RateLimited("429 QuotaExceeded limite".to_owned()),
        ),
        (r#"{"status":409,"code":"QuotaExceeded"}"#, Refusal::RateLimited("409 QuotaExceeded".to_owned())),
        (r#"{"code":"QuotaExceeded","message":"x"}"#, Refusal::RateLimited("QuotaExceeded x".to_owned())),
        (r#"{"status":401,"code":"Unauthorized"}"#, Refusal::Configuration("401 Unauthorized".to_owned())),
        (r#"{"status":500,"message":"oops"}"#, Refusal::Retry("500 oops".to_owned())),
        (r#"{"error":"down"}"#, Refusal::Retry("down".to_owned())),
    ] {
        check(body, "/json/last/ABC-BRL", &[], &["error_answer  rejected"]);
        assert_eq!(parse(body.as_bytes(), "").refusal, Some(refusal));
    }
}

#[test]
fn what_was_asked_stands_in_the_request() {
    for (request, pairs, daily) in [
        ("/json/last/USD-BRL,BTC-BRL", &["USD-BRL", "BTC-BRL"][..], false),
        ("/last/USD-BRL", &["USD-BRL"], false),
        ("https://host.example/json/daily/USD-BRL/10?start_date=20250701", &["USD-BRL"], true),
        ("/json/all", &[], false),
        ("/json/all/USD-BRL,EUR-BRL", &["USD-BRL", "EUR-BRL"], false),
        ("/json/last/<pairs>", &[], false),
        ("", &[], false),
    ] {
        let asked = Asked::of(request);
        assert_eq!((&asked.pairs[..], asked.daily), (pairs, daily), "{request}");
    }
}

proptest! {
    #[test]
    fn mutated_answers_never_panic(which in 0_usize..3, changes in mutations()) {
        let days = format!("[{USD},{},{BTC}]", USD.replace(r#""code":"USD","codein":"BRL","#, ""));
        let body = [last(&[("USDBRL", USD), ("BTCBRL", BTC)]), days, last(&[("USDT", USD)])][which].clone();
        for request in ["", "/json/daily/USD-BRL/3", "/json/last/USD-BRL,BTC-BRL"] {
            for tick in parse(&mutated(&body, changes.clone()), request).ticks {
                prop_assert!(!tick.price.is_zero() && !tick.price.is_negative());
            }
        }
    }
}
