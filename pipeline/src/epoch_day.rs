//! Calendar days as Avro and Arrow have them: days since 1970-01-01. Must never happen here: a day of a record that makes a
//! reader stop, so what the calendar does not have (before the year -9999, after 9999) is `None` and a bad record.

use jiff::Span;
use jiff::civil::{Date, date};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const EPOCH: Date = date(1970, 1, 1);

pub(crate) fn to_days(day: Date) -> i32 {
    (day - EPOCH).get_days()
}

pub(crate) fn from_days(days: i32) -> Option<Date> {
    EPOCH.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// ISO text where people read it (JSON), days where Avro does.
pub(crate) fn serialize<S: Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() { day.serialize(serializer) } else { serializer.serialize_i32(to_days(*day)) }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    if deserializer.is_human_readable() {
        return Date::deserialize(deserializer);
    }
    let days = i32::deserialize(deserializer)?;
    from_days(days).ok_or_else(|| serde::de::Error::custom(format!("day {days} is not in the calendar")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_avro_as_far_as_the_calendar_goes() {
        for (day, days) in [(date(1970, 1, 1), 0), (date(1969, 12, 31), -1), (date(2026, 3, 2), 20_514)] {
            assert_eq!((to_days(day), from_days(days)), (days, Some(day)));
        }
        for edge in [Date::MIN, Date::MAX] {
            assert_eq!(from_days(to_days(edge)), Some(edge));
        }
        assert_eq!(from_days(to_days(Date::MIN) - 1), None);
        assert_eq!(from_days(to_days(Date::MAX) + 1), None);
        assert_eq!((from_days(i32::MIN), from_days(i32::MAX)), (None, None));
    }
}
