//! Exact sums of prices, quantities and their products, of any number of any [`Decimal38`]s. A product has up to 76 digits
//! and 256 bits hold a little more, so what goes beyond 10^76 is carried. Must never happen here: a sum that wraps or rounds.

use arrow::datatypes::i256;
use pipeline::decimal::Decimal38;

use crate::numeric::{MOST_DIGITS, Numeric};

const PRODUCT_PLACES: u16 = 36;
/// Base 10,000 digits below the carry.
const LOW_DIGITS: usize = 19;
/// How many of them come out of one division.
const DIGITS_A_STEP: usize = 4;
const STEP: u64 = 10_u64.pow(16);
const LIMIT: i256 = i256::from_i128(10).wrapping_pow(76);
/// One, in units of a [`Decimal38`].
const ONE: i256 = i256::from_i128(10_i128.pow(Decimal38::SCALE));

/// `carried · 10^76 + low`, in units of 10^-36.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    carried: i64,
    low: i256,
}

impl Sum {
    pub const ZERO: Self = Self { carried: 0, low: i256::ZERO };

    pub fn add(&mut self, value: Decimal38) {
        self.add_low(i256::from_i128(value.unscaled()).wrapping_mul(ONE));
    }

    /// Adds `a * b`.
    pub fn add_product(&mut self, a: Decimal38, b: Decimal38) {
        self.add_low(i256::from_i128(a.unscaled()).wrapping_mul(i256::from_i128(b.unscaled())));
    }

    pub fn add_sum(&mut self, other: &Self) {
        self.carried += other.carried;
        self.add_low(other.low);
    }

    /// Both are below 10^76, and two of those fit.
    fn add_low(&mut self, value: i256) {
        self.low = self.low.wrapping_add(value);
        if self.low >= LIMIT {
            self.low = self.low.wrapping_sub(LIMIT);
            self.carried += 1;
        } else if self.low <= LIMIT.wrapping_neg() {
            self.low = self.low.wrapping_add(LIMIT);
            self.carried -= 1;
        }
    }
}

impl From<&Sum> for Numeric {
    fn from(sum: &Sum) -> Self {
        let Sum { mut carried, mut low } = *sum;
        // One sign for both parts.
        if carried > 0 && low < i256::ZERO {
            (carried, low) = (carried - 1, low.wrapping_add(LIMIT));
        } else if carried < 0 && low > i256::ZERO {
            (carried, low) = (carried + 1, low.wrapping_sub(LIMIT));
        }
        let is_negative = carried < 0 || low < i256::ZERO;
        let mut limbs = limbs(low.wrapping_abs());
        let mut carried = carried.unsigned_abs();

        let mut digits = [0_u16; MOST_DIGITS];
        let (high_digits, low_digits) = digits.split_at_mut(MOST_DIGITS - LOW_DIGITS);
        for step in low_digits.rchunks_mut(DIGITS_A_STEP) {
            let mut part = divide(&mut limbs, STEP);
            for digit in step.iter_mut().rev() {
                *digit = (part % 10_000) as u16;
                part /= 10_000;
            }
        }
        for digit in high_digits.iter_mut().rev() {
            *digit = (carried % 10_000) as u16;
            carried /= 10_000;
        }
        let fraction_digits = PRODUCT_PLACES as usize / 4;
        let weight = (MOST_DIGITS - fraction_digits - 1) as i16;
        Self::new(is_negative, &digits, weight, PRODUCT_PLACES)
    }
}

/// Most significant first.
fn limbs(value: i256) -> [u64; 4] {
    let (low, high) = value.to_parts();
    let high = high.cast_unsigned();
    // Each limb is the low half of what it is taken from.
    [(high >> 64) as u64, high as u64, (low >> 64) as u64, low as u64]
}

/// Divides in place and gives the remainder.
fn divide(limbs: &mut [u64; 4], by: u64) -> u64 {
    let mut remainder = 0_u64;
    for limb in limbs {
        let dividend = u128::from(remainder) << 64 | u128::from(*limb);
        // The remainder before is less than the divisor, so both fit.
        (*limb, remainder) = ((dividend / u128::from(by)) as u64, (dividend % u128::from(by)) as u64);
    }
    remainder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal38 {
        text.parse().expect(text)
    }

    /// What the wire says, as text with 36 places.
    fn text(sum: &Sum) -> String {
        let number = Numeric::from(sum);
        let words: Vec<u16> = number.as_bytes().chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let weight = words[1].cast_signed();
        let digit = |at: i16| {
            let place = usize::try_from(weight - at).ok();
            place.and_then(|place| words[4..].get(place)).copied().unwrap_or(0)
        };
        let whole: String = (0..=weight.max(0)).rev().map(|at| format!("{:04}", digit(at))).collect();
        let fraction: String = (1..=9).map(|at| format!("{:04}", digit(-at))).collect();
        let sign = if words[2] == 0x4000 { "-" } else { "" };
        let whole = whole.trim_start_matches('0');
        format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }

    #[test]
    fn sums_and_products_are_exact() {
        let mut sum = Sum::ZERO;
        assert_eq!(text(&sum), ".");
        sum.add_product(decimal("67187.34"), decimal("0.00041205"));
        assert_eq!(text(&sum), "27.684543447");
        sum.add(decimal("-0.000000000000000001"));
        assert_eq!(text(&sum), "27.684543446999999999");
        sum.add_product(decimal("-0.000000000000000001"), decimal("0.000000000000000001"));
        assert_eq!(text(&sum), "27.684543446999999998999999999999999999");
    }

    #[test]
    fn a_thousand_of_the_largest_products_carry_and_come_back() {
        let most = decimal("99999999999999999999.999999999999999999");
        let mut sum = Sum::ZERO;
        let mut half = Sum::ZERO;
        for _ in 0..500 {
            half.add_product(most, most);
        }
        sum.add_sum(&half);
        sum.add_sum(&half);
        // (10^38 - 1)^2 · 1000 = (10^76 - 2·10^38 + 1) · 1000, of 10^-36.
        let expected = "9999999999999999999999999999999999999800000.000000000000000000000000000000001";
        assert_eq!(text(&sum), expected);
        let negative = decimal("-99999999999999999999.999999999999999999");
        for _ in 0..2000 {
            sum.add_product(most, negative);
        }
        assert_eq!(text(&sum), format!("-{expected}"));
    }
}
