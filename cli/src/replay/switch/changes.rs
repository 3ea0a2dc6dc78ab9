//! The corrections of a generation as they are read from its topic: each with the tick whose place it takes. They are read a
//! batch at a time and as often as they are needed, so what is held in memory does not grow with them. Must never happen here:
//! a correction that does not decode and is passed over.

use anyhow::{Context, ensure};
use arrow::array::BinaryArray;
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Ticks};
use pipeline::events::PriceTick;
use pipeline::kafka::KafkaArgs;
use pipeline::records::Records;
use pipeline::registry::Registry;

use super::sequel::Change;
use crate::replay::generation::{OLD, corrections};
use crate::replay::plan::Name;

/// Gives all changes of the generation to `take`, each with its record's value, in their order.
///
/// # Errors
/// When they cannot be read, or `take` fails.
pub async fn read(
    kafka: &KafkaArgs,
    registry: Option<Registry>,
    name: &Name,
    mut take: impl AsyncFnMut(Vec<(Change, &[u8])>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut decoder = Decoder::new(RecordType::PriceTick, registry);
    corrections::read(kafka, name, async |records| {
        let values = records.values();
        let new = decode(&mut decoder, values).await?;
        let headers: Vec<Option<Vec<u8>>> = (0..records.len()).map(|index| old_of(&records, index)).collect();
        let with_old: Vec<usize> = (0..headers.len()).filter(|index| headers[*index].is_some()).collect();
        let old_values = BinaryArray::from_iter_values(headers.iter().flatten());
        let mut old: Vec<Option<PriceTick>> = vec![None; new.len()];
        for (index, tick) in with_old.into_iter().zip(decode(&mut decoder, &old_values).await?) {
            old[index] = Some(tick);
        }
        let changes = new.into_iter().zip(old).map(|(new, old)| Change { old, new });
        take(changes.enumerate().map(|(index, change)| (change, values.value(index))).collect()).await
    })
    .await
}

fn old_of(records: &Records, index: usize) -> Option<Vec<u8>> {
    records.headers(index).into_iter().rev().find(|(key, _)| key == OLD)?.1
}

async fn decode(decoder: &mut Decoder, values: &BinaryArray) -> anyhow::Result<Vec<PriceTick>> {
    let decoded = decoder.decode(values).await?;
    let bad = decoded.bad.first();
    ensure!(
        bad.is_none(),
        "a correction of the generation does not decode: {}",
        bad.map_or("", |(_, reason)| reason.as_str())
    );
    let ticks: Vec<PriceTick> = Ticks::new(&decoded.batch).iter().collect();
    (ticks.len() == arrow::array::Array::len(values)).then_some(ticks).context("a correction that is no tick")
}
