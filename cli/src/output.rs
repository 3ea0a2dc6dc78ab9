//! Standard output: an answer is made whole in memory and written once, or, where it may be long or has no end, a piece at a
//! time. A reader that went away (`tickstream … | head`) is no error and never a panic.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON value for programs.
    Json,
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
