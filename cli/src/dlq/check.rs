//! What a record is to the code of today, and whether the consumers would take it: decoded as they decode it, then held
//! against the rules of [`pipeline::fits`], which are theirs. What only Postgres decides (its own constraints and triggers) is
//! not asked. Must never happen here: a yes to what a consumer refuses by a rule of ours.

use anyhow::Context;
use arrow::array::{Array, BinaryArray, RecordBatch};
use pipeline::codec::RecordType;
use pipeline::decode::{Alerts, Decoder, Gaps, Healths, IndexWeights, Payloads, Ticks};
use pipeline::events::{Alert, Gap, IndexWeight, PayloadRecord, PriceTick, SourceHealth};
use pipeline::fits;
use pipeline::registry::Registry;
use serde_json::{Value, json};
use uuid::Uuid;

/// A record that decodes.
#[derive(Clone, Debug)]
pub enum Event {
    Tick(Box<PriceTick>),
    Gap(Gap),
    Health(SourceHealth),
    IndexWeight(IndexWeight),
    Payload(PayloadRecord),
    Alert(Box<Alert>),
}

impl Event {
    /// Of a tick: the id under which a correction of it is published.
    pub fn tick_id(&self) -> Option<Uuid> {
        match self {
            Self::Tick(tick) => Some(tick.event_id),
            Self::Gap(_) | Self::Health(_) | Self::IndexWeight(_) | Self::Payload(_) | Self::Alert(_) => None,
        }
    }

    /// What a source sent that the record was made of.
    pub fn payload(&self) -> Option<(Uuid, &str, i64)> {
        match self {
            Self::Tick(tick) => Some((tick.payload_id, &tick.source, tick.received_at)),
            Self::IndexWeight(weight) => Some((weight.payload_id, &weight.source, weight.received_at)),
            Self::Payload(part) => Some((part.payload_id, &part.source, part.received_at)),
            Self::Gap(_) | Self::Health(_) | Self::Alert(_) => None,
        }
    }

    /// Its fields; of a payload's content the length alone.
    pub fn fields(&self) -> anyhow::Result<Value> {
        let fields = match self {
            Self::Tick(tick) => serde_json::to_value(tick),
            Self::Gap(gap) => serde_json::to_value(gap),
            Self::Health(health) => serde_json::to_value(health),
            Self::IndexWeight(weight) => serde_json::to_value(weight),
            Self::Payload(part) => Ok(json!({
                "payload_id": part.payload_id, "source": part.source, "request": part.request, "status": part.status,
                "received_at": part.received_at, "content_encoding": part.content_encoding, "part": part.part,
                "parts": part.parts, "content_bytes": part.content.len(),
            })),
            Self::Alert(alert) => serde_json::to_value(alert),
        };
        fields.context("an event as JSON")
    }
}

/// A record as today's code sees it.
#[derive(Clone, Debug)]
pub struct Checked {
    pub event: Option<Event>,
    /// Why it would be refused, or may not be sent again.
    pub refused: Option<String>,
}

pub struct Checker {
    record: RecordType,
    decoder: Decoder,
    oldest_event_days: u32,
}

impl Checker {
    pub fn new(record: RecordType, registry: Option<Registry>, oldest_event_days: u32) -> Self {
        Self { record, decoder: Decoder::new(record, registry), oldest_event_days }
    }

    /// Records as they would be if the broker took them at `broker_time`, microseconds from 1970.
    ///
    /// # Errors
    /// When the schema registry cannot be asked.
    pub async fn check(&mut self, values: &BinaryArray, broker_time: i64) -> anyhow::Result<Vec<Checked>> {
        let decoded = self.decoder.decode(values).await?;
        let mut checked: Vec<Checked> = (0..values.len()).map(|_| Checked { event: None, refused: None }).collect();
        for (index, reason) in decoded.bad {
            checked[index as usize].refused = Some(reason);
        }
        for (row, index) in decoded.rows.iter().enumerate() {
            let (event, fits) = self.judge(&decoded.batch, row, broker_time);
            checked[*index as usize] = Checked { event: Some(event), refused: fits.err() };
        }
        Ok(checked)
    }

    fn judge(&self, batch: &RecordBatch, row: usize, broker_time: i64) -> (Event, Result<(), String>) {
        match self.record {
            RecordType::PriceTick => {
                let ticks = Ticks::new(batch);
                let fits = fits::tick(&ticks, row, broker_time, self.oldest_event_days);
                (Event::Tick(Box::new(ticks.get(row))), fits)
            }
            RecordType::Gap => {
                let gap = Gaps::new(batch).get(row);
                let fits = fits::gap(&gap, broker_time);
                (Event::Gap(gap), fits)
            }
            RecordType::SourceHealth => {
                // Its time is the broker's: it would say that the source is alive now.
                let refused =
                    "a word on a source's health is of the moment at which the broker takes it, and that is over";
                (Event::Health(Healths::new(batch).get(row)), Err(refused.to_owned()))
            }
            RecordType::IndexWeight => {
                let weight = IndexWeights::new(batch).get(row);
                let fits = fits::index_weight(&weight, broker_time);
                (Event::IndexWeight(weight), fits)
            }
            RecordType::Payload => (Event::Payload(Payloads::new(batch).get(row)), Ok(())),
            RecordType::Alert => {
                let alert = Alerts::new(batch).get(row);
                let fits = fits::alert(&alert, broker_time);
                (Event::Alert(Box::new(alert)), fits)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::codec::{Encoder, Framing};
    use pipeline::example;

    use super::*;

    const NOW: i64 = 1_772_500_000_000_000;
    const DAY: i64 = 24 * 60 * 60 * 1_000_000;

    async fn check(record: RecordType, values: &[Option<Vec<u8>>]) -> Vec<Checked> {
        let values = BinaryArray::from_iter(values.iter().map(Option::as_deref));
        Checker::new(record, None, 400).check(&values, NOW).await.expect("no registry is asked")
    }

    #[tokio::test]
    async fn what_would_fail_again_says_why() {
        let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
        let tick = |event_time| encoder.tick(&PriceTick { event_time, ..example::tick() });
        let long = encoder.tick(&PriceTick { symbol: "X".repeat(300), event_time: NOW, ..example::tick() });
        let good = tick(NOW);
        let mut cut = good.clone();
        cut.truncate(30);
        let values = [good, cut, tick(NOW + 2 * DAY), tick(NOW - 401 * DAY), long, b"garbage".to_vec()];
        let mut values: Vec<_> = values.into_iter().map(Some).collect();
        values.push(None);
        let checked = check(RecordType::PriceTick, &values).await;
        let expected = [
            (true, None),
            (false, Some("")),
            (true, Some("event_time out of range")),
            (true, Some("event_time out of range")),
            (true, Some("symbol has 300 bytes")),
            (false, Some("no Avro framing")),
            (false, Some("no value")),
        ];
        assert_eq!(checked.len(), expected.len());
        for (found, (decodes, refused)) in checked.iter().zip(expected) {
            assert_eq!(found.event.is_some(), decodes, "{found:?}");
            let same = match (&found.refused, refused) {
                (Some(reason), Some(begins)) => reason.starts_with(begins),
                (None, None) => true,
                _ => false,
            };
            assert!(same, "{:?} instead of {refused:?}", found.refused);
        }
        let event = checked[0].event.as_ref().expect("a tick");
        assert_eq!(event.tick_id(), Some(example::tick().event_id));
        assert_eq!(event.payload().map(|(id, source, _)| (id, source)), Some((example::tick().payload_id, "coinbase")));
        assert_eq!(event.fields().expect("JSON")["price"], "67187.34");
    }

    #[tokio::test]
    async fn a_word_on_health_is_never_said_again() {
        let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
        let checked = check(RecordType::SourceHealth, &[Some(encoder.health(&example::health()))]).await;
        assert!(checked[0].refused.as_ref().is_some_and(|reason| reason.contains("that is over")), "{checked:?}");
        let checked = check(RecordType::Payload, &[Some(encoder.payload(&example::payload()))]).await;
        assert_eq!(checked[0].refused, None);
        let fields = checked[0].event.as_ref().expect("a part").fields().expect("JSON");
        assert_eq!(fields["content_bytes"], example::payload().content.len());
    }
}
