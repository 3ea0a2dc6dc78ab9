use super::*;

pub const RECEIVED: i64 = 1_700_000_000_123_456;

/// Reads a frame of a connection of which nothing more is known.
pub fn read(frame: &str) -> Parsed {
    answer(frame, "")
}

/// Reads what answers `request`.
pub fn answer(body: &str, request: &str) -> Parsed {
    parse(body.as_bytes(), request)
}

pub fn parse(bytes: &[u8], request: &str) -> Parsed {
    let coinbase = Coinbase { symbols: Arc::new(Symbols::built_in()) };
    coinbase.parse(&Payload::new(SOURCE, bytes, RECEIVED, request))
}

pub fn codes(parsed: &Parsed) -> Vec<String> {
    let told = parsed.problems.iter().map(|problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect));
    told.map(|line| line.to_lowercase()).collect()
}

#[test]
fn a_derivative_is_told_from_spot() {
    for (product, expected) in [
        ("BTC-USD", Ok(("BTC", "USD"))),
        ("1INCH-USDC", Ok(("1INCH", "USDC"))),
        ("BTC-PERP-INTX", Err("derivative")),
        ("BTC-PERP", Err("derivative")),
        ("ETH-USDC-INTX", Err("derivative")),
        ("BIT-31JAN25-CDE", Err("derivative")),
        ("ET-28NOV25-CDE", Err("derivative")),
        ("BTC", Err("unknown_product")),
        ("BTC-USD-EUR", Err("unknown_product")),
        ("btc-usd", Err("unknown_product")),
        ("-", Err("unknown_product")),
        ("", Err("unknown_product")),
    ] {
        assert_eq!(base_and_quote(product).map_err(|(code, _)| code), expected, "{product}");
    }
}

#[test]
fn the_table_names_a_product_before_its_own_letters_do() {
    let symbols = Symbols::parse("quotes = ['USD']\n[symbols]\nPOL-USD = { coinbase = 'MATIC-USD' }").expect("a table");
    let frame = r#"{"type":"match","trade_id":1,"size":"1","price":"0.5","product_id":"MATIC-USD","time":"2026-03-04T05:06:07Z"}"#;
    let coinbase = Coinbase { symbols: Arc::new(symbols) };
    let parsed = coinbase.parse(&Payload::new(SOURCE, frame.as_bytes(), RECEIVED, ""));
    assert_eq!((parsed.ticks[0].symbol.as_str(), parsed.ticks[0].source_symbol.as_str()), ("POL-USD", "MATIC-USD"));
}

#[test]
fn what_was_asked_is_read_from_either_feeds_messages() {
    let request = [
        r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches","heartbeat",{"name":"ticker","product_ids":["SOL-USD"]}]}"#,
        "GET /",
        "",
        r#"{"type":"unsubscribe","product_ids":["BTC-EUR"],"channels":["matches"]}"#,
        r#"{"type":"subscribe","product_ids":["ADA-USD"],"channel":"market_trades"}"#,
        r#"{"type":"subscribe","channel":"heartbeats"}"#,
    ];
    let pair = |channel: &str, product: &str| (channel.to_owned(), product.to_owned());
    let products = vec![
        pair("matches", "BTC-USD"),
        pair("matches", "ETH-USD"),
        pair("ticker", "SOL-USD"),
        pair("market_trades", "ADA-USD"),
    ];
    assert_eq!(Asked::read(&request.join("\n")), Asked { messages: 3, products });
    for unknown in ["", "/products/BTC-USD/trades", "{", "[]", r#"{"type":"subscribe""#] {
        assert_eq!(Asked::read(unknown).products, [], "{unknown}");
    }
}

#[test]
fn an_errors_words_say_what_to_do() {
    for (body, expected) in [
        (r#"{"type":"error","message":"rate limit exceeded"}"#, "RateLimited"),
        (r#"{"type":"error","message":"Failed to subscribe","reason":"Too many subscriptions"}"#, "RateLimited"),
        (r#"{"message":"Public rate limit exceeded"}"#, "RateLimited"),
        (
            r#"{"type":"error","message":"Failed to subscribe","reason":"FOO-USD is not a valid product"}"#,
            "Configuration",
        ),
        (
            r#"{"type":"error","message":"Failed to subscribe","reason":"full channels now require authentication."}"#,
            "Configuration",
        ),
        (r#"{"type":"error","message":"authentication failure"}"#, "Configuration"),
        (r#"{"type":"error","message":"Malformed JSON"}"#, "Configuration"),
        (r#"{"message":"NotFound"}"#, "Configuration"),
        (r#"{"type":"error","message":"Failed to subscribe","reason":"internal error"}"#, "Retry"),
        (r#"{"type":"error","message":"slow consumer"}"#, "Retry"),
        (r#"{"message":"Internal server error"}"#, "Retry"),
        (r#"{"type":"error","message":"words that are new"}"#, "Retry"),
        (r#"{"type":"error","message":null}"#, "Retry"),
    ] {
        let parsed = read(body);
        assert_eq!(codes(&parsed), ["error_answer  rejected"], "{body}");
        let refusal = format!("{:?}", parsed.refusal.expect(body));
        assert!(refusal.starts_with(expected), "{body}: {refusal}");
        assert!(!parsed.answered);
    }
}

#[test]
fn what_is_no_message() {
    for (frame, problem) in [
        (r#"{"price":"5"}"#, "missing_field type rejected"),
        (r#"{"type":7}"#, "missing_field type rejected"),
        (r#"{"type":"match","type":"ticker"}"#, "missing_field type rejected"),
        ("[1]", "unsupported_shape  rejected"),
        ("7", "unsupported_shape  rejected"),
        ("null", "unsupported_shape  rejected"),
        ("", "not_json  rejected"),
        ("<!DOCTYPE html><html>502</html>", "not_json  rejected"),
        (r#"{"type":"match","trade_id":1"#, "not_json  rejected"),
        (r#"{"channel":"ticker","events":["#, "not_json  rejected"),
    ] {
        let parsed = read(frame);
        assert_eq!(codes(&parsed), [problem], "{frame}");
        assert!(parsed.ticks.is_empty() && !parsed.answered, "{frame}");
    }
}
