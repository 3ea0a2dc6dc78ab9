//! Candles of gold, by series and bucket, where all live ticks of the bucket are the plan's. Must never happen here: a candle told
//! as wrong because the generation has not all of its ticks.

use std::collections::BTreeSet;

use super::object::{self, Row};
use super::silver::listed;
use super::{Compared, Foreign, Sides};
use crate::audit::refined::rules::TIMEFRAMES;

const PREFIX: &str = "gold/candles/";
const KEY: [&str; 4] = ["source", "symbol", "price_basis", "bucket"];

pub async fn compare(sides: &Sides<'_>, foreign: &Foreign) -> anyhow::Result<Compared> {
    let mut found = Compared::new("gold candles", sides.args);
    let keys: BTreeSet<String> = listed(&sides.own, PREFIX).await?.into_iter().collect();
    for key in keys {
        let Some(timeframe) = timeframe(&key) else { continue };
        let is_foreign = |row: &Row| {
            let text = |name: &str| row.get(name).unwrap_or_default();
            let bucket = row.micros("bucket").unwrap_or_default();
            foreign.contains(&(timeframe, text("source"), text("symbol"), text("price_basis"), bucket))
        };
        let own = object::read(&sides.own, &key, &KEY).await?;
        let mut live = object::read(&sides.live, &key, &KEY).await?;
        let mut own: Vec<Row> = own.into_values().filter(|row| !is_foreign(row)).collect();
        own.sort_by(|one, other| one.key().cmp(other.key()));
        for own in own {
            let Some(live) = live.remove(own.key()) else {
                found.only_generation(&own, "close");
                continue;
            };
            let columns = own.differs_from(&live, &[]);
            if columns.is_empty() { found.same() } else { found.different(&own, columns) }
        }
        live.retain(|_, row| !is_foreign(row));
        let mut live: Vec<Row> = live.into_values().collect();
        live.sort_by(|one, other| one.key().cmp(other.key()));
        for live in live {
            found.only_live(&live, "close");
        }
    }
    Ok(found)
}

/// In a key of candles.
fn timeframe(key: &str) -> Option<&'static str> {
    let name = key.split('/').find_map(|part| part.strip_prefix("timeframe="))?;
    TIMEFRAMES.iter().map(|(timeframe, _)| *timeframe).find(|timeframe| *timeframe == name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_of_candles_tells_their_timeframe() {
        assert_eq!(super::timeframe("gold/candles/timeframe=1h/dt=2026-03-02/part.parquet"), Some("1h"));
        assert_eq!(super::timeframe("gold/candles/timeframe=2h/dt=2026-03-02/part.parquet"), None);
    }
}
