//! Standard output: an answer is made whole in memory and written once, or, where it may be long or has no end, a piece at a
//! time. A reader that went away (`tickstream … | head`) is no error and never a panic. Every command that prints rows prints
//! them in each [`Format`]. Must never happen here: a form that lacks rows which another has.

pub mod file;

use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs: one value, or one object a line where rows come one after the other.
    Json,
    /// Comma-separated values with headings (RFC 4180): a line a row, named as JSON names it.
    Csv,
}

/// `-o`, the same for every command.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// How the answer is printed.
    #[arg(
        short = 'o',
        long = "output",
        env = "TICKSTREAM_OUTPUT",
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub format: Format,
}

pub fn print(text: &str) -> anyhow::Result<()> {
    print_piece(text).map(drop)
}

/// Prints one piece of many; false when nobody reads any more.
pub fn print_piece(text: &str) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A line beside the answer, on standard error. Nobody who stops listening to it stops the work.
pub fn note(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "tickstream: {line}"));
}

pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints rows that are known whole: `table` says them to people, JSON is a list, CSV has `headings`, the names of the row's
/// fields.
pub fn print_rows<T: Serialize>(
    format: Format,
    headings: &[&str],
    rows: &[T],
    table: impl FnOnce(&[T]) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => print(&table(rows)),
        Format::Json => print_json(&rows),
        Format::Csv => print(&csv(headings, true, rows)?),
    }
}

/// Rows as comma-separated values: flat structs whose fields are `headings`, in that order. Those come before the first row
/// of all, and also where there is no row.
pub fn csv<T: Serialize>(headings: &[&str], with_headings: bool, rows: &[T]) -> anyhow::Result<String> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    if with_headings {
        writer.write_record(headings)?;
    }
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// How often something long says how far it has come.
const EVERY: Duration = Duration::from_secs(10);

/// Lines on standard error for something long.
#[derive(Debug)]
pub struct Progress(Instant);

impl Default for Progress {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Progress {
    /// Says it when it is time again.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.0.elapsed() >= EVERY {
            self.0 = Instant::now();
            // Nobody who stops listening to it stops the work.
            drop(writeln!(std::io::stderr().lock(), "{}", line()));
        }
    }
}

/// `3.4 MB`: for people, decimal units.
pub fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if unit == "bytes" { format!("{bytes} {unit}") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// `850 ms`, `12.3 s`, `5 min`, `3 h`, `2 d`: precise while it matters. What lies ahead has `-` before it.
pub fn age(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    match seconds.abs() {
        s if s < 1.0 => format!("{sign}{:.0} ms", s * 1000.0),
        s if s < 120.0 => format!("{sign}{s:.1} s"),
        s if s < 7200.0 => format!("{sign}{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{sign}{:.0} h", s / 3600.0),
        s => format!("{sign}{:.0} d", s / 86_400.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Columns as wide as their widest cell, two spaces apart. Widths count characters.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    Pages::new(columns).page(rows)
}

/// A table that is not known whole: the headings come with the first page, and a column gets wider with the page that needs it.
#[derive(Debug)]
pub struct Pages<'a> {
    columns: &'a [(&'a str, Align)],
    widths: Vec<usize>,
    begun: bool,
}

impl<'a> Pages<'a> {
    pub fn new(columns: &'a [(&'a str, Align)]) -> Self {
        let widths = columns.iter().map(|(heading, _)| heading.chars().count()).collect();
        Self { columns, widths, begun: false }
    }

    pub fn page(&mut self, rows: &[Vec<String>]) -> String {
        let rows: Vec<Vec<Cow<'_, str>>> =
            rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            self.line(self.columns.iter().map(|(heading, _)| *heading), &mut text);
        }
        for row in &rows {
            self.line(row.iter().map(|cell| &**cell), &mut text);
        }
        text
    }

    fn line<'c>(&self, cells: impl Iterator<Item = &'c str>, text: &mut String) {
        let cells = cells.zip(self.columns).zip(&self.widths).map(|((cell, (_, align)), &width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
}

/// Control characters as Rust writes them: a name out of a topic must not move the cursor of who looks at it, or end a line.
fn visible(cell: &str) -> Cow<'_, str> {
    if !cell.chars().any(char::is_control) {
        return Cow::Borrowed(cell);
    }
    let letter =
        |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() };
    Cow::Owned(cell.chars().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_in_its_place() {
        let columns = [("SYMBOL", Align::Left), ("PRICE", Align::Right)];
        let rows = [vec!["A\u{1b}[2J\n\"<b>é".to_owned(), "1".to_owned()]];
        let text = table(&columns, &rows);
        assert_eq!(text.lines().nth(1), Some("A\\u{1b}[2J\\n\"<b>é      1"));
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn csv_is_the_fields_under_their_names() {
        #[derive(Serialize)]
        struct Row {
            symbol: &'static str,
            price: Option<&'static str>,
        }
        let rows = [Row { symbol: "a,\"b\"", price: None }, Row { symbol: "c", price: Some("1.50") }];
        let headings = ["symbol", "price"];
        assert_eq!(csv(&headings, true, &rows).expect("text"), "symbol,price\n\"a,\"\"b\"\"\",\nc,1.50\n");
        assert_eq!(csv(&headings, false, &rows[1..]).expect("text"), "c,1.50\n");
        assert_eq!(csv::<Row>(&headings, true, &[]).expect("text"), "symbol,price\n");
    }

    #[test]
    fn ages_read_well() {
        let texts = [0.25, 12.34, 300.0, 10_000.0, 400_000.0, -1.5].map(age);
        assert_eq!(texts, ["250 ms", "12.3 s", "5 min", "3 h", "5 d", "-1.5 s"]);
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!([0, 999, 1000, 3_400_000].map(size), ["0 bytes", "999 bytes", "1.0 kB", "3.4 MB"]);
        assert_eq!(size(u64::MAX), "18446744.1 TB");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["BTC-USD".to_owned(), "67187.3".to_owned()], vec!["é".to_owned(), "1".to_owned()]];
        let text = table(&[("SYMBOL", Align::Left), ("PRICE", Align::Right)], &rows);
        assert_eq!(text, "SYMBOL     PRICE\nBTC-USD  67187.3\né              1\n");
    }

    #[test]
    fn a_later_page_has_no_headings_and_is_no_narrower() {
        let columns = [("A", Align::Right), ("B", Align::Left)];
        let mut pages = Pages::new(&columns);
        let row = |a: &str| vec![a.to_owned(), "x".to_owned()];
        assert_eq!(pages.page(&[row("100")]), "  A  B\n100  x\n");
        assert_eq!(pages.page(&[row("1"), row("10000")]), "    1  x\n10000  x\n");
        assert_eq!(pages.page(&[]), "");
    }
}
