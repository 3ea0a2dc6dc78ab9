//! JSON read by its text. A number keeps the digits it came with (never a float in between), a repeated key is seen, and
//! what stands before a break in a cut-off document is still read. Nothing here panics, recurses or allocates by what the
//! bytes claim.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

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
        let text = if serde_json::from_str::<&RawValue>(&text).is_ok() {
            text
        } else {
            match quote_bare_words(&text) {
                Some(quoted) => {
                    faults.push("NaN or Infinity stands in it, which is not JSON".to_owned());
                    Cow::Owned(quoted)
                }
                None => text,
            }
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
    fn of(text: &'a str) -> Self {
        match text.as_bytes().first() {
            Some(b'{') => Self::Object(text),
            Some(b'[') => Self::Array(text),
            Some(b'"') => serde_json::from_str::<Key<'a>>(text).map_or(Self::Broken(text), |key| Self::Text(key.0)),
            Some(b'-' | b'0'..=b'9') => Self::Number(text),
            _ => match text {
                "null" => Self::Null,
                "true" => Self::Bool(true),
                "false" => Self::Bool(false),
                other => Self::Broken(other),
            },
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
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// Where the text stops being JSON; the fields before that place are there.
    pub broken: Option<String>,
}

impl<'a> Object<'a> {
    /// Reads the text of [`Value::Object`]; any other text gives no field and says so in `broken`.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let mut fields = Vec::new();
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader.deserialize_map(Fields(&mut fields)).and_then(|()| reader.end());
        Self { fields, broken: read.err().map(|error| error.to_string()) }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Field<'a> {
        let mut found: Option<&'a RawValue> = None;
        for (key, value) in &self.fields {
            if key == name {
                match found {
                    Some(first) if first.get() != value.get() => return Field::Ambiguous,
                    _ => found = Some(value),
                }
            }
        }
        found.map_or(Field::Missing, |value| Field::One(Value::of(value.get())))
    }

    /// The value of `name` when it is a string that stands there once.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        match self.get(name) {
            Field::One(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The names, each once, in the order of their first appearance.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut seen = HashSet::new();
        self.fields.iter().map(|(key, _)| key.as_ref()).filter(move |key| seen.insert(*key))
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
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize_seq(Elements(&mut values)).and_then(|()| reader.end());
    (values, read.err().map(|error| error.to_string()))
}

struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Key)
    }
}

struct Fields<'a, 'out>(&'out mut Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Visitor<'de> for Fields<'a, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<Key<'a>>()? {
            let value = map.next_value::<&'a RawValue>()?;
            self.0.push((key.0, value));
        }
        Ok(())
    }
}

struct Elements<'a, 'out>(&'out mut Vec<Value<'a>>);

impl<'de: 'a, 'a> Visitor<'de> for Elements<'a, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(value) = seq.next_element::<&'a RawValue>()? {
            self.0.push(Value::of(value.get()));
        }
        Ok(())
    }
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
        let (values, broken) = elements("[1, 2, 3");
        assert_eq!((values.len(), broken.is_some()), (3, true));
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
    fn deep_nesting_neither_recurses_nor_fails() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500_000), "]".repeat(500_000));
        let document = Document::new(deep.as_bytes());
        let Value::Object(text) = document.value() else { panic!("an object") };
        assert!(matches!(Object::parse(text).get("a"), Field::One(Value::Array(_))));
    }
}
