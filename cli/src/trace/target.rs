//! What is traced: an event by its id, or a record by its place. Must never happen here: a slip of the keyboard that is looked
//! for everywhere.

use std::str::FromStr;

use uuid::Uuid;

use crate::dlq::Coordinates;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Event(Uuid),
    Record(Coordinates),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains(':') {
            return text.parse().map(Self::Record).map_err(|_| {
                "expected TOPIC:PARTITION:OFFSET, such as market.ticks.v1:2:1234, both numbers from 0".to_owned()
            });
        }
        Uuid::parse_str(text).map(Self::Event).map_err(|error| {
            format!(
                "{error}; expected an event id, such as fc147fe3-a206-5b8f-80cc-d42b32b5df84, or TOPIC:PARTITION:OFFSET"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_or_a_place() {
        let id = Uuid::from_u128(7);
        assert_eq!(id.to_string().parse(), Ok(Target::Event(id)));
        assert_eq!(id.simple().to_string().parse(), Ok(Target::Event(id)));
        let Ok(Target::Record(place)) = "market.ticks.v1:2:1234".parse() else { panic!("a place") };
        assert_eq!((place.topic.as_str(), place.partition, place.offset), ("market.ticks.v1", 2, 1234));
        for (text, says) in [
            ("fc147fe3", "expected an event id"),
            ("", "expected an event id"),
            ("market.ticks.v1", "expected an event id"),
            ("market.ticks.v1:2", "TOPIC:PARTITION:OFFSET"),
            ("market.ticks.v1:2:-1", "both numbers from 0"),
            ("market.ticks.v1:x:1", "TOPIC:PARTITION:OFFSET"),
            (":0:1", "TOPIC:PARTITION:OFFSET"),
        ] {
            let said = text.parse::<Target>().expect_err(text);
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
