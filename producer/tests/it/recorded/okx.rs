//! OKX's recorded frames.

use super::said;

/// 18 acknowledgements say nothing that is printed; a dated future and a perpetual beside the spot pair are named.
#[test]
fn a_session() {
    let Some(said) = said("okx", None, "ws_v5_ticker_trades_2022-05-13.jsonl") else { return };
    let expected: Vec<&str> = include_str!("okx_session.txt").lines().collect();
    assert_eq!(said, expected);
}
