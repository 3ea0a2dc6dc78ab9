//! The payloads of a recording, one after the other, whatever the size of the folder: one is in memory at a time. Must never
//! happen here: a payload that is passed over in silence.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

use crate::normalize::{Piece, next_payload};
use crate::sources::MAX_BODY_BYTES;

/// One recorded payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub body: Vec<u8>,
    /// What it answers, where that was recorded.
    pub request: Option<String>,
    pub status: Option<u16>,
    /// Micros UTC.
    pub received_at: Option<i64>,
    /// Which of the recording's files it is from: counts up, also when the recording begins again.
    pub file: u64,
}

/// A payload with what is known of it, as one JSON object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Framed {
    received_at: Timestamp,
    #[serde(default)]
    request: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    body: String,
}

pub struct Reel {
    source: &'static str,
    files: Vec<PathBuf>,
    again: bool,
    /// The next of the files, and how many have been opened in all.
    next: usize,
    opened: u64,
    open: Option<BufReader<File>>,
    /// The recording has given something since it began.
    gave: bool,
}

impl Reel {
    /// Of at least one file.
    #[must_use]
    pub fn new(source: &'static str, files: Vec<PathBuf>, again: bool) -> Self {
        Self { source, files, again, next: 0, opened: 0, open: None, gave: false }
    }

    /// The next payload; `None` at the end.
    pub fn next(&mut self) -> Option<Recording> {
        loop {
            if self.open.is_none() && self.next == self.files.len() {
                // A recording without a payload would be begun again for ever.
                if !self.again || !self.gave {
                    return None;
                }
                (self.next, self.gave) = (0, false);
            }
            let read = match &mut self.open {
                Some(lines) => next_payload(lines, true),
                None => self.begin(),
            };
            match read {
                Ok(Some(Piece::Whole(bytes))) if bytes.trim_ascii().is_empty() => {}
                Ok(Some(Piece::Whole(bytes))) => {
                    self.gave = true;
                    return Some(self.recording(bytes));
                }
                Ok(Some(Piece::TooLong)) => self.passed_over(&format!("longer than {MAX_BODY_BYTES} bytes")),
                Ok(None) => self.open = None,
                Err(error) => {
                    self.open = None;
                    self.passed_over(&error.to_string());
                }
            }
        }
    }

    /// The next file: its first line, or all of it.
    fn begin(&mut self) -> io::Result<Option<Piece>> {
        let path = &self.files[self.next];
        self.next += 1;
        self.opened += 1;
        let mut file = BufReader::new(File::open(path)?);
        if path.extension().is_some_and(|end| end == "jsonl") {
            next_payload(self.open.insert(file), true)
        } else {
            next_payload(&mut file, false)
        }
    }

    fn recording(&self, bytes: Vec<u8>) -> Recording {
        let file = self.opened;
        let framed = bytes.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice::<Framed>(&bytes));
        match framed {
            Some(Ok(Framed { received_at, request, status, body })) => Recording {
                body: body.into_bytes(),
                request,
                status,
                received_at: Some(received_at.as_microsecond()),
                file,
            },
            _ => Recording { body: bytes, request: None, status: None, received_at: None, file },
        }
    }

    fn passed_over(&self, why: &str) {
        let path = &self.files[self.next.saturating_sub(1)];
        metrics::counter!("tickstream_producer_problems_total", "source" => self.source, "code" => "not_played")
            .increment(1);
        tracing::error!(source = self.source, path = %path.display(), why, "a recorded payload is not played");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(reel: &mut Reel, most: usize) -> Vec<(String, u64)> {
        let next = std::iter::from_fn(|| reel.next());
        next.take(most).map(|one| (String::from_utf8(one.body).expect("UTF-8"), one.file)).collect()
    }

    #[test]
    fn payloads_come_in_the_order_of_files_and_lines() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let files = vec![
            file("1.jsonl", "{\"a\":1}\n\n{\"a\":2}"),
            file("2.json", "{\n\"a\": 3\n}\n"),
            dir.path().join("3.json"),
            file("4.jsonl", ""),
            file(
                "5.jsonl",
                r#"{"received_at":"2026-03-04T05:06:07.5Z","request":"/x?y=1","status":429,"body":"{\"a\":4}"}"#,
            ),
        ];
        let played = [("{\"a\":1}", 1), ("{\"a\":2}", 1), ("{\n\"a\": 3\n}\n", 2), ("{\"a\":4}", 5)]
            .map(|(text, file)| (text.to_owned(), file));
        assert_eq!(bodies(&mut Reel::new("kraken", files.clone(), false), 9), played);
        let twice = bodies(&mut Reel::new("kraken", files.clone(), true), 6);
        assert_eq!(
            (&twice[..4], &twice[4..]),
            (&played[..], &[("{\"a\":1}".to_owned(), 6), ("{\"a\":2}".to_owned(), 6)][..])
        );
        let framed = Reel::new("kraken", files[4..].to_vec(), false).next().expect("one");
        assert_eq!((framed.request.as_deref(), framed.status), (Some("/x?y=1"), Some(429)));
        assert_eq!(framed.received_at, Some(1_772_600_767_500_000));
        assert_eq!(bodies(&mut Reel::new("kraken", files[2..4].to_vec(), true), 9), [], "nothing is not begun again");
    }
}
