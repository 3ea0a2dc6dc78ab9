//! How many delivered records fall into each link of a chain, and how many into none. A cursor that only moves forward:
//! records of a partition come in offset order, links stand in key order.

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
}

impl Coverage {
    pub fn new(links: &[Link]) -> Self {
        Self { inside: vec![0; links.len()], before: vec![0; links.len()], ..Self::default() }
    }

    /// Counts a record; gives the link that it falls into.
    pub fn count(&mut self, links: &[Link], offset: i64) -> Option<usize> {
        self.delivered += 1;
        while links.get(self.cursor).is_some_and(|link| link.next_offset <= offset) {
            self.cursor += 1;
        }
        match links.get(self.cursor) {
            None => self.beyond += 1,
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
        let inside = offsets.map(|offset| coverage.count(&links, offset));
        assert_eq!(inside, [None, None, Some(0), Some(0), None, None, Some(3), Some(3), None, None]);
        assert_eq!(coverage.inside, [2, 0, 0, 2]);
        assert_eq!(coverage.before, [2, 0, 2, 0]);
        assert_eq!((coverage.beyond, coverage.delivered), (2, 10));
    }
}
