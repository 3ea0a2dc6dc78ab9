//! Ticks in the binary format of COPY, in the column order of sql/copy_into_ticks.sql. Numbers go over digit for digit: a
//! DECIMAL(38,18) is written as Postgres's base 10,000 digits, and no float or text stands between.

use pipeline::decimal::Decimal38;
use pipeline::decode::Ticks;
use uuid::Uuid;

use crate::rows::Row;
use crate::timestamptz::Timestamptz;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COLUMNS: i16 = 28;
const NULL: i32 = -1;

/// 10^18: one in the unscaled form of a [`Decimal38`].
const ONE: u128 = 10_u128.pow(Decimal38::SCALE);
/// A base 10,000 digit has 4 decimal ones: 20 before the point and 20 after it hold every [`Decimal38`].
const WHOLE_DIGITS: usize = 5;
const DIGITS: usize = 10;

/// Rows being written in COPY's format: the header, rows as they are pushed, at last [`CopyData::END`].
pub struct CopyData(Vec<u8>);

impl Default for CopyData {
    fn default() -> Self {
        Self(HEADER.to_vec())
    }
}

impl CopyData {
    pub const END: &[u8] = &(-1_i16).to_be_bytes();

    /// Appends the tick that `row` points to.
    pub fn push(&mut self, row: &Row, ticks: &Ticks<'_>) {
        let i = row.index;
        self.0.extend_from_slice(&COLUMNS.to_be_bytes());
        self.time(Some(row.place.event_time.0));
        self.time(Some(ticks.received_at(i)));
        self.time(Some(row.broker_time.0));
        self.field(&row.offset.to_be_bytes());
        self.optional(ticks.sequence(i), |data, sequence| data.field(&sequence.to_be_bytes()));
        self.time(ticks.previous_event_time(i));
        self.uuid(row.place.event_id);
        self.uuid(ticks.payload_id(i));
        self.field(&row.revision.to_be_bytes());
        self.field(&row.partition.to_be_bytes());
        self.field(&[u8::from(row.retracted)]);
        self.numeric(Some(ticks.price(i)));
        self.numeric(ticks.quantity(i));
        self.numeric(ticks.bid(i));
        self.numeric(ticks.ask(i));
        self.numeric(ticks.volume_24h(i));
        self.numeric(ticks.quote_volume_24h(i));
        self.numeric(ticks.market_cap(i));
        self.numeric(ticks.change_24h_pct(i));
        self.field(ticks.source(i).as_bytes());
        self.field(ticks.symbol(i).as_bytes());
        self.field(ticks.base(i).as_bytes());
        self.field(ticks.quote(i).as_bytes());
        self.field(ticks.kind(i).as_str().as_bytes());
        self.field(ticks.event_time_origin(i).as_str().as_bytes());
        self.field(ticks.source_symbol(i).as_bytes());
        self.optional(ticks.trade_id(i), |data, text| data.field(text.as_bytes()));
        self.optional(ticks.previous_symbol(i), |data, text| data.field(text.as_bytes()));
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Forgets what was sent, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn field(&mut self, bytes: &[u8]) {
        // A record is at most 1 MiB, so no field comes near 2 GiB.
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "bounded by the record size")]
        self.0.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.extend_from_slice(&NULL.to_be_bytes()),
        }
    }

    fn time(&mut self, micros: Option<i64>) {
        self.optional(micros, |data, micros| data.field(&Timestamptz(micros).to_wire().to_be_bytes()));
    }

    fn uuid(&mut self, id: Uuid) {
        self.field(id.as_bytes());
    }

    fn numeric(&mut self, value: Option<Decimal38>) {
        self.optional(value, |data, value| {
            let (bytes, length) = numeric(value);
            data.field(&bytes[..length]);
        });
    }
}

/// Postgres's numeric: digit count, weight of the first digit, sign, decimals to show, then the base 10,000 digits from
/// the first to the last that is not zero.
#[expect(clippy::cast_possible_truncation, reason = "every digit is below 10,000")]
fn numeric(value: Decimal38) -> ([u8; 8 + 2 * DIGITS], usize) {
    let unscaled = value.unscaled().unsigned_abs();
    let mut digits = [0_u16; DIGITS];
    let (mut whole, mut fraction) = (unscaled / ONE, (unscaled % ONE) as u64);
    digits[DIGITS - 1] = (fraction % 100) as u16 * 100;
    fraction /= 100;
    for digit in digits[WHOLE_DIGITS..DIGITS - 1].iter_mut().rev() {
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
    let first = digits.iter().position(|&digit| digit != 0).unwrap_or(WHOLE_DIGITS - 1);
    let end = digits.iter().rposition(|&digit| digit != 0).map_or(first, |last| last + 1);

    let weight = WHOLE_DIGITS as i16 - 1 - first as i16;
    let sign: u16 = if value.is_negative() { 0x4000 } else { 0 };
    let mut bytes = [0; 8 + 2 * DIGITS];
    bytes[0..2].copy_from_slice(&((end - first) as u16).to_be_bytes());
    bytes[2..4].copy_from_slice(&weight.to_be_bytes());
    bytes[4..6].copy_from_slice(&sign.to_be_bytes());
    bytes[6..8].copy_from_slice(&(Decimal38::SCALE as u16).to_be_bytes());
    for (place, digit) in digits[first..end].iter().enumerate() {
        bytes[8 + 2 * place..10 + 2 * place].copy_from_slice(&digit.to_be_bytes());
    }
    (bytes, 8 + 2 * (end - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, weight: i16, negative: bool, digits: &[u16]) {
        let (bytes, length) = numeric(text.parse().expect(text));
        let words: Vec<u16> = bytes[..length].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
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
