//! The encoder (serde) against apache-avro's generic values: the same event must be the same bytes, field by field.

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::decimal::Decimal38;
use crate::events::Kind;
use crate::{arbitrary, example};

pub(crate) fn encoder() -> Encoder {
    let single = |record: RecordType| {
        RecordWriter::new(record, [&SINGLE_OBJECT[..], &record.fingerprint().to_le_bytes()].concat())
    };
    Encoder(Arc::new(Writers {
        tick: single(RecordType::PriceTick),
        gap: single(RecordType::Gap),
        health: single(RecordType::SourceHealth),
        index_weight: single(RecordType::IndexWeight),
        payload: single(RecordType::Payload),
        alert: single(RecordType::Alert),
    }))
}

#[test]
fn fingerprints_are_the_specifications() {
    // Python, fastavro 1.13: fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO") prints the eight bytes of the
    // header in order, that is the number little endian.
    let pinned = [
        (RecordType::PriceTick, 1, "2941fba949b8f2c7"),
        (RecordType::PriceTick, 2, "7bb0a31250ad4744"),
        (RecordType::Gap, 1, "2f346b533ab8e932"),
        (RecordType::SourceHealth, 1, "13bf596bb83ba5c1"),
        (RecordType::SourceHealth, 2, "530e196a781dab89"),
        (RecordType::IndexWeight, 1, "9baaade2608231a5"),
        (RecordType::Payload, 1, "f2c0d966d1ede8e7"),
        (RecordType::Alert, 1, "097f6ee97362442c"),
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
    // Python, fastavro 1.13: schemaless_writer with each type's newest schema file and the values of the examples.
    let check = |record: Vec<u8>, expected: &[&str]| {
        let body: String = record[10..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(body, expected.concat());
    };
    let implied = PriceTick { kind: Kind::FxImplied, fx_age_ms: Some(61_500), ..example::tick() };
    check(
        encoder().tick(&implied),
        &[
            "e55c51ae1ba55691a5db0bebf335f2f00010636f696e626173650e4254432d55534406425443065553440a140e3a3ba5",
            "dc37618e0000020e0176c1dde13400000000000000d08ff0ecbdada00600f09cf6ecbdada00602a6db8bddfd02021238",
            "36313233343536380e4254432d5553440000000000000000000000000000000700000002f8c007",
        ],
    );
    check(
        encoder().index_weight(&example::index_weight()),
        &[
            "392b0dfce0f850319a58f1043f65ab5f000462330849424f560a504554523412504554524f4252415314504e20202020",
            "20204e32001055077a09aad18000180e84a8bf5905f09e84240000c4c00280a0ea8d8a85a60600000000000000000000",
            "00000000000700",
        ],
    );
    check(
        encoder().payload(&example::payload()),
        &[
            "0000000000000000000000000000000712636f696e6765636b6f642f6170692f76332f73696d706c652f70726963653f",
            "6964733d626974636f696e2676735f63757272656e636965733d75736402900380a0ea8d8a85a606106964656e746974",
            "790002327b22626974636f696e223a7b22757364223a36373138377d7d",
        ],
    );
    check(
        encoder().alert(&example::alert()),
        &[
            "70736c83eb815957839eae6e3dfb77181c617761792d66726f6d2d6d65616e2035663063396434653262376131383336",
            "000002020e4254432d5553440210636f696e6261736502140e3a3ba5dc37618e000002140dc3a8351f3d86a000000210",
            "2eb35f99fc012762d08ff0ecbdada006f09cf6ecbdada00602e55c51ae1ba55691a5db0bebf335f2f01e6d61726b6574",
            "2e7469636b732e76310480890f82014254432d5553442061742036373138372e333420697320332e333720252061626f",
            "766520746865206d65616e206f6620746865206c617374203230207469636b73",
        ],
    );
}

#[tokio::test]
async fn single_object_framing_names_the_schema() {
    let tick = example::tick();
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

    #[test]
    fn index_weights_are_encoded_as_apache_avro_does(weight in arbitrary::index_weight()) {
        let expected = by_apache_avro(RecordType::IndexWeight, index_weight_value(&weight));
        prop_assert_eq!(&encoder().index_weight(&weight)[10..], expected);
    }

    #[test]
    fn payloads_are_encoded_as_apache_avro_does(part in arbitrary::payload()) {
        prop_assert_eq!(&encoder().payload(&part)[10..], by_apache_avro(RecordType::Payload, payload_value(&part)));
    }

    #[test]
    fn alerts_are_encoded_as_apache_avro_does(alert in arbitrary::alert()) {
        prop_assert_eq!(&encoder().alert(&alert)[10..], by_apache_avro(RecordType::Alert, alert_value(&alert)));
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
        ("fx_age_ms", optional(tick.fx_age_ms.map(Value::Long))),
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
        ("used_today", optional(health.used_today.map(Value::Long))),
        ("used_this_month", optional(health.used_this_month.map(Value::Long))),
        ("producer", optional(health.producer.as_deref().map(text))),
    ])
}

fn index_weight_value(weight: &IndexWeight) -> Value {
    record(vec![
        ("event_id", uuid(weight.event_id)),
        ("revision", Value::Int(weight.revision)),
        ("source", text(&weight.source)),
        ("index_name", text(&weight.index_name)),
        ("code", text(&weight.code)),
        ("asset", text(&weight.asset)),
        ("type", text(&weight.asset_type)),
        ("segment", optional(weight.segment.as_deref().map(text))),
        ("part", decimal(weight.part)),
        ("theoretical_quantity", decimal(weight.theoretical_quantity)),
        ("pregao_date", Value::Date(crate::epoch_day::to_days(weight.pregao_date))),
        ("received_at", Value::TimestampMicros(weight.received_at)),
        ("payload_id", uuid(weight.payload_id)),
        ("retracted", Value::Boolean(weight.retracted)),
    ])
}

fn payload_value(part: &PayloadRecord) -> Value {
    record(vec![
        ("payload_id", uuid(part.payload_id)),
        ("source", text(&part.source)),
        ("request", text(&part.request)),
        ("status", optional(part.status.map(Value::Int))),
        ("received_at", Value::TimestampMicros(part.received_at)),
        ("content_encoding", text(&part.content_encoding)),
        ("part", Value::Int(part.part)),
        ("parts", Value::Int(part.parts)),
        ("content", Value::Bytes(part.content.to_vec())),
    ])
}

fn alert_value(alert: &Alert) -> Value {
    record(vec![
        ("alert_id", uuid(alert.alert_id)),
        ("rule", text(&alert.rule)),
        ("rule_hash", text(&alert.rule_hash)),
        ("kind", Value::Enum(alert.kind as u32, alert.kind.as_str().to_owned())),
        ("state", Value::Enum(alert.state as u32, alert.state.as_str().to_owned())),
        ("severity", Value::Enum(alert.severity as u32, alert.severity.as_str().to_owned())),
        ("symbol", optional(alert.symbol.as_deref().map(text))),
        ("source", optional(alert.source.as_deref().map(text))),
        ("price", optional(alert.price.map(decimal))),
        ("reference", optional(alert.reference.map(decimal))),
        ("change_pct", optional(alert.change_pct.map(decimal))),
        ("event_time", Value::TimestampMicros(alert.event_time)),
        ("fired_at", Value::TimestampMicros(alert.fired_at)),
        ("event_id", optional(alert.event_id.map(uuid))),
        ("trigger_topic", text(&alert.trigger_topic)),
        ("trigger_partition", Value::Int(alert.trigger_partition)),
        ("trigger_offset", Value::Long(alert.trigger_offset)),
        ("message", text(&alert.message)),
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
