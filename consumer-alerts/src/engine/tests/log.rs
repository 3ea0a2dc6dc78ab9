//! Logs as text, a record a line: `second what`. A tick is its price and what is not as usual: `21 103.01 at=20 id=7`. The
//! others are `gap`, `health` and `clock`. `1..20 100` is a record every second.

use pipeline::decimal::Decimal38;
use pipeline::events::{Gap, GapReason, PriceTick, SourceHealth, event_id};
use pipeline::example;
use uuid::Uuid;

use super::super::{Event, Place, Tick};

/// 2025-10-09T08:53:20Z, in microseconds.
const ZERO: i64 = 1_760_000_000_000_000;

#[derive(Clone, Debug)]
pub struct Record {
    /// Broker time.
    pub at: i64,
    pub offset: i64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Tick(Box<PriceTick>),
    Gap(Gap),
    Health(SourceHealth),
    Clock,
}

impl Record {
    pub fn place(&self) -> Place<'_> {
        Place { topic: "market.ticks.v1", partition: 3, offset: self.offset, at: self.at }
    }

    pub fn event(&self) -> Event<'_> {
        match &self.what {
            What::Tick(tick) => Event::Tick(Tick {
                event_id: tick.event_id,
                revision: tick.revision,
                source: &tick.source,
                symbol: &tick.symbol,
                kind: tick.kind,
                price: tick.price,
                event_time: tick.event_time,
                previous_event_time: tick.previous_event_time,
                previous_symbol: tick.previous_symbol.as_deref(),
                retracted: tick.retracted,
            }),
            What::Gap(gap) => Event::Gap(gap),
            What::Health(health) => Event::Health(health),
            What::Clock => Event::Clock,
        }
    }
}

/// Microseconds of a second of the log.
pub fn micros(second: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let since = (second * 1e6).round() as i64;
    ZERO + since
}

pub fn second(micros: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
    let second = (micros - ZERO) as f64 / 1e6;
    second.to_string()
}

pub fn parse(text: &str) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let mut words = line.split_whitespace();
        let Some(when) = words.next() else { continue };
        let words: Vec<&str> = words.collect();
        let wrong = |why: &str| format!("{line:?}: {why}");
        let seconds: Vec<f64> = match when.split_once("..") {
            Some((from, to)) => {
                let (from, to): (i32, i32) =
                    from.parse().and_then(|from| Ok((from, to.parse()?))).map_err(|_| wrong("a range of seconds"))?;
                (from..=to).map(f64::from).collect()
            }
            None => vec![when.parse().map_err(|_| wrong("a second"))?],
        };
        for at in seconds {
            let offset = i64::try_from(records.len()).expect("short logs");
            let what = what(at, offset, &words).map_err(|why| wrong(&why))?;
            records.push(Record { at: micros(at), offset, what });
        }
    }
    Ok(records)
}

fn what(at: f64, offset: i64, words: &[&str]) -> Result<What, String> {
    let (first, rest) = words.split_first().ok_or("nothing happens")?;
    let mut options = Vec::new();
    for word in rest {
        options.push(word.split_once('=').unwrap_or((word, "")));
    }
    let time = |value: &str| value.parse().map(micros).map_err(|_| format!("{value:?} is no second"));
    match *first {
        "clock" => Ok(What::Clock),
        "gap" => {
            let mut gap = Gap { symbols: Vec::new(), started_at: micros(at), ..example::gap() };
            for (name, value) in options {
                match name {
                    "id" => gap.id = Uuid::from_u128(value.parse().map_err(|_| "a number")?),
                    "source" => gap.source = value.to_owned(),
                    "symbols" => gap.symbols = value.split(',').map(str::to_owned).collect(),
                    "reason" => gap.reason = value.parse::<GapReason>().map_err(|error| error.to_string())?,
                    "from" => gap.started_at = time(value)?,
                    "to" => gap.ended_at = Some(time(value)?),
                    other => return Err(format!("what is {other}?")),
                }
            }
            Ok(What::Gap(gap))
        }
        "health" => {
            let mut health = SourceHealth { at: micros(at), last_answer_at: None, ..example::health() };
            for (name, value) in options {
                match name {
                    "source" => health.source = value.to_owned(),
                    "state" => health.state = value.to_owned(),
                    "answered" => health.last_answer_at = Some(time(value)?),
                    other => return Err(format!("what is {other}?")),
                }
            }
            Ok(What::Health(health))
        }
        price => {
            let mut id = format!("record {offset}");
            let mut tick = PriceTick { event_time: micros(at), ..example::tick() };
            tick.price = Decimal38::parse(price).map_err(|error| format!("{price:?}: {error}"))?;
            for (name, value) in options {
                match name {
                    "id" => value.clone_into(&mut id),
                    "source" => value.clone_into(&mut tick.source),
                    "symbol" => value.clone_into(&mut tick.symbol),
                    "kind" => tick.kind = value.parse().map_err(|_| format!("{value:?} is no kind"))?,
                    "at" => tick.event_time = time(value)?,
                    "was" => tick.previous_event_time = Some(time(value)?),
                    "named" => tick.previous_symbol = Some(value.to_owned()),
                    "revision" => tick.revision = value.parse().map_err(|_| "a number")?,
                    "retracted" => tick.retracted = true,
                    other => return Err(format!("what is {other}?")),
                }
            }
            tick.event_id = event_id(&tick.source, "test", tick.kind.as_str(), &id);
            Ok(What::Tick(Box::new(tick)))
        }
    }
}
