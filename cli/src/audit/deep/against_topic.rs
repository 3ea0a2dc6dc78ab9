//! Raw rows beside the topic's records, byte for byte: offset, broker time, key, value and headers. The topic is read once,
//! from its start to its end, and a digest of each link's records is kept, 16 bytes a link; only where the digests differ is
//! the topic asked again, for the first record that is another one.

use pipeline::kafka::KafkaArgs;
use pipeline::lake::Link;
use pipeline::records::Records;
use pipeline::stretches::{self, Stretch};
use twox_hash::XxHash3_128;

const WHEN_CUT: &str = "run the audit again";

/// A digest of the topic's records in each link of a chain. Records come in offset order.
#[derive(Default)]
pub struct Digests {
    done: Vec<u128>,
    open: Digest,
}

impl Digests {
    /// Takes a record of link `link`.
    pub fn take(&mut self, link: usize, records: &Records, row: usize) {
        self.close(link);
        self.open.take(records, row);
    }

    /// One a link.
    pub fn finish(mut self, links: usize) -> Vec<u128> {
        self.close(links);
        self.done
    }

    fn close(&mut self, before: usize) {
        while self.done.len() < before {
            self.done.push(std::mem::take(&mut self.open.sum));
        }
    }
}

/// The digest of the records from offset `from` on, and how many those are.
pub(super) fn digest_of(records: &Records, from: i64) -> (u128, u64) {
    let first = records.offsets().values().partition_point(|offset| *offset < from);
    let mut digest = Digest::default();
    for row in first..records.len() {
        digest.take(records, row);
    }
    (digest.sum, (records.len() - first) as u64)
}

/// The hash of a record and of the hash before it.
#[derive(Default)]
struct Digest {
    sum: u128,
    buffer: Vec<u8>,
}

impl Digest {
    fn take(&mut self, records: &Records, row: usize) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.sum.to_le_bytes());
        // Each part with its length, so that no two records look alike.
        let mut part = |bytes: Option<&[u8]>| {
            let length = bytes.map_or(-1, |bytes| bytes.len() as i64);
            self.buffer.extend_from_slice(&length.to_le_bytes());
            self.buffer.extend_from_slice(bytes.unwrap_or_default());
        };
        part(Some(&records.offsets().value(row).to_le_bytes()));
        part(Some(&records.timestamps_ms().value(row).to_le_bytes()));
        let (key, value) = fields(records, row);
        part(key);
        part(value);
        for (name, value) in &records.headers(row) {
            part(Some(name.as_bytes()));
            part(value.as_deref());
        }
        self.sum = XxHash3_128::oneshot(&self.buffer);
    }
}

fn fields(records: &Records, row: usize) -> (Option<&[u8]>, Option<&[u8]>) {
    use arrow::array::Array;
    let (keys, values) = (records.keys(), records.values());
    (keys.is_valid(row).then(|| keys.value(row)), values.is_valid(row).then(|| values.value(row)))
}

/// The first record in which the topic and `held` are not the same.
pub(super) async fn difference(
    kafka: &KafkaArgs,
    topic: &str,
    partition: i32,
    link: &Link,
    log_start: i64,
    held: &Records,
) -> anyhow::Result<Option<String>> {
    let stretch = Stretch { partition, start: link.start.max(log_start), end: link.next_offset };
    let mut row = held.offsets().values().partition_point(|offset| *offset < stretch.start);
    let mut first = None;
    stretches::read(kafka, topic, &[stretch], WHEN_CUT, async |_, records| {
        for index in 0..records.len() {
            if first.is_some() {
                break;
            }
            first = compare(&records, index, held, row);
            row += 1;
        }
        Ok(())
    })
    .await?;
    let beyond = || {
        let offset = held.offsets().values().get(row)?;
        Some(format!("it has a record at offset {offset}, the topic has none"))
    };
    Ok(first.or_else(beyond))
}

fn compare(told: &Records, index: usize, held: &Records, row: usize) -> Option<String> {
    let offset = told.offsets().value(index);
    match held.offsets().values().get(row) {
        Some(other) if *other < offset => {
            return Some(format!("it has a record at offset {other}, the topic has none"));
        }
        Some(other) if *other == offset => {}
        Some(_) | None => return Some(format!("the topic has a record at offset {offset}, it has none")),
    }
    let ((key, value), (held_key, held_value)) = (fields(told, index), fields(held, row));
    let other = [
        ("broker time", told.timestamps_ms().value(index) != held.timestamps_ms().value(row)),
        ("key", key != held_key),
        ("value", value != held_value),
        ("headers", told.headers(index) != held.headers(row)),
    ];
    let names: Vec<&str> = other.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
    (!names.is_empty()).then(|| format!("the record at offset {offset} is not the topic's: other {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use pipeline::records::{Record, RecordBuffer};

    use super::*;

    type Row<'a> = (i64, i64, Option<&'a [u8]>, Option<&'a [u8]>, &'a str);

    fn records(rows: &[Row<'_>]) -> Records {
        let mut buffer = RecordBuffer::new();
        for (offset, timestamp_ms, key, value, header) in rows {
            let headers = [((*header).to_owned(), Some(header.as_bytes().to_vec()))];
            let headers = if header.is_empty() { &[] } else { &headers[..] };
            let record = Record { offset: *offset, timestamp_ms: *timestamp_ms, key: *key, value: *value };
            buffer.push_owned(record, headers);
        }
        buffer.finish()
    }

    const ROW: Row<'_> = (5, 7, Some(b"k"), Some(b"v"), "h");

    #[test]
    fn whatever_differs_is_named_and_changes_the_digest() {
        let told = records(&[ROW]);
        assert_eq!(compare(&told, 0, &told, 0), None);
        let others: [(Row<'_>, &str); 7] = [
            ((4, 7, Some(b"k"), Some(b"v"), "h"), "it has a record at offset 4, the topic has none"),
            ((6, 7, Some(b"k"), Some(b"v"), "h"), "the topic has a record at offset 5, it has none"),
            ((5, 8, Some(b"k"), Some(b"v"), "h"), "other broker time"),
            ((5, 7, None, Some(b"v"), "h"), "other key"),
            ((5, 7, Some(b"k"), Some(b""), "h"), "other value"),
            ((5, 7, Some(b"k"), None, ""), "other value, headers"),
            ((5, 7, Some(b"kv"), Some(b""), "h"), "other key, value"),
        ];
        for (row, named) in others {
            let held = records(&[row]);
            let line = compare(&told, 0, &held, 0).expect("a difference");
            assert!(line.ends_with(named), "{line}");
            assert_ne!(digest_of(&told, 0), digest_of(&held, 0), "{line}");
        }
        assert_eq!(
            compare(&told, 0, &told, 1).expect("a difference"),
            "the topic has a record at offset 5, it has none"
        );
    }

    #[test]
    fn each_link_has_the_digest_of_its_own_records() {
        let all = records(&[ROW, (6, 7, None, None, ""), (8, 9, None, Some(b"x"), "")]);
        let mut digests = Digests::default();
        digests.take(1, &all, 0);
        digests.take(1, &all, 1);
        digests.take(3, &all, 2);
        let nothing = digest_of(&records(&[]), 0).0;
        let expected = [nothing, digest_of(&all.slice(0, 2), 0).0, nothing, digest_of(&all.slice(2, 1), 0).0, nothing];
        assert_eq!(digests.finish(5), expected);
        assert_eq!(digest_of(&all, 7), (expected[3], 1), "what the topic no longer has is left out");
    }
}
