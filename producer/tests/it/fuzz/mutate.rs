//! Payloads that went wrong: each is a sample with a few changes, most of which leave it JSON, since what is no JSON at all
//! is found out at the first byte.

use std::ops::Range;

use fastrand::Rng;
use producer::sources::corpus::Sample;

/// What may stand where a value stood.
const VALUES: [&str; 44] = [
    "null",
    "true",
    "false",
    "NaN",
    "-Infinity",
    "0",
    "-0",
    "0.0",
    "-5",
    "1e400",
    "1e-400",
    "1E+19",
    "1e99999999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1234567890123456789",
    "123456789012345678901234567890",
    "1.",
    "01",
    "+1",
    "\"\"",
    "\" \"",
    "\"0\"",
    "\"-1\"",
    "\"1e3\"",
    "\"NaN\"",
    "\"1.234\"",
    "\"1.234.567,89\"",
    "\"1,234,567.89\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"\u{feff}\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"1969-12-31T23:59:59Z\"",
    "\"2026-02-30T00:00:00Z\"",
    "\"31/02/26\"",
    "[]",
    "{}",
    "[[]]",
    "[1,\"a\",null,{}]",
    "{\"a\":{\"b\":[]}}",
    "253402300800000",
];
/// Bytes that mean something in JSON.
const MARKS: &[u8] = b"{}[]\",:.-+eE\\0123456789ntf u\xff\x00\xc3\xef";

/// One of `own` with changes, never longer than `longest`.
pub fn mutated(own: &[Sample], others: &[Sample], longest: usize, dice: &mut Rng) -> Sample {
    let mut sample = dice.choice(own).expect("there are samples").clone();
    for _ in 0..1 + dice.usize(..3) {
        change(&mut sample, own, others, longest, dice);
        sample.bytes.truncate(longest);
    }
    sample
}

fn change(sample: &mut Sample, own: &[Sample], others: &[Sample], longest: usize, dice: &mut Rng) {
    let bytes = &mut sample.bytes;
    match dice.u32(..20) {
        0 => {
            for _ in 0..1 + dice.usize(..8) {
                if !bytes.is_empty() {
                    let at = dice.usize(..bytes.len());
                    bytes[at] = if dice.bool() { dice.u8(..) } else { mark(dice) };
                }
            }
        }
        1 => {
            for _ in 0..1 + dice.usize(..4) {
                bytes.insert(dice.usize(..=bytes.len()), mark(dice));
            }
        }
        2 => {
            let range = any(bytes.len(), dice);
            bytes.drain(range);
        }
        3 => {
            let part = bytes[any(bytes.len(), dice)].to_vec();
            let at = dice.usize(..=bytes.len());
            bytes.splice(at..at, part);
        }
        4 => bytes.truncate(dice.usize(..=bytes.len())),
        5 => {
            let of = if dice.bool() { own } else { others };
            let other = dice.choice(of).expect("there are samples");
            let from = dice.usize(..=other.bytes.len());
            bytes.truncate(dice.usize(..=bytes.len()));
            bytes.extend_from_slice(&other.bytes[from..]);
        }
        6..=9 => {
            if let Some(value) = value(bytes, dice) {
                bytes.splice(value, dice.choice(VALUES).expect("there are some").bytes());
            }
        }
        10 | 11 => {
            // The digits of a number or of a time, longer, shorter or others.
            if let Some(value) = value(bytes, dice) {
                let digits = bytes[value.clone()].iter().flat_map(|byte| match byte {
                    b'0'..=b'9' => vec![b'0' + dice.u8(..10); dice.usize(..3)],
                    other => vec![*other],
                });
                let digits: Vec<u8> = digits.collect();
                bytes.splice(value, digits);
            }
        }
        12 => {
            // One value in another's place.
            if let (Some(from), Some(to)) = (value(bytes, dice), value(bytes, dice)) {
                let part = bytes[from].to_vec();
                bytes.splice(to, part);
            }
        }
        13 => {
            // A key that stands there again, with the same value or another one.
            if let Some(value) = value(bytes, dice)
                && let Some(key) = key_before(bytes, value.start)
            {
                let (key, same) = (bytes[key].to_vec(), bytes[value.clone()].to_vec());
                let again = if dice.bool() { same } else { dice.choice(VALUES).expect("some").as_bytes().to_vec() };
                let again = [b",".as_slice(), &key, b":", &again].concat();
                bytes.splice(value.end..value.end, again);
            }
        }
        14 => {
            // A value inside of a nest.
            if let Some(value) = value(bytes, dice) {
                let depth = [3, 40, 127, 128, 129, 5_000, longest / 8][dice.usize(..7)];
                let (open, close) = if dice.bool() { ("[", "]") } else { (r#"{"a":"#, "}") };
                let close = if dice.bool() { close.repeat(depth) } else { String::new() };
                bytes.splice(value.end..value.end, close.into_bytes());
                bytes.splice(value.start..value.start, open.repeat(depth).into_bytes());
            }
        }
        15 => {
            // A value, with its key where it has one, so often that it fills the payload.
            if let Some(value) = value(bytes, dice).filter(|value| !value.is_empty()) {
                let part = if dice.bool() {
                    let start = key_before(bytes, value.start).map_or(value.start, |key| key.start);
                    [b",", &bytes[start..value.end]].concat()
                } else {
                    [b",", &bytes[value.clone()]].concat()
                };
                let room = if dice.u8(..8) == 0 { longest } else { 20_000 };
                let times = room.saturating_sub(bytes.len()) / part.len();
                bytes.splice(value.end..value.end, part.repeat(dice.usize(..=times)));
            }
        }
        16 => {
            // A key or a string that is very long.
            if let Some(at) = bytes.iter().skip(dice.usize(..=bytes.len())).position(|byte| *byte == b'"') {
                let at = (at + 1).min(bytes.len());
                let length = if dice.u8(..8) == 0 { longest / 2 } else { 2_000 };
                let fill = ["x", "7", "é", "\\n", "/"][dice.usize(..5)].repeat(length / 2);
                bytes.splice(at..at, fill.into_bytes());
            }
        }
        17 => *bytes = (0..dice.usize(..2_000)).map(|_| mark(dice)).collect(),
        18 => {
            let of = if dice.bool() { own } else { others };
            sample.request = dice.choice(of).expect("there are samples").request.clone();
        }
        _ => {
            let mut request = std::mem::take(&mut sample.request).into_bytes();
            if dice.bool() && !request.is_empty() {
                let at = dice.usize(..request.len());
                request[at] = mark(dice);
            } else {
                request.truncate(dice.usize(..=request.len()));
            }
            sample.request = String::from_utf8_lossy(&request).into_owned();
        }
    }
}

fn mark(dice: &mut Rng) -> u8 {
    MARKS[dice.usize(..MARKS.len())]
}

fn any(length: usize, dice: &mut Rng) -> Range<usize> {
    let start = dice.usize(..=length);
    start..dice.usize(start..=length.min(start + 400))
}

/// Where any value of an object or array stands; the whole payload now and then.
fn value(bytes: &[u8], dice: &mut Rng) -> Option<Range<usize>> {
    if dice.u8(..20) == 0 {
        return Some(0..bytes.len());
    }
    let from = dice.usize(..=bytes.len());
    let opens = |byte: &u8| matches!(byte, b':' | b',' | b'[');
    let start = from + bytes[from..].iter().position(opens)? + 1;
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 0 => depth -= 1,
            b',' | b']' | b'}' if depth == 0 => return Some(start..at),
            _ => {}
        }
    }
    Some(start..bytes.len())
}

/// Where the key before a value stands, with its quotes.
fn key_before(bytes: &[u8], value: usize) -> Option<Range<usize>> {
    let colon = bytes[..value].iter().rposition(|byte| !byte.is_ascii_whitespace()).filter(|at| bytes[*at] == b':')?;
    let end = bytes[..colon].iter().rposition(|byte| *byte == b'"')? + 1;
    let start = bytes[..end - 1].iter().rposition(|byte| *byte == b'"')?;
    Some(start..end)
}
