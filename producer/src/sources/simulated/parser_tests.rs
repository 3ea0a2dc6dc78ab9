use proptest::prelude::*;

use super::*;
use crate::sources::mutations::{mutated, mutations};

const RECEIVED: i64 = 1_772_600_768_000_000;
const FRAME: &str = r#"{"channel":"trades","run":"1-1772600767000000","trades":[["BTC-USD","67187.30","0.001500",1234,1772600767123456],["USD-BRL","5.4493","12.00",7,1772600767123457]]}"#;

fn parse(frame: &str) -> Parsed {
    Simulated.parse(&Payload::new(SOURCE, frame.as_bytes(), RECEIVED, ""))
}

#[test]
fn a_frame_of_trades() {
    let parsed = parse(FRAME);
    assert!(parsed.answered && parsed.consecutive_trades && parsed.problems.is_empty());
    let [bitcoin, real] = &parsed.ticks[..] else { panic!("two trades") };
    assert_eq!(
        (bitcoin.symbol.as_str(), bitcoin.base.as_str(), bitcoin.quote.as_str(), bitcoin.trade_id.as_deref()),
        ("BTC-USD", "BTC", "USD", Some("1234"))
    );
    assert_eq!((bitcoin.price.to_string(), bitcoin.event_time), ("67187.3".to_owned(), 1_772_600_767_123_456));
    assert_eq!(bitcoin.quantity.map(|quantity| quantity.to_string()), Some("0.0015".to_owned()));
    assert_eq!(bitcoin.event_id, event_id("simulated", "trade/1-1772600767000000", "BTC-USD", "1234"));
    assert_eq!((real.symbol.as_str(), real.received_at), ("USD-BRL", RECEIVED));
}

#[test]
fn each_bad_row_is_named_and_costs_only_itself() {
    let good = r#"["ETH-USD","1","1",1,1772600767123456]"#;
    for (bad, code) in [
        (r#"["btcusd","1","1",1,1772600767123456]"#, "unknown_product"),
        (r#"["BTC-USD","0","1",1,1772600767123456]"#, "not_positive"),
        (r#"["BTC-USD","1.0000000000000000001","1",1,1772600767123456]"#, "too_precise"),
        (r#"["BTC-USD","1","x",1,1772600767123456]"#, "not_a_number"),
        (r#"["BTC-USD","1","1",1,1772600767]"#, "bad_time"),
        (r#"["BTC-USD",1,"1",1,1772600767123456]"#, "unsupported_shape"),
        (r#"["BTC-USD","1","1",1]"#, "unsupported_shape"),
        ("7", "wrong_type"),
    ] {
        let parsed = parse(&format!(r#"{{"channel":"trades","run":"1-1","trades":[{bad},{good}]}}"#));
        let problems: Vec<_> = parsed.problems.iter().map(|problem| (problem.code, problem.path.as_str())).collect();
        assert_eq!(problems, [(code, "trades[0]")], "{bad}");
        assert_eq!(parsed.ticks.len(), 1, "{bad}");
        let alone = parse(&format!(r#"{{"channel":"trades","run":"1-1","trades":[{good}]}}"#));
        assert_eq!(parsed.ticks[0].event_id, alone.ticks[0].event_id, "both readings give one identity");
    }
}

#[test]
fn what_is_no_frame_of_trades_is_named() {
    for (frame, code) in [
        ("", "not_json"),
        ("<html>", "not_json"),
        ("[1]", "unsupported_shape"),
        (r#"{"channel":"trades","run":"1-1","tr"#, "not_json"),
        (r#"{"channel":"news","run":"1-1","trades":[]}"#, "unknown_type"),
        (r#"{"channel":"trades","trades":[]}"#, "missing_field"),
        (r#"{"channel":"trades","run":"1-1","run":"1-2","trades":[]}"#, "duplicate_key"),
        (r#"{"channel":"trades","run":"1-1","trades":{}}"#, "wrong_type"),
    ] {
        let parsed = parse(frame);
        assert_eq!(parsed.problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [code], "{frame}");
        assert!(!parsed.answered && parsed.ticks.is_empty(), "{frame}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_both_readings_agree(mutations in mutations()) {
        let bytes = mutated(FRAME, mutations);
        let payload = Payload::new(SOURCE, &bytes, RECEIVED, "");
        let mut slowly = Parsed::default();
        row_by_row(&payload, &mut slowly);
        if let Some(ticks) = at_once(&payload) {
            prop_assert_eq!(ticks, slowly.ticks);
            prop_assert_eq!(slowly.problems, []);
        } else {
            prop_assert!(!slowly.problems.is_empty(), "a frame that says nothing leaves no word");
        }
    }
}
