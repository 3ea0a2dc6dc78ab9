//! Cursors as text: `5f3a91c2@0:1042,2:77` is a topic's identity and the last record read of its partitions. An SSE event's id
//! is one of each channel: `ticks=5f3a91c2@0:1042;gaps=07c1d2e3@0:9`. What is no cursor is none: its holder gets everything.

use std::fmt::Write;

use crate::protocol::Channel;
use crate::state::tick::Position;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub topic: String,
    pub read: Vec<Position>,
}

impl Cursor {
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, positions) = text.split_once('@')?;
        let position = |text: &str| {
            let (partition, offset) = text.split_once(':')?;
            Some(Position { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        };
        let mut read = Vec::new();
        for text in positions.split(',').filter(|text| !text.is_empty()) {
            position(text)?.raise(&mut read);
        }
        (read.len() <= 1024).then(|| Self { topic: topic.to_owned(), read })
    }

    pub fn raise(&mut self, topic: &str, read: &[Position]) {
        if self.topic != topic {
            self.topic = topic.to_owned();
            self.read.clear();
        }
        read.iter().for_each(|position| position.raise(&mut self.read));
    }
}

pub fn write(into: &mut String, topic: &str, read: &[Position]) {
    into.push_str(topic);
    let mut separator = '@';
    if read.is_empty() {
        into.push('@');
    }
    for position in read {
        // Writing to a string does not fail.
        let _ = write!(into, "{separator}{}:{}", position.partition, position.offset);
        separator = ',';
    }
}

pub fn text(topic: &str, read: &[Position]) -> String {
    let mut text = String::with_capacity(24);
    write(&mut text, topic, read);
    text
}

/// The cursor of one channel out of an event's id.
pub fn of_channel(event_id: &str, channel: Channel) -> Option<Cursor> {
    let mut parts = event_id.split(';').filter_map(|part| part.split_once('='));
    parts.find(|(name, _)| *name == channel.name()).and_then(|(_, cursor)| Cursor::parse(cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_nonsense_is_none() {
        for given in ["5f3a91c2@0:1042,2:77", "5f3a91c2@"] {
            let cursor = Cursor::parse(given).expect(given);
            assert_eq!(text(&cursor.topic, &cursor.read), given);
        }
        let repeated = Cursor::parse("a@0:5,1:9,0:7,0:6").expect("a cursor");
        assert_eq!(text("a", &repeated.read), "a@0:7,1:9");
        for bad in ["", "5f3a91c2", "a@x:1", "a@1", "a@1:99999999999999999999"] {
            assert_eq!(Cursor::parse(bad), None, "{bad}");
        }
        let id = "ticks=a@0:5;gaps=b@0:1";
        assert_eq!(of_channel(id, Channel::Gaps), Cursor::parse("b@0:1"));
        assert_eq!(of_channel(id, Channel::Alerts), None);
    }
}
