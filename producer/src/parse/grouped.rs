//! Numbers whose digits are put into groups of three, as people write them: `96.626.612.142`, `5,617.5`. Which mark groups
//! and which is the decimal one is the caller's to say. Must never happen here: a mark read as whichever makes a number.

use pipeline::decimal::{Decimal38, DecimalError};

/// The two marks of a way to write numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub group: u8,
    pub decimal: u8,
}

impl Marks {
    /// `18.673.489,42`.
    pub const BRAZILIAN: Self = Self { group: b'.', decimal: b',' };
    /// `18,673,489.42`.
    pub const ENGLISH: Self = Self { group: b',', decimal: b'.' };

    /// Reads a number that is not negative. Groups are of three digits but for the first, which has one to three and does not
    /// begin with a zero; none at all is right, too.
    ///
    /// # Errors
    /// [`DecimalError::NotANumber`] for marks in other places; else what [`Decimal38::parse`] says.
    pub fn parse(self, text: &str) -> Result<Decimal38, DecimalError> {
        let bytes = text.as_bytes();
        let decimal_at = bytes.iter().position(|byte| *byte == self.decimal);
        let (whole, fraction) = match decimal_at {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        if !is_grouped(whole, self.group) || fraction.is_some_and(|fraction| !is_digits(fraction)) {
            return Err(DecimalError::NotANumber);
        }
        let mut plain = String::with_capacity(text.len());
        plain.extend(whole.chars().filter(char::is_ascii_digit));
        if let Some(fraction) = fraction {
            plain.push('.');
            plain.push_str(fraction);
        }
        Decimal38::parse(&plain)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_grouped(whole: &str, group: u8) -> bool {
    if !whole.bytes().any(|byte| byte == group) {
        return is_digits(whole);
    }
    let mut groups = whole.split(char::from(group));
    let first = groups.next().unwrap_or_default();
    let first_is_one = first.len() <= 3 && is_digits(first) && !first.starts_with('0');
    first_is_one && groups.all(|group| group.len() == 3 && is_digits(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(marks: Marks, text: &str, expected: Option<&str>) {
        let read = marks.parse(text).ok().map(|value| value.to_string());
        assert_eq!(read.as_deref(), expected, "{text}");
    }

    #[test]
    fn groups_are_of_three() {
        for (text, expected) in [
            ("96.626.612.142", Some("96626612142")),
            ("18.673.489,42022432", Some("18673489.42022432")),
            ("3,157", Some("3.157")),
            ("0,070", Some("0.07")),
            ("1.000", Some("1000")),
            ("4394835131", Some("4394835131")),
            ("0", Some("0")),
            ("0.442", None),
            ("1234.567", None),
            ("12.34", None),
            ("1.2345", None),
            ("1..234", None),
            (".234", None),
            ("1.234.", None),
            ("1,2,3", None),
            ("1,234.567", None),
            ("1,", None),
            (",5", None),
            ("", None),
            ("-1.234", None),
            ("1.234e3", None),
            ("١٢٣", None),
        ] {
            check(Marks::BRAZILIAN, text, expected);
            let swap = |mark| match mark {
                '.' => ',',
                ',' => '.',
                other => other,
            };
            let swapped: String = text.chars().map(swap).collect();
            check(Marks::ENGLISH, &swapped, expected);
        }
    }

    #[test]
    fn nothing_is_rounded() {
        assert_eq!(Marks::BRAZILIAN.parse("1.000.000.000.000.000.000.000"), Err(DecimalError::TooManyDigits));
        assert!(matches!(Marks::ENGLISH.parse("0.1234567890123456789"), Err(DecimalError::TooPrecise { .. })));
    }
}
