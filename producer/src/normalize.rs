//! `producer normalize`: what a recorded payload becomes, as JSON lines on standard output. The same parsers as in the live
//! service, no network, no broker. Must never happen here: a payload that says nothing and leaves no line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use pipeline::events::{IndexWeight, PriceTick};
use pipeline::misconfigured;
use serde::Serialize;

use crate::config::SourceName;
use crate::drive::clock::now_micros;
use crate::drive::trade_runs::TradeRuns;
use crate::parse::payload::Payload;
use crate::parse::problem::Problem;
use crate::sources::{self, MAX_BODY_BYTES, Parsed, Source};
use crate::symbols::Symbols;

#[derive(Args, Debug)]
pub struct NormalizeArgs {
    /// Whose payloads they are.
    #[arg(long, value_enum)]
    pub source: SourceName,
    /// The request that was answered, path and query: it says what was asked, and so what is missing.
    #[arg(long, value_name = "PATH")]
    pub request: Option<String>,
    /// A table of symbols in place of the one that comes with the program.
    #[arg(long, env = "PRODUCER_SYMBOLS_FILE", value_name = "FILE")]
    pub symbols_file: Option<PathBuf>,
    /// When the payloads were received, RFC 3339; now when not given.
    #[arg(long, value_name = "TIME")]
    pub received_at: Option<Timestamp>,
    /// Every line is a payload, also where the name does not end with .jsonl.
    #[arg(long)]
    pub lines: bool,
    /// Payloads; a file ending with .jsonl has one a line, `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Tick(&'a PriceTick),
    IndexWeight(&'a IndexWeight),
    Problem(Located<'a>),
}

#[derive(Serialize)]
struct Located<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

/// Prints a line for every tick and every problem.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a file that cannot be read, or a source that has no payloads.
pub fn normalize(args: &NormalizeArgs) -> anyhow::Result<()> {
    let symbols = args.symbols_file.as_deref().map_or_else(|| Ok(Symbols::built_in()), Symbols::read)?;
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        source: sources::reader(args.source, &Arc::new(symbols)).ok_or_else(|| {
            misconfigured(format!(
                "--source {} has no payloads of its own: it makes or repeats others",
                args.source.as_str()
            ))
        })?,
        request: args.request.clone().unwrap_or_default(),
        received_at: args.received_at.map_or_else(now_micros, |at| at.as_microsecond()),
    };
    let printed = args.files.iter().try_for_each(|file| printer.file(file, args.lines));
    match printed.and_then(|()| Ok(printer.out.flush()?)) {
        Err(Stop::ReaderGone) | Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    }
}

enum Stop {
    /// Whoever reads our output has enough (`| head`).
    ReaderGone,
    Failed(anyhow::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Failed(error.into()) }
    }
}

struct Printer<W> {
    out: W,
    source: Box<dyn Source>,
    request: String,
    received_at: i64,
}

impl<W: Write> Printer<W> {
    fn file(&mut self, path: &Path, lines: bool) -> Result<(), Stop> {
        let unreadable = |error: io::Error| {
            Stop::Failed(misconfigured(format!(
                "cannot read {}: {error}; name a file, or - for standard input",
                path.display()
            )))
        };
        let name = path.to_string_lossy();
        let standard_input = name == "-";
        let mut reader: Box<dyn BufRead> = if standard_input {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(path).map_err(unreadable)?))
        };
        let mut session = Session::default();
        if lines || name.ends_with(".jsonl") {
            let mut number = 0;
            while let Some(payload) = next_payload(&mut reader, true).map_err(unreadable)? {
                number += 1;
                self.payload(payload, &name, Some(number), &mut session)?;
            }
        } else if let Some(payload) = next_payload(&mut reader, false).map_err(unreadable)? {
            self.payload(payload, &name, None, &mut session)?;
        }
        for missing in session.runs.end() {
            self.problem(&Problem::noted("trades_missing", "", missing.to_string()), &name, None)?;
        }
        Ok(())
    }

    fn payload(&mut self, payload: Piece, file: &str, line: Option<u64>, session: &mut Session) -> Result<(), Stop> {
        let bytes = match payload {
            // A blank line between payloads says nothing and is none.
            Piece::Whole(bytes) if line.is_some() && bytes.trim_ascii().is_empty() => return Ok(()),
            Piece::Whole(bytes) => bytes,
            Piece::TooLong => {
                let detail = format!("longer than {MAX_BODY_BYTES} bytes, and not read");
                return self.problem(&Problem::rejected("too_long", "", detail), file, line);
            }
        };
        let name = self.source.name();
        let parsed = self.source.parse(&Payload::new(name, &bytes, self.received_at, &self.request));
        for tick in &parsed.ticks {
            self.print(&Line::Tick(tick))?;
        }
        for weight in &parsed.weights {
            self.print(&Line::IndexWeight(weight))?;
        }
        for problem in &parsed.problems {
            self.problem(problem, file, line)?;
        }
        for missing in session.runs.follow(&parsed) {
            self.problem(&Problem::noted("trades_missing", "", missing.to_string()), file, line)?;
        }
        if let Some(detail) = session.frames_missing(&parsed) {
            self.problem(&Problem::noted("frames_missing", "", detail), file, line)?;
        }
        Ok(())
    }

    fn problem(&mut self, problem: &Problem, file: &str, line: Option<u64>) -> Result<(), Stop> {
        self.print(&Line::Problem(Located { problem, file, line }))
    }

    fn print(&mut self, line: &Line<'_>) -> Result<(), Stop> {
        serde_json::to_writer(&mut self.out, line).map_err(io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }
}

/// What the payloads of one file, taken for those of one connection, say of each other.
#[derive(Default)]
struct Session {
    runs: TradeRuns,
    /// The highest number of a frame so far.
    sequence: Option<i64>,
}

impl Session {
    /// The frames of the connection that should stand before this one and do not.
    fn frames_missing(&mut self, parsed: &Parsed) -> Option<String> {
        let number = parsed.connection_sequence?;
        let before = self.sequence.replace(self.sequence.unwrap_or(i64::MIN).max(number))?;
        (number > before.saturating_add(1))
            .then(|| format!("messages {} to {} of the connection did not come", before + 1, number - 1))
    }
}

pub(crate) enum Piece {
    Whole(Vec<u8>),
    TooLong,
}

/// The next line, or all that is left; `None` at the end of lines. What is too long is passed over, not held.
pub(crate) fn next_payload(reader: &mut dyn BufRead, line: bool) -> io::Result<Option<Piece>> {
    let most = MAX_BODY_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = if line {
        reader.take(most).read_until(b'\n', &mut bytes)?
    } else {
        reader.take(most).read_to_end(&mut bytes)?
    };
    if read == 0 {
        return Ok((!line).then_some(Piece::Whole(bytes)));
    }
    if line && bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() <= MAX_BODY_BYTES {
        return Ok(Some(Piece::Whole(bytes)));
    }
    drop(bytes);
    let mut rest = Vec::new();
    while line && rest.last() != Some(&b'\n') {
        rest.clear();
        if reader.take(64 * 1024).read_until(b'\n', &mut rest)? == 0 {
            break;
        }
    }
    Ok(Some(Piece::TooLong))
}
