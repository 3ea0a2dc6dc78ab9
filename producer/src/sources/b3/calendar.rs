//! When B3 trades. Its calendar is the nation's holidays, Carnival's Monday and Tuesday, the day before Christmas and the last
//! weekday of the year, on which banks settle nothing; since 2022 it trades on São Paulo's own holidays (25 January, 9 July).
//! The 20th of November is a national holiday since 2024 (law 14.759/2023). Sources: the calendars that B3 publishes each
//! December for the year to come, from 2022 to 2026; a day that it takes out beside these is not known here, and is told as a
//! failed poll. Pure: the moment comes from the caller. Must never happen here: a day computed in another time zone.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// What a day is at the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    Trading(Date),
    /// The day and what it is called.
    Closed(Date, &'static str),
}

/// The day that it is in São Paulo.
#[must_use]
pub fn session_of(now: Timestamp) -> Day {
    let date = sao_paulo().to_datetime(now).date();
    closed_for(date).map_or(Day::Trading(date), |why| Day::Closed(date, why))
}

/// [`next_poll_after`] in micros UTC, as the driver asks.
#[must_use]
pub fn next_poll_micros(now: i64, at: Time) -> i64 {
    Timestamp::from_microsecond(now).map_or(i64::MAX, |now| next_poll_after(now, at).as_microsecond())
}

/// The first moment after `now` at which it is `at` in São Paulo on a trading day.
#[must_use]
pub fn next_poll_after(now: Timestamp, at: Time) -> Timestamp {
    // The longest run of days without trading has five.
    const DAYS: i64 = 14;
    let zone = sao_paulo();
    let today = zone.to_datetime(now).date();
    (0..=DAYS)
        .filter_map(|days| today.checked_add(days.days()).ok())
        .filter(|date| is_trading_day(*date))
        .filter_map(|date| Some(date.to_datetime(at).to_zoned(zone.clone()).ok()?.timestamp()))
        .find(|moment| *moment > now)
        .unwrap_or(Timestamp::MAX)
}

#[must_use]
pub fn is_trading_day(date: Date) -> bool {
    closed_for(date).is_none()
}

/// Why there is no trading on that day.
fn closed_for(date: Date) -> Option<&'static str> {
    if matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) {
        return Some("weekend");
    }
    match (date.month(), date.day()) {
        (1, 1) => return Some("Confraternização Universal"),
        (4, 21) => return Some("Tiradentes"),
        (5, 1) => return Some("Dia do Trabalho"),
        (9, 7) => return Some("Independência"),
        (10, 12) => return Some("Nossa Senhora Aparecida"),
        (11, 2) => return Some("Finados"),
        (11, 15) => return Some("Proclamação da República"),
        (11, 20) if date.year() >= 2024 => return Some("Consciência Negra"),
        (12, 24) => return Some("véspera de Natal"),
        (12, 25) => return Some("Natal"),
        (12, day) if day == last_weekday_of_december(date) => return Some("último dia útil do ano"),
        _ => {}
    }
    let since_easter = i64::from(date.day_of_year()) - i64::from(easter(date.year()).day_of_year());
    match since_easter {
        -48 | -47 => Some("Carnaval"),
        -2 => Some("Paixão de Cristo"),
        60 => Some("Corpus Christi"),
        _ => None,
    }
}

fn last_weekday_of_december(date: Date) -> i8 {
    match date.last_of_year().weekday() {
        Weekday::Saturday => 30,
        Weekday::Sunday => 29,
        _ => 31,
    }
}

/// Easter Sunday in the Gregorian calendar (Meeus, Jones and Butcher).
fn easter(year: i16) -> Date {
    let year_number = i32::from(year);
    let golden = year_number.rem_euclid(19);
    let (century, of_century) = (year_number.div_euclid(100), year_number.rem_euclid(100));
    let moon = (19 * golden + century - century / 4 - (century - (century + 8) / 25 + 1) / 3 + 15).rem_euclid(30);
    let weekday = (32 + 2 * (century % 4) + 2 * (of_century / 4) - moon - of_century % 4).rem_euclid(7);
    let late = (golden + 11 * moon + 22 * weekday) / 451;
    let month_and_day = moon + weekday - 7 * late + 114;
    let (month, day) = (month_and_day / 31, month_and_day % 31 + 1);
    Date::new(year, month as i8, day as i8).unwrap_or(Date::constant(year, 4, 1))
}

/// Where the machine has no time-zone data the offset stands that holds since 2019, when summer time was given up.
fn sao_paulo() -> TimeZone {
    TimeZone::get("America/Sao_Paulo").unwrap_or_else(|_| TimeZone::fixed(Offset::constant(-3)))
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};

    use super::*;

    /// The weekdays without trading of a year.
    fn closed(year: i16) -> Vec<String> {
        let days = date(year, 1, 1).series(1.day()).take_while(|day| day.year() == year);
        days.filter(|day| closed_for(*day).is_some_and(|why| why != "weekend"))
            .map(|day| day.strftime("%m-%d").to_string())
            .collect()
    }

    /// From the calendars that the exchange published.
    #[test]
    fn the_calendars_of_the_exchange() {
        for (year, days) in [
            (2023, "02-20 02-21 04-07 04-21 05-01 06-08 09-07 10-12 11-02 11-15 12-25 12-29"),
            (2024, "01-01 02-12 02-13 03-29 05-01 05-30 11-15 11-20 12-24 12-25 12-31"),
            (2025, "01-01 03-03 03-04 04-18 04-21 05-01 06-19 11-20 12-24 12-25 12-31"),
            (2026, "01-01 02-16 02-17 04-03 04-21 05-01 06-04 09-07 10-12 11-02 11-20 12-24 12-25 12-31"),
        ] {
            assert_eq!(closed(year).join(" "), days, "{year}");
        }
        assert!(is_trading_day(date(2025, 7, 9)) && is_trading_day(date(2024, 1, 25)), "São Paulo's own holidays");
        assert!(is_trading_day(date(2026, 2, 18)), "Ash Wednesday is a short day");
        assert!(
            !is_trading_day(date(2022, 12, 30)) && is_trading_day(date(2022, 12, 29)),
            "the year ended on a Saturday"
        );
    }

    #[test]
    fn easter_sundays() {
        for (year, month, day) in
            [(1961, 4, 2), (2000, 4, 23), (2008, 3, 23), (2024, 3, 31), (2038, 4, 25), (2285, 3, 22)]
        {
            assert_eq!(easter(year), date(year, month, day));
        }
        for year in [-9999, -1, 0, 9999] {
            easter(year);
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_next_poll_is_after_the_next_session() {
        let seven = time(19, 0, 0, 0);
        for (now, next) in [
            // 19:00 in São Paulo is 22:00 UTC.
            ("2026-03-10T12:00:00Z", "2026-03-10T22:00:00Z"),
            ("2026-03-10T21:59:59.999999Z", "2026-03-10T22:00:00Z"),
            ("2026-03-10T22:00:00Z", "2026-03-11T22:00:00Z"),
            // There it is still Tuesday.
            ("2026-03-11T01:30:00Z", "2026-03-11T22:00:00Z"),
            ("2026-03-13T22:00:01Z", "2026-03-16T22:00:00Z"),
            // Friday before Carnival to Ash Wednesday.
            ("2026-02-13T23:00:00Z", "2026-02-18T22:00:00Z"),
            ("2026-12-30T23:00:00Z", "2027-01-04T22:00:00Z"),
        ] {
            assert_eq!(next_poll_after(at(now), seven), at(next), "{now}");
        }
        assert_eq!(next_poll_after(Timestamp::MAX, seven), Timestamp::MAX);
        assert!(next_poll_after(Timestamp::MIN, seven) > Timestamp::MIN);
    }

    #[test]
    fn a_day_without_trading_is_known_by_name() {
        assert_eq!(session_of(at("2026-11-20T15:00:00Z")), Day::Closed(date(2026, 11, 20), "Consciência Negra"));
        assert_eq!(session_of(at("2026-11-21T02:59:59Z")), Day::Closed(date(2026, 11, 20), "Consciência Negra"));
        assert_eq!(session_of(at("2026-11-21T03:00:00Z")), Day::Closed(date(2026, 11, 21), "weekend"));
        assert_eq!(session_of(at("2026-11-19T23:00:00Z")), Day::Trading(date(2026, 11, 19)));
    }
}
