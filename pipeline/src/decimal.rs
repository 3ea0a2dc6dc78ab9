//! Exact decimals: DECIMAL(38,18), the type of every price, quantity and percentage from the source's digits to the last
//! column. The invariant: what was parsed is what is printed, digit for digit. Nothing here rounds and nothing here knows
//! a float; a number that does not fit is an error that says why, never a nearby number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 10^38: one more than the largest unscaled value has digits for.
const LIMIT: i128 = 10_i128.pow(38);
const SCALE: usize = Decimal38::SCALE as usize;
/// Digits left of the point.
const WHOLE_DIGITS: i64 = 38 - Decimal38::SCALE as i64;

/// An exact decimal with up to 20 digits before the point and 18 after it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal38(i128);

/// Why a text is not a [`Decimal38`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    #[error("more than {WHOLE_DIGITS} digits before the decimal point")]
    TooManyDigits,
    #[error("{fraction_digits} digits after the decimal point, {SCALE} can be kept exactly")]
    TooPrecise { fraction_digits: u32 },
    #[error("not a decimal number")]
    NotANumber,
}

impl Decimal38 {
    /// Digits after the point in [`Decimal38::unscaled`].
    pub const SCALE: u32 = 18;
    pub const ZERO: Self = Self(0);

    /// The number `unscaled / 10^18`; `None` from 10^38 on, which has no place in 38 digits.
    pub fn from_unscaled(unscaled: i128) -> Option<Self> {
        (unscaled > -LIMIT && unscaled < LIMIT).then_some(Self(unscaled))
    }

    /// The number times 10^18.
    pub fn unscaled(self) -> i128 {
        self.0
    }

    /// Reads a JSON number's text, or a plain one: `-12.5`, `5.617e-05`, `1E3`, `34664.000`, `.5`.
    ///
    /// # Errors
    /// When the text is no number, or one that 38 digits with 18 after the point cannot hold exactly.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(DecimalError::NotANumber);
        }
        let digits = || whole.iter().chain(fraction);
        if !digits().all(u8::is_ascii_digit) {
            return Err(DecimalError::NotANumber);
        }
        let count = whole.len() + fraction.len();
        let Some(first) = digits().position(|&digit| digit != b'0') else {
            return Ok(Self::ZERO);
        };
        let last = count - 1 - digits().rev().position(|&digit| digit != b'0').unwrap_or(0);

        // The last digit that counts stands for 10^lowest, the first for 10^highest.
        let lowest = whole.len() as i64 - 1 - last as i64 + exponent;
        let highest = whole.len() as i64 - 1 - first as i64 + exponent;
        if highest >= WHOLE_DIGITS {
            return Err(DecimalError::TooManyDigits);
        }
        if lowest < -(SCALE as i64) {
            return Err(DecimalError::TooPrecise { fraction_digits: u32::try_from(-lowest).unwrap_or(u32::MAX) });
        }
        // At most 38 digits are left, so neither step can overflow.
        let significant =
            digits().skip(first).take(last - first + 1).fold(0, |n: i128, &d| n * 10 + i128::from(d - b'0'));
        let unscaled = significant * 10_i128.pow((lowest + SCALE as i64) as u32);
        Ok(Self(if negative { -unscaled } else { unscaled }))
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_unscaled(self.0.checked_add(other.0)?)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Self::from_unscaled(self.0.checked_sub(other.0)?)
    }

    /// Exactly `a * b`; `None` when that has more than 18 digits after the point, or more than 20 before it.
    pub fn checked_mul(a: Self, b: Self) -> Option<Self> {
        if a.is_zero() || b.is_zero() {
            return Some(Self::ZERO);
        }
        let ((a, a_places), (b, b_places)) = (a.shortest(), b.shortest());
        let mut product = a.checked_mul(b)?;
        let mut places = a_places + b_places;
        // 2 * 5 makes another zero at the end.
        while places > Self::SCALE && product % 10 == 0 {
            (product, places) = (product / 10, places - 1);
        }
        let shift = Self::SCALE.checked_sub(places)?;
        Self::from_unscaled(product.checked_mul(10_i128.pow(shift))?)
    }

    /// The digits without zeros at their end, and how many of them stand after the point; not for zero.
    fn shortest(self) -> (i128, u32) {
        let (mut digits, mut places) = (self.0, Self::SCALE);
        while places > 0 && digits % 10 == 0 {
            (digits, places) = (digits / 10, places - 1);
        }
        (digits, places)
    }

    /// Exactly `(a + b) / 2`; `None` when that has a 19th digit after the point.
    pub fn mid(a: Self, b: Self) -> Option<Self> {
        // a + b may not fit in 128 bits; the shared bits plus half of the others always do.
        let odd = (a.0 ^ b.0) & 1 == 1;
        (!odd).then_some(Self((a.0 & b.0) + ((a.0 ^ b.0) >> 1)))
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// The digits after the `e`. One beyond any possible use is as good as that far away: it only decides which error it is.
fn parse_exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::NotANumber);
    }
    let size = digits.iter().fold(0_i64, |n, &d| (n * 10 + i64::from(d - b'0')).min(1 << 40));
    Ok(if negative { -size } else { size })
}

/// The shortest exact text: `67187.3358936566`, `0.00005617`, `34664`; no exponent, no trailing zeros.
impl fmt::Display for Decimal38 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; 40];
        let mut rest = self.0.unsigned_abs();
        let mut end = text.len();
        let mut start = text.len();
        // From the right: 18 digits of fraction, the point, at least one digit before it.
        for place in 0..text.len() {
            if place == SCALE {
                start -= 1;
                text[start] = b'.';
            }
            if place > SCALE && rest == 0 {
                break;
            }
            start -= 1;
            text[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        while text[end - 1] == b'0' {
            end -= 1;
        }
        if text[end - 1] == b'.' {
            end -= 1;
        }
        let digits = std::str::from_utf8(&text[start..end]).map_err(|_| fmt::Error)?;
        f.pad_integral(!self.is_negative(), "", digits)
    }
}

impl fmt::Debug for Decimal38 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Decimal38 {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        Self::parse(text)
    }
}

/// In text formats a string (a JSON number would pass through a float in most readers); in binary ones Avro's decimal: the
/// shortest big-endian two's complement of the unscaled value.
impl Serialize for Decimal38 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        // Leading bits that only repeat the sign.
        let repeated = if self.0 < 0 { self.0.leading_ones() } else { self.0.leading_zeros() };
        serializer.serialize_bytes(&self.0.to_be_bytes()[(repeated as usize - 1) / 8..])
    }
}

/// From the text form only: binary records are read in columns.
impl<'de> Deserialize<'de> for Decimal38 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &str) {
        let parsed = Decimal38::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.to_string(), expected, "{text}");
        assert_eq!(serde_json::to_string(&parsed).unwrap(), format!("\"{expected}\""));
    }

    #[test]
    fn keeps_every_digit() {
        check("67187.3358936566", "67187.3358936566");
        check("5.617e-05", "0.00005617");
        check("34664", "34664");
        check("-12.5", "-12.5");
        check("+1.50", "1.5");
        check("1E3", "1000");
        check("1.25e+2", "125");
        check("34664.000", "34664");
        check("007", "7");
        check(".5", "0.5");
        check("5.", "5");
        check("-0.0", "0");
        check("0e999999999999999999", "0");
        check("0.000000000000000001", "0.000000000000000001");
        check("-99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999");
        // Trailing zeros beyond the 18th place are no digits.
        check("0.1000000000000000000000", "0.1");
        check("1000000000000000000000e-18", "1000");
    }

    #[test]
    fn never_rounds() {
        use DecimalError::{NotANumber, TooManyDigits, TooPrecise};
        let refused = |text| Decimal38::parse(text).expect_err(text);
        assert_eq!(refused("0.0000000000000000001"), TooPrecise { fraction_digits: 19 });
        assert_eq!(refused("1.5e-18"), TooPrecise { fraction_digits: 19 });
        assert_eq!(refused("1e-99999999999999"), TooPrecise { fraction_digits: u32::MAX });
        assert_eq!(refused("100000000000000000000"), TooManyDigits);
        assert_eq!(refused("1e20"), TooManyDigits);
        assert_eq!(refused("-1e9999999999999"), TooManyDigits);
        for text in
            ["", "-", ".", "e5", "1e", "1e+", "1.2.3", "1,5", " 1", "1 ", "NaN", "inf", "0x10", "1_000", "--1", "١"]
        {
            assert_eq!(refused(text), NotANumber, "{text:?}");
        }
    }

    #[test]
    fn pads_like_a_number() {
        assert_eq!(format!("{:>8}|", Decimal38::parse("-1.5").unwrap()), "    -1.5|");
    }

    #[test]
    fn limits_are_38_digits() {
        assert!(Decimal38::from_unscaled(LIMIT).is_none());
        assert!(Decimal38::from_unscaled(-LIMIT).is_none());
        let largest = Decimal38::from_unscaled(LIMIT - 1).unwrap();
        assert_eq!(Decimal38::mid(largest, largest), Some(largest), "the sum has 128 bits and more");
        assert_eq!(largest.checked_add(Decimal38(1)), None);
        assert_eq!(Decimal38(-LIMIT + 1).checked_sub(Decimal38(1)), None);
    }

    fn any_decimal() -> impl Strategy<Value = Decimal38> {
        // Small and large magnitudes alike: a uniform i128 would nearly always have 38 digits.
        (any::<i128>(), 0_u32..38).prop_map(|(n, digits)| Decimal38(n % 10_i128.pow(digits + 1)))
    }

    proptest! {
        #[test]
        fn text_round_trips(number in any_decimal()) {
            prop_assert_eq!(Decimal38::parse(&number.to_string()), Ok(number));
        }

        #[test]
        fn exponents_move_the_point_only(number in any_decimal(), shift in -60_i32..60) {
            let text = format!("{}e{shift}", number.unscaled());
            let back = shift + 18;
            match Decimal38::parse(&text) {
                Ok(moved) => {
                    let (small, large) = if back < 0 { (moved.0, number.0) } else { (number.0, moved.0) };
                    prop_assert_eq!(small.checked_mul(10_i128.checked_pow(back.unsigned_abs()).unwrap_or(0)), Some(large));
                }
                Err(error) => prop_assert!(error != DecimalError::NotANumber),
            }
        }

        #[test]
        fn never_panics(text in "[-+]?[0-9.eE+-]{0,60}") {
            let _ = Decimal38::parse(&text);
        }

        #[test]
        fn mid_is_exact_or_nothing(a in any_decimal(), b in any_decimal()) {
            match Decimal38::mid(a, b) {
                Some(mid) => prop_assert_eq!(mid.0 - a.0, b.0 - mid.0),
                None => prop_assert_eq!((a.0 ^ b.0) & 1, 1),
            }
        }
    }
}
