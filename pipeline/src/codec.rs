//! Events to bytes. A record is its framing, then the Avro binary encoding of one event under the newest schema of its
//! type. The framing names the schema: `C3 01` and the fingerprint (Avro single-object encoding, no server needed), or
//! `00` and a schema registry's id. Every schema version that was ever written stays in `schemas/`; a file there is never
//! changed once a record was written with it, since its fingerprint stands in those records.

mod wire;

use std::fmt;

use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm};

use crate::events::{Gap, PriceTick, SourceHealth};
use crate::registry::Registry;
use crate::topics;

/// What the records of a topic are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    PriceTick,
    Gap,
    SourceHealth,
}

/// One version of a record type's schema: a file of `schemas/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaText {
    pub version: u32,
    pub json: &'static str,
}

const PRICE_TICK: &[SchemaText] = &[SchemaText { version: 1, json: include_str!("../../schemas/price_tick-v1.avsc") }];
const GAP: &[SchemaText] = &[SchemaText { version: 1, json: include_str!("../../schemas/gap-v1.avsc") }];
const SOURCE_HEALTH: &[SchemaText] =
    &[SchemaText { version: 1, json: include_str!("../../schemas/source_health-v1.avsc") }];

impl RecordType {
    pub const ALL: [Self; 3] = [Self::PriceTick, Self::Gap, Self::SourceHealth];

    /// The name of its schema files, and of its table in the lake.
    pub fn name(self) -> &'static str {
        match self {
            Self::PriceTick => "price_tick",
            Self::Gap => "gap",
            Self::SourceHealth => "source_health",
        }
    }

    /// The topic that carries it.
    pub fn topic(self) -> &'static str {
        match self {
            Self::PriceTick => topics::TICKS,
            Self::Gap => topics::GAPS,
            Self::SourceHealth => topics::HEALTH,
        }
    }

    /// All versions, newest last.
    pub fn schemas(self) -> &'static [SchemaText] {
        match self {
            Self::PriceTick => PRICE_TICK,
            Self::Gap => GAP,
            Self::SourceHealth => SOURCE_HEALTH,
        }
    }

    /// What is written, and what everything is read as.
    pub fn newest(self) -> SchemaText {
        *self.schemas().last().expect("every record type has a version 1")
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
        match AvroSchema::new(self.json.to_owned()).fingerprint(FingerprintAlgorithm::Rabin) {
            Ok(Fingerprint::Rabin(fingerprint)) => fingerprint,
            other => unreachable!("a compiled-in schema has a Rabin fingerprint, not {other:?}"),
        }
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

/// Encodes events. Nothing in it changes, so one serves every thread.
#[derive(Clone, Debug)]
pub struct Encoder {
    tick_header: Vec<u8>,
    gap_header: Vec<u8>,
    health_header: Vec<u8>,
}

impl Encoder {
    /// With a registry, registers each newest schema under the subject `<topic>-value` and takes its id.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::Misconfigured) when the registry cannot be reached or refuses a schema.
    pub async fn new(framing: Framing) -> anyhow::Result<Self> {
        Ok(Self {
            tick_header: header(&framing, RecordType::PriceTick).await?,
            gap_header: header(&framing, RecordType::Gap).await?,
            health_header: header(&framing, RecordType::SourceHealth).await?,
        })
    }

    /// A record of market.ticks.v1.
    pub fn tick(&self, tick: &PriceTick) -> Vec<u8> {
        framed(&self.tick_header, 256, |out| wire::tick(tick, out))
    }

    /// A record of market.gaps.v1.
    pub fn gap(&self, gap: &Gap) -> Vec<u8> {
        framed(&self.gap_header, 256, |out| wire::gap(gap, out))
    }

    /// A record of market.health.v1.
    pub fn health(&self, health: &SourceHealth) -> Vec<u8> {
        framed(&self.health_header, 64, |out| wire::health(health, out))
    }
}

fn framed(header: &[u8], capacity: usize, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(header);
    body(&mut out);
    out
}

async fn header(framing: &Framing, record: RecordType) -> anyhow::Result<Vec<u8>> {
    Ok(match framing {
        Framing::SingleObject => [&SINGLE_OBJECT[..], &record.fingerprint().to_le_bytes()].concat(),
        Framing::Registry(registry) => {
            let subject = format!("{}-value", record.topic());
            let id = registry.register(&subject, record.newest().json).await?;
            [&CONFLUENT[..], &id.to_be_bytes()].concat()
        }
    })
}

#[cfg(test)]
pub(crate) use tests::{cpu_seconds, encoder as encoder_for_tests};

#[cfg(test)]
mod tests;
