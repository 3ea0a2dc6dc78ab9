//! Bronze: records, by partition and offset. Objects of the two lakes begin at other offsets, so each of the generation's is held
//! against all live ones that its offsets lie in. Corrections are the generation's own, and have no live record. Must never happen
//! here: a live object that is passed over because its raw object begins before the plan does.

use std::collections::HashMap;

use pipeline::store::Store;
use pipeline::topics::TICKS;

use super::object::{self, Row};
use super::{Compared, Sides, is_in};
use crate::replay::generation::inputs::{self, Bronze};

const KEY: [&str; 2] = ["kafka_partition", "kafka_offset"];

pub async fn compare(sides: &Sides<'_>) -> anyhow::Result<Compared> {
    let mut found = Compared::new("bronze", sides.args);
    for stretch in sides.plan.of_topic(TICKS).filter(|stretch| stretch.from < stretch.to) {
        let live_epoch = inputs::epoch_of(&sides.live, TICKS, stretch.topic_id).await?;
        let own = inputs::bronze(&sides.own, 0, stretch).await?;
        let live = inputs::bronze(&sides.live, live_epoch, stretch).await?;
        // Live rows that were read and not met yet.
        let (mut rows, mut next): (HashMap<String, Row>, usize) = (HashMap::new(), 0);
        for own in own {
            while let Some(object) = live.get(next).filter(|object| object.start < own.end) {
                next += 1;
                let read = read(&sides.live, object).await?;
                rows.extend(read.into_iter().filter(|(_, row)| is_in(&sides.scope, row)));
            }
            let mut of_own: Vec<Row> = read(&sides.own, &own).await?.into_values().collect();
            of_own.sort_by_cached_key(|row| row.number("kafka_offset"));
            for own in of_own {
                let Some(live) = rows.remove(own.key()) else {
                    found.only_generation(&own, "price");
                    continue;
                };
                let columns = own.differs_from(&live, &[]);
                if columns.is_empty() { found.same() } else { found.different(&own, columns) }
            }
            let is_over = |row: &Row| row.number("kafka_offset").is_some_and(|offset| offset < own.end);
            let mut lone: Vec<Row> = rows.extract_if(|_, row| is_over(row)).map(|(_, row)| row).collect();
            lone.sort_by_cached_key(|row| row.number("kafka_offset"));
            for live in lone {
                found.only_live(&live, "price");
            }
        }
    }
    Ok(found)
}

async fn read(store: &Store, object: &Bronze) -> anyhow::Result<HashMap<String, Row>> {
    match &object.key {
        Some(key) => object::read(store, key, &KEY).await,
        None => Ok(HashMap::new()),
    }
}
