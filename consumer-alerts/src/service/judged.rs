//! One assigned partition and its engine. Records below the first to judge warm the engine, the others are judged. Invariant:
//! its time is that of the last record judged there, but never later than what is known of the sources: a timer that asks
//! whether one was heard from asks nothing that may stand unread in another topic.

use std::sync::Arc;

use pipeline::consume::{DeadLetter, PartitionBatch};
use pipeline::decode::{Decoded, Gaps, Ticks};

use super::news::Item;
use crate::engine::{Engine, Event, Outcome, Place, Tick};
use crate::rules::Rules;

/// A longer name of a symbol or a source takes no part: an alert with it in key and value might be more than a broker takes.
pub const LONGEST_NAME: usize = 256;

pub struct Judged {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The partition of gaps; else one of ticks.
    pub is_gaps: bool,
    pub topic_id: String,
    pub engine: Engine,
    /// The first record that is judged.
    pub from: i64,
    /// Where reading goes on.
    pub next: i64,
    /// What the group's commit says, as far as it is known.
    pub committed: Option<i64>,
    /// Broker time of the last record, microseconds.
    pub at: i64,
}

impl Judged {
    pub fn is_it(&self, topic: &str, partition: i32) -> bool {
        self.partition == partition && *self.topic == *topic
    }

    pub fn reached(&self) -> i64 {
        self.next.max(self.from)
    }

    pub fn has_moved(&self) -> bool {
        self.committed != Some(self.reached())
    }

    fn is_warm(&self) -> bool {
        self.next >= self.from
    }

    pub fn change_rules(&mut self, rules: Rules, now: i64, outcome: &mut Outcome) {
        self.engine.change_rules(rules, now.max(self.at), outcome);
    }

    /// What has come in the topics of gaps and health. Gaps come to the partition of gaps as what it is there for.
    pub fn take_news(&mut self, item: &Item, outcome: &mut Outcome) {
        if item.is_gap() && self.is_gaps {
            return;
        }
        if self.is_warm() {
            self.engine.take(item.place(), item.event(), outcome);
        } else {
            self.engine.warm(item.place(), item.event());
        }
    }

    /// Judges one batch. Gives the bad records among those that are judged. `known_until`: what was said of the sources
    /// before that time is known.
    pub fn judge(
        &mut self,
        batch: &PartitionBatch,
        decoded: &Decoded,
        known_until: i64,
        outcome: &mut Outcome,
    ) -> Vec<DeadLetter> {
        let (offsets, times) = (batch.records.offsets(), batch.records.timestamps_ms());
        let (ticks, gaps) = match self.is_gaps {
            true => (None, Some(Gaps::new(&decoded.batch))),
            false => (Some(Ticks::new(&decoded.batch)), None),
        };
        let mut bad = decoded.bad.clone();
        for (row, record) in decoded.rows.iter().enumerate() {
            let offset = offsets.value(*record as usize);
            let at = times.value(*record as usize).saturating_mul(1000);
            let place = Place { topic: &batch.topic, partition: batch.partition, offset, at };
            let gap = gaps.as_ref().map(|gaps| gaps.get(row));
            let event = match (&ticks, &gap) {
                (Some(ticks), _) => Event::Tick(Tick::of(ticks, row)),
                (None, Some(gap)) => Event::Gap(gap),
                (None, None) => continue,
            };
            self.at = self.at.max(at);
            if let Some(length) = too_long(event) {
                bad.push((*record, format!("a name of {length} bytes; at most {LONGEST_NAME} are told of")));
                continue;
            }
            if offset < self.from {
                self.engine.warm(place, event);
            } else {
                self.engine.take(place, event, outcome);
            }
        }
        self.next = batch.next_offset;
        if let Some(at) = self.time(known_until).filter(|_| self.next > self.from) {
            self.pass(at, outcome);
        }
        let bad = bad.iter().map(|(record, reason)| (offsets.value(*record as usize), reason));
        bad.filter(|(offset, _)| *offset >= self.from)
            .map(|(offset, reason)| DeadLetter {
                topic: batch.topic.to_string(),
                partition: batch.partition,
                offset,
                reason: reason.clone(),
            })
            .collect()
    }

    /// It is this time, by the broker; where `end` is where the log ends, and has been since before that time.
    pub fn pass_at_end(&mut self, end: i64, now: i64, outcome: &mut Outcome) {
        if self.next >= end && self.is_warm() {
            self.pass(now, outcome);
        }
    }

    fn pass(&mut self, at: i64, outcome: &mut Outcome) {
        let place = Place { topic: &self.topic, partition: self.partition, offset: self.next - 1, at };
        self.engine.take(place, Event::Clock, outcome);
    }

    /// How far its time has come; nothing before anything was judged or known.
    fn time(&self, known_until: i64) -> Option<i64> {
        let at = self.at.min(known_until);
        (at > i64::MIN).then_some(at)
    }
}

/// The length of a name that is too long.
fn too_long(event: Event<'_>) -> Option<usize> {
    let long = |name: &str| Some(name.len()).filter(|length| *length > LONGEST_NAME);
    match event {
        Event::Tick(tick) => long(tick.symbol).or_else(|| long(tick.source)),
        Event::Gap(gap) => long(&gap.source).or_else(|| gap.symbols.iter().find_map(|symbol| long(symbol))),
        Event::Health(health) => long(&health.source),
        Event::Clock => None,
    }
}

#[cfg(test)]
mod tests {
    use pipeline::codec::{Encoder, Framing, RecordType};
    use pipeline::decode::Decoder;
    use pipeline::events::{Kind, PriceTick};
    use pipeline::example;
    use pipeline::records::{Record, RecordBuffer};

    use super::*;
    use crate::engine::Duty;

    const RULES: &str = "[[rule]]\nname = 'silent'\nkind = 'stale_feed'\nsilent_for = '1m'\n";
    const MINUTE: i64 = 60_000_000;

    /// Symbol, kind and minute of each tick.
    async fn batch(ticks: &[(&str, Kind, i64)]) -> (PartitionBatch, Decoded) {
        let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
        let mut buffer = RecordBuffer::new();
        for (offset, (symbol, kind, minutes)) in (0..).zip(ticks) {
            let (symbol, event_time) = ((*symbol).to_owned(), first() + minutes * MINUTE);
            let event_id = uuid::Uuid::new_v4();
            let value = encoder.tick(&PriceTick { event_id, symbol, kind: *kind, event_time, ..example::tick() });
            let timestamp_ms = event_time / 1000;
            buffer.push_owned(Record { offset, timestamp_ms, key: None, value: Some(&value) }, &[]);
        }
        let next_offset = i64::try_from(ticks.len()).expect("few");
        let batch = PartitionBatch { topic: "t".into(), partition: 0, start: 0, next_offset, records: buffer.finish() };
        let decoded = Decoder::new(RecordType::PriceTick, None).decode(batch.records.values()).await;
        (batch, decoded.expect("no registry"))
    }

    fn first() -> i64 {
        example::tick().event_time / 1_000_000 * 1_000_000
    }

    fn judged(from: i64) -> Judged {
        let rules = Rules::parse(RULES).expect("good rules");
        Judged {
            topic: "t".into(),
            partition: 0,
            is_gaps: false,
            topic_id: "id".to_owned(),
            engine: Engine::new(rules, Duty::Ticks).for_partition(0),
            from,
            next: 0,
            committed: Some(from),
            at: i64::MIN,
        }
    }

    #[tokio::test]
    async fn a_batch_is_no_later_than_what_is_known_of_the_sources() {
        let (batch, decoded) =
            batch(&[("USD-BRL", Kind::Fx, 0), ("BTC-USD", Kind::Trade, 5), ("BTC-USD", Kind::Trade, 6)]).await;
        let first = first();
        let told = |from: i64, known_until: i64| {
            let mut outcome = Outcome::default();
            assert!(judged(from).judge(&batch, &decoded, known_until, &mut outcome).is_empty());
            outcome.alerts.iter().map(|alert| (alert.fired_at - first) / MINUTE).collect::<Vec<_>>()
        };
        assert_eq!(told(0, i64::MIN), [0; 0], "nobody knows whether the poll was answered");
        assert_eq!(told(0, first + MINUTE - 1000), [0; 0]);
        assert_eq!(told(0, first + 2 * MINUTE), [2]);
        assert_eq!(told(0, first + 60 * MINUTE), [6], "nor what comes behind the batch");
        assert_eq!(told(3, first + 60 * MINUTE), [0; 0], "all of it was judged before");
    }

    #[tokio::test]
    async fn a_name_that_no_record_could_tell_of_is_a_bad_record() {
        let (longest, longer) = ("x".repeat(LONGEST_NAME), "x".repeat(500_000));
        let ticks = [(&*longest, Kind::Trade, 0), (&*longer, Kind::Trade, 0), ("BTC-USD", Kind::Trade, 5)];
        let (batch, decoded) = batch(&ticks).await;
        let mut outcome = Outcome::default();
        let letters = judged(0).judge(&batch, &decoded, i64::MAX, &mut outcome);
        let letters: Vec<_> = letters.iter().map(|letter| (letter.offset, letter.reason.as_str())).collect();
        assert_eq!(letters, [(1, "a name of 500000 bytes; at most 256 are told of")]);
        let symbols: Vec<_> = outcome.alerts.iter().map(|alert| alert.symbol.as_deref()).collect();
        assert_eq!(symbols, [Some(&*longest)]);
    }
}
