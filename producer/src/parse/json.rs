//! JSON read by its text. A number keeps the digits it came with (never a float in between), a repeated key is seen, and
//! what stands before a break in a cut-off document is still read. Nothing here panics, recurses or allocates by what the
//! bytes claim.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::parse::scan::{Break, Scanner};

/// More fields than any answer has, and more elements: where there are still more, the text is taken for broken off there,
/// since a handful of bytes each would be held as a hundred.
const MOST_FIELDS: usize = 20_000;
const MOST_ELEMENTS: usize = 100_000;

/// One document's text. Bytes that are not UTF-8 are replaced, and bare `NaN` and `Infinity` become strings, so that the
/// rows around them survive; `faults` tells of both.
#[derive(Debug)]
pub struct Document<'a> {
    text: Cow<'a, str>,
    pub faults: Vec<String>,
}

impl<'a> Document<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut faults = Vec::new();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(error) => {
                faults.push(format!("not UTF-8 at byte {}", error.valid_up_to()));
                String::from_utf8_lossy(bytes)
            }
        };
        // Only a text that has such a word in it can be one that is mended by quoting it.
        let mended = if text.contains("NaN") || text.contains("Infinity") { mended(&text) } else { None };
        let text = match mended {
            Some(quoted) => {
                faults.push("NaN or Infinity stands in it, which is not JSON".to_owned());
                Cow::Owned(quoted)
            }
            None => text,
        };
        Self { text, faults }
    }

    #[must_use]
    pub fn value(&self) -> Value<'_> {
        Value::of(self.text.trim_ascii())
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A value by its first byte. Numbers, arrays and objects are left as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(&'a str),
    Object(&'a str),
    /// Not the start of any JSON value, or a string that never ends.
    Broken(&'a str),
}

impl<'a> Value<'a> {
    /// Reads the start of a text that has no space before it.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        match text.as_bytes().first() {
            Some(b'{') => Self::Object(text),
            Some(b'[') => Self::Array(text),
            Some(b'"') => match plain(text) {
                Some(plain) => Self::Text(Cow::Borrowed(plain)),
                None => serde_json::from_str(text).map_or(Self::Broken(text), |text| Self::Text(Cow::Owned(text))),
            },
            Some(b'-' | b'0'..=b'9') => Self::Number(text),
            _ => match text {
                "null" => Self::Null,
                "true" => Self::Bool(true),
                "false" => Self::Bool(false),
                other => Self::Broken(other),
            },
        }
    }

    /// The string that it is.
    #[must_use]
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
            Self::Broken(_) => "not JSON",
        }
    }
}

/// What stands between the quotes of a string without escapes or control characters; `None` for any other text.
fn plain(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    inner.bytes().all(is_plain).then_some(inner)
}

/// What an object says of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    Missing,
    One(Value<'a>),
    /// The name stands there more than once, with values that differ: neither is believed.
    Ambiguous,
}

/// An object's fields in their order.
#[derive(Debug, Default)]
pub struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a str)>,
    /// Where the text stops being JSON; the fields before that place are there.
    pub broken: Option<String>,
    /// The name and the text of the object or array in which it stops.
    unfinished: Option<(Cow<'a, str>, &'a str)>,
}

impl<'a> Object<'a> {
    /// Reads the text of [`Value::Object`]; any other text gives no field and says so in `broken`.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        // Most objects have fewer fields than this: one allocation.
        let mut fields = Vec::with_capacity(16);
        let broken = read_fields(text, &mut fields).err();
        let unfinished = if broken.is_some() { unfinished(text, &fields) } else { None };
        Self { fields, broken, unfinished }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Field<'a> {
        let mut found: Option<&'a str> = None;
        for (key, value) in &self.fields {
            if key == name {
                match found {
                    Some(first) if first != *value => return Field::Ambiguous,
                    _ => found = Some(value),
                }
            }
        }
        found.map_or(Field::Missing, |value| Field::One(Value::of(value)))
    }

    /// The value of `name` when it is a string that stands there once.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        match self.get(name) {
            Field::One(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The object or array `name` in which the text breaks off: what stands in it before the break can be read. Never any
    /// other value, since half a number is a number too.
    #[must_use]
    pub fn unfinished(&self, name: &str) -> Option<Value<'a>> {
        self.unfinished.as_ref().filter(|(unfinished, _)| unfinished == name).map(|(_, text)| Value::of(text))
    }

    /// The name and the start of the object or array in which the text breaks off.
    #[must_use]
    pub fn unfinished_field(&self) -> Option<(&str, Value<'a>)> {
        self.unfinished.as_ref().map(|(name, text)| (name.as_ref(), Value::of(text)))
    }

    /// How many fields there are, repeated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// The names, each once, in the order of their first appearance.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        // A look back over a few names is cheaper than a table of them.
        const FEW: usize = 24;
        let mut seen = HashSet::new();
        self.fields.iter().enumerate().filter_map(move |(at, (key, _))| {
            let first = if self.fields.len() > FEW {
                seen.insert(key.as_ref())
            } else {
                !self.fields[..at].iter().any(|(earlier, _)| earlier == key)
            };
            first.then_some(key.as_ref())
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// The elements of the text of [`Value::Array`], and where it stops being JSON.
#[must_use]
pub fn elements(text: &str) -> (Vec<Value<'_>>, Option<String>) {
    let mut values = Vec::new();
    let broken = read_elements(text, &mut values).err();
    (values, broken)
}

type Fields<'a> = Vec<(Cow<'a, str>, &'a str)>;

fn read_fields<'a>(text: &'a str, fields: &mut Fields<'a>) -> Result<(), String> {
    let told = |why: Break| why.to_string();
    let mut scanner = Scanner::new(text);
    scanner.expect(b'{', "an object").map_err(told)?;
    if scanner.peek() != Some(b'}') {
        loop {
            let name = unquoted(scanner.string().map_err(told)?)?;
            if fields.len() == MOST_FIELDS {
                return Err(format!("more than {MOST_FIELDS} fields"));
            }
            scanner.expect(b':', "a colon").map_err(told)?;
            fields.push((name, scanner.value().map_err(told)?));
            if scanner.peek() != Some(b',') {
                break;
            }
            scanner.expect(b',', "a comma").map_err(told)?;
        }
    }
    scanner.expect(b'}', "a comma or the end").and_then(|()| scanner.end()).map_err(told)
}

fn read_elements<'a>(text: &'a str, values: &mut Vec<Value<'a>>) -> Result<(), String> {
    let told = |why: Break| why.to_string();
    let mut scanner = Scanner::new(text);
    scanner.expect(b'[', "an array").map_err(told)?;
    if scanner.peek() != Some(b']') {
        loop {
            let value = scanner.value().map_err(told)?;
            if values.len() == MOST_ELEMENTS {
                return Err(format!("more than {MOST_ELEMENTS} elements"));
            }
            values.push(Value::of(value));
            if scanner.peek() != Some(b',') {
                break;
            }
            scanner.expect(b',', "a comma").map_err(told)?;
        }
    }
    scanner.expect(b']', "a comma or the end").and_then(|()| scanner.end()).map_err(told)
}

/// The string that a quoted text is.
fn unquoted(quoted: &str) -> Result<Cow<'_, str>, String> {
    match plain(quoted) {
        Some(plain) => Ok(Cow::Borrowed(plain)),
        None => serde_json::from_str(quoted).map(Cow::Owned).map_err(|error| error.to_string()),
    }
}

/// The name and the text of the object or array in which `text`, an object of which `fields` could be read, breaks off.
fn unfinished<'a>(text: &'a str, fields: &[(Cow<'a, str>, &'a str)]) -> Option<(Cow<'a, str>, &'a str)> {
    // A value is a part of the text, so where it ends is told by where it lies.
    let read_to = match fields.last() {
        Some((_, value)) => (value.as_ptr() as usize - text.as_ptr() as usize) + value.len(),
        None => 1,
    };
    let rest = text.get(read_to..)?.trim_ascii_start();
    let rest = rest.strip_prefix(',').unwrap_or(rest).trim_ascii_start();
    let name = Scanner::new(rest).string().ok()?;
    let value = rest.get(name.len()..)?.trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
    value.starts_with(['{', '[']).then_some((unquoted(name).ok()?, value))
}

/// A text that is not JSON with its bare words quoted; `None` for one that is JSON, or has none.
fn mended(text: &str) -> Option<String> {
    if serde_json::from_str::<&RawValue>(text).is_ok() { None } else { quote_bare_words(text) }
}

/// The text with bare `NaN`, `Infinity` and `-Infinity` as strings; `None` when none stands outside a string.
fn quote_bare_words(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut quoted = String::new();
    let (mut copied, mut at) = (0, 0);
    let (mut in_string, mut escaped) = (false, false);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else if *byte == b'"' {
            in_string = true;
        } else if let Some(word) = WORDS.iter().find(|word| bytes[at..].starts_with(word.as_bytes())) {
            quoted.push_str(&text[copied..at]);
            quoted.extend(["\"", word, "\""]);
            at += word.len();
            copied = at;
            continue;
        }
        at += 1;
    }
    if copied == 0 {
        return None;
    }
    quoted.push_str(&text[copied..]);
    Some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let object = Object::parse(r#"{"a": 0.1000, "b":1e-05, "c":"x\u0041", "d":123456789012345678901234567890.5}"#);
        assert_eq!(object.get("a"), Field::One(Value::Number("0.1000")));
        assert_eq!(object.get("b"), Field::One(Value::Number("1e-05")));
        assert_eq!(object.get("c"), Field::One(Value::Text("xA".into())));
        assert_eq!(object.get("d"), Field::One(Value::Number("123456789012345678901234567890.5")));
        assert_eq!(object.get("e"), Field::Missing);
    }

    #[test]
    fn a_repeated_key_is_ambiguous_only_when_its_values_differ() {
        let object = Object::parse(r#"{"a":1,"b":2,"a":1,"b":3}"#);
        assert_eq!(object.get("a"), Field::One(Value::Number("1")));
        assert_eq!(object.get("b"), Field::Ambiguous);
        assert_eq!(object.names().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_stands_before_the_break_is_read() {
        let object = Object::parse(r#"{"a":{"usd":1},"b":{"us"#);
        assert_eq!(object.get("a"), Field::One(Value::Object(r#"{"usd":1}"#)));
        assert_eq!(object.get("b"), Field::Missing);
        assert!(object.broken.is_some());
        assert_eq!(object.unfinished("b"), Some(Value::Object(r#"{"us"#)));
        assert_eq!(object.unfinished("a"), None);
        let (values, broken) = elements("[1, 2, 3");
        assert_eq!((values.len(), broken.is_some()), (3, true));
    }

    #[test]
    fn only_an_object_or_an_array_is_read_up_to_the_break() {
        for (text, name, unfinished) in [
            (r#"{"a" : [1,"#, "a", Some(Value::Array("[1,"))),
            (r#"{"a":1 , "b\u0063":{"#, "bc", Some(Value::Object("{"))),
            (r#"{"a":12"#, "a", None),
            (r#"{"a":"12"#, "a", None),
            (r#"{"a":1,"b"#, "b", None),
            (r#"{"a":1,"b":"#, "b", None),
            (r#"{"a":1}{"b":[1"#, "b", None),
            (r#"{"a":1} ,"b":[1"#, "b", None),
            ("[1", "a", None),
            ("", "a", None),
        ] {
            assert_eq!(Object::parse(text).unfinished(name), unfinished, "{text}");
        }
    }

    #[test]
    fn nan_does_not_take_the_other_rows_with_it() {
        let document = Document::new(br#"{"a":NaN,"b":-Infinity,"c":"NaN \" NaN","d":2}"#);
        let Value::Object(text) = document.value() else { panic!("an object") };
        let object = Object::parse(text);
        assert_eq!(object.get("a"), Field::One(Value::Text("NaN".into())));
        assert_eq!(object.get("b"), Field::One(Value::Text("-Infinity".into())));
        assert_eq!(object.get("c"), Field::One(Value::Text("NaN \" NaN".into())));
        assert_eq!(object.get("d"), Field::One(Value::Number("2")));
        assert_eq!(document.faults.len(), 1);
    }

    #[test]
    fn what_has_too_many_parts_breaks_off() {
        let text = format!("[{}7]", "7,".repeat(MOST_ELEMENTS));
        let (values, broken) = elements(&text);
        assert_eq!((values.len(), broken.is_some_and(|why| why.contains("elements"))), (MOST_ELEMENTS, true));
        let text = format!("{{{}\"a\":7}}", "\"a\":7,".repeat(MOST_FIELDS));
        let object = Object::parse(&text);
        assert_eq!((object.len(), object.broken.is_some_and(|why| why.contains("fields"))), (MOST_FIELDS, true));
    }

    #[test]
    fn deep_nesting_neither_recurses_nor_fails() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500_000), "]".repeat(500_000));
        let document = Document::new(deep.as_bytes());
        let Value::Object(text) = document.value() else { panic!("an object") };
        assert!(matches!(Object::parse(text).get("a"), Field::One(Value::Array(_))));
    }
}
