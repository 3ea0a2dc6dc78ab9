//! Exact numbers as Postgres's binary `numeric`: digit count, weight of the first digit, sign, decimals to show, then base
//! 10,000 digits from the first to the last that is not zero. No float or text stands between.

use pipeline::decimal::Decimal38;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};

/// 10^18: one in the unscaled form of a [`Decimal38`].
const ONE: u128 = 10_u128.pow(Decimal38::SCALE);
/// A base 10,000 digit has 4 decimal ones: 20 before the point and 20 after it hold every [`Decimal38`].
const WHOLE_DIGITS: usize = 5;
const DECIMAL_DIGITS: usize = 10;
/// The most base 10,000 digits that any number here has.
pub const MOST_DIGITS: usize = 24;

/// A number as it goes over the wire.
#[derive(Clone, Copy)]
pub struct Numeric {
    bytes: [u8; 8 + 2 * MOST_DIGITS],
    length: usize,
}

impl Numeric {
    /// `digits` are base 10,000, the first standing for so many times 10,000^`weight`; `places` decimals are shown.
    pub fn new(is_negative: bool, digits: &[u16], weight: i16, places: u16) -> Self {
        let first = digits.iter().position(|&digit| digit != 0).unwrap_or(digits.len());
        let end = digits.iter().rposition(|&digit| digit != 0).map_or(first, |last| last + 1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most MOST_DIGITS")]
        let (count, weight) = ((end - first) as u16, if first == end { 0 } else { weight - first as i16 });
        let sign: u16 = if is_negative { 0x4000 } else { 0 };
        let mut bytes = [0; 8 + 2 * MOST_DIGITS];
        bytes[0..2].copy_from_slice(&count.to_be_bytes());
        bytes[2..4].copy_from_slice(&weight.to_be_bytes());
        bytes[4..6].copy_from_slice(&sign.to_be_bytes());
        bytes[6..8].copy_from_slice(&places.to_be_bytes());
        for (place, digit) in digits[first..end].iter().enumerate() {
            bytes[8 + 2 * place..10 + 2 * place].copy_from_slice(&digit.to_be_bytes());
        }
        Self { bytes, length: 8 + 2 * (end - first) }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl From<Decimal38> for Numeric {
    #[expect(clippy::cast_possible_truncation, reason = "every digit is below 10,000")]
    fn from(value: Decimal38) -> Self {
        let unscaled = value.unscaled().unsigned_abs();
        let mut digits = [0_u16; DECIMAL_DIGITS];
        let (mut whole, mut fraction) = (unscaled / ONE, (unscaled % ONE) as u64);
        digits[DECIMAL_DIGITS - 1] = (fraction % 100) as u16 * 100;
        fraction /= 100;
        for digit in digits[WHOLE_DIGITS..DECIMAL_DIGITS - 1].iter_mut().rev() {
            *digit = (fraction % 10_000) as u16;
            fraction /= 10_000;
        }
        for digit in digits[..WHOLE_DIGITS].iter_mut().rev() {
            if whole == 0 {
                break;
            }
            *digit = (whole % 10_000) as u16;
            whole /= 10_000;
        }
        Self::new(value.is_negative(), &digits, WHOLE_DIGITS as i16 - 1, Decimal38::SCALE as u16)
    }
}

impl Type<Postgres> for Numeric {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1700))
    }
}

impl PgHasArrayType for Numeric {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1231))
    }
}

impl Encode<'_, Postgres> for Numeric {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.as_bytes());
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, weight: i16, negative: bool, digits: &[u16]) {
        let decimal: Decimal38 = text.parse().expect(text);
        let number = Numeric::from(decimal);
        let words: Vec<u16> = number.as_bytes().chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let sign = if negative { 0x4000 } else { 0 };
        assert_eq!(words[..4], [digits.len() as u16, weight.cast_unsigned(), sign, 18], "{text}");
        assert_eq!(&words[4..], digits, "{text}");
    }

    #[test]
    fn numbers_become_postgres_digits() {
        check("0", 0, false, &[]);
        check("1", 0, false, &[1]);
        check("-12.5", 0, true, &[12, 5000]);
        check("67187.3358936566", 1, false, &[6, 7187, 3358, 9365, 6600]);
        check("10000", 1, false, &[1]);
        check("0.00005617", -2, false, &[5617]);
        check("0.000000000000000001", -5, false, &[100]);
        check(
            "-99999999999999999999.999999999999999999",
            4,
            true,
            &[9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9900],
        );
    }
}
