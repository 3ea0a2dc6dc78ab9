//! Microseconds UTC as a Postgres `timestamptz`, exactly: no calendar library between the record and the row.

use pipeline::fits::{HELD, Shown};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// 2000-01-01, from which Postgres counts.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Microseconds from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamptz(pub i64);

impl Timestamptz {
    /// Whether a database can hold it.
    pub fn is_held(self) -> bool {
        HELD.contains(&self.0)
    }

    /// As Postgres sends it. Only for a time that [`is_held`](Self::is_held).
    pub fn to_wire(self) -> i64 {
        self.0.saturating_sub(POSTGRES_EPOCH_MICROS)
    }
}

impl Type<Postgres> for Timestamptz {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }

    fn compatible(found: &PgTypeInfo) -> bool {
        found.oid() == Some(Oid(1184))
    }
}

impl PgHasArrayType for Timestamptz {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Timestamptz {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.to_wire(), buffer)
    }
}

impl Decode<'_, Postgres> for Timestamptz {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?) + POSTGRES_EPOCH_MICROS))
            }
            PgValueFormat::Text => Err("a timestamptz is read in binary format only".into()),
        }
    }
}

impl std::fmt::Display for Timestamptz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Shown(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_what_is_held() {
        for (micros, held) in [(i64::MIN, false), (-62_135_596_800_000_001, false), (0, true), (i64::MAX, false)] {
            assert_eq!(Timestamptz(micros).is_held(), held, "{micros}");
        }
        assert_eq!(Timestamptz(*HELD.start()).to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamptz(*HELD.end()).to_string(), "9999-12-31T23:59:59.999999Z");
        assert!(Timestamptz(*HELD.end()).is_held() && !Timestamptz(HELD.end() + 1).is_held());
        assert_eq!(Timestamptz(POSTGRES_EPOCH_MICROS + 1).to_wire(), 1);
    }
}
