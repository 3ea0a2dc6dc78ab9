//! `producer normalize`: what a recorded payload becomes, as JSON lines on standard output. The same parsers as in the live
//! service, no network, no broker. Must never happen here: a payload that says nothing and leaves no line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use pipeline::events::PriceTick;
use pipeline::misconfigured;
use serde::Serialize;

use crate::config::SourceName;
use crate::problem::Problem;
use crate::sources::{MAX_BODY_BYTES, Parsed, coinbase, coingecko};
use crate::status::now_micros;
use crate::trade_runs::TradeRuns;

#[derive(Args, Debug)]
pub struct NormalizeArgs {
    /// Whose payloads they are.
    #[arg(long, value_enum)]
    pub source: SourceName,
    /// The request that was answered, path and query: it says what was asked, and so what is missing.
    #[arg(long, value_name = "PATH")]
    pub request: Option<String>,
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
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        parser: Parser::new(args)?,
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

enum Parser {
    Coingecko(coingecko::Asked),
    Coinbase,
}

impl Parser {
    fn new(args: &NormalizeArgs) -> anyhow::Result<Self> {
        match args.source {
            SourceName::Coingecko => {
                Ok(Self::Coingecko(coingecko::Asked::from_request(args.request.as_deref().unwrap_or_default())))
            }
            SourceName::Coinbase => Ok(Self::Coinbase),
            SourceName::Simulated => Err(misconfigured(
                "--source simulated has no payloads: it makes its prices itself; choose coingecko or coinbase",
            )),
        }
    }

    fn parse(&self, bytes: &[u8], received_at: i64) -> Parsed {
        match self {
            Self::Coingecko(asked) => coingecko::parse(bytes, received_at, asked),
            Self::Coinbase => coinbase::parse(bytes, received_at, &[]),
        }
    }
}

struct Printer<W> {
    out: W,
    parser: Parser,
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
        let mut runs = TradeRuns::default();
        if lines || name.ends_with(".jsonl") {
            let mut number = 0;
            while let Some(payload) = next_payload(&mut reader, true).map_err(unreadable)? {
                number += 1;
                self.payload(payload, &name, Some(number), &mut runs)?;
            }
        } else if let Some(payload) = next_payload(&mut reader, false).map_err(unreadable)? {
            self.payload(payload, &name, None, &mut runs)?;
        }
        for missing in runs.end() {
            self.problem(&Problem::noted("trades_missing", "", missing.to_string()), &name, None)?;
        }
        Ok(())
    }

    fn payload(&mut self, payload: Payload, file: &str, line: Option<u64>, runs: &mut TradeRuns) -> Result<(), Stop> {
        let bytes = match payload {
            // A blank line between payloads says nothing and is none.
            Payload::Whole(bytes) if line.is_some() && bytes.trim_ascii().is_empty() => return Ok(()),
            Payload::Whole(bytes) => bytes,
            Payload::TooLong => {
                let detail = format!("longer than {MAX_BODY_BYTES} bytes, and not read");
                return self.problem(&Problem::rejected("too_long", "", detail), file, line);
            }
        };
        let parsed = self.parser.parse(&bytes, self.received_at);
        for tick in &parsed.ticks {
            self.print(&Line::Tick(tick))?;
        }
        for problem in &parsed.problems {
            self.problem(problem, file, line)?;
        }
        for missing in runs.follow(&parsed) {
            self.problem(&Problem::noted("trades_missing", "", missing.to_string()), file, line)?;
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

enum Payload {
    Whole(Vec<u8>),
    TooLong,
}

/// The next line, or all that is left; `None` at the end of lines. What is too long is passed over, not held.
fn next_payload(reader: &mut dyn BufRead, line: bool) -> io::Result<Option<Payload>> {
    let most = MAX_BODY_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = if line {
        reader.take(most).read_until(b'\n', &mut bytes)?
    } else {
        reader.take(most).read_to_end(&mut bytes)?
    };
    if read == 0 {
        return Ok((!line).then_some(Payload::Whole(bytes)));
    }
    if line && bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.len() <= MAX_BODY_BYTES {
        return Ok(Some(Payload::Whole(bytes)));
    }
    drop(bytes);
    let mut rest = Vec::new();
    while line && rest.last() != Some(&b'\n') {
        rest.clear();
        if reader.take(64 * 1024).read_until(b'\n', &mut rest)? == 0 {
            break;
        }
    }
    Ok(Some(Payload::TooLong))
}
