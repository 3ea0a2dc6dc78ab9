use proptest::prelude::*;

use super::*;

fn written(text: &str) -> Written {
    read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn decided(base: &str, quote: &str, text: &str, var_bid: &str, pct_change: &str, ask: &str) -> Result<String, String> {
    let told = Told {
        var_bid: Some(var_bid).filter(|text| !text.is_empty()),
        pct_change: Some(pct_change).filter(|text| !text.is_empty()),
        ask: Some(ask).filter(|text| !text.is_empty()).map(written),
        ..Told::default()
    };
    bid(written(text), &told, base, quote).map(|value| value.to_string())
}

#[test]
fn the_list_is_sorted() {
    assert!(CLOSE.is_sorted());
}

#[test]
fn only_a_number_below_1000_without_a_zero_in_front_has_two_readings() {
    for text in ["108.079", "109", "105.1", "6.80535", "5", "999.999999", "5,617"] {
        assert!(matches!(written(text), Written::Either(_)), "{text}");
    }
    for (text, value) in [
        ("1440.25", "1440.25"),
        ("578115", "578115"),
        ("0.0537", "0.0537"),
        ("0.123", "0.123"),
        ("1.234.567", "1234567"),
        ("1,234,567", "1234567"),
        ("587.123,45", "587123.45"),
        ("587,123.45", "587123.45"),
        ("587123,45", "587123.45"),
        ("1.234.567,8", "1234567.8"),
        ("-108.079", "-108.079"),
        ("5.8e2", "580"),
    ] {
        let Written::Plain(read) = written(text) else { panic!("{text}") };
        assert_eq!(read.to_string(), value, "{text}");
    }
    for text in ["", "NaN", "1.23.456", "12.34,56", "1.234,5,6", "R$ 5", "1.234.56"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn the_change_tells_thousands_from_decimals() {
    for (base, bid, var_bid, pct_change, value) in [
        ("BTC", "213.408", "3907", "1.86", "213408"),
        ("BTC", "118", "-2410", "-2", "118000"),
        ("BTC", "117.5", "-2410.5", "-2.01", "117500"),
        ("ETH", "7.10535", "-41.2", "-0.58", "7105.35"),
        // The change and its percentage were not taken at one time.
        ("ETH", "7.41", "-352.07", "-4.51", "7410"),
        ("BTC", "587.123", "12", "0", "587123"),
        ("LTC", "612.48", "-15.9", "-2.53", "612.48"),
        ("XRP", "3.91", "-0.08", "-2.2", "3.91"),
        ("XRP", "12.004", "0.207", "1.754", "12.004"),
        // The change is too small to be told, and in thousands it would not be.
        ("XRP", "3.07", "0", "-0.09", "3.07"),
    ] {
        assert_eq!(decided(base, "BRL", bid, var_bid, pct_change, "").as_deref(), Ok(value), "{base} {bid}");
    }
}

#[test]
fn a_neighbour_with_one_reading_tells_too() {
    assert_eq!(decided("BTC", "BRL", "587.123", "0", "0", "587123.45").as_deref(), Ok("587123"));
    assert_eq!(decided("BTC", "BRL", "587.123", "", "", "587.123,45").as_deref(), Ok("587123"));
    assert_eq!(decided("ETH", "BRL", "998.5", "", "", "1001.2").as_deref(), Ok("998.5"));
    let contradiction = decided("ETH", "BRL", "7.41", "-352.07", "-4.51", "0.99").expect("far from both is ignored");
    assert_eq!(contradiction, "7410");
    let contradiction = decided("ETH", "BRL", "7.41", "-0.352", "-4.51", "7412.5").expect_err("the two disagree");
    assert!(contradiction.contains("contradiction"), "{contradiction}");
}

#[test]
fn what_cannot_be_told_is_refused_with_the_reason() {
    for (base, quote, bid, var_bid, pct_change, said) in [
        ("BTC", "BRL", "587.123", "0", "0", "may be 587.123 or that many thousand"),
        ("BTC", "BRL", "587.123", "", "", "varBid missing"),
        ("BTC", "BRL", "105.1", "0", "0", "may be"),
        ("ETH", "USD", "2.651", "0", "0.00", "may be"),
        ("ETH", "BRL", "9.07", "x", "1.2", "may be"),
        ("LTC", "BRL", "612.48", "0.01", "0", "may be"),
        ("LTC", "BRL", "612.48", "0", "0.09", "may be"),
        ("BTC", "BRL", "7.123", "0", "0.05", "no bitcoin is worth less than 1000"),
        ("USD", "COP", "4.083", "0", "0", "may be"),
        ("BTC", "BRL", "587.123", "12", "-2.1", "contradiction"),
        ("BTC", "BRL", "587.123", "120", "2", "contradiction"),
        ("BTC", "BRL", "587.123", "1.174", "0.2", "no bitcoin is worth less than 1000"),
        ("BTC", "USD", "0.5", "0", "0", "no bitcoin is worth less than 1000"),
        ("USD", "BRL", "5403.1", "0", "0", "worth a thousand of each other"),
        ("USD", "BRL", "5.403,1", "-21.3", "-0.39", "worth a thousand of each other"),
    ] {
        let why = decided(base, quote, bid, var_bid, pct_change, "").expect_err(bid);
        assert!(why.contains(said), "{why}");
    }
}

#[test]
fn currencies_that_are_close_need_no_change() {
    for (base, quote, bid, var_bid, pct_change) in [
        ("USD", "BRL", "5.123", "0.0123", "0.24"),
        ("USD", "BRL", "5.123", "0", "0"),
        ("USD", "BRL", "5.197", "0.0015", "0"),
        ("USD", "BRLT", "5.29", "0", "0"),
        ("USD", "JPY", "149.527", "", ""),
    ] {
        assert_eq!(decided(base, quote, bid, var_bid, pct_change, "").as_deref(), Ok(bid));
    }
    assert_eq!(decided("USD", "COP", "4.083", "-21.5", "-0.52", "").as_deref(), Ok("4083"));
    assert_eq!(decided("USD", "CLP", "941.5", "-4.9", "-0.52", "").as_deref(), Ok("941.5"));
}

#[test]
fn an_ask_is_read_like_its_bid() {
    let bid = Decimal38::parse("108079").expect("a number");
    let near = |text: &str| ask(written(text), bid).map(|value| value.to_string());
    assert_eq!(near("108.179").as_deref(), Some("108179"));
    assert_eq!(near("108").as_deref(), Some("108000"));
    assert_eq!(near("108179.5").as_deref(), Some("108179.5"));
    assert_eq!(near("999"), None);
}

/// `1234.5` as the source would write it: plain, or in thousands without the zeros at the end.
fn render(cents: u64, thousands: bool) -> String {
    let value = Decimal38::from_unscaled(i128::from(cents) * 10_i128.pow(if thousands { 13 } else { 16 }));
    value.expect("small").to_string()
}

fn render_change(price: u64, close: u64) -> (String, String) {
    let change = (price as i128) - (close as i128);
    let var_bid = Decimal38::from_unscaled(change * 10_i128.pow(16)).expect("small").to_string();
    (var_bid, format!("{:.2}", 100.0 * change as f64 / close as f64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// In cents, from 1.00 to a million, and up to half off from the close.
    #[test]
    fn a_price_is_decided_right_or_not_at_all(price in 100_u64..100_000_000, off in 0.5_f64..2.0, quiet in any::<bool>(), base in "BTC|ETH|LTC|XRP") {
        let off = if quiet { 1.0 + (off - 1.0) / 10_000.0 } else { off };
        let close = ((price as f64 * off) as u64).max(1);
        let (var_bid, pct_change) = render_change(price, close);
        let expected = render(price, false);
        for thousands in [false, true] {
            // Only prices of 1,000 and more were ever written in thousands.
            if thousands && price < 100_000 {
                continue;
            }
            let decided = decided(&base, "BRL", &render(price, thousands), &var_bid, &pct_change, "");
            if let Ok(value) = &decided {
                prop_assert_eq!(value, &expected, "varBid {} pctChange {}", var_bid, pct_change);
            }
            let moved = (price as f64 / close as f64 - 1.0).abs() > 0.0002;
            let bitcoin_too_cheap = base == "BTC" && price < 100_000;
            prop_assert!(decided.is_ok() || !moved || bitcoin_too_cheap, "{:?}", decided);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9.,eE+-]{0,24}", other in "\\PC{0,12}") {
        for text in [&text, &other] {
            if let Ok(read) = read(text) {
                let told = Told { var_bid: Some(&other), pct_change: Some(text), ask: Some(read), high: Some(read), low: None };
                let _ = bid(read, &told, "BTC", "BRL").map(|bid| ask(read, bid));
            }
        }
    }
}
