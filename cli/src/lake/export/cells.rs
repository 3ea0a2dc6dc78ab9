//! Values as the text of a cell. Numbers are plain digits: no float, no exponent, no zeros at the end; times are ISO 8601 in
//! UTC with six digits; ids are UUIDs; bytes are Base64; several texts stand in one cell with `;` between them; null is an
//! empty cell. A text that a sheet could take for a formula gets an apostrophe before it, and so does one that begins with an
//! apostrophe, so that taking one away always gives the text. Must never happen here: an apostrophe before a number.

use anyhow::{Context, bail};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float64Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Field, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::date;
use jiff::{Span, Timestamp};
use serde_json::Value;
use uuid::Uuid;

/// One column of one batch.
pub enum Cells {
    /// The object has no such column: it was made before there was one.
    Missing,
    /// The same text in each row: a column that stands in the object's key.
    Constant(String),
    Text(StringArray),
    Texts(ListArray, StringArray),
    Decimal(Decimal128Array),
    Whole(Int64Array),
    Float(Float64Array),
    Truth(BooleanArray),
    Time(TimestampMicrosecondArray),
    Day(Date32Array),
    Id(FixedSizeBinaryArray),
    Bytes(BinaryArray),
}

impl Cells {
    /// # Errors
    /// When the column is of a type that no table of the lake has.
    pub fn new(field: &Field, column: &ArrayRef) -> anyhow::Result<Self> {
        let as_type = |to: DataType| {
            cast(column, &to).with_context(|| format!("column {} of type {}", field.name(), field.data_type()))
        };
        Ok(match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
                Self::Text(as_type(DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::List(_) => {
                let lists = column.as_list::<i32>().clone();
                let texts = cast(lists.values(), &DataType::Utf8)
                    .with_context(|| format!("column {} is a list of something else than texts", field.name()))?;
                Self::Texts(lists, texts.as_string::<i32>().clone())
            }
            DataType::Decimal128(..) => Self::Decimal(column.as_primitive::<Decimal128Type>().clone()),
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
                Self::Decimal(as_type(DataType::Decimal128(38, *scale))?.as_primitive::<Decimal128Type>().clone())
            }
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Self::Whole(as_type(DataType::Int64)?.as_primitive().clone())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
                Self::Whole(as_type(DataType::Int64)?.as_primitive().clone())
            }
            DataType::Float32 | DataType::Float64 => Self::Float(as_type(DataType::Float64)?.as_primitive().clone()),
            DataType::Boolean => Self::Truth(column.as_boolean().clone()),
            DataType::Timestamp(..) => {
                let micros = as_type(DataType::Timestamp(TimeUnit::Microsecond, None))?;
                Self::Time(micros.as_primitive().clone())
            }
            DataType::Date32 => Self::Day(column.as_primitive().clone()),
            DataType::FixedSizeBinary(16) => Self::Id(column.as_fixed_size_binary().clone()),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                let bytes = as_type(DataType::Binary)?.as_binary::<i32>().clone();
                let ids = (0..bytes.len()).all(|row| bytes.is_null(row) || bytes.value(row).len() == 16);
                // Some engines write ids as bytes of any length.
                if ids && (field.name() == "id" || field.name().ends_with("_id")) {
                    Self::Id(as_type(DataType::FixedSizeBinary(16))?.as_fixed_size_binary().clone())
                } else {
                    Self::Bytes(bytes)
                }
            }
            other => bail!("column {} is of type {other}, which has no text here", field.name()),
        })
    }

    /// Appends the text of one row.
    pub fn write(&self, row: usize, cell: &mut String) {
        if self.is_null(row) {
            return;
        }
        match self {
            Self::Missing => {}
            Self::Constant(text) => push_text(cell, text),
            Self::Text(texts) => push_text(cell, texts.value(row)),
            Self::Texts(lists, texts) => push_text(cell, &items(lists, texts, row).collect::<Vec<_>>().join(";")),
            Self::Decimal(numbers) => {
                let text = Decimal128Type::format_decimal(numbers.value(row), numbers.precision(), numbers.scale());
                let plain = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
                cell.push_str(plain);
            }
            Self::Whole(numbers) => cell.push_str(&numbers.value(row).to_string()),
            Self::Float(numbers) => cell.push_str(&numbers.value(row).to_string()),
            Self::Truth(truths) => cell.push_str(if truths.value(row) { "true" } else { "false" }),
            Self::Time(times) => push_time(cell, times.value(row)),
            Self::Day(days) => push_day(cell, days.value(row)),
            Self::Id(ids) => {
                let id = Uuid::from_slice(ids.value(row)).unwrap_or_default();
                cell.push_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
            }
            Self::Bytes(bytes) => push_text(cell, &STANDARD.encode(bytes.value(row))),
        }
    }

    /// The text of one row as it is, without the apostrophe that a sheet needs; `None` for null.
    pub fn plain(&self, row: usize) -> Option<String> {
        if self.is_null(row) {
            return None;
        }
        Some(match self {
            Self::Constant(text) => text.clone(),
            Self::Text(texts) => texts.value(row).to_owned(),
            Self::Texts(lists, texts) => items(lists, texts, row).collect::<Vec<_>>().join(";"),
            Self::Bytes(bytes) => STANDARD.encode(bytes.value(row)),
            Self::Missing
            | Self::Decimal(_)
            | Self::Whole(_)
            | Self::Float(_)
            | Self::Truth(_)
            | Self::Time(_)
            | Self::Day(_)
            | Self::Id(_) => {
                let mut cell = String::new();
                self.write(row, &mut cell);
                cell
            }
        })
    }

    /// One row as JSON: decimals, times, days, ids and bytes are text, since a reader would make floats of the first and
    /// knows none of the others.
    pub fn json(&self, row: usize) -> Value {
        if self.is_null(row) {
            return Value::Null;
        }
        match self {
            Self::Whole(numbers) => numbers.value(row).into(),
            Self::Float(numbers) => numbers.value(row).into(),
            Self::Truth(truths) => truths.value(row).into(),
            Self::Texts(lists, texts) => items(lists, texts, row).collect::<Vec<_>>().into(),
            Self::Missing
            | Self::Constant(_)
            | Self::Text(_)
            | Self::Decimal(_)
            | Self::Time(_)
            | Self::Day(_)
            | Self::Id(_)
            | Self::Bytes(_) => self.plain(row).into(),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Missing => true,
            Self::Constant(_) => false,
            Self::Text(column) => column.is_null(row),
            Self::Texts(column, _) => column.is_null(row),
            Self::Decimal(column) => column.is_null(row),
            Self::Whole(column) => column.is_null(row),
            Self::Float(column) => column.is_null(row),
            Self::Truth(column) => column.is_null(row),
            Self::Time(column) => column.is_null(row),
            Self::Day(column) => column.is_null(row),
            Self::Id(column) => column.is_null(row),
            Self::Bytes(column) => column.is_null(row),
        }
    }
}

/// The texts of one row, without those that are null.
fn items<'a>(lists: &ListArray, texts: &'a StringArray, row: usize) -> impl Iterator<Item = &'a str> {
    let offsets = lists.value_offsets();
    let range = offsets[row] as usize..offsets[row + 1] as usize;
    range.filter(|item| texts.is_valid(*item)).map(|item| texts.value(item))
}

/// With an apostrophe where a sheet would see a formula; `'` itself is one of them, so that the rule can be undone.
fn push_text(cell: &mut String, text: &str) {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\'']) {
        cell.push('\'');
    }
    cell.push_str(text);
}

/// A time that the calendar does not have is told in microseconds since 1970.
fn push_time(cell: &mut String, micros: i64) {
    match Timestamp::from_microsecond(micros) {
        Ok(time) => cell.push_str(&format!("{time:.6}")),
        Err(_) => cell.push_str(&micros.to_string()),
    }
}

/// A day that the calendar does not have is told in days since 1970-01-01.
fn push_day(cell: &mut String, days: i32) {
    let day = Span::new().try_days(days).ok().and_then(|span| date(1970, 1, 1).checked_add(span).ok());
    cell.push_str(&day.map_or_else(|| days.to_string(), |day| day.to_string()));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ListBuilder, StringBuilder, UInt64Array};

    use super::*;

    fn check(column: ArrayRef, expected: &[&str]) {
        let cells = Cells::new(&Field::new("event_id", column.data_type().clone(), true), &column).expect("cells");
        let texts: Vec<String> = (0..column.len())
            .map(|row| {
                let mut cell = String::new();
                cells.write(row, &mut cell);
                cell
            })
            .collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn numbers_are_plain_digits() {
        let decimals = [67_187_335_893_656_600_000_000, -1, 34_664_000_000_000_000_000_000, 0, 10_i128.pow(38) - 1];
        let decimals = Decimal128Array::from_iter(decimals.into_iter().map(Some).chain([None]));
        check(
            Arc::new(decimals.with_precision_and_scale(38, 18).expect("38, 18")),
            &["67187.3358936566", "-0.000000000000000001", "34664", "0", "99999999999999999999.999999999999999999", ""],
        );
        let whole = Decimal128Array::from(vec![1200]).with_precision_and_scale(38, 0).expect("38, 0");
        check(Arc::new(whole), &["1200"]);
        check(Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(100)])), &["-9223372036854775808", "", "100"]);
        check(Arc::new(Float64Array::from(vec![1e21, 1e-7, 0.5])), &["1000000000000000000000", "0.0000001", "0.5"]);
    }

    #[test]
    fn times_days_and_ids_are_what_people_write() {
        let micros = TimestampMicrosecondArray::from(vec![1_790_000_000_000_001, -1, i64::MAX]).with_timezone("+00:00");
        check(Arc::new(micros), &["2026-09-21T14:13:20.000001Z", "1969-12-31T23:59:59.999999Z", "9223372036854775807"]);
        check(Arc::new(Date32Array::from(vec![20_514, i32::MAX])), &["2026-03-02", "2147483647"]);
        let id = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        let fixed = FixedSizeBinaryArray::try_from_iter([id.as_bytes()].into_iter()).expect("16 bytes");
        check(Arc::new(fixed), &["12345678-9abc-def0-1234-56789abcdef0"]);
        check(Arc::new(BinaryArray::from_vec(vec![id.as_bytes()])), &["12345678-9abc-def0-1234-56789abcdef0"]);
        check(Arc::new(BinaryArray::from_vec(vec![b"\xff\x00", b"ab"])), &["/wA=", "YWI="]);
    }

    #[test]
    fn no_text_is_a_formula_and_the_apostrophe_can_be_taken_off_again() {
        let formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "plain", "", "a=b"];
        let column: ArrayRef = Arc::new(StringArray::from(formulas.to_vec()));
        check(column.clone(), &["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx", "''quoted", "plain", "", "a=b"]);
        let cells = Cells::new(&Field::new("text", DataType::Utf8, true), &column).expect("cells");
        for (row, text) in formulas.into_iter().enumerate() {
            let mut cell = String::new();
            cells.write(row, &mut cell);
            assert_eq!(cell.strip_prefix('\'').unwrap_or(&cell), text);
        }
    }

    #[test]
    fn json_has_numbers_only_where_a_reader_keeps_them() {
        let json = |name: &str, column: ArrayRef| {
            let field = Field::new(name, column.data_type().clone(), true);
            let cells = Cells::new(&field, &column).expect("cells");
            (0..column.len()).map(|row| cells.json(row).to_string()).collect::<Vec<_>>()
        };
        let prices = Decimal128Array::from(vec![Some(67_187_335_893_656_600_000_000), None]);
        let prices = prices.with_precision_and_scale(38, 18).expect("fits");
        assert_eq!(json("price", Arc::new(prices)), ["\"67187.3358936566\"", "null"]);
        assert_eq!(json("kafka_offset", Arc::new(Int64Array::from(vec![i64::MAX]))), ["9223372036854775807"]);
        assert_eq!(json("retracted", Arc::new(BooleanArray::from(vec![true]))), ["true"]);
        assert_eq!(json("vwap", Arc::new(Float64Array::from(vec![1.5, f64::NAN]))), ["1.5", "null"]);
        assert_eq!(json("text", Arc::new(StringArray::from(vec!["=1+1"]))), ["\"=1+1\""], "no sheet reads it");
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("BTC-USD"), Some("=x")]);
        assert_eq!(json("symbols", Arc::new(lists.finish())), ["[\"BTC-USD\",\"=x\"]"]);
        let time = TimestampMicrosecondArray::from(vec![1_790_000_000_000_001]).with_timezone("+00:00");
        assert_eq!(json("event_time", Arc::new(time)), ["\"2026-09-21T14:13:20.000001Z\""]);
    }

    #[test]
    fn several_texts_share_a_cell() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("BTC-USD"), Some("ETH-USD")]);
        lists.append_value([None::<&str>; 0]);
        lists.append_value([Some("=x")]);
        check(Arc::new(lists.finish()), &["BTC-USD;ETH-USD", "", "'=x"]);
    }

    #[test]
    fn a_type_that_no_table_has_is_refused_by_name() {
        let column: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
        let refused = Cells::new(&Field::new("odd", DataType::UInt64, true), &column).err().expect("refused");
        assert!(refused.to_string().contains("column odd is of type UInt64"), "{refused}");
    }
}
