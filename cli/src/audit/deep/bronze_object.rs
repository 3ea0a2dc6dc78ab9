//! The bronze of one raw object: there, as it was written, and what the raw object decodes to when that is done again. Must
//! never happen here: bronze blamed for what is wrong with raw.

use std::time::Duration;

use pipeline::lake::{Link, bronze_key, table};
use pipeline::records::Records;
use pipeline::store::Object;

use super::raw_object::changed;
use super::{Eye, Look, Walk, day_in};

/// A writer puts bronze after raw: how long that of a chain's last object is waited for.
const PATIENCE: u32 = 10;

/// The version of the decoder that made an object, beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Older,
    Same,
    Newer,
}

impl Eye {
    /// `records` are those of the raw object, when nothing is wrong with it.
    pub(super) async fn bronze(
        &self,
        walk: &Walk<'_>,
        link: &Link,
        records: Option<Records>,
        is_last: bool,
        look: &mut Look,
    ) -> anyhow::Result<()> {
        let (Some(record), Some(rows)) = (walk.record, link.rows) else { return Ok(()) };
        let place = walk.place;
        let key = bronze_key(table(record), rows.first_time_ms, place.topic, place.epoch, place.partition, link.start);
        let mut object = self.get(&key).await?;
        for _ in 0..PATIENCE {
            if object.is_some() || !is_last {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            object = self.get(&key).await?;
        }
        let wrong = match object {
            None => vec![format!("it is missing: the bronze of {} records", rows.count)],
            Some(object) => self.bronze_faults(walk, record, rows.count, object, records, look).await?,
        };
        if !wrong.is_empty() {
            let day = day_in(&key).unwrap_or_default();
            let again = format!("`refiner rebuild --layer bronze --from {day} --to {day}` makes it again");
            look.faults.push(format!("{key}: {}; {again}", wrong.join("; ")));
        }
        look.bronze_key = Some(key);
        Ok(())
    }

    async fn bronze_faults(
        &self,
        walk: &Walk<'_>,
        record: pipeline::codec::RecordType,
        count: u64,
        object: Object,
        records: Option<Records>,
        look: &mut Look,
    ) -> anyhow::Result<Vec<String>> {
        look.bronze_bytes = object.bytes.len() as u64;
        if let Some(changed) = changed(&object) {
            return Ok(vec![changed]);
        }
        let stored = match self.encodings.read_bronze(object.bytes.clone()).await {
            Ok(stored) => stored,
            Err(error) => return Ok(vec![format!("it is no bronze object: {error:#}")]),
        };
        let mut wrong = Vec::new();
        let (rows, left_out) = (stored.rows.num_rows() as u64, stored.bad.len() as u64);
        if rows + left_out != count {
            wrong.push(format!("it has {rows} rows and leaves out {left_out}, its raw object has {count} records"));
        }
        let told = |name: &str| object.head.metadata.get(name).and_then(|number| number.parse::<u64>().ok());
        if told(super::lake::BRONZE_ROWS) != Some(rows) {
            wrong.push("its metadata does not say how many rows it has".to_owned());
        }
        let age = match stored.version.cmp(&::lake::bronze::VERSION) {
            std::cmp::Ordering::Less => Age::Older,
            std::cmp::Ordering::Equal => Age::Same,
            std::cmp::Ordering::Greater => Age::Newer,
        };
        look.age = Some(age);
        if let (Age::Same, Some(records), true) = (age, records, wrong.is_empty()) {
            let made = self.encodings.bronze_of(record, walk.place.partition, &records).await?;
            // Another compression is another object with the same rows.
            if made.bytes != object.bytes && self.encodings.read_bronze(made.bytes).await? != stored {
                wrong.push("it is not what its raw object decodes to".to_owned());
            }
        }
        Ok(wrong)
    }
}
