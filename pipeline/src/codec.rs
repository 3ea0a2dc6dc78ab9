//! Events to bytes. A record is its framing, then the Avro binary encoding of one event under the newest schema of its
//! type. The framing names the schema: `C3 01` and the fingerprint (Avro single-object encoding, no server needed), or
//! `00` and a schema registry's id. Every schema version that was ever written stays in `schemas/`; a file there is never
//! changed once a record was written with it, since its fingerprint stands in those records.

use std::fmt;
use std::sync::{Arc, LazyLock};

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm};

use serde::Serialize;

use crate::events::{Alert, Gap, IndexWeight, PayloadRecord, PriceTick, SourceHealth};
use crate::registry::{Registry, subject};
use crate::topics;

/// What the records of a topic are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    PriceTick,
    Gap,
    SourceHealth,
    IndexWeight,
    Payload,
    Alert,
}

/// One version of a record type's schema: a file of `schemas/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaText {
    pub version: u32,
    pub json: &'static str,
}

const PRICE_TICK: &[SchemaText] = &[
    SchemaText { version: 1, json: include_str!("../../schemas/price_tick-v1.avsc") },
    SchemaText { version: 2, json: include_str!("../../schemas/price_tick-v2.avsc") },
];
const GAP: &[SchemaText] = &[SchemaText { version: 1, json: include_str!("../../schemas/gap-v1.avsc") }];
const SOURCE_HEALTH: &[SchemaText] = &[
    SchemaText { version: 1, json: include_str!("../../schemas/source_health-v1.avsc") },
    SchemaText { version: 2, json: include_str!("../../schemas/source_health-v2.avsc") },
];
const INDEX_WEIGHT: &[SchemaText] =
    &[SchemaText { version: 1, json: include_str!("../../schemas/index_weight-v1.avsc") }];
const PAYLOAD: &[SchemaText] = &[SchemaText { version: 1, json: include_str!("../../schemas/payload-v1.avsc") }];
const ALERT: &[SchemaText] = &[SchemaText { version: 1, json: include_str!("../../schemas/alert-v1.avsc") }];

impl RecordType {
    pub const ALL: [Self; 6] =
        [Self::PriceTick, Self::Gap, Self::SourceHealth, Self::IndexWeight, Self::Payload, Self::Alert];

    /// The name of its schema files.
    pub fn name(self) -> &'static str {
        match self {
            Self::PriceTick => "price_tick",
            Self::Gap => "gap",
            Self::SourceHealth => "source_health",
            Self::IndexWeight => "index_weight",
            Self::Payload => "payload",
            Self::Alert => "alert",
        }
    }

    /// The topic that carries it.
    pub fn topic(self) -> &'static str {
        match self {
            Self::PriceTick => topics::TICKS,
            Self::Gap => topics::GAPS,
            Self::SourceHealth => topics::HEALTH,
            Self::IndexWeight => topics::INDEX,
            Self::Payload => topics::PAYLOADS,
            Self::Alert => topics::ALERTS,
        }
    }

    /// All versions, newest last.
    pub fn schemas(self) -> &'static [SchemaText] {
        match self {
            Self::PriceTick => PRICE_TICK,
            Self::Gap => GAP,
            Self::SourceHealth => SOURCE_HEALTH,
            Self::IndexWeight => INDEX_WEIGHT,
            Self::Payload => PAYLOAD,
            Self::Alert => ALERT,
        }
    }

    /// What is written, and what everything is read as.
    pub fn newest(self) -> SchemaText {
        *self.schemas().last().expect("every record type has a version 1")
    }

    fn parsed(self) -> &'static Schema {
        static PARSED: LazyLock<[Schema; RecordType::ALL.len()]> = LazyLock::new(|| {
            RecordType::ALL
                .map(|record| Schema::parse_str(record.newest().json).expect("compiled-in schemas are schemas"))
        });
        &PARSED[self as usize]
    }

    /// The fingerprint of the newest schema.
    pub fn fingerprint(self) -> u64 {
        self.newest().fingerprint()
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl SchemaText {
    /// The specification's CRC-64-AVRO fingerprint of the schema's parsing canonical form.
    ///
    /// arrow-avro computes it as the specification (and Java, and fastavro) does; apache-avro 0.22 keeps logical types in
    /// the canonical form and gets another number. The tests pin each schema's.
    pub fn fingerprint(self) -> u64 {
        fingerprint_of(self.json).expect("a compiled-in schema has a fingerprint")
    }
}

/// The fingerprint of a schema, as [`SchemaText::fingerprint`]; `None` for what is no schema.
#[must_use]
pub fn fingerprint_of(json: &str) -> Option<u64> {
    match AvroSchema::new(json.to_owned()).fingerprint(FingerprintAlgorithm::Rabin) {
        Ok(Fingerprint::Rabin(fingerprint)) => Some(fingerprint),
        _ => None,
    }
}

/// How a record names its schema.
#[derive(Clone, Debug, Default)]
pub enum Framing {
    /// `C3 01`, then the fingerprint, little endian.
    #[default]
    SingleObject,
    /// `00`, then the id that this registry gave the schema, big endian.
    Registry(Registry),
}

/// First bytes of Avro single-object encoding.
pub(crate) const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
/// First byte of Confluent's wire format.
pub(crate) const CONFLUENT: [u8; 1] = [0x00];

/// Encodes events. Nothing in it changes, so one serves every thread; a clone is the same encoder.
#[derive(Clone)]
pub struct Encoder(Arc<Writers>);

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

struct Writers {
    tick: RecordWriter,
    gap: RecordWriter,
    health: RecordWriter,
    index_weight: RecordWriter,
    payload: RecordWriter,
    alert: RecordWriter,
}

impl Encoder {
    /// With a registry, registers each newest schema under the subject `<topic>-value` and takes its id.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::Misconfigured) when the registry cannot be reached or refuses a schema.
    pub async fn new(framing: Framing) -> anyhow::Result<Self> {
        let writer = async |record| Ok::<_, anyhow::Error>(RecordWriter::new(record, header(&framing, record).await?));
        Ok(Self(Arc::new(Writers {
            tick: writer(RecordType::PriceTick).await?,
            gap: writer(RecordType::Gap).await?,
            health: writer(RecordType::SourceHealth).await?,
            index_weight: writer(RecordType::IndexWeight).await?,
            payload: writer(RecordType::Payload).await?,
            alert: writer(RecordType::Alert).await?,
        })))
    }

    /// A record of market.ticks.v1.
    pub fn tick(&self, tick: &PriceTick) -> Vec<u8> {
        self.0.tick.record(tick)
    }

    /// A record of market.gaps.v1.
    pub fn gap(&self, gap: &Gap) -> Vec<u8> {
        self.0.gap.record(gap)
    }

    /// A record of market.health.v1.
    pub fn health(&self, health: &SourceHealth) -> Vec<u8> {
        self.0.health.record(health)
    }

    /// A record of market.index.v1.
    pub fn index_weight(&self, weight: &IndexWeight) -> Vec<u8> {
        self.0.index_weight.record(weight)
    }

    /// A record of market.payloads.v1.
    pub fn payload(&self, part: &PayloadRecord) -> Vec<u8> {
        // Grown by doubling, the record of a long part would be copied a dozen times.
        self.0.payload.record_of(part.content.len() + part.request.len() + 256, part)
    }

    /// A record of market.alerts.v1.
    pub fn alert(&self, alert: &Alert) -> Vec<u8> {
        self.0.alert.record(alert)
    }
}

/// A framing and the newest schema's writer, prepared once: resolving a schema costs more than a record.
struct RecordWriter {
    header: Vec<u8>,
    writer: GenericDatumWriter<'static>,
}

impl RecordWriter {
    fn new(record: RecordType, header: Vec<u8>) -> Self {
        // Not human readable: ids and decimals are bytes, as the schemas have them.
        let writer = GenericDatumWriter::builder(record.parsed()).human_readable(false).build();
        Self { header, writer: writer.expect("a compiled-in schema resolves by itself") }
    }

    fn record(&self, event: &impl Serialize) -> Vec<u8> {
        self.record_of(256, event)
    }

    /// A record of about so many bytes.
    fn record_of(&self, bytes: usize, event: &impl Serialize) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(&self.header);
        self.writer
            .write_ser(&mut out, event)
            .expect("an event's fields are its schema's, as the tests hold them to be");
        out
    }
}

async fn header(framing: &Framing, record: RecordType) -> anyhow::Result<Vec<u8>> {
    Ok(match framing {
        Framing::SingleObject => [&SINGLE_OBJECT[..], &record.fingerprint().to_le_bytes()].concat(),
        Framing::Registry(registry) => {
            let id = registry.register(&subject(record), record.newest().json).await?;
            [&CONFLUENT[..], &id.to_be_bytes()].concat()
        }
    })
}

#[cfg(test)]
pub(crate) use tests::encoder as encoder_for_tests;

#[cfg(test)]
mod tests;
