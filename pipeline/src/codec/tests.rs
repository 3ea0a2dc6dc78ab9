//! The encoder (serde) against apache-avro's generic values: the same event must be the same bytes, field by field.

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::arbitrary;
use crate::decimal::Decimal38;

pub(crate) fn encoder() -> Encoder {
    let single = |record: RecordType| {
        RecordWriter::new(record, [&SINGLE_OBJECT[..], &record.fingerprint().to_le_bytes()].concat())
    };
    Encoder(Arc::new(Writers {
        tick: single(RecordType::PriceTick),
        gap: single(RecordType::Gap),
        health: single(RecordType::SourceHealth),
    }))
}

#[test]
fn fingerprints_are_the_specifications() {
    // Python, fastavro 1.13: fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO") prints the eight bytes of the
    // header in order, that is the number little endian.
    let pinned = [
        (RecordType::PriceTick, 1, "2941fba949b8f2c7"),
        (RecordType::Gap, 1, "2f346b533ab8e932"),
        (RecordType::SourceHealth, 1, "13bf596bb83ba5c1"),
    ];
    let all: usize = RecordType::ALL.iter().map(|record| record.schemas().len()).sum();
    assert_eq!(pinned.len(), all, "each version of each schema is pinned");
    for (record, version, header) in pinned {
        let text = record.schemas().iter().find(|text| text.version == version).unwrap();
        let bytes: String = text.fingerprint().to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, header, "{record} v{version}: a written schema never changes, add a version");
    }
}

#[test]
fn versions_count_up_and_the_newest_is_last() {
    for record in RecordType::ALL {
        let versions: Vec<u32> = record.schemas().iter().map(|text| text.version).collect();
        assert_eq!(versions, (1..=versions.len() as u32).collect::<Vec<_>>(), "{record}");
        assert_eq!(topics::record_type(record.topic()), Some(record));
    }
}

#[test]
fn bytes_are_those_of_fastavro() {
    // Python, fastavro 1.13: schemaless_writer with schemas/price_tick-v1.avsc and the values of the example tick.
    let expected = [
        "e55c51ae1ba55691a5db0bebf335f2f00010636f696e626173650e4254432d555344064254430655534400140e3a3ba5",
        "dc37618e0000020e0176c1dde13400000000000000d08ff0ecbdada00600f09cf6ecbdada00602a6db8bddfd02021238",
        "36313233343536380e4254432d55534400000000000000000000000000000007000000",
    ]
    .concat();
    let record = encoder().tick(&arbitrary::example_tick());
    let body: String = record[10..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(body, expected);
}

#[tokio::test]
async fn single_object_framing_names_the_schema() {
    let tick = arbitrary::example_tick();
    let record = Encoder::new(Framing::SingleObject).await.unwrap().tick(&tick);
    assert_eq!(record[..2], [0xC3, 0x01]);
    assert_eq!(record[2..10], RecordType::PriceTick.fingerprint().to_le_bytes());
    assert_eq!(record[10..], by_apache_avro(RecordType::PriceTick, tick_value(&tick)));
}

fn by_apache_avro(record: RecordType, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(record.newest().json).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

proptest! {
    #[test]
    fn ticks_are_encoded_as_apache_avro_does(tick in arbitrary::tick()) {
        prop_assert_eq!(&encoder().tick(&tick)[10..], by_apache_avro(RecordType::PriceTick, tick_value(&tick)));
    }

    #[test]
    fn gaps_are_encoded_as_apache_avro_does(gap in arbitrary::gap()) {
        prop_assert_eq!(&encoder().gap(&gap)[10..], by_apache_avro(RecordType::Gap, gap_value(&gap)));
    }

    #[test]
    fn health_is_encoded_as_apache_avro_does(health in arbitrary::health()) {
        prop_assert_eq!(&encoder().health(&health)[10..], by_apache_avro(RecordType::SourceHealth, health_value(&health)));
    }
}

fn tick_value(tick: &PriceTick) -> Value {
    record(vec![
        ("event_id", uuid(tick.event_id)),
        ("revision", Value::Int(tick.revision)),
        ("source", text(&tick.source)),
        ("symbol", text(&tick.symbol)),
        ("base", text(&tick.base)),
        ("quote", text(&tick.quote)),
        ("kind", Value::Enum(tick.kind as u32, tick.kind.as_str().to_owned())),
        ("price", decimal(tick.price)),
        ("quantity", optional(tick.quantity.map(decimal))),
        ("bid", optional(tick.bid.map(decimal))),
        ("ask", optional(tick.ask.map(decimal))),
        ("volume_24h", optional(tick.volume_24h.map(decimal))),
        ("quote_volume_24h", optional(tick.quote_volume_24h.map(decimal))),
        ("market_cap", optional(tick.market_cap.map(decimal))),
        ("change_24h_pct", optional(tick.change_24h_pct.map(decimal))),
        ("event_time", Value::TimestampMicros(tick.event_time)),
        ("event_time_origin", Value::Enum(tick.event_time_origin as u32, tick.event_time_origin.as_str().to_owned())),
        ("received_at", Value::TimestampMicros(tick.received_at)),
        ("sequence", optional(tick.sequence.map(Value::Long))),
        ("trade_id", optional(tick.trade_id.as_deref().map(text))),
        ("source_symbol", text(&tick.source_symbol)),
        ("payload_id", uuid(tick.payload_id)),
        ("previous_event_time", optional(tick.previous_event_time.map(Value::TimestampMicros))),
        ("previous_symbol", optional(tick.previous_symbol.as_deref().map(text))),
        ("retracted", Value::Boolean(tick.retracted)),
    ])
}

fn gap_value(gap: &Gap) -> Value {
    record(vec![
        ("id", uuid(gap.id)),
        ("source", text(&gap.source)),
        ("symbols", Value::Array(gap.symbols.iter().map(|symbol| text(symbol)).collect())),
        ("reason", Value::Enum(gap.reason as u32, gap.reason.as_str().to_owned())),
        ("started_at", Value::TimestampMicros(gap.started_at)),
        ("ended_at", optional(gap.ended_at.map(Value::TimestampMicros))),
        ("detail", text(&gap.detail)),
    ])
}

fn health_value(health: &SourceHealth) -> Value {
    record(vec![
        ("source", text(&health.source)),
        ("at", Value::TimestampMicros(health.at)),
        ("last_answer_at", optional(health.last_answer_at.map(Value::TimestampMicros))),
        ("state", text(&health.state)),
        ("budget_left", optional(health.budget_left.map(Value::Long))),
    ])
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

fn uuid(value: Uuid) -> Value {
    Value::Uuid(value)
}

/// The shortest two's complement, found by trying: a byte goes while the value stays.
fn decimal(value: Decimal38) -> Value {
    let mut bytes = value.unscaled().to_be_bytes().to_vec();
    while bytes.len() > 1 && bytes[0] == if bytes[1] & 0x80 == 0 { 0 } else { 0xFF } {
        bytes.remove(0);
    }
    Value::Decimal(Decimal::from(bytes))
}

fn optional(value: Option<Value>) -> Value {
    match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(value)),
    }
}
