//! Numbers and times as messages have them: a point for the decimals and nothing between the thousands, so that no locale
//! reads another number; UTC first, then the channel's own time.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pipeline::decimal::Decimal38;

/// `value` rounded to `places` digits after the point, halves away from zero.
pub fn rounded(value: Decimal38, places: u32) -> Decimal38 {
    let unit = 10_i128.pow(Decimal38::SCALE - places.min(Decimal38::SCALE));
    let units = (value.unscaled().unsigned_abs() + unit.unsigned_abs() / 2) / unit.unsigned_abs();
    let size = i128::try_from(units).ok().and_then(|units| units.checked_mul(unit));
    let size = size.map(|size| if value.is_negative() { -size } else { size });
    // Nothing but a number at the very end of the range cannot be rounded away from zero.
    size.and_then(Decimal38::from_unscaled).unwrap_or(value)
}

/// `+3.37 %`; what is smaller than that shows keeps its first digits, `-0.0042 %`.
pub fn percent(value: Decimal38) -> String {
    let places = if value.is_zero() { 2 } else { (leading_zeros(value) + 2).clamp(2, Decimal38::SCALE) };
    let sign = if value.is_negative() { "" } else { "+" };
    format!("{sign}{} %", rounded(value, places))
}

/// A number beside `price`: with as many digits, so that a mean of twenty prices does not have eighteen.
pub fn beside(value: Decimal38, price: Decimal38) -> Decimal38 {
    let text = price.to_string();
    let places = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let whole = value.unscaled().unsigned_abs() >= 10_u128.pow(Decimal38::SCALE);
    let least = if whole || value.is_zero() { 2 } else { leading_zeros(value) + 4 };
    rounded(value, u32::try_from(places).unwrap_or(0).max(least))
}

/// Zeros between the point and the first digit; none when there are digits before the point.
fn leading_zeros(value: Decimal38) -> u32 {
    let digits = value.unscaled().unsigned_abs().checked_ilog10().map_or(0, |log| log + 1);
    Decimal38::SCALE.saturating_sub(digits)
}

/// The instant of microseconds since 1970; nothing for one that no calendar has.
pub fn instant(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}

/// `2026-03-02 12:03:05 UTC`, and in another zone `2026-03-02 12:03:05 UTC (09:03:05 America/Sao_Paulo)`.
pub fn when(at: Timestamp, zone: &TimeZone) -> String {
    let utc = at.to_zoned(TimeZone::UTC);
    let text = utc.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let Some(name) = zone.iana_name().filter(|name| *name != "UTC") else { return text };
    let local = at.to_zoned(zone.clone());
    let format = if local.date() == utc.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    format!("{text} ({} {name})", local.strftime(format))
}

/// `happened 12:03 UTC, 61 minutes ago`, when that is more than `after`.
pub fn late(at: Timestamp, now: Timestamp, after: SignedDuration) -> Option<String> {
    let ago = now.duration_since(at);
    if ago <= after {
        return None;
    }
    let format = if at.to_zoned(TimeZone::UTC).date() == now.to_zoned(TimeZone::UTC).date() {
        "%H:%M UTC"
    } else {
        "%Y-%m-%d %H:%M UTC"
    };
    let (minutes, hours) = (ago.as_mins(), ago.as_hours());
    let ago = match (minutes, hours) {
        (..2, _) => format!("{} seconds ago", ago.as_secs()),
        (..120, _) => format!("{minutes} minutes ago"),
        (_, ..48) => format!("{hours} hours ago"),
        _ => format!("{} days ago", hours / 24),
    };
    Some(format!("happened {}, {ago}", at.strftime(format)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal38 {
        text.parse().expect("a decimal")
    }

    #[test]
    fn percentages_are_short_and_small_ones_not_zero() {
        let cases = [
            ("3.365138461538461538", "+3.37 %"),
            ("-12", "-12 %"),
            ("0.005", "+0.005 %"),
            ("-0.004217", "-0.0042 %"),
            ("0", "+0 %"),
            ("99.995", "+100 %"),
            ("-0.000000000000000001", "-0.000000000000000001 %"),
        ];
        for (value, expected) in cases {
            assert_eq!(percent(decimal(value)), expected, "{value}");
        }
    }

    #[test]
    fn a_reference_has_the_digits_of_its_price() {
        let cases = [
            ("65094.123456789012345678", "67187.34", "65094.12"),
            ("65094.5", "67187", "65094.5"),
            ("0.000056174999999999", "0.00005617", "0.00005617"),
            ("0.000056174999999999", "1", "0.00005617"),
            ("70000", "70012.5", "70000"),
            ("99999999999999999999.999999999999999999", "1", "99999999999999999999.999999999999999999"),
        ];
        for (value, price, expected) in cases {
            assert_eq!(beside(decimal(value), decimal(price)).to_string(), expected, "{value} beside {price}");
        }
    }

    #[test]
    fn times_are_utc_and_the_channels() {
        let at: Timestamp = "2026-03-02T12:03:05Z".parse().expect("an instant");
        let zone = |name| TimeZone::get(name).expect("a zone");
        assert_eq!(when(at, &zone("UTC")), "2026-03-02 12:03:05 UTC");
        assert_eq!(when(at, &zone("America/Sao_Paulo")), "2026-03-02 12:03:05 UTC (09:03:05 America/Sao_Paulo)");
        let tokyo = "2026-03-02 18:00:00 UTC (2026-03-03 03:00:00 Asia/Tokyo)";
        assert_eq!(when("2026-03-02T18:00:00Z".parse().expect("an instant"), &zone("Asia/Tokyo")), tokyo);
    }

    #[test]
    fn late_is_said_after_a_while_and_in_fitting_units() {
        let at: Timestamp = "2026-03-02T12:03:05Z".parse().expect("an instant");
        let after = SignedDuration::from_mins(5);
        let said = |minutes| late(at, at + SignedDuration::from_mins(minutes), after);
        assert_eq!(said(5), None);
        assert_eq!(said(61).as_deref(), Some("happened 12:03 UTC, 61 minutes ago"));
        assert_eq!(said(26 * 60).as_deref(), Some("happened 2026-03-02 12:03 UTC, 26 hours ago"));
        assert_eq!(said(3 * 24 * 60).as_deref(), Some("happened 2026-03-02 12:03 UTC, 3 days ago"));
        let soon = late(at, at + SignedDuration::from_secs(70), SignedDuration::from_secs(1));
        assert_eq!(soon.as_deref(), Some("happened 12:03 UTC, 70 seconds ago"));
    }
}
