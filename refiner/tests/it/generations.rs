//! A second gold over the same silver.

use std::collections::BTreeSet;

use refiner::objects::Objects;
use refiner::tables::Prefixes;

use crate::bronze::{HOUR, Lake, MONDAY, refine, trade};

async fn keys(lake: &Lake, prefix: &str) -> BTreeSet<String> {
    let listed = lake.etags(&format!("{prefix}/")).await;
    listed.into_keys().filter_map(|key| Some(key.strip_prefix(prefix)?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gold_is_whole_and_both_go_on() {
    let lake = Lake::new(stack::shared().await, "refine-generations").await;
    let first = lake.refiner().await;
    let prefixes = Prefixes { gold: "gold-2".to_owned(), ..Prefixes::default() };
    let second = lake.refiner_of(Objects::new(lake.store.clone()), prefixes).await;
    let hours = async |gold: &str| lake.partition(&format!("{gold}/candles/timeframe=1h/dt=2026-03-02")).await;
    for (number, refiners) in [(1, [&first, &second]), (2, [&second, &first])] {
        let at = MONDAY + i64::from(number) * HOUR;
        lake.ticks(0, at, &[trade("kraken", "BTC-USD", number, "1", at)]).await;
        for refiner in refiners {
            refine(refiner).await;
        }
        let expected = keys(&lake, "gold").await;
        assert!(expected.len() > 5, "{expected:?}");
        assert_eq!(keys(&lake, "gold-2").await, expected);
        assert_eq!(hours("gold").await.len(), usize::try_from(number).expect("few"));
        assert_eq!(hours("gold-2").await, hours("gold").await);
    }
}
