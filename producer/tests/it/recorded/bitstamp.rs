//! Bitstamp's recorded frames.

use super::check;

/// Three acknowledgements say nothing that is printed; the ids run over all pairs, so that their jumps are no loss.
#[test]
fn trades() {
    check(
        "bitstamp",
        None,
        "ws_live_trades_2022-01-05.jsonl",
        &[
            "ETH-USD 3805.44 TRADE 2022-01-05T00:48:19.596000Z quantity=0.0792 trade_id=216000477",
            "ETH-USD 3802.93 TRADE 2022-01-05T00:48:29.599000Z quantity=0.931 trade_id=216000484",
            "ETH-USD 3802.89 TRADE 2022-01-05T00:48:29.599000Z quantity=3.2394864 trade_id=216000485",
            "ETH-USD 3800.75 TRADE 2022-01-05T00:48:41.243000Z quantity=0.6 trade_id=216000500",
            "ETH-USD 3800.74 TRADE 2022-01-05T00:48:41.243000Z quantity=7.56178113 trade_id=216000501",
            "ETH-USD 3800.74 TRADE 2022-01-05T00:48:41.243000Z quantity=3.10111288 trade_id=216000502",
            "ETH-USD 3800.73 TRADE 2022-01-05T00:48:41.243000Z quantity=6.289478 trade_id=216000503",
            "ETH-USD 3800.54 TRADE 2022-01-05T00:48:41.243000Z quantity=8.27640641 trade_id=216000504",
            "ETH-USD 3800.53 TRADE 2022-01-05T00:48:41.243000Z quantity=2.108 trade_id=216000505",
            "ETH-USD 3800.8 TRADE 2022-01-05T00:48:41.269000Z quantity=2.73248242 trade_id=216000506",
        ],
    );
}
