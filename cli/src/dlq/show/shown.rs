//! A letter as `show` tells it, whole: for a person what can be read as text and a dump of the bytes, for a program everything,
//! bytes in base64. Must never happen here: bytes of a stranger's that move the cursor of who looks at them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use pipeline::codec::RecordType;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::super::check::Checked;
use super::super::letter::Letter;
use super::super::list::time;
use super::super::marks::{Marks, State};
use super::super::reading::Source;
use super::super::selection::Coordinates;
use crate::output;

/// Bytes that a person is shown; JSON has all of them.
const DUMPED: usize = 512;
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];

#[derive(Debug, Serialize)]
pub struct Shown {
    pub coordinates: String,
    pub topic_id: Uuid,
    pub group: String,
    pub reason: String,
    pub state: State,
    /// What was done about it: where the record stands again, or why it was dropped.
    pub settled: Option<String>,
    /// When the letter was written.
    pub at: Timestamp,
    /// When the record was.
    pub record_at: Option<Timestamp>,
    /// As text, where it is text.
    pub key: Option<String>,
    pub headers: Vec<ShownHeader>,
    /// How the value names its schema.
    pub schema: String,
    /// Why it would be refused today; null when it would be taken.
    pub refused_today: Option<String>,
    pub payload_id: Option<Uuid>,
    /// The command that reads the payload again.
    pub renormalize: Option<String>,
    /// Its fields, where it decodes.
    pub event: Option<Value>,
    pub value_base64: Option<String>,
    #[serde(skip)]
    dump: String,
}

#[derive(Debug, Serialize)]
pub struct ShownHeader {
    pub key: String,
    pub value: Option<String>,
}

impl Shown {
    pub fn new(
        source: &Source,
        letter: &Letter,
        marks: &Marks,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        checked: Vec<Checked>,
    ) -> anyhow::Result<Self> {
        let Letter { place, group, reason, .. } = letter;
        let topic = source.topic.to_string();
        let settled = marks.redriven(*place).map(|again| {
            let corrected = if again.corrected { ", corrected" } else { "" };
            let since = time(again.at_ms);
            format!("stands again at {topic}:{}:{}{corrected}, since {since}", again.partition, again.offset)
        });
        let dropped =
            || marks.dropped(*place, group).map(|dropped| format!("{}, at {}", dropped.why, time(dropped.at_ms)));
        let (event, refused_today) =
            checked.into_iter().next().map_or((None, None), |checked| (checked.event, checked.refused));
        let payload = event.as_ref().and_then(|event| event.payload());
        let headers = letter
            .headers
            .iter()
            .map(|(key, value)| ShownHeader { key: plain(key.as_bytes()), value: value.as_deref().map(plain) });
        Ok(Self {
            coordinates: Coordinates { topic, partition: place.partition, offset: place.offset }.to_string(),
            topic_id: place.topic_id,
            group: group.clone(),
            reason: reason.clone(),
            state: marks.state(letter, source.topic_id),
            settled: settled.or_else(dropped),
            at: time(letter.at_ms),
            record_at: letter.record_ms.map(time),
            key: key.map(plain),
            headers: headers.collect(),
            schema: schema(source.record, value),
            refused_today,
            payload_id: payload.map(|(id, ..)| id),
            renormalize: payload.and_then(|(_, source, received_at)| renormalize(source, received_at)),
            event: event.as_ref().map(|event| event.fields()).transpose()?,
            value_base64: value.map(|value| STANDARD.encode(value)),
            dump: dump(value),
        })
    }

    pub fn as_text(&self) -> String {
        let mut lines = vec![
            ("letter", format!("{}, of group {}", self.coordinates, self.group)),
            ("state", self.state.as_str().to_owned()),
        ];
        lines.extend(self.settled.clone().map(|settled| ("settled", settled)));
        lines.push(("reason", self.reason.clone()));
        lines.push(("letter at", self.at.to_string()));
        lines.extend(self.record_at.map(|at| ("record at", at.to_string())));
        lines.push(("topic id", self.topic_id.to_string()));
        lines.push(("key", self.key.clone().unwrap_or_else(|| "none".to_owned())));
        for ShownHeader { key, value } in &self.headers {
            lines.push(("header", format!("{key} = {}", value.as_deref().unwrap_or("null"))));
        }
        lines.push(("schema", self.schema.clone()));
        lines.push((
            "today",
            self.refused_today.clone().map_or("it would be taken".to_owned(), |why| format!("refused: {why}")),
        ));
        lines.extend(self.payload_id.map(|id| ("payload", id.to_string())));
        lines.extend(self.renormalize.clone().map(|command| ("read again by", command)));
        let mut text = String::new();
        for (name, value) in lines {
            text.push_str(&format!("{name:<14}{}\n", plain(value.as_bytes())));
        }
        if let Some(Value::Object(fields)) = &self.event {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let value = value.as_str().map_or_else(|| value.to_string(), |value| plain(value.as_bytes()));
                text.push_str(&format!("  {name:<22}{value}\n"));
            }
        }
        text + &self.dump
    }
}

/// One row a letter: what is nested is JSON in its cell.
pub fn as_csv(letters: &[Shown]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Row<'a> {
        coordinates: &'a str,
        topic_id: Uuid,
        group: &'a str,
        reason: &'a str,
        state: State,
        settled: Option<&'a str>,
        at: Timestamp,
        record_at: Option<Timestamp>,
        key: Option<&'a str>,
        headers: String,
        schema: &'a str,
        refused_today: Option<&'a str>,
        payload_id: Option<Uuid>,
        renormalize: Option<&'a str>,
        event: Option<String>,
        value_base64: Option<&'a str>,
    }
    const HEADINGS: [&str; 16] = [
        "coordinates",
        "topic_id",
        "group",
        "reason",
        "state",
        "settled",
        "at",
        "record_at",
        "key",
        "headers",
        "schema",
        "refused_today",
        "payload_id",
        "renormalize",
        "event",
        "value_base64",
    ];
    let mut rows = Vec::with_capacity(letters.len());
    for letter in letters {
        rows.push(Row {
            coordinates: &letter.coordinates,
            topic_id: letter.topic_id,
            group: &letter.group,
            reason: &letter.reason,
            state: letter.state,
            settled: letter.settled.as_deref(),
            at: letter.at,
            record_at: letter.record_at,
            key: letter.key.as_deref(),
            headers: serde_json::to_string(&letter.headers)?,
            schema: &letter.schema,
            refused_today: letter.refused_today.as_deref(),
            payload_id: letter.payload_id,
            renormalize: letter.renormalize.as_deref(),
            event: letter.event.as_ref().map(Value::to_string),
            value_base64: letter.value_base64.as_deref(),
        });
    }
    output::csv(&HEADINGS, true, &rows)
}

/// The command that reads what a source sent at that time, as a preview.
fn renormalize(source: &str, received_at: i64) -> Option<String> {
    let second = received_at.div_euclid(1_000_000);
    let (from, to) = (Timestamp::from_second(second).ok()?, Timestamp::from_second(second + 1).ok()?);
    let is_a_name =
        !source.is_empty() && source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_a_name.then(|| format!("producer renormalize --source {source} --from {from} --to {to} --dry-run"))
}

/// How the value says which schema it was written with.
fn schema(record: RecordType, value: Option<&[u8]>) -> String {
    let Some(value) = value else { return "no value".to_owned() };
    if let Some(fingerprint) = value.strip_prefix(&SINGLE_OBJECT).and_then(|rest| rest.first_chunk::<8>()) {
        let fingerprint = u64::from_le_bytes(*fingerprint);
        return match record.schemas().iter().find(|schema| schema.fingerprint() == fingerprint) {
            Some(known) => format!("{record} version {}, by its fingerprint", known.version),
            None => format!("fingerprint {fingerprint:016x}, which is of no version of {record} that is known here"),
        };
    }
    match value {
        [0, id @ ..] => match id.first_chunk::<4>() {
            Some(id) => format!("id {} of a schema registry", u32::from_be_bytes(*id)),
            None => "none: too short".to_owned(),
        },
        _ => "none: the value is not framed as Avro".to_owned(),
    }
}

/// Text as it is; a control character, and all of what is no text, as Rust writes it.
fn plain(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().fold(String::with_capacity(text.len()), |mut plain, letter| {
            if letter.is_control() {
                plain.extend(letter.escape_default())
            } else {
                plain.push(letter)
            }
            plain
        }),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn dump(value: Option<&[u8]>) -> String {
    let value = value.unwrap_or_default();
    let mut text = format!("{:<14}{}\n", "bytes", value.len());
    for (line, bytes) in value[..value.len().min(DUMPED)].chunks(16).enumerate() {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters: String = bytes
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        text.push_str(&format!("  {:06x}  {:<47}  {letters}\n", line * 16, hex.join(" ")));
    }
    if value.len() > DUMPED {
        text.push_str(&format!("  … {} more: -o json has all of them\n", value.len() - DUMPED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_does_not_move_the_cursor() {
        assert_eq!(plain("BTC-USD é".as_bytes()), "BTC-USD é");
        assert_eq!(plain(b"a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(plain(b"caf\xe9"), "caf\\xe9");
    }

    #[test]
    fn bytes_are_dumped_with_what_can_be_read_of_them() {
        assert_eq!(
            dump(Some(b"\x00garbage 12345678")),
            concat!(
                "bytes         17\n",
                "  000000  00 67 61 72 62 61 67 65 20 31 32 33 34 35 36 37  .garbage 1234567\n",
                "  000010  38                                               8\n",
            )
        );
        assert_eq!(dump(None), "bytes         0\n");
        let long = dump(Some(&[0; DUMPED + 9]));
        assert!(long.ends_with("  … 9 more: -o json has all of them\n") && long.lines().count() == 34, "{long}");
    }

    #[test]
    fn a_value_names_its_schema() {
        let tick = RecordType::PriceTick;
        let newest = tick.newest();
        let mut value = SINGLE_OBJECT.to_vec();
        value.extend(newest.fingerprint().to_le_bytes());
        assert_eq!(schema(tick, Some(&value)), format!("price_tick version {}, by its fingerprint", newest.version));
        assert!(schema(RecordType::Gap, Some(&value)).contains("no version of gap"));
        assert_eq!(schema(tick, Some(&[0, 0, 0, 1, 2])), "id 258 of a schema registry");
        assert_eq!(schema(tick, Some(b"\x00ab")), "none: too short");
        assert_eq!(schema(tick, Some(b"garbage")), "none: the value is not framed as Avro");
    }

    #[test]
    fn the_command_is_one_that_a_shell_may_be_given() {
        let expected =
            "producer renormalize --source coinbase --from 2026-03-03T01:06:40Z --to 2026-03-03T01:06:41Z --dry-run";
        assert_eq!(renormalize("coinbase", 1_772_500_000_999_999).as_deref(), Some(expected));
        assert_eq!([renormalize("a; rm -rf", 0), renormalize("coinbase", i64::MAX)], [None, None]);
    }
}
