//! The encoder against apache-avro: the same event through the schema file and a generic writer must be the same bytes.

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::arbitrary;
use crate::decimal::Decimal38;

pub(crate) fn encoder() -> Encoder {
    Encoder {
        tick_header: [&SINGLE_OBJECT[..], &RecordType::PriceTick.fingerprint().to_le_bytes()].concat(),
        gap_header: [&SINGLE_OBJECT[..], &RecordType::Gap.fingerprint().to_le_bytes()].concat(),
        health_header: [&SINGLE_OBJECT[..], &RecordType::SourceHealth.fingerprint().to_le_bytes()].concat(),
    }
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

/// Seconds that this thread has run: a rate by it does not depend on what else the machine does.
pub(crate) fn cpu_seconds() -> f64 {
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    ran.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// `cargo test -p pipeline --lib encoding_rates -- --ignored --nocapture`
#[test]
#[ignore = "measures, does not judge"]
fn encoding_rates() {
    let ticks: Vec<PriceTick> = (0..200_000).map(arbitrary::numbered_tick).collect();
    let encoder = encoder();
    let rate = |name: &str, mut encode: Box<dyn FnMut(&PriceTick) -> usize + '_>| {
        let start = cpu_seconds();
        let bytes: usize = ticks.iter().map(&mut encode).sum();
        let per_second = ticks.len() as f64 / (cpu_seconds() - start);
        eprintln!("{name}: {per_second:.0} ticks per CPU second, {} bytes each", bytes / ticks.len());
    };
    rate("this encoder", Box::new(|tick| encoder.tick(tick).len()));
    let schema = Schema::parse_str(RecordType::PriceTick.newest().json).unwrap();
    let prepared = GenericDatumWriter::builder(&schema).build().unwrap();
    rate(
        "apache-avro, prepared writer, values",
        Box::new(|tick| prepared.write_value_to_vec(tick_value(tick)).unwrap().len()),
    );
    let unvalidated = GenericDatumWriter::builder(&schema).validate(false).build().unwrap();
    rate("apache-avro, unvalidated", Box::new(|tick| unvalidated.write_value_to_vec(tick_value(tick)).unwrap().len()));
    let serde = GenericDatumWriter::builder(&schema).human_readable(false).build().unwrap();
    rate("apache-avro, serde", Box::new(|tick| serde.write_ser_to_vec(&SerdeTick::new(tick)).unwrap().len()));
    let sample = &ticks[0];
    assert_eq!(serde.write_ser_to_vec(&SerdeTick::new(sample)).unwrap(), encoder.tick(sample)[10..]);
}

/// A tick as apache-avro's serde path takes it.
#[derive(serde::Serialize)]
struct SerdeTick<'a> {
    event_id: Raw,
    revision: i32,
    source: &'a str,
    symbol: &'a str,
    base: &'a str,
    quote: &'a str,
    kind: crate::events::Kind,
    price: Raw,
    quantity: Option<Raw>,
    bid: Option<Raw>,
    ask: Option<Raw>,
    volume_24h: Option<Raw>,
    quote_volume_24h: Option<Raw>,
    market_cap: Option<Raw>,
    change_24h_pct: Option<Raw>,
    event_time: i64,
    event_time_origin: crate::events::EventTimeOrigin,
    received_at: i64,
    sequence: Option<i64>,
    trade_id: Option<&'a str>,
    source_symbol: &'a str,
    payload_id: Raw,
    previous_event_time: Option<i64>,
    previous_symbol: Option<&'a str>,
    retracted: bool,
}

struct Raw([u8; 16], usize);

impl serde::Serialize for Raw {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0[self.1..])
    }
}

impl<'a> SerdeTick<'a> {
    fn new(tick: &'a PriceTick) -> Self {
        let raw = |value: Decimal38| {
            let unscaled = value.unscaled();
            let repeated = if unscaled < 0 { unscaled.leading_ones() } else { unscaled.leading_zeros() };
            Raw(unscaled.to_be_bytes(), (repeated as usize - 1) / 8)
        };
        Self {
            event_id: Raw(*tick.event_id.as_bytes(), 0),
            revision: tick.revision,
            source: &tick.source,
            symbol: &tick.symbol,
            base: &tick.base,
            quote: &tick.quote,
            kind: tick.kind,
            price: raw(tick.price),
            quantity: tick.quantity.map(raw),
            bid: tick.bid.map(raw),
            ask: tick.ask.map(raw),
            volume_24h: tick.volume_24h.map(raw),
            quote_volume_24h: tick.quote_volume_24h.map(raw),
            market_cap: tick.market_cap.map(raw),
            change_24h_pct: tick.change_24h_pct.map(raw),
            event_time: tick.event_time,
            event_time_origin: tick.event_time_origin,
            received_at: tick.received_at,
            sequence: tick.sequence,
            trade_id: tick.trade_id.as_deref(),
            source_symbol: &tick.source_symbol,
            payload_id: Raw(*tick.payload_id.as_bytes(), 0),
            previous_event_time: tick.previous_event_time,
            previous_symbol: tick.previous_symbol.as_deref(),
            retracted: tick.retracted,
        }
    }
}
