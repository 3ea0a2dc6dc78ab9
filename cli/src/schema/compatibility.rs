//! Whether what one Avro schema writes can be read by another, and if not, which field is in the way and why, in plain words.
//! The rules for single types are apache-avro's; here is what it does not tell: every field that is in the way and not the
//! first alone, the symbol that is missing, the unit of time that changed. Pure. Must never happen here: a yes for something
//! that may fail for some records only.

use std::collections::HashMap;
use std::mem::discriminant;

use anyhow::{Context, anyhow};
use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Name, NamesRef, ResolvedSchema, UuidSchema};
use apache_avro::schema_compatibility::SchemaCompatibility;

/// One end of a comparison, under the name that the reasons call it by.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub name: &'a str,
    pub schema: &'a Schema,
}

/// What stands in the way of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `symbols[]` is the items of an array, `labels{}` the values of a map, `a.b` the field b of a record in a. Empty for
    /// the schema itself.
    pub field: String,
    pub reason: String,
}

/// Everything that stands in the way of reading by one end what the other writes; nothing when each record can be read.
///
/// # Errors
/// When a schema refers to a type that it does not define.
pub fn problems(writer: End<'_>, reader: End<'_>) -> anyhow::Result<Vec<Problem>> {
    let names = |end: End<'_>| -> anyhow::Result<HashMap<String, Schema>> {
        let resolved = ResolvedSchema::new(end.schema).with_context(|| format!("the schema of {}", end.name))?;
        let by_name = |(name, schema): (&Name, &&Schema)| (name.name().to_owned(), (*schema).clone());
        let names: &NamesRef<'_> = resolved.get_names();
        Ok(names.iter().map(by_name).collect())
    };
    let (written, read) = (names(writer)?, names(reader)?);
    let mut walk =
        Walk { writer: writer.name, reader: reader.name, written: &written, read: &read, under_way: Vec::new() };
    walk.compare(writer.schema, reader.schema, "", "writes")
}

struct Walk<'a> {
    writer: &'a str,
    reader: &'a str,
    written: &'a HashMap<String, Schema>,
    read: &'a HashMap<String, Schema>,
    /// Pairs of named types that are being compared: a type may hold itself.
    under_way: Vec<(String, String)>,
}

impl<'a> Walk<'a> {
    fn compare(
        &mut self,
        writer: &'a Schema,
        reader: &'a Schema,
        field: &str,
        verb: &str,
    ) -> anyhow::Result<Vec<Problem>> {
        let (writer, reader) = (resolved(writer, self.written)?, resolved(reader, self.read)?);
        match (writer, reader) {
            (Schema::Union(writer), _) => {
                let mut found = Vec::new();
                for variant in writer.variants() {
                    found.extend(self.compare(variant, reader, field, "may write")?);
                }
                Ok(found)
            }
            (_, Schema::Union(union)) => {
                let mut nearest = None;
                for variant in union.variants() {
                    let variant = resolved(variant, self.read)?;
                    let found = self.compare(writer, variant, field, verb)?;
                    if found.is_empty() {
                        return Ok(found);
                    }
                    if discriminant(variant) == discriminant(writer) {
                        nearest = Some(found);
                    }
                }
                Ok(nearest.unwrap_or_else(|| vec![self.type_problem(writer, reader, field, verb)]))
            }
            _ => {
                let pair = writer.name().zip(reader.name()).map(|(w, r)| (w.name().to_owned(), r.name().to_owned()));
                if let Some(pair) = &pair {
                    if self.under_way.contains(pair) {
                        return Ok(Vec::new());
                    }
                    self.under_way.push(pair.clone());
                }
                let found = self.compare_types(writer, reader, field, verb);
                if pair.is_some() {
                    self.under_way.pop();
                }
                found
            }
        }
    }

    /// No unions and no references.
    fn compare_types(
        &mut self,
        writer: &'a Schema,
        reader: &'a Schema,
        field: &str,
        verb: &str,
    ) -> anyhow::Result<Vec<Problem>> {
        let mut found = Vec::new();
        let (w, r) = (self.writer, self.reader);
        let mut say = |reason| found.push(Problem { field: field.to_owned(), reason });
        if let Some((written, read)) = writer.name().zip(reader.name())
            && discriminant(writer) == discriminant(reader)
            && written.name() != read.name()
            && !reader.aliases().is_some_and(|aliases| aliases.iter().any(|alias| alias.name() == written.name()))
        {
            say(format!("{w} calls it {}, {r} {}, without that as an alias", written.name(), read.name()));
            return Ok(found);
        }
        match (writer, reader) {
            (Schema::Record(written), Schema::Record(read)) => {
                for expected in &read.fields {
                    let path =
                        if field.is_empty() { expected.name.clone() } else { format!("{field}.{}", expected.name) };
                    let names = || std::iter::once(&expected.name).chain(&expected.aliases);
                    match names().find_map(|name| written.fields.iter().find(|field| field.name == *name)) {
                        Some(given) => found.extend(self.compare(&given.schema, &expected.schema, &path, "writes")?),
                        None if expected.default.is_some() => {}
                        None => found.push(Problem {
                            field: path,
                            reason: format!("{w} does not write it, and {r} has no default for it"),
                        }),
                    }
                }
            }
            (Schema::Enum(written), Schema::Enum(read)) => {
                let unknown: Vec<&str> = written
                    .symbols
                    .iter()
                    .filter(|symbol| !read.symbols.contains(symbol))
                    .map(String::as_str)
                    .collect();
                if !unknown.is_empty() && read.default.is_none() {
                    say(format!(
                        "{w} may write {}, which {r} does not know and has no default for",
                        unknown.join(", ")
                    ));
                }
            }
            (Schema::Array(written), Schema::Array(read)) => {
                found.extend(self.compare(&written.items, &read.items, &format!("{field}[]"), "writes")?);
            }
            (Schema::Map(written), Schema::Map(read)) => {
                found.extend(self.compare(&written.types, &read.types, &format!("{field}{{}}"), "writes")?);
            }
            _ => {
                let units = unit(writer).zip(unit(reader));
                let refused = match (writer, reader) {
                    // Under an alias, which apache-avro does not look at.
                    (Schema::Fixed(written), Schema::Fixed(read)) => written.size != read.size,
                    _ => SchemaCompatibility::can_read(writer, reader).is_err() || is_fixed(writer) != is_fixed(reader),
                };
                if refused {
                    found.push(self.type_problem(writer, reader, field, verb));
                } else if units.is_some_and(|(written, read)| written != read) {
                    let problem = self.type_problem(writer, reader, field, verb);
                    found.push(Problem {
                        reason: format!("{}: the same number is another time", problem.reason),
                        ..problem
                    });
                }
            }
        }
        Ok(found)
    }

    fn type_problem(&self, writer: &Schema, reader: &Schema, field: &str, verb: &str) -> Problem {
        let reason = format!("{} {verb} {}, {} reads {}", self.writer, in_words(writer), self.reader, in_words(reader));
        Problem { field: field.to_owned(), reason }
    }
}

fn resolved<'a>(schema: &'a Schema, names: &'a HashMap<String, Schema>) -> anyhow::Result<&'a Schema> {
    match schema {
        Schema::Ref { name } => {
            names.get(name.name()).ok_or_else(|| anyhow!("type {name} is not defined in the schema"))
        }
        schema => Ok(schema),
    }
}

/// What a number of this type counts, where that is a time.
fn unit(schema: &Schema) -> Option<&'static str> {
    match schema {
        Schema::Date
        | Schema::TimeMillis
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => Some(plain_name(schema)),
        _ => None,
    }
}

/// Bytes of a fixed number, under whatever logical type; apache-avro takes one UUID for another whatever it is written as.
fn is_fixed(schema: &Schema) -> bool {
    match schema {
        Schema::Fixed(_) | Schema::Duration(_) | Schema::Uuid(UuidSchema::Fixed(_)) => true,
        Schema::Decimal(DecimalSchema { inner, .. }) => matches!(inner, InnerDecimalSchema::Fixed(_)),
        _ => false,
    }
}

fn in_words(schema: &Schema) -> String {
    match schema {
        Schema::Union(union) => union.variants().iter().map(in_words).collect::<Vec<_>>().join(" or "),
        Schema::Array(array) => format!("an array of {}", in_words(&array.items)),
        Schema::Map(map) => format!("a map of {}", in_words(&map.types)),
        Schema::Record(record) => format!("the record {}", record.name.name()),
        Schema::Enum(symbols) => format!("the enum {}", symbols.name.name()),
        Schema::Fixed(fixed) => format!("{} bytes ({})", fixed.size, fixed.name.name()),
        Schema::Decimal(decimal) => format!("decimal({}, {})", decimal.precision, decimal.scale),
        Schema::Uuid(UuidSchema::Fixed(_)) => "uuid as 16 bytes".to_owned(),
        Schema::Uuid(_) => "uuid as text".to_owned(),
        Schema::Ref { name } => name.name().to_owned(),
        other => plain_name(other).to_owned(),
    }
}

fn plain_name(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "boolean",
        Schema::Int => "int",
        Schema::Long => "long",
        Schema::Float => "float",
        Schema::Double => "double",
        Schema::Bytes => "bytes",
        Schema::String => "string",
        Schema::BigDecimal => "big-decimal",
        Schema::Date => "date",
        Schema::TimeMillis => "time-millis",
        Schema::TimeMicros => "time-micros",
        Schema::TimestampMillis => "timestamp-millis",
        Schema::TimestampMicros => "timestamp-micros",
        Schema::TimestampNanos => "timestamp-nanos",
        Schema::LocalTimestampMillis => "local-timestamp-millis",
        Schema::LocalTimestampMicros => "local-timestamp-micros",
        Schema::LocalTimestampNanos => "local-timestamp-nanos",
        Schema::Duration(_) => "duration",
        Schema::Array(_) => "array",
        Schema::Map(_) => "map",
        Schema::Union(_) => "union",
        Schema::Record(_) => "record",
        Schema::Enum(_) => "enum",
        Schema::Fixed(_) => "fixed",
        Schema::Decimal(_) => "decimal",
        Schema::Uuid(_) => "uuid",
        Schema::Ref { .. } => "a named type",
    }
}

#[cfg(test)]
mod tests {
    use pipeline::codec::RecordType;

    use super::*;

    fn parse(json: &str) -> Schema {
        Schema::parse_str(json).expect("a schema")
    }

    /// The problems of reading by `new` what `old` writes, as `field: reason`.
    fn found(old: &str, new: &str) -> Vec<String> {
        let (old, new) = (parse(old), parse(new));
        let ends = (End { name: "v1", schema: &old }, End { name: "v2", schema: &new });
        let found = problems(ends.0, ends.1).expect("resolves");
        found.into_iter().map(|problem| format!("{}: {}", problem.field, problem.reason)).collect()
    }

    fn check(old: &str, new: &str, expected: &[&str]) {
        assert_eq!(found(old, new), expected, "{old} by {new}");
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[test]
    fn what_avro_lets_pass_passes() {
        for (old, new) in [
            (r#""int""#, r#""long""#),
            (r#""int""#, r#"["null","long"]"#),
            (r#"["null","int"]"#, r#"["long","null","string"]"#),
            (
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#,
            ),
            (r#"{"type":"fixed","name":"F","size":2}"#, r#"{"type":"fixed","name":"G","aliases":["F"],"size":2}"#),
            (r#""long""#, r#"{"type":"long","logicalType":"timestamp-micros"}"#),
        ] {
            check(old, new, &[]);
        }
        check(
            &record(r#"{"name":"a","type":"int"},{"name":"gone","type":"int"}"#),
            &record(r#"{"name":"a","type":"int"}"#),
            &[],
        );
        check(
            &record(r#"{"name":"a","type":"int"}"#),
            &record(r#"{"name":"b","type":"int","aliases":["a"]},{"name":"c","type":["null","int"],"default":null}"#),
            &[],
        );
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        check(list, list, &[]);
    }

    #[test]
    fn each_field_in_the_way_is_named_with_the_reason() {
        check(
            &record(
                r#"{"name":"a","type":"string"},{"name":"c","type":["null","long"]},
                   {"name":"d","type":{"type":"array","items":{"type":"enum","name":"E","symbols":["A","B"]}}}"#,
            ),
            &record(
                r#"{"name":"a","type":"long"},{"name":"b","type":"int"},{"name":"c","type":"long"},
                   {"name":"d","type":{"type":"array","items":{"type":"enum","name":"E","symbols":["A"]}}}"#,
            ),
            &[
                "a: v1 writes string, v2 reads long",
                "b: v1 does not write it, and v2 has no default for it",
                "c: v1 may write null, v2 reads long",
                "d[]: v1 may write B, which v2 does not know and has no default for",
            ],
        );
    }

    #[test]
    fn a_type_within_a_record_or_a_union_is_followed() {
        let inner = |of: &str| {
            record(&format!(r#"{{"name":"in","type":["null",{{"type":"record","name":"I","fields":[{of}]}}]}}"#))
        };
        check(
            &inner(r#"{"name":"x","type":"int"}"#),
            &inner(r#"{"name":"x","type":"string"}"#),
            &["in.x: v1 writes int, v2 reads string"],
        );
        // The second use of a type is a reference, and which use comes first may change.
        let uuid = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
        let first = record(&format!(r#"{{"name":"a","type":{uuid}}},{{"name":"b","type":"U"}}"#));
        let second = record(&format!(r#"{{"name":"b","type":{uuid}}},{{"name":"a","type":"U"}}"#));
        check(&first, &second, &[]);
    }

    #[test]
    fn what_keeps_its_bytes_and_loses_its_meaning_is_a_problem() {
        let time = |of: &str| format!(r#"{{"type":"long","logicalType":"timestamp-{of}"}}"#);
        check(
            &time("millis"),
            &time("micros"),
            &[": v1 writes timestamp-millis, v2 reads timestamp-micros: the same number is another time"],
        );
        let decimal = |scale| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":38,"scale":{scale}}}"#);
        check(&decimal(18), &decimal(8), &[": v1 writes decimal(38, 18), v2 reads decimal(38, 8)"]);
        let fixed = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
        check(
            fixed,
            r#"{"type":"string","logicalType":"uuid"}"#,
            &[": v1 writes uuid as 16 bytes, v2 reads uuid as text"],
        );
        check(
            &record(""),
            r#"{"type":"record","name":"S","fields":[]}"#,
            &[": v1 calls it R, v2 S, without that as an alias"],
        );
    }

    #[test]
    fn the_newest_version_reads_all_that_was_ever_written() {
        for kind in RecordType::ALL {
            let newest = parse(kind.newest().json);
            for text in kind.schemas() {
                let old = parse(text.json);
                let found = problems(End { name: "old", schema: &old }, End { name: "new", schema: &newest });
                assert_eq!(found.expect("resolves"), [], "{kind} v{}", text.version);
            }
        }
    }
}
