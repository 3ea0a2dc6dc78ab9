//! What the engine of consumer-alerts does with decoded ticks on one core: 500 symbols at four sources each, every one of
//! 20 rules about every one of them.

use std::time::Instant;

use anyhow::Context;
use arrow::array::BinaryArray;
use consumer_alerts::engine::{Duty, Engine, Event, Outcome, Place, Tick};
use consumer_alerts::rules::Rules;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decimal::Decimal38;
use pipeline::decode::{Decoded, Decoder, Ticks};
use pipeline::events::{PriceTick, event_id};
use pipeline::{example, topics};

const RULES: &str = include_str!("alerts.toml");
const SYMBOLS: usize = 500;
const SOURCES: [&str; 4] = ["binance", "coinbase", "kraken", "okx"];
const BATCH: usize = 5_000;
/// Microseconds from tick to tick: 2,000 a second, so that windows of seconds and minutes fill and empty.
const STEP: i64 = 500;
/// Every so many microseconds the clock says that time has passed.
const CLOCK: i64 = 10_000_000;

/// The line to print.
///
/// # Errors
/// When the ticks cannot be made.
pub async fn measure(count: usize) -> anyhow::Result<String> {
    let rules = Rules::parse(RULES).context("alerts.toml")?;
    let batches = batches(count).await?;
    let mut engine = Engine::new(rules.clone(), Duty::Ticks);
    let (mut outcome, mut alerts, mut states, mut clock) = (Outcome::default(), 0, 0, 0);
    let mut offset = 0;
    let begun = Instant::now();
    for batch in &batches {
        let ticks = Ticks::new(&batch.batch);
        for row in 0..ticks.len() {
            let tick = Tick::of(&ticks, row);
            let place = Place { topic: topics::TICKS, partition: 0, offset, at: tick.event_time };
            engine.take(place, Event::Tick(tick), &mut outcome);
            if place.at - clock >= CLOCK {
                clock = place.at;
                engine.take(place, Event::Clock, &mut outcome);
            }
            offset += 1;
        }
        alerts += outcome.alerts.len();
        states += outcome.states.len();
        outcome.clear();
    }
    let rate = crate::rate(count, begun, Instant::now());
    Ok(format!(
        "alerts: {rate:.0} ticks/s on one core, {SYMBOLS} symbols at {} sources, {} rules about each ({count} ticks, {alerts} alerts, {states} states)",
        SOURCES.len(),
        rules.iter().count()
    ))
}

/// Prices that walk at random, as they come out of the decoder.
async fn batches(count: usize) -> anyhow::Result<Vec<Decoded>> {
    let encoder = Encoder::new(Framing::SingleObject).await?;
    let mut decoder = Decoder::new(RecordType::PriceTick, None);
    let mut cents = vec![1_000_000_i64; SYMBOLS];
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut batches = Vec::new();
    for first in (0..count).step_by(BATCH) {
        let values: Vec<Vec<u8>> = (first..count.min(first + BATCH))
            .map(|number| {
                // xorshift: the same ticks in every run.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let (symbol, source) = (random as usize % SYMBOLS, SOURCES[(random >> 32) as usize % SOURCES.len()]);
                cents[symbol] = (cents[symbol] + (random >> 40) as i64 % 2_001 - 1_000).clamp(500_000, 2_000_000);
                let at = 1_760_000_000_000_000 + number as i64 * STEP;
                encoder.tick(&tick(number, symbol, source, cents[symbol], at)).to_vec()
            })
            .collect();
        let values = BinaryArray::from_iter_values(values);
        batches.push(decoder.decode(&values).await?);
    }
    Ok(batches)
}

fn tick(number: usize, symbol: usize, source: &str, cents: i64, at: i64) -> PriceTick {
    let name = format!("S{symbol:03}-USD");
    PriceTick {
        event_id: event_id(source, "bench", &name, &number.to_string()),
        source: source.to_owned(),
        base: format!("S{symbol:03}"),
        price: Decimal38::from_unscaled(i128::from(cents) * 10_i128.pow(16)).expect("seven digits"),
        event_time: at,
        received_at: at,
        source_symbol: name.clone(),
        symbol: name,
        ..example::tick()
    }
}
