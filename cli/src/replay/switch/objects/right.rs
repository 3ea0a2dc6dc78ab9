//! What a live bronze object should be: the rows that the generation has of the plan's records, which have to be those that the live
//! raw object comes to, and the live object's own rows of all others. It reads only. Must never happen here: a record outside the plan
//! whose row is another one than it was, but in an object that is no sound one of today's decoder.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use anyhow::{Context, ensure};
use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use lake::Encodings;
use lake::bronze::{Stored, VERSION};
use lake::remake::{bronze_of_raw, decoder_of, metadata, says_what_it_holds};
use lake::world::Letter;
use pipeline::decode::is_unknown_schema;
use pipeline::misconfigured;
use pipeline::store::{Object, Store};

use crate::replay::generation::inputs::{Bronze, of_symbols};

/// The records of the plan.
pub struct Scope<'a> {
    pub from: i64,
    pub to: i64,
    pub symbols: &'a [String],
}

/// Rows of bronze, and records that are none, both by offset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// `None` is no row.
    rows: Option<RecordBatch>,
    bad: Vec<Letter>,
}

pub enum Right {
    Stands,
    LeftAlone(String),
    Made {
        bytes: Bytes,
        metadata: HashMap<String, String>,
        /// What the refiner is to be told before.
        note: (String, Bytes),
        /// How many of the plan's rows are other ones.
        rows: u64,
    },
}

/// What the bronze object of `raw` should be where `stored` stands.
///
/// # Errors
/// When a store does not answer, or the raw object cannot be read.
pub async fn find(
    live: &Store,
    encodings: &Encodings,
    raw: &str,
    stored: Option<&Object>,
    of_generation: &Rows,
    scope: &Scope<'_>,
) -> anyhow::Result<Right> {
    let object = live.get(raw).await?.with_context(|| format!("{raw} was listed and is gone"))?;
    let mends = format!("`tickstream lake restore {raw}` while the topic has the records");
    if object.is_as_written() == Some(false) {
        return Ok(Right::LeftAlone(format!("its raw object is damaged: {mends}")));
    }
    let (_, records) = encodings.read_raw(object.bytes.clone()).await?;
    let named = of_symbols(&records, scope.symbols)?;
    let named = Named { scope, of_plan: offsets_of(records.offsets().values(), named.offsets().values()) };
    let remade = bronze_of_raw(encodings, raw, object.bytes).await?.context("a raw object without bronze")?;
    let made = Rows::of(encodings.read_bronze(remade.bytes.clone()).await?);
    let (wanted, others) = made.split(&named);
    if !wanted.is_same(of_generation) {
        return Ok(Right::LeftAlone(format!(
            "its raw object {raw} comes to other rows than the generation has: `tickstream audit --deep` tells whether it is the \
             topic's, {mends}"
        )));
    }
    if stored.is_some_and(|stored| decoder_of(&stored.head) > VERSION) && !wanted.is_none() {
        return Ok(Right::LeftAlone("a newer decoder made it".to_owned()));
    }
    if !wanted.is_none()
        && let Some((offset, why)) = unread(encodings, stored, &made).await
    {
        return Ok(Right::LeftAlone(format!(
            "the record at {offset} cannot be read here, and may be elsewhere ({why}): is SCHEMA_REGISTRY_URL what consumer-lake has?"
        )));
    }
    let note = remade.note(stored.map(|stored| &stored.head));
    let whole =
        |rows| Right::Made { bytes: remade.bytes.clone(), metadata: remade.metadata.clone(), note: note.clone(), rows };
    let Some((stands, is_told)) = sound(encodings, stored, &made).await else {
        return Ok(if wanted.is_none() { Right::Stands } else { whole(wanted.count()) });
    };
    let (standing, standing_others) = stands.split(&named);
    if wanted.is_same(&standing) && (is_told || wanted.is_none()) {
        return Ok(Right::Stands);
    }
    let differ = wanted.differ_from(&standing);
    if standing_others.is_same(&others) {
        return Ok(whole(differ));
    }
    let mixed = standing_others.with(wanted)?;
    let rows = mixed.rows.unwrap_or_else(|| RecordBatch::new_empty(stands.schema()));
    let bronze = encodings.bronze_of_rows(rows, mixed.bad).await?;
    Ok(Right::Made { metadata: metadata(&bronze), bytes: bronze.bytes, note, rows: differ })
}

/// A record that is none in `made` for want of its schema, where what stands there does not call it bad: a row would be lost.
async fn unread<'a>(encodings: &Encodings, stored: Option<&Object>, made: &'a Rows) -> Option<&'a Letter> {
    let mut unknown = made.bad.iter().filter(|(_, why)| is_unknown_schema(why)).peekable();
    unknown.peek()?;
    let stands = match stored {
        Some(stored) => encodings.read_bronze(stored.bytes.clone()).await.ok(),
        None => None,
    };
    let is_bad = |offset| stands.iter().flat_map(|stands| &stands.bad).any(|(bad, _)| *bad == offset);
    unknown.find(|(offset, _)| !is_bad(*offset))
}

/// What stands there, when it is whole, today's decoder's, and has the columns of `made`; and whether its metadata says what it
/// holds.
async fn sound(encodings: &Encodings, stored: Option<&Object>, made: &Rows) -> Option<(Rows, bool)> {
    let stored =
        stored.filter(|stored| decoder_of(&stored.head) == VERSION && stored.is_as_written() != Some(false))?;
    let read = encodings.read_bronze(stored.bytes.clone()).await.ok()?;
    let is_told = says_what_it_holds(&stored.head, read.rows.num_rows(), read.bad.len());
    let stands = Rows::of(read);
    let columns = |rows: &Rows| {
        let fields = rows.schema().fields().clone();
        fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>()
    };
    (columns(&stands) == columns(made)).then_some((stands, is_told))
}

/// Which offsets are of records that the plan names.
struct Named<'a> {
    scope: &'a Scope<'a>,
    /// Every record of the raw object; whether its symbol is named.
    of_plan: HashMap<i64, bool>,
}

impl Named<'_> {
    /// A row without a record is told by its symbol.
    fn has(&self, offset: i64, symbol: Option<&str>) -> bool {
        let Scope { from, to, symbols } = self.scope;
        let is_named =
            || symbols.is_empty() || symbol.is_some_and(|symbol| symbols.iter().any(|named| named == symbol));
        (*from..*to).contains(&offset) && self.of_plan.get(&offset).copied().unwrap_or_else(is_named)
    }
}

fn offsets_of(all: &[i64], named: &[i64]) -> HashMap<i64, bool> {
    let mut offsets: HashMap<i64, bool> = all.iter().map(|offset| (*offset, false)).collect();
    offsets.extend(named.iter().map(|offset| (*offset, true)));
    offsets
}

impl Rows {
    fn of(stored: Stored) -> Self {
        Self { rows: Some(stored.rows), bad: stored.bad }
    }

    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.rows.as_ref().map_or_else(|| arrow::datatypes::Schema::empty().into(), RecordBatch::schema)
    }

    fn offsets(&self) -> Vec<i64> {
        let column = self.rows.as_ref().and_then(|rows| rows.column_by_name("kafka_offset"));
        column.map(|column| column.as_primitive::<Int64Type>().values().to_vec()).unwrap_or_default()
    }

    fn is_none(&self) -> bool {
        self.rows.is_none() && self.bad.is_empty()
    }

    fn count(&self) -> u64 {
        self.rows.as_ref().map_or(0, |rows| rows.num_rows() as u64)
    }

    /// The rows for which `is_wanted` is so, and the others.
    fn parted(&self, is_wanted: impl Fn(i64, Option<&str>) -> bool) -> (Self, Self) {
        let symbols = self.rows.as_ref().and_then(|rows| rows.column_by_name("symbol"));
        let symbols = symbols.and_then(|column| column.as_string_opt::<i32>());
        let symbol = |row: usize| symbols.map(|symbols| symbols.value(row));
        let wanted: Vec<bool> =
            self.offsets().into_iter().enumerate().map(|(row, offset)| is_wanted(offset, symbol(row))).collect();
        let of = |keep: bool| {
            let mask: BooleanArray = wanted.iter().map(|wanted| Some(*wanted == keep)).collect();
            let rows = self.rows.as_ref().map(|rows| filter_record_batch(rows, &mask).expect("a mask of its length"));
            let bad = self.bad.iter().filter(|(offset, _)| is_wanted(*offset, None) == keep).cloned().collect();
            Self { rows: rows.filter(|rows| rows.num_rows() > 0), bad }
        };
        (of(true), of(false))
    }

    /// Those of the plan, and the others.
    fn split(&self, named: &Named<'_>) -> (Self, Self) {
        self.parted(|offset, symbol| named.has(offset, symbol))
    }

    fn is_same(&self, other: &Self) -> bool {
        let columns = |rows: &Self| rows.rows.as_ref().map(|rows| rows.columns().to_vec());
        self.bad == other.bad && columns(self) == columns(other)
    }

    /// How many rows only one of the two has, at their offset.
    fn differ_from(&self, other: &Self) -> u64 {
        let by_offset = |rows: &Self| -> HashMap<i64, RecordBatch> {
            let slice = |row: usize| rows.rows.as_ref().map(|rows| rows.slice(row, 1));
            rows.offsets().into_iter().enumerate().filter_map(|(row, offset)| Some((offset, slice(row)?))).collect()
        };
        let (mine, others) = (by_offset(self), by_offset(other));
        let is_other = |(offset, row): &(&i64, &RecordBatch)| {
            others.get(offset).is_none_or(|other| other.columns() != row.columns())
        };
        let lone = others.keys().filter(|offset| !mine.contains_key(offset)).count();
        (mine.iter().filter(is_other).count() + lone) as u64
    }

    /// Both, by offset.
    fn with(self, other: Self) -> anyhow::Result<Self> {
        let batches: Vec<RecordBatch> = self.rows.into_iter().chain(other.rows).collect();
        let rows = match batches.first() {
            None => None,
            Some(first) => {
                let schema = first.schema();
                let batches: Vec<RecordBatch> = batches
                    .iter()
                    .map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()))
                    .collect::<Result<_, _>>()?;
                let all = Self { rows: Some(concat_batches(&schema, &batches)?), bad: Vec::new() };
                let mut order: Vec<(i64, u64)> = all.offsets().into_iter().zip(0..).collect();
                order.sort_unstable();
                let order: UInt64Array = order.into_iter().map(|(_, row)| row).collect();
                all.rows.map(|rows| take_record_batch(&rows, &order)).transpose()?
            }
        };
        let mut bad = [self.bad, other.bad].concat();
        bad.sort_by_key(|(offset, _)| *offset);
        Ok(Self { rows, bad })
    }
}

/// The generation's bronze of a stretch, read as it is asked for.
pub struct Generation {
    store: Store,
    objects: VecDeque<Bronze>,
    /// Those that were read and may be asked for again: where each ends, and its rows.
    read: VecDeque<(i64, Rows)>,
}

impl Generation {
    pub fn new(store: Store, objects: Vec<Bronze>) -> Self {
        Self { store, objects: objects.into(), read: VecDeque::new() }
    }

    /// What it has of these offsets, none of which lies below those that were asked for before.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for a generation of another decoder's version; else when an object cannot be read.
    pub async fn rows(&mut self, encodings: &Encodings, wanted: Range<i64>) -> anyhow::Result<Rows> {
        self.read.retain(|(end, _)| *end > wanted.start);
        while let Some(object) = self.objects.pop_front_if(|object| object.start < wanted.end) {
            let Some(key) = object.key.filter(|_| object.end > wanted.start) else { continue };
            let stored = self.store.get(&key).await?.with_context(|| format!("{key} of the generation is gone"))?;
            let stored =
                encodings.read_bronze(stored.bytes).await.with_context(|| format!("{key} of the generation"))?;
            ensure!(
                stored.version == VERSION,
                misconfigured(format!(
                    "the generation was made by version {} of the decoder, and this is {VERSION}: drop it and execute its plan again",
                    stored.version
                ))
            );
            self.read.push_back((object.end, Rows::of(stored)));
        }
        let mut found = Rows::default();
        for (_, rows) in &self.read {
            found = found.with(rows.parted(|offset, _| wanted.contains(&offset)).0)?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn rows(of: &[(i64, &str)], bad: &[i64]) -> Rows {
        let offsets: ArrayRef = Arc::new(of.iter().map(|(offset, _)| *offset).collect::<Int64Array>());
        let symbols: ArrayRef = Arc::new(of.iter().map(|(_, symbol)| Some(*symbol)).collect::<StringArray>());
        let batch = RecordBatch::try_from_iter([("kafka_offset", offsets), ("symbol", symbols)]).expect("columns");
        let bad = bad.iter().map(|offset| (*offset, "bad".to_owned())).collect();
        Rows { rows: Some(batch).filter(|batch| batch.num_rows() > 0), bad }
    }

    #[test]
    fn rows_of_the_plan_are_told_by_their_record_and_else_by_their_symbol() {
        let symbols = ["A".to_owned()];
        let scope = Scope { from: 10, to: 20, symbols: &symbols };
        let named = Named { scope: &scope, of_plan: offsets_of(&[9, 10, 11, 12, 20], &[9, 10, 12, 20]) };
        let all = rows(&[(9, "A"), (10, "x"), (11, "B"), (13, "A"), (14, "B"), (20, "A")], &[12, 25]);
        let (wanted, others) = all.split(&named);
        assert_eq!(wanted, rows(&[(10, "x"), (13, "A")], &[12]));
        assert_eq!(others, rows(&[(9, "A"), (11, "B"), (14, "B"), (20, "A")], &[25]));
        assert_eq!(others.with(wanted).expect("of one kind"), all);
    }

    #[tokio::test]
    async fn a_record_whose_schema_is_not_known_here_is_not_called_bad_for_others() {
        let encodings = Encodings::new(None);
        let mut made = rows(&[], &[7]);
        assert!(unread(&encodings, None, &made).await.is_none());
        made.bad.push((8, "schema id 3, but no schema registry is configured (SCHEMA_REGISTRY_URL)".to_owned()));
        assert_eq!(unread(&encodings, None, &made).await.map(|(offset, _)| *offset), Some(8));
    }

    #[test]
    fn what_differs_is_counted_by_offset() {
        let of = |found: &[(i64, &str)]| rows(found, &[]);
        let mine = of(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(mine.differ_from(&mine), 0);
        assert_eq!(mine.differ_from(&of(&[(1, "a"), (2, "x"), (4, "d")])), 3);
        assert_eq!(of(&[]).differ_from(&mine), 3);
        assert!(!rows(&[], &[1]).is_same(&of(&[])));
    }
}
