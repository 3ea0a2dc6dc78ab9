//! One raw object: the bytes that were written, the link that its key, its metadata and its footer agree on, its records in
//! order, and those of the topic. Must never happen here: an object opened whose bytes are known not to be ours.

use anyhow::anyhow;
use pipeline::lake::{Link, raw_key};
use pipeline::records::Records;
use pipeline::store::Object;

use super::against_topic::{difference, digest_of};
use super::{Eye, Look, Walk};

impl Eye {
    /// The records, when there is nothing wrong with them. `link` is what the object was believed to be.
    pub(super) async fn raw(
        &self,
        walk: &Walk<'_>,
        index: usize,
        link: &Link,
        look: &mut Look,
    ) -> anyhow::Result<Option<Records>> {
        let place = walk.place;
        let key = raw_key(place.topic, place.epoch, place.partition, link.start);
        let object = self.get(&key).await?.ok_or_else(|| anyhow!("{key} was there and is gone: audit again"))?;
        look.raw_bytes = object.bytes.len() as u64;
        look.has_checksum = object.is_as_written().is_some();

        let mut wrong = Vec::new();
        let mut records = None;
        if let Some(changed) = changed(&object) {
            wrong.push(changed);
        } else {
            match self.encodings.read_raw(object.bytes.clone()).await {
                Err(error) => wrong.push(format!("it is no raw object: {error:#}")),
                Ok((footer, held)) => {
                    wrong.extend(link_faults(walk, link, &footer, &object));
                    wrong.extend(offset_fault(link, &held));
                    records = Some(held);
                }
            }
        }
        let told = walk.told.filter(|told| link.next_offset <= told.log_end);
        if let (Some(told), Some(records), true) = (told, &records, wrong.is_empty()) {
            let (digest, compared) = digest_of(records, told.log_start);
            if digest == told.digests[index] {
                look.compared = compared;
            } else {
                wrong.extend(
                    difference(&self.kafka, place.topic, place.partition, link, told.log_start, records).await?,
                );
            }
        }
        if wrong.is_empty() {
            return Ok(records);
        }
        let what_to_do = match walk.told {
            Some(told) if told.log_start <= link.start => {
                format!(
                    "the topic still has its records: `tickstream lake restore {key}`, or put back a version or a backup of it"
                )
            }
            Some(_) => "put back a version or a backup of it: the topic no longer has all of its records".to_owned(),
            None => "put back a version or a backup of it".to_owned(),
        };
        look.faults.push(format!("{key}: {}; {what_to_do}", wrong.join("; ")));
        Ok(None)
    }
}

/// What the checksum says against the bytes.
pub(super) fn changed(object: &Object) -> Option<String> {
    if object.is_as_written() != Some(false) {
        return None;
    }
    let size = object.bytes.len();
    Some(if object.bytes.ends_with(b"PAR1") {
        format!("its {size} bytes are not those that were written: the checksum in its metadata is of others")
    } else {
        format!("its {size} bytes are not those that were written, and it is cut off: it does not end as Parquet does")
    })
}

fn link_faults(walk: &Walk<'_>, link: &Link, footer: &Link, object: &Object) -> Vec<String> {
    let mut wrong = Vec::new();
    let metadata = Link::from_pairs(&object.head.metadata);
    if metadata.is_some_and(|metadata| metadata != *footer) {
        wrong.push("its metadata and its footer tell of different objects".to_owned());
    } else if footer != link {
        wrong.push("it was replaced while the audit ran, or is not the object that its key names".to_owned());
    }
    if footer.topic_id != walk.topic_id {
        wrong.push(format!("it is of topic id {}, and its epoch of {}", footer.topic_id, walk.topic_id));
    }
    wrong
}

/// Where its offsets are not ascending, or not in its range.
fn offset_fault(link: &Link, records: &Records) -> Option<String> {
    let mut least = link.start;
    for offset in records.offsets().values() {
        if *offset < least || *offset >= link.next_offset {
            return Some(format!("offset {offset} is out of place in {}..{}", link.start, link.next_offset));
        }
        least = offset + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use pipeline::lake::LinkKind;
    use pipeline::records::{Record, RecordBuffer};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn offsets_ascend_in_their_range() {
        let link = Link { kind: LinkKind::Data, topic_id: Uuid::nil(), start: 5, next_offset: 9, rows: None };
        let fault = |offsets: &[i64]| {
            let mut buffer = RecordBuffer::new();
            for offset in offsets {
                buffer.push_owned(Record { offset: *offset, timestamp_ms: 0, key: None, value: None }, &[]);
            }
            offset_fault(&link, &buffer.finish())
        };
        assert_eq!((fault(&[5, 6, 8]), fault(&[])), (None, None));
        for (offsets, named) in
            [(&[4, 5][..], "offset 4"), (&[5, 9], "offset 9"), (&[5, 7, 7], "offset 7"), (&[7, 6], "offset 6")]
        {
            assert!(fault(offsets).expect("a fault").starts_with(named));
        }
    }
}
