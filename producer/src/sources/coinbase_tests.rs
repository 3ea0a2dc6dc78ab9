use proptest::prelude::*;

use super::*;

const RECEIVED: i64 = 1_700_000_000_123_456;
const MATCH: &str = r#"{"type":"match","trade_id":8619001,"maker_order_id":"a","taker_order_id":"b","side":"sell",
    "size":"0.00150000","price":"67187.30","product_id":"BTC-USD","sequence":74210998321,"time":"2026-03-04T05:06:07.123456Z"}"#;

fn read(frame: &str) -> Parsed {
    parse(frame.as_bytes(), RECEIVED, &[])
}

fn codes(parsed: &Parsed) -> Vec<String> {
    parsed
        .problems
        .iter()
        .map(|problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect).to_lowercase())
        .collect()
}

#[test]
fn a_match_is_a_trade() {
    let parsed = read(MATCH);
    assert_eq!(codes(&parsed), [""; 0]);
    let [tick] = &parsed.ticks[..] else { panic!("one tick") };
    assert_eq!((tick.symbol.as_str(), tick.base.as_str(), tick.quote.as_str()), ("BTC-USD", "BTC", "USD"));
    assert_eq!((tick.kind, tick.price.to_string().as_str()), (Kind::Trade, "67187.3"));
    assert_eq!(tick.quantity.map(|quantity| quantity.to_string()).as_deref(), Some("0.0015"));
    // 2026-03-04T05:06:07.123456Z
    assert_eq!((tick.event_time, tick.event_time_origin), (1_772_600_767_123_456, EventTimeOrigin::Source));
    assert_eq!((tick.sequence, tick.trade_id.as_deref()), (Some(74_210_998_321), Some("8619001")));
    assert_eq!(tick.event_id, event_id("coinbase", "trade", "BTC-USD", "8619001"));
}

#[test]
fn the_channel_is_no_part_of_a_trades_identity() {
    let ticker = r#"{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"67187.30","open_24h":"1","volume_24h":"94381.28",
        "best_bid":"67187.29","best_ask":"67187.31","side":"buy","time":"2026-03-04T05:06:07.123456Z","trade_id":8619001,"last_size":"0.00150000"}"#;
    let ids: Vec<_> = [MATCH.to_owned(), MATCH.replace("\"match\"", "\"last_match\""), ticker.to_owned()]
        .iter()
        .map(|frame| read(frame).ticks[0].event_id)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let tick = &read(ticker).ticks[0];
    assert_eq!(tick.bid.map(|bid| bid.to_string()).as_deref(), Some("67187.29"));
    assert_eq!(tick.volume_24h.map(|volume| volume.to_string()).as_deref(), Some("94381.28"));
    assert_eq!(tick.quantity.map(|quantity| quantity.to_string()).as_deref(), Some("0.0015"));
}

#[test]
fn what_is_wrong_with_a_trade_is_named() {
    for (from, to, problem) in [
        (r#""price":"67187.30""#, r#""price":"0""#, "not_positive price rejected"),
        (r#""price":"67187.30""#, r#""price":"-1""#, "not_positive price rejected"),
        (r#""price":"67187.30""#, r#""price":"NaN""#, "not_a_number price rejected"),
        (r#""price":"67187.30""#, r#""price":NaN"#, "not_json  noted"),
        (r#""price":"67187.30""#, r#""price":null"#, "null_field price rejected"),
        (r#""price":"67187.30""#, r#""price":{}"#, "wrong_type price rejected"),
        (r#""price":"67187.30""#, r#""price":"1","price":"2""#, "duplicate_key price rejected"),
        (r#""price":"67187.30""#, r#""price":"0.1234567890123456789""#, "too_precise price rejected"),
        (r#""trade_id":8619001,"#, "", "missing_field trade_id rejected"),
        (r#""trade_id":8619001"#, r#""trade_id":8.6e6"#, "not_a_number trade_id rejected"),
        (r#""trade_id":8619001"#, r#""trade_id":"0008619001""#, "not_a_number trade_id rejected"),
        (r#""BTC-USD""#, r#""BTC-PERP-INTX""#, "derivative product_id rejected"),
        (r#""BTC-USD""#, r#""BIT-31JAN25-CDE""#, "derivative product_id rejected"),
        (r#""BTC-USD""#, r#""BTCUSD""#, "unknown_product product_id rejected"),
        (r#""BTC-USD""#, r#""""#, "missing_field product_id rejected"),
        ("2026-03-04T05:06:07.123456Z", "2026-03-04 05:06:07 +0000 UTC m=+1", "bad_time time rejected"),
    ] {
        let frame = MATCH.replacen(from, to, 1);
        assert_ne!(frame, MATCH);
        let parsed = read(&frame);
        assert!(parsed.ticks.is_empty(), "{frame}");
        assert_eq!(codes(&parsed).first().map(String::as_str), Some(problem), "{frame}");
    }
    let without_size = read(&MATCH.replace("\"0.00150000\"", "\"much\""));
    assert_eq!((without_size.ticks.len(), codes(&without_size)), (1, vec!["not_a_number size nulled".to_owned()]));
    let number = read(&MATCH.replace("\"67187.30\"", "67187.30"));
    assert_eq!(number.ticks[0].price.to_string(), "67187.3");
    assert_eq!(codes(&number), ["unexpected_form price noted"]);
}

#[test]
fn frames_that_are_no_trade() {
    let heartbeat = read(
        r#"{"type":"heartbeat","last_trade_id":23080426,"product_id":"ETH-BTC","sequence":4,"time":"2021-11-02T11:30:50.710150Z"}"#,
    );
    let latest = LatestTrade { source_symbol: "ETH-BTC".to_owned(), trade_id: 23_080_426, at: 1_635_852_650_710_150 };
    assert_eq!((heartbeat.latest_trade, heartbeat.answered, heartbeat.problems.len()), (Some(latest), true, 0));

    let products = ["BTC-USD".to_owned(), "ETH-USD".to_owned()];
    let acknowledged = parse(
        br#"{"type":"subscriptions","channels":[{"name":"heartbeat","product_ids":["ETH-USD"]},{"name":"matches","product_ids":["BTC-USD"]}]}"#,
        RECEIVED,
        &products,
    );
    assert_eq!(codes(&acknowledged), ["not_answered eth-usd rejected"]);

    let error = read(r#"{"type":"error","message":"Failed to subscribe","reason":"ticker is not a valid channel"}"#);
    assert!(error.refusal.is_some_and(|refusal| refusal.detail().contains("not a valid channel")));

    for (frame, problem) in [
        (r#"{"type":"received","product_id":"BTC-USD"}"#, "unknown_type type noted"),
        (
            r#"{"channel":"ticker","sequence_num":0,"events":[{"type":"snapshot","tickers":[]}]}"#,
            "unsupported_shape channel rejected",
        ),
        (r#"{"price":"5"}"#, "missing_field type rejected"),
        ("[1]", "unsupported_shape  rejected"),
        ("", "not_json  rejected"),
        ("<html>", "not_json  rejected"),
        (r#"{"type":"match","trade_id":1"#, "not_json  rejected"),
    ] {
        let parsed = read(frame);
        assert_eq!(codes(&parsed), [problem], "{frame}");
        assert!(parsed.ticks.is_empty() && !parsed.answered, "{frame}");
    }
}

#[test]
fn what_is_subscribed_to_is_matches_and_heartbeats_only() {
    let request: serde_json::Value = serde_json::from_str(&subscribe(&["BTC-USD".to_owned()])).expect("JSON");
    assert_eq!(request, json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches", "heartbeat"]}));
}

proptest! {
    #[test]
    fn mutated_frames_never_panic(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..12)) {
        let mut frame = MATCH.as_bytes().to_vec();
        for (at, byte, how) in cuts {
            if frame.is_empty() { break; }
            let at = at.index(frame.len());
            match how {
                0 => frame[at] = byte,
                1 => { frame.remove(at); }
                2 => frame.insert(at, byte),
                _ => frame.truncate(at),
            }
        }
        let parsed = parse(&frame, RECEIVED, &[]);
        prop_assert!(parsed.ticks.iter().all(|tick| !tick.price.is_zero() && !tick.price.is_negative()));
        prop_assert!(parsed.answered || !parsed.problems.is_empty(), "a frame that says nothing leaves a line");
    }
}
