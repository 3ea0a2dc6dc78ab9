//! Whether there are ticks of the symbols that are asked for: the keys of the records are read, all of them. Must never happen
//! here: a replay of a symbol that was mistyped, which would find nothing and say that it is done.

use std::collections::BTreeMap;

use arrow::array::Array;
use pipeline::kafka::KafkaArgs;
use pipeline::store::StoreArgs;
use pipeline::{misconfigured, topics};

use crate::nearest::not_known;
use crate::replay::generation::inputs;
use crate::replay::plan::{Plan, Stretch};

/// How many ticks of the stretches are of the plan's symbols.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a symbol of which there is none, with the nearest names.
pub async fn check(plan: &Plan, kafka: &KafkaArgs, store: &StoreArgs) -> anyhow::Result<u64> {
    let stretches: Vec<Stretch> = plan.of_topic(topics::TICKS).cloned().collect();
    let mut counts: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let read = inputs::read(plan.source, kafka, store, topics::TICKS, &stretches, async |_, records| {
        let keys = records.keys();
        for key in (0..records.len()).filter(|row| keys.is_valid(*row)).map(|row| keys.value(row)) {
            match counts.get_mut(key) {
                Some(count) => *count += 1,
                None => drop(counts.insert(key.to_vec(), 1)),
            }
        }
        Ok(())
    });
    read.await?;
    found(&plan.symbols, &counts).map_err(misconfigured)
}

fn found(symbols: &[String], counts: &BTreeMap<Vec<u8>, u64>) -> Result<u64, String> {
    let mut found = 0;
    for symbol in symbols {
        let Some(count) = counts.get(symbol.as_bytes()) else {
            let known = counts.keys().filter_map(|key| std::str::from_utf8(key).ok());
            return Err(format!("in what is replayed, {}", not_known("tick of", symbol, known)));
        };
        found += count;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_without_ticks_is_told_with_the_nearest() {
        let counts = BTreeMap::from([(b"BTC-USD".to_vec(), 5), (b"ETH-USD".to_vec(), 2), (vec![0xff], 1)]);
        let of = |symbols: &[&str]| found(&symbols.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), &counts);
        assert_eq!(of(&["BTC-USD", "ETH-USD"]), Ok(7));
        let why = of(&["BTC-USD", "ETH-USDT"]).expect_err("unknown");
        assert_eq!(why, "in what is replayed, no tick of ETH-USDT is known; the nearest names are ETH-USD, BTC-USD");
    }
}
