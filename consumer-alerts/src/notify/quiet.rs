//! Quiet hours: one interval of each local day, from a time to a time, over midnight where the second is the earlier one.
//! Both ends are local times that are made instants, so a night with a change of the clocks has one beginning and one end: a
//! time that the clocks skip is the one after the jump, one that comes twice is the first. Must never happen here: quiet
//! that ends and begins again in one night.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use pipeline::events::Severity;

#[derive(Clone, Debug)]
pub struct QuietHours {
    pub from: Time,
    pub to: Time,
    pub zone: TimeZone,
    /// An alert of at least this severity is not held.
    pub except: Option<Severity>,
}

impl QuietHours {
    /// Until when it is quiet at `at`; `None` when it is not.
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        let today = at.to_zoned(self.zone.clone()).date();
        let yesterday = today.yesterday().ok()?;
        [yesterday, today].into_iter().find_map(|day| {
            let (begin, end) = self.of(day)?;
            (begin <= at && at < end).then_some(end)
        })
    }

    /// Whether an alert of this severity is held in quiet hours.
    pub fn holds(&self, severity: Severity) -> bool {
        self.except.is_none_or(|except| severity < except)
    }

    /// The quiet hours that begin on `day`.
    fn of(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let last = if self.from < self.to { day } else { day.tomorrow().ok()? };
        let instant = |day: Date, time: Time| Some(day.to_datetime(time).to_zoned(self.zone.clone()).ok()?.timestamp());
        Some((instant(day, self.from)?, instant(last, self.to)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(from: &str, to: &str, zone: &str) -> QuietHours {
        let time = |text: &str| text.parse().expect("a time");
        QuietHours { from: time(from), to: time(to), zone: TimeZone::get(zone).expect("a zone"), except: None }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn check(hours: &QuietHours, cases: &[(&str, Option<&str>)]) {
        for (instant, until) in cases {
            assert_eq!(hours.until(at(instant)), until.map(at), "{instant}");
        }
    }

    #[test]
    fn within_a_day_and_over_midnight() {
        let siesta = quiet("13:00", "15:30", "UTC");
        check(
            &siesta,
            &[
                ("2026-03-02T12:59:59Z", None),
                ("2026-03-02T13:00:00Z", Some("2026-03-02T15:30:00Z")),
                ("2026-03-02T15:29:59Z", Some("2026-03-02T15:30:00Z")),
                ("2026-03-02T15:30:00Z", None),
            ],
        );
        // São Paulo is three hours behind.
        let night = quiet("22:00", "07:00", "America/Sao_Paulo");
        check(
            &night,
            &[
                ("2026-03-03T00:59:59Z", None),
                ("2026-03-03T01:00:00Z", Some("2026-03-03T10:00:00Z")),
                ("2026-03-03T03:00:00Z", Some("2026-03-03T10:00:00Z")),
                ("2026-03-03T09:59:59Z", Some("2026-03-03T10:00:00Z")),
                ("2026-03-03T10:00:00Z", None),
            ],
        );
        let until_midnight = quiet("22:00", "00:00", "UTC");
        check(
            &until_midnight,
            &[("2026-03-02T23:59:59Z", Some("2026-03-03T00:00:00Z")), ("2026-03-03T00:00:00Z", None)],
        );
    }

    #[test]
    fn a_night_in_which_the_clocks_change_has_one_end() {
        // Berlin, 2026-03-29: 02:00 is 03:00. A quiet that ends at 02:30 ends after the jump.
        let spring = quiet("23:00", "02:30", "Europe/Berlin");
        check(
            &spring,
            &[
                ("2026-03-28T22:00:00Z", Some("2026-03-29T01:30:00Z")),
                ("2026-03-29T01:29:59Z", Some("2026-03-29T01:30:00Z")),
                ("2026-03-29T01:30:00Z", None),
            ],
        );
        // Berlin, 2026-10-25: 03:00 is 02:00 again. 02:30 comes at 00:30Z and at 01:30Z; the first one ends it for good.
        let autumn = quiet("23:00", "02:30", "Europe/Berlin");
        check(
            &autumn,
            &[
                ("2026-10-25T00:29:59Z", Some("2026-10-25T00:30:00Z")),
                ("2026-10-25T00:30:00Z", None),
                ("2026-10-25T01:15:00Z", None),
            ],
        );
        // The whole night is an hour longer, or shorter.
        let night = quiet("22:00", "07:00", "Europe/Berlin");
        check(
            &night,
            &[
                ("2026-03-28T21:00:00Z", Some("2026-03-29T05:00:00Z")),
                ("2026-10-24T20:00:00Z", Some("2026-10-25T06:00:00Z")),
            ],
        );
    }

    #[test]
    fn what_is_severe_enough_is_not_held() {
        let mut hours = quiet("22:00", "07:00", "UTC");
        assert!(hours.holds(Severity::Critical));
        hours.except = Some(Severity::Warning);
        assert!(hours.holds(Severity::Info) && !hours.holds(Severity::Warning) && !hours.holds(Severity::Critical));
    }
}
