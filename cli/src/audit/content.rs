//! What a record says, as one number that Postgres comes to as well: `hash_record_extended` over the columns of
//! sql/tick_places.sql, gap_places.sql, index_weight_places.sql and alert_places.sql. Those hash functions are what hash partitions are cut by, so no release of Postgres changes them; a
//! server whose processor is big-endian comes to other numbers. The offset and the broker's time are no part of it, for
//! they are compared by themselves. A numeric's sign is not hashed either: where one makes sense it is a column of its own.
//! Must never happen here: a column here that is not there, or in another order.

use arrow::array::{Array, RecordBatch};
use jiff::civil::date;
use pipeline::decimal::Decimal38;
use pipeline::decode::{Alerts, Gaps, IndexWeights, Ticks};
use pipeline::events::{Alert, Gap, IndexWeight};
use uuid::Uuid;

use super::database::Table;

/// 2000-01-01, from which Postgres counts microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const SCALE: u128 = 10_u128.pow(18);
/// Decimal digits of one of Postgres' digits.
const BASE: u128 = 10_000;

/// Between the symbols of a gap: no symbol has it.
const BETWEEN_SYMBOLS: &str = "\u{1f}";

/// The hash of one record: `31 * hash + hash of the next column`, a null counting 0.
#[derive(Clone, Copy, Debug, Default)]
struct Row(u64);

impl Row {
    fn add(&mut self, column: u64) {
        self.0 = self.0.wrapping_mul(31).wrapping_add(column);
    }

    fn int(&mut self, value: i32) {
        self.add(hash_word(value.cast_unsigned()));
    }

    fn bigint(&mut self, value: Option<i64>) {
        self.add(value.map_or(0, hash_bigint));
    }

    fn time(&mut self, micros: Option<i64>) {
        self.bigint(micros.map(|micros| micros.wrapping_sub(EPOCH_MICROS)));
    }

    fn numeric(&mut self, unscaled: Option<i128>) {
        self.add(unscaled.map_or(0, hash_numeric));
    }

    /// A decimal whose sign counts.
    fn signed(&mut self, value: Option<Decimal38>) {
        self.int(i32::from(value.is_some_and(Decimal38::is_negative)));
        self.numeric(value.map(Decimal38::unscaled));
    }

    fn uuid(&mut self, value: Uuid) {
        self.add(hash_bytes(value.as_bytes()));
    }

    fn text(&mut self, value: Option<&str>) {
        self.add(value.map_or(0, |value| hash_bytes(value.as_bytes())));
    }
}

/// Of each record of a table other than ticks its event, its rank among the records of that event, and what its row in Postgres
/// comes to.
pub fn of_others(table: Table, batch: &RecordBatch) -> Vec<(Uuid, i32, u64)> {
    match table {
        Table::Ticks => Vec::new(),
        // A closing wins over an opening.
        Table::Gaps => {
            Gaps::new(batch).iter().map(|gap| (gap.id, i32::from(gap.ended_at.is_some()), of_gap(&gap))).collect()
        }
        Table::IndexWeights => {
            let weights = IndexWeights::new(batch).iter();
            weights.map(|weight| (weight.event_id, weight.revision, of_weight(&weight))).collect()
        }
        Table::Alerts => Alerts::new(batch).iter().map(|alert| (alert.alert_id, 0, of_alert(&alert))).collect(),
    }
}

fn of_gap(gap: &Gap) -> u64 {
    let mut hash = Row::default();
    hash.time(Some(gap.started_at));
    hash.time(gap.ended_at);
    for text in [&gap.source, gap.reason.as_str(), &gap.detail, &gap.symbols.join(BETWEEN_SYMBOLS)] {
        hash.text(Some(text));
    }
    hash.0
}

fn of_weight(weight: &IndexWeight) -> u64 {
    let mut hash = Row::default();
    hash.time(Some(weight.received_at));
    hash.int(weight.revision);
    hash.int(i32::from(weight.retracted));
    let days = weight.pregao_date.since(date(2000, 1, 1)).map_or(0, |span| span.get_days());
    hash.int(days);
    hash.uuid(weight.payload_id);
    hash.signed(Some(weight.part));
    hash.signed(Some(weight.theoretical_quantity));
    for text in [&weight.source, &weight.index_name, &weight.code, &weight.asset_type, &weight.asset] {
        hash.text(Some(text));
    }
    hash.text(weight.segment.as_deref());
    hash.0
}

fn of_alert(alert: &Alert) -> u64 {
    let mut hash = Row::default();
    hash.time(Some(alert.event_time));
    hash.time(Some(alert.fired_at));
    hash.bigint(Some(alert.trigger_offset));
    hash.int(alert.trigger_partition);
    hash.add(alert.event_id.map_or(0, |id| hash_bytes(id.as_bytes())));
    for decimal in [alert.price, alert.reference, alert.change_pct] {
        hash.signed(decimal);
    }
    let texts = [&alert.rule, &alert.rule_hash, alert.kind.as_str(), alert.state.as_str(), alert.severity.as_str()];
    for text in texts {
        hash.text(Some(text));
    }
    hash.text(alert.symbol.as_deref());
    hash.text(alert.source.as_deref());
    hash.text(Some(&alert.trigger_topic));
    hash.text(Some(&alert.message));
    hash.0
}

/// What Postgres' row of this tick comes to.
pub fn of_tick(ticks: &Ticks<'_>, row: usize) -> u64 {
    let decimal = |column: &arrow::array::Decimal128Array| column.is_valid(row).then(|| column.value(row));
    let (price, change) = (decimal(ticks.prices), decimal(ticks.changes_24h_pct));
    let mut hash = Row::default();
    hash.time(Some(ticks.event_time(row)));
    hash.time(Some(ticks.received_at(row)));
    hash.bigint(ticks.sequence(row));
    hash.time(ticks.previous_event_time(row));
    hash.uuid(ticks.payload_id(row));
    hash.int(ticks.revision(row));
    hash.int(i32::from(ticks.retracted(row)));
    hash.int(i32::from(price.is_some_and(i128::is_negative)));
    hash.int(i32::from(change.is_some_and(i128::is_negative)));
    hash.numeric(price);
    for column in
        [ticks.quantities, ticks.bids, ticks.asks, ticks.volumes_24h, ticks.quote_volumes_24h, ticks.market_caps]
    {
        hash.numeric(decimal(column));
    }
    hash.numeric(change);
    for text in [ticks.source(row), ticks.symbol(row), ticks.base(row), ticks.quote(row)] {
        hash.text(Some(text));
    }
    hash.text(Some(ticks.kinds.value(row)));
    hash.text(Some(ticks.event_time_origins.value(row)));
    hash.text(Some(ticks.source_symbol(row)));
    hash.text(ticks.trade_id(row));
    hash.text(ticks.previous_symbol(row));
    hash.0
}

fn hash_numeric(unscaled: i128) -> u64 {
    let (whole, fraction) = (unscaled.unsigned_abs() / SCALE, unscaled.unsigned_abs() % SCALE * 100);
    // Six digits before the point hold 20 decimal places, five behind it the 18.
    let mut digits = [0_u16; 11];
    let (mut left, mut right) = (whole, fraction);
    for digit in digits[..6].iter_mut().rev() {
        *digit = (left % BASE) as u16;
        left /= BASE;
    }
    for digit in digits[6..].iter_mut().rev() {
        *digit = (right % BASE) as u16;
        right /= BASE;
    }
    let Some(first) = digits.iter().position(|digit| *digit != 0) else { return u64::MAX };
    let last = digits.iter().rposition(|digit| *digit != 0).unwrap_or(first);
    let mut bytes = [0_u8; 22];
    let held = &digits[first..=last];
    for (pair, digit) in bytes.chunks_exact_mut(2).zip(held) {
        pair.copy_from_slice(&digit.to_le_bytes());
    }
    let weight = 5 - first as i64;
    hash_bytes(&bytes[..held.len() * 2]) ^ weight.cast_unsigned()
}

fn hash_bigint(value: i64) -> u64 {
    let (low, high) = (value as u32, (value >> 32) as u32);
    hash_word(low ^ if value >= 0 { high } else { !high })
}

/// Bob Jenkins' lookup3 over one word, as Postgres' `hash_bytes_uint32_extended` with seed 0.
fn hash_word(word: u32) -> u64 {
    let start = start(4);
    finish(start.wrapping_add(word), start, start)
}

/// The same over bytes, `hash_bytes_extended` with seed 0.
fn hash_bytes(bytes: &[u8]) -> u64 {
    let start = start(bytes.len());
    let (mut a, mut b, mut c) = (start, start, start);
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(word)
    };
    let mut chunks = bytes.chunks_exact(12);
    for chunk in &mut chunks {
        a = a.wrapping_add(word(&chunk[..4]));
        b = b.wrapping_add(word(&chunk[4..8]));
        c = c.wrapping_add(word(&chunk[8..]));
        (a, b, c) = mix(a, b, c);
    }
    let rest = chunks.remainder();
    let part = |from: usize| word(&rest[from.min(rest.len())..(from + 4).min(rest.len())]);
    a = a.wrapping_add(part(0));
    b = b.wrapping_add(part(4));
    // The lowest byte of the third is the length's.
    c = c.wrapping_add(part(8) << 8);
    finish(a, b, c)
}

fn start(length: usize) -> u32 {
    0x9e37_79b9_u32.wrapping_add(length as u32).wrapping_add(3_923_095)
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    let step = |x: u32, y: u32, bits: u32| x.wrapping_sub(y) ^ y.rotate_left(bits);
    a = step(a, c, 4);
    c = c.wrapping_add(b);
    b = step(b, a, 6);
    a = a.wrapping_add(c);
    c = step(c, b, 8);
    b = b.wrapping_add(a);
    a = step(a, c, 16);
    c = c.wrapping_add(b);
    b = step(b, a, 19);
    a = a.wrapping_add(c);
    c = step(c, b, 4);
    b = b.wrapping_add(a);
    (a, b, c)
}

fn finish(mut a: u32, mut b: u32, mut c: u32) -> u64 {
    let step = |x: u32, y: u32, bits: u32| (x ^ y).wrapping_sub(y.rotate_left(bits));
    c = step(c, b, 14);
    a = step(a, c, 11);
    b = step(b, a, 25);
    c = step(c, b, 16);
    a = step(a, c, 4);
    b = step(b, a, 14);
    c = step(c, b, 24);
    u64::from(b) << 32 | u64::from(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was said by Postgres 15.
    #[test]
    fn hashes_are_those_of_postgres() {
        let text = |text: &str| hash_bytes(text.as_bytes()).cast_signed();
        assert_eq!(
            [text(""), text("BTC-USD"), text("a text of more than twelve bytes")],
            [-6_939_563_903_564_495_251, 7_717_565_901_478_753_462, 2_533_051_960_042_466_613]
        );
        assert_eq!(
            [0, 51_234_567_891, -5].map(|number| hash_bigint(number).cast_signed()),
            [4_154_612_158_245_552_303, -2_268_221_579_820_264_591, -9_082_176_226_831_438_310]
        );
        assert_eq!(hash_word(7).cast_signed(), -3_288_951_424_994_980_865);
        let numeric = |text: &str| {
            let decimal: pipeline::decimal::Decimal38 = text.parse().expect("a decimal");
            hash_numeric(decimal.unscaled()).cast_signed()
        };
        assert_eq!(
            [
                "67187.34",
                "0.00041205",
                "0",
                "99999999999999999999.999999999999999999",
                "-10000",
                "0.000000000000000001"
            ]
            .map(numeric),
            [
                5_299_519_578_272_448_870,
                -7_835_624_192_491_386_288,
                -1,
                -4_750_972_186_539_380_645,
                -7_507_508_252_608_306_359,
                -2_026_427_994_494_054_904
            ]
        );
        assert_eq!(hash_bytes(Uuid::from_u128(7).as_bytes()).cast_signed(), -5_799_709_565_172_173_858);

        let mut row = Row::default();
        row.int(1);
        row.text(None);
        row.text(Some("x"));
        assert_eq!(row.0.cast_signed(), -4_592_249_191_205_652_913);
        let mut row = Row::default();
        row.time(Some(1_767_225_600_000_000));
        assert_eq!(row.0.cast_signed(), -6_892_121_287_376_696_953);
    }
}
