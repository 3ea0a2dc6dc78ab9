//! One dead letter as it stands in a dead-letter topic: which record it is of, who refused it and why, and the record's own
//! key, value and headers beneath ours. Must never happen here: a header of the record's own taken for one of ours, or lost.

use pipeline::dead_letter::{GROUP, OFFSET, PARTITION, REASON, TIMESTAMP, TOPIC, TOPIC_ID};
use pipeline::records::Records;
use uuid::Uuid;

const OURS: [&str; 7] = [TOPIC, TOPIC_ID, PARTITION, OFFSET, GROUP, REASON, TIMESTAMP];

/// A header: its key as [`pipeline::headers::text_of`] tells it.
pub type Header = (String, Option<Vec<u8>>);

/// Where the record stands that the letter is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub topic_id: Uuid,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub place: Place,
    pub group: String,
    pub reason: String,
    /// When the letter was written, by the broker, milliseconds UTC.
    pub at_ms: i64,
    /// When the record was.
    pub record_ms: Option<i64>,
    /// The record's own.
    pub headers: Vec<Header>,
    /// Which of the records read it is: they hold its key and value.
    pub row: usize,
}

impl Letter {
    /// `None` for a record whose headers do not say whose dead letter it is.
    pub fn read(records: &Records, row: usize) -> Option<Self> {
        let mut headers = records.headers(row);
        // Ours stand behind the record's own, which may be those of an earlier letter: the last of each name is ours.
        let [_, topic_id, partition, offset, group, reason, record_ms] = OURS.map(|name| {
            let index = headers.iter().rposition(|(key, _)| key == name)?;
            headers.remove(index).1.and_then(|value| String::from_utf8(value).ok())
        });
        let place = Place {
            topic_id: topic_id?.parse().ok()?,
            partition: partition?.parse().ok()?,
            offset: offset?.parse().ok()?,
        };
        Some(Self {
            place,
            group: group?,
            reason: reason.unwrap_or_default(),
            at_ms: records.timestamps_ms().value(row),
            record_ms: record_ms.and_then(|text| text.parse().ok()),
            headers,
            row,
        })
    }
}

#[cfg(test)]
pub mod tests {
    use pipeline::records::{Record, RecordBuffer};

    use super::*;

    pub fn header(key: &str, value: &str) -> Header {
        (key.to_owned(), Some(value.as_bytes().to_vec()))
    }

    /// The headers that a consumer adds.
    pub fn ours(topic_id: Uuid, partition: &str, offset: &str, group: &str, reason: &str) -> Vec<Header> {
        let id = topic_id.to_string();
        [
            (TOPIC, "market.ticks.v1"),
            (TOPIC_ID, &id),
            (PARTITION, partition),
            (OFFSET, offset),
            (GROUP, group),
            (REASON, reason),
            (TIMESTAMP, "1772500000000"),
        ]
        .map(|(key, value)| header(key, value))
        .to_vec()
    }

    fn read(headers: &[Header]) -> Option<Letter> {
        let mut buffer = RecordBuffer::new();
        buffer.push_owned(Record { offset: 3, timestamp_ms: 1_772_500_000_500, key: None, value: None }, headers);
        Letter::read(&buffer.finish(), 0)
    }

    #[test]
    fn a_letter_gives_the_record_its_own_headers_back() {
        let id = Uuid::from_u128(5);
        let mut headers = vec![header("origin", "by hand")];
        headers.extend(ours(id, "2", "7", "consumer-db", "no value"));
        let letter = read(&headers).expect("a letter");
        assert_eq!(letter.place, Place { topic_id: id, partition: 2, offset: 7 });
        assert_eq!((letter.group.as_str(), letter.reason.as_str()), ("consumer-db", "no value"));
        assert_eq!((letter.at_ms, letter.record_ms), (1_772_500_000_500, Some(1_772_500_000_000)));
        assert_eq!(letter.headers, [header("origin", "by hand")]);

        // A letter that was sent back as it was, and failed again: what it was before are headers of its own.
        let first = headers.clone();
        headers.extend(ours(id, "2", "99", "consumer-db", "no value"));
        let again = read(&headers).expect("a letter");
        assert_eq!((again.place.offset, again.headers), (99, first));
    }

    #[test]
    fn what_names_no_record_is_no_letter() {
        assert_eq!(read(&[header("origin", "by hand")]), None);
        assert_eq!(read(&ours(Uuid::nil(), "2", "x", "lake", "")), None);
        let mut without_id = ours(Uuid::nil(), "2", "7", "lake", "");
        without_id[1].1 = Some(Vec::new());
        assert_eq!(read(&without_id), None);
    }
}
