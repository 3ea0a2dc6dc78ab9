//! The shape of one raw chain: where it breaks, and what it does not reach. Pure: links go in, plain lines come out. A
//! chain is whole when its first link begins at the origin and each next one where the one before says.

use std::ops::Range;

use pipeline::lake::{Link, LinkKind};
use uuid::Uuid;

/// What stands in the lake of one partition, in key order. Where several epochs were written from the same topic (a way back
/// to a first cluster lies between them), the chain of each goes on where the one before was closed.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Fixed by the chain's first writer; `None` when the partition was never written.
    pub origin: Option<i64>,
    /// Objects before the first walked one.
    pub not_walked: usize,
    /// Where the first walked object must begin, when that is known from an audit before.
    pub begins_at: Option<i64>,
    /// The walked objects.
    pub links: Vec<Link>,
    /// What is wrong with single objects.
    pub bad_objects: Vec<String>,
    /// Which of the links are of which epoch.
    pub segments: Vec<(u32, Range<usize>)>,
}

impl Chain {
    /// Where the next object will begin: everything below is in the lake.
    pub fn tail(&self) -> Option<i64> {
        self.links.last().map_or(self.begins_at.or(self.origin), |last| Some(last.next_offset))
    }

    /// Adds the chain of the next epoch that was written from the same topic.
    pub fn append(&mut self, epoch: u32, mut next: Self) {
        self.bad_objects.append(&mut next.bad_objects);
        let Some(origin) = next.origin else { return };
        match self.links.last().filter(|last| last.kind == LinkKind::End) {
            Some(end) if end.start == origin => {}
            Some(end) => self.bad_objects.push(format!(
                "epoch {epoch:04} begins at offset {origin}, and the chain that it goes on from was closed at {}",
                end.start
            )),
            None if self.origin.is_some() => self.bad_objects.push(format!(
                "epoch {epoch:04} goes on at offset {origin}, and the chain that it goes on from was never closed"
            )),
            None => (self.origin, self.not_walked, self.begins_at) = (Some(origin), next.not_walked, next.begins_at),
        }
        let first = self.links.len();
        self.links.append(&mut next.links);
        self.segments.push((epoch, first..self.links.len()));
    }

    /// The links of each epoch.
    pub fn by_epoch(&self) -> impl Iterator<Item = (u32, Range<usize>, &[Link])> {
        self.segments.iter().map(|(epoch, range)| (*epoch, range.clone(), &self.links[range.clone()]))
    }

    /// Every break of the chain. `missing` says how many records the topic holds before link `i` that no link covers, where
    /// there is a topic to ask.
    pub fn breaks(&self, topic_id: Uuid, missing: impl Fn(usize) -> Option<u64>) -> Vec<String> {
        let mut lines = self.bad_objects.clone();
        let first = || self.begins_at.or_else(|| self.links.first().map(|link| link.start));
        let mut expected = if self.not_walked == 0 { self.origin } else { first() };
        if let Some(start) = self.begins_at.filter(|_| self.links.is_empty()) {
            lines.push(format!("the raw object at {start} was there when an audit looked before, and is gone"));
        }
        let mut closed_at = None;
        for (index, link) in self.links.iter().enumerate() {
            if self.segments.iter().any(|(_, range)| range.start == index) {
                closed_at = None;
            }
            if let Some(expected) = expected.filter(|expected| *expected < link.start) {
                let last = link.start - 1;
                let records = missing(index).map(|count| format!(", {count} records of the topic are not there"));
                lines.push(format!(
                    "a hole in the lake: no raw object covers offsets {expected} to {last}{}",
                    records.unwrap_or_default()
                ));
            }
            if let Some(expected) = expected.filter(|expected| *expected > link.start) {
                lines.push(format!(
                    "an overlap in the lake: the raw object at {} begins before offset {expected}, where the one before it ends",
                    link.start
                ));
            }
            if let Some(end) = closed_at {
                lines.push(format!(
                    "the lake's chain was closed at offset {end}, and a raw object at {} follows",
                    link.start
                ));
            }
            if link.topic_id != topic_id {
                lines.push(format!("the raw object at {} is of another topic, id {}", link.start, link.topic_id));
            }
            if link.kind == LinkKind::End {
                closed_at = Some(link.start);
            }
            expected = Some(link.next_offset.max(expected.unwrap_or(link.next_offset)));
        }
        lines
    }

    /// Where the chain and the log do not meet.
    pub fn ends(&self, log_start: i64, log_end: i64, beyond: u64) -> Vec<String> {
        let mut lines = Vec::new();
        let Some(tail) = self.tail() else {
            if beyond > 0 {
                lines.push(format!("{beyond} records are not in the lake yet: it holds nothing of this partition"));
            }
            return lines;
        };
        if tail < log_start {
            let last = log_start - 1;
            lines.push(format!("lost: offsets {tail} to {last} were removed from the topic before the lake had them"));
        }
        if beyond > 0 {
            lines.push(format!("{beyond} records from offset {tail} on are not in the lake yet"));
        }
        if tail > log_end {
            lines.push(format!(
                "the lake reaches offset {tail}, but the log ends at {log_end}: the log was cut back or replaced"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use pipeline::lake::LinkRows;

    use super::*;

    const TOPIC: Uuid = Uuid::from_u128(1);

    fn link(start: i64, next_offset: i64) -> Link {
        let rows = Some(LinkRows { first: start, last: next_offset - 1, count: 1, first_time_ms: 0 });
        let kind = if start == next_offset { LinkKind::End } else { LinkKind::Data };
        Link { kind, topic_id: TOPIC, start, next_offset, rows: rows.filter(|_| kind == LinkKind::Data) }
    }

    fn check(origin: i64, links: &[(i64, i64)], expected: &[&str]) {
        let links = links.iter().map(|(start, next)| link(*start, *next)).collect();
        let chain = Chain { origin: Some(origin), links, ..Chain::default() };
        let lines = chain.breaks(TOPIC, |_| Some(7));
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{line:?} does not say {expected:?}");
        }
    }

    #[test]
    fn every_break_is_named() {
        check(0, &[], &[]);
        check(5, &[(5, 9), (9, 12)], &[]);
        check(0, &[(5, 9)], &["no raw object covers offsets 0 to 4, 7 records"]);
        check(5, &[(5, 9), (11, 12)], &["offsets 9 to 10"]);
        check(5, &[(5, 9), (7, 8), (9, 10)], &["at 7 begins before offset 9"]);
        check(0, &[(0, 4), (4, 4)], &[]);
        check(0, &[(0, 4), (4, 4), (4, 6)], &["closed at offset 4"]);
        let other =
            Chain { origin: Some(0), links: vec![Link { topic_id: Uuid::nil(), ..link(0, 1) }], ..Chain::default() };
        assert!(other.breaks(TOPIC, |_| None)[0].contains("another topic"));
    }

    #[test]
    fn what_was_there_before_is_missed() {
        let (origin, links) = (Some(0), vec![link(9, 12)]);
        let chain = |begins_at| Chain { origin, begins_at, not_walked: 1, links: links.clone(), ..Chain::default() };
        assert_eq!(chain(None).breaks(TOPIC, |_| None), Vec::<String>::new());
        assert_eq!(chain(Some(9)).breaks(TOPIC, |_| None), Vec::<String>::new());
        assert!(chain(Some(5)).breaks(TOPIC, |_| None)[0].contains("offsets 5 to 8"));
        let gone = Chain { links: Vec::new(), ..chain(Some(9)) };
        assert!(gone.breaks(TOPIC, |_| None)[0].contains("the raw object at 9 was there"));
        assert_eq!(gone.tail(), Some(9));
    }

    #[test]
    fn epochs_of_one_topic_are_one_chain() {
        let chain = |origin, links: &[(i64, i64)]| Chain {
            origin: Some(origin),
            links: links.iter().map(|(start, next)| link(*start, *next)).collect(),
            ..Chain::default()
        };
        let join = |first: Chain, second: Chain| {
            let mut joined = Chain::default();
            joined.append(0, first);
            joined.append(2, second);
            joined
        };
        let joined = join(chain(3, &[(3, 9), (9, 9)]), chain(9, &[(9, 12), (12, 13)]));
        assert!(joined.breaks(TOPIC, |_| None).is_empty());
        assert_eq!((joined.origin, joined.tail()), (Some(3), Some(13)));
        let of_epochs: Vec<(u32, usize)> = joined.by_epoch().map(|(epoch, _, links)| (epoch, links.len())).collect();
        assert_eq!(of_epochs, [(0, 2), (2, 2)]);
        assert!(
            join(chain(3, &[(3, 9), (9, 9)]), chain(4, &[(4, 12)])).breaks(TOPIC, |_| None)[0].contains("closed at 9")
        );
        assert!(join(chain(3, &[(3, 9)]), chain(9, &[])).breaks(TOPIC, |_| None)[0].contains("never closed"));
        let nothing_yet = join(chain(3, &[(3, 9), (9, 9)]), Chain::default());
        assert_eq!((nothing_yet.tail(), nothing_yet.links.len()), (Some(9), 2));
    }

    #[test]
    fn both_ends_are_compared() {
        let chain = Chain { origin: Some(0), links: vec![link(0, 10)], ..Chain::default() };
        assert!(chain.ends(0, 10, 0).is_empty() && chain.ends(10, 10, 0).is_empty() && chain.ends(0, 12, 0).is_empty());
        assert!(chain.ends(12, 20, 3)[0].starts_with("lost: offsets 10 to 11"));
        assert_eq!(chain.ends(0, 20, 3), ["3 records from offset 10 on are not in the lake yet"]);
        assert!(chain.ends(0, 8, 0)[0].contains("cut back"));
        assert!(Chain::default().ends(0, 8, 0).is_empty(), "nothing delivered, nothing to have");
        assert!(Chain::default().ends(0, 8, 2)[0].contains("nothing of this partition"));
    }
}
