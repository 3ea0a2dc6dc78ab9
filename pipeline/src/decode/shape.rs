//! The shape of a writer's schema, for walking over a record without making anything of it. arrow-avro finds some faults
//! only when a whole batch is flushed (text that is not UTF-8, an enumeration index out of range), and others never (a
//! union branch that does not exist, a decimal of 39 digits). A record that passes here is whole, exactly as long as its
//! value, and holds nothing that the reader's columns cannot; only such records may reach the columns. Nothing is
//! allocated for what a length claims: it is compared with the bytes that are there.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::epoch_day;

/// Deeper than any schema of ours by far; a recursive schema ends here.
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Null,
    Boolean,
    Int,
    /// Days since 1970.
    Day,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// The size if it is a fixed, and 10^precision.
    Decimal(Option<usize>, i128),
    /// The writer's symbols, each with whether the reader knows it too.
    Enum(Vec<(String, bool)>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<(String, Shape)>),
}

type Parsed<T> = Result<T, String>;

impl Shape {
    /// Compiles `writer`; a symbol of an enumeration that the reader has too must be in the reader's list.
    ///
    /// # Errors
    /// When it is not a schema that records can be walked by.
    pub(super) fn compile(writer: &Value, reader: &Value) -> Parsed<Self> {
        let mut readable = HashMap::new();
        collect_symbols(reader, &mut readable);
        Compiler { readable, named: HashMap::new() }.shape(writer, 0)
    }

    /// Walks over one record, which must be all of `body`.
    ///
    /// # Errors
    /// What is wrong with it, and in which field.
    pub(super) fn check(&self, body: &[u8]) -> Result<(), String> {
        let mut rest = body;
        self.walk(&mut rest)?;
        match rest.len() {
            0 => Ok(()),
            left => Err(format!("{left} bytes after the end of the record")),
        }
    }

    fn walk(&self, rest: &mut &[u8]) -> Result<(), String> {
        match self {
            Self::Null => {}
            Self::Boolean => match take(rest, 1)?[0] {
                0 | 1 => {}
                other => return Err(format!("boolean {other}")),
            },
            Self::Int => {
                int(rest)?;
            }
            Self::Day => {
                let day = int(rest)?;
                epoch_day::from_days(day).ok_or_else(|| format!("day {day} is not in the calendar"))?;
            }
            Self::Long => {
                long(rest)?;
            }
            Self::Float => {
                take(rest, 4)?;
            }
            Self::Double => {
                take(rest, 8)?;
            }
            Self::Bytes => {
                bytes(rest)?;
            }
            Self::Text => {
                std::str::from_utf8(bytes(rest)?).map_err(|_| "text is not UTF-8".to_owned())?;
            }
            Self::Fixed(size) => {
                take(rest, *size)?;
            }
            Self::Decimal(size, limit) => {
                let digits = match size {
                    Some(size) => take(rest, *size)?,
                    None => bytes(rest)?,
                };
                check_decimal(digits, *limit)?;
            }
            Self::Enum(symbols) => {
                let index = long(rest)?;
                match usize::try_from(index).ok().and_then(|index| symbols.get(index)) {
                    Some((_, true)) => {}
                    Some((symbol, false)) => return Err(format!("symbol {symbol} is not known here")),
                    None => return Err(format!("symbol {index} of {}", symbols.len())),
                }
            }
            Self::Array(item) => blocks(rest, |rest| item.walk(rest))?,
            Self::Map(value) => blocks(rest, |rest| {
                Self::Text.walk(rest)?;
                value.walk(rest)
            })?,
            Self::Union(branches) => {
                let branch = long(rest)?;
                match usize::try_from(branch).ok().and_then(|branch| branches.get(branch)) {
                    Some(shape) => shape.walk(rest)?,
                    None => return Err(format!("union branch {branch} of {}", branches.len())),
                }
            }
            Self::Record(fields) => {
                for (name, shape) in fields {
                    shape.walk(rest).map_err(|reason| format!("{name}: {reason}"))?;
                }
            }
        }
        Ok(())
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let Some((taken, after)) = rest.split_at_checked(count) else {
        return Err(format!("truncated: {count} bytes claimed, {} there", rest.len()));
    };
    *rest = after;
    Ok(taken)
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let claimed = long(rest)?;
    let count = usize::try_from(claimed).map_err(|_| format!("length {claimed}"))?;
    take(rest, count)
}

fn int(rest: &mut &[u8]) -> Result<i32, String> {
    let value = long(rest)?;
    i32::try_from(value).map_err(|_| format!("int {value} out of range"))
}

fn long(rest: &mut &[u8]) -> Result<i64, String> {
    // Lengths, branches and symbols are nearly always one byte.
    if let [byte @ ..0x80, after @ ..] = *rest {
        *rest = after;
        return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
    }
    let mut value = 0_u64;
    for (place, &byte) in rest.iter().enumerate() {
        if place == 9 && byte > 1 {
            return Err("number longer than 64 bits".to_owned());
        }
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            *rest = &rest[place + 1..];
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err("truncated in a number".to_owned())
}

fn blocks(rest: &mut &[u8], mut item: impl FnMut(&mut &[u8]) -> Result<(), String>) -> Result<(), String> {
    loop {
        let count = match long(rest)? {
            0 => return Ok(()),
            count if count < 0 => {
                // A negative count is followed by the block's size, which only helps readers that skip it.
                let size = long(rest)?;
                if usize::try_from(size).is_err() {
                    return Err(format!("block of {size} bytes"));
                }
                count.unsigned_abs()
            }
            count => count.unsigned_abs(),
        };
        // An item may have no bytes (null): without this, a few bytes could keep us busy for years.
        if count > rest.len() as u64 {
            return Err(format!("truncated: {count} items claimed, {} bytes there", rest.len()));
        }
        for _ in 0..count {
            item(rest)?;
        }
    }
}

fn check_decimal(digits: &[u8], limit: i128) -> Result<(), String> {
    let negative = digits.first().is_some_and(|first| first & 0x80 != 0);
    let sign = if negative { 0xFF } else { 0 };
    let (padding, value) = digits.split_at(digits.len().saturating_sub(16));
    let mut wide = [sign; 16];
    wide[16 - value.len()..].copy_from_slice(value);
    let unscaled = i128::from_be_bytes(wide);
    let fits = padding.iter().all(|&byte| byte == sign) && (unscaled < 0) == negative;
    if !fits || unscaled <= -limit || unscaled >= limit {
        return Err(format!("decimal of {} bytes has too many digits", digits.len()));
    }
    Ok(())
}

struct Compiler {
    /// Symbols of the reader's enumerations by unqualified name.
    readable: HashMap<String, Vec<String>>,
    /// Definitions met so far by unqualified name, as schema resolution compares them.
    named: HashMap<String, Shape>,
}

impl Compiler {
    fn shape(&mut self, schema: &Value, depth: usize) -> Parsed<Shape> {
        if depth > MAX_DEPTH {
            return Err("nested too deep".to_owned());
        }
        match schema {
            Value::String(name) => self.by_name(name),
            Value::Array(branches) => {
                Ok(Shape::Union(branches.iter().map(|branch| self.shape(branch, depth + 1)).collect::<Parsed<_>>()?))
            }
            Value::Object(object) => self.object(object, depth),
            other => Err(format!("{other} is no schema")),
        }
    }

    fn by_name(&self, name: &str) -> Parsed<Shape> {
        Ok(match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "int" => Shape::Int,
            "long" => Shape::Long,
            "float" => Shape::Float,
            "double" => Shape::Double,
            "bytes" => Shape::Bytes,
            "string" => Shape::Text,
            named => {
                let shape = self.named.get(named.rsplit('.').next().unwrap_or(named));
                shape.cloned().ok_or_else(|| format!("type {named} is not defined before its use"))?
            }
        })
    }

    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Parsed<Shape> {
        let Some(Value::String(kind)) = object.get("type") else {
            return object
                .get("type")
                .map_or_else(|| Err("no type".to_owned()), |nested| self.shape(nested, depth + 1));
        };
        let part = |name: &str| object.get(name).ok_or_else(|| format!("{kind} without {name}"));
        let shape = match kind.as_str() {
            "record" => {
                let fields = part("fields")?.as_array().ok_or("fields is no list")?;
                let mut shapes = Vec::with_capacity(fields.len());
                for field in fields {
                    let name = field["name"].as_str().ok_or("field without name")?;
                    let shape = self.shape(&field["type"], depth + 1).map_err(|reason| format!("{name}: {reason}"))?;
                    shapes.push((name.to_owned(), shape));
                }
                Shape::Record(shapes)
            }
            "enum" => {
                let readable = self.readable.get(unqualified(object));
                let known = |symbol: &String| readable.is_none_or(|list| list.contains(symbol));
                Shape::Enum(symbols(object).into_iter().map(|symbol| (symbol.clone(), known(&symbol))).collect())
            }
            "fixed" => {
                let size =
                    part("size")?.as_u64().and_then(|size| usize::try_from(size).ok()).ok_or("fixed without size")?;
                decimal(object, Some(size))?.unwrap_or(Shape::Fixed(size))
            }
            "array" => Shape::Array(Box::new(self.shape(part("items")?, depth + 1)?)),
            "map" => Shape::Map(Box::new(self.shape(part("values")?, depth + 1)?)),
            "int" if object.get("logicalType").and_then(Value::as_str) == Some("date") => Shape::Day,
            "bytes" => decimal(object, None)?.unwrap_or(Shape::Bytes),
            name => self.by_name(name)?,
        };
        if matches!(kind.as_str(), "record" | "enum" | "fixed") {
            self.named.insert(unqualified(object).to_owned(), shape.clone());
        }
        Ok(shape)
    }
}

fn decimal(object: &Map<String, Value>, size: Option<usize>) -> Parsed<Option<Shape>> {
    if object.get("logicalType").and_then(Value::as_str) != Some("decimal") {
        return Ok(None);
    }
    let precision = object.get("precision").and_then(Value::as_u64).and_then(|precision| u32::try_from(precision).ok());
    match precision {
        Some(precision @ 1..=38) => Ok(Some(Shape::Decimal(size, 10_i128.pow(precision)))),
        _ => Err("decimal with a precision that is not 1 to 38".to_owned()),
    }
}

fn unqualified(object: &Map<String, Value>) -> &str {
    let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
    name.rsplit('.').next().unwrap_or(name)
}

fn symbols(object: &Map<String, Value>) -> Vec<String> {
    let list = object.get("symbols").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn collect_symbols(schema: &Value, found: &mut HashMap<String, Vec<String>>) {
    match schema {
        Value::Array(list) => list.iter().for_each(|item| collect_symbols(item, found)),
        Value::Object(object) => {
            if object.get("type").and_then(Value::as_str) == Some("enum") {
                found.insert(unqualified(object).to_owned(), symbols(object));
            }
            object.values().for_each(|value| collect_symbols(value, found));
        }
        _ => {}
    }
}
