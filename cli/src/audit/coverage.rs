//! How many delivered records fall into each link of a chain, and how many into none. A cursor that only moves forward:
//! records of a partition come in offset order, links stand in key order.

use std::ops::Range;

use pipeline::lake::Link;

#[derive(Clone, Debug, Default)]
pub struct Coverage {
    cursor: usize,
    /// Delivered in each link's range.
    pub inside: Vec<u64>,
    /// Delivered before each link's start and behind the one before.
    pub before: Vec<u64>,
    /// Delivered behind the last link.
    pub beyond: u64,
    pub delivered: u64,
    /// When the broker took the first record behind the last link.
    pub beyond_since_ms: Option<i64>,
    /// Offsets that no record was delivered for: markers, aborted records.
    not_delivered: Vec<Range<i64>>,
    next: Option<i64>,
}

impl Coverage {
    pub fn new(links: &[Link]) -> Self {
        Self { inside: vec![0; links.len()], before: vec![0; links.len()], ..Self::default() }
    }

    /// Whether a record was delivered for an offset that was read, as far as it is known.
    pub fn was_delivered(&self, offset: i64) -> bool {
        let index = self.not_delivered.partition_point(|range| range.end <= offset);
        let is_between = self.not_delivered.get(index).is_some_and(|range| range.contains(&offset));
        !is_between && self.next.is_none_or(|next| offset < next)
    }

    /// Counts a record; gives the link that it falls into.
    pub fn count(&mut self, links: &[Link], offset: i64, timestamp_ms: i64) -> Option<usize> {
        self.delivered += 1;
        if let Some(next) = self.next.filter(|next| *next < offset) {
            self.not_delivered.push(next..offset);
        }
        self.next = Some(offset + 1);
        while links.get(self.cursor).is_some_and(|link| link.next_offset <= offset) {
            self.cursor += 1;
        }
        match links.get(self.cursor) {
            None => {
                self.beyond += 1;
                self.beyond_since_ms = self.beyond_since_ms.or(Some(timestamp_ms));
            }
            Some(link) if offset < link.start => self.before[self.cursor] += 1,
            Some(_) => {
                self.inside[self.cursor] += 1;
                return Some(self.cursor);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use pipeline::lake::LinkKind;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_record_is_counted_once() {
        let link =
            |start, next_offset| Link { kind: LinkKind::Data, topic_id: Uuid::nil(), start, next_offset, rows: None };
        let links = [link(2, 5), link(5, 6), link(8, 8), link(9, 12)];
        let mut coverage = Coverage::new(&links);
        let offsets = [0, 1, 2, 4, 6, 7, 9, 10, 12, 13];
        let inside = offsets.map(|offset| coverage.count(&links, offset, 100 + offset));
        assert_eq!(inside, [None, None, Some(0), Some(0), None, None, Some(3), Some(3), None, None]);
        assert_eq!(coverage.inside, [2, 0, 0, 2]);
        assert_eq!(coverage.before, [2, 0, 2, 0]);
        assert_eq!((coverage.beyond, coverage.delivered, coverage.beyond_since_ms), (2, 10, Some(112)));
        let delivered: Vec<i64> = (0..16).filter(|offset| coverage.was_delivered(*offset)).collect();
        assert_eq!(delivered, offsets);
    }
}
