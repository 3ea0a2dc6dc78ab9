//! The line that says how it goes, once a second: on a terminal it is written over, elsewhere one every ten seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::scrape::Metrics;

const ELSEWHERE_EVERY: Duration = Duration::from_secs(10);

pub struct StatusLine {
    started: Instant,
    terminal: bool,
    written_at: Option<Instant>,
    last: Option<(Instant, f64)>,
}

impl StatusLine {
    pub fn new() -> Self {
        Self { started: Instant::now(), terminal: std::io::stdout().is_terminal(), written_at: None, last: None }
    }

    /// Asks the services and writes the line. A service that does not answer is shown as unknown, not as zero.
    pub async fn show(&mut self, fleet: &Fleet) -> std::io::Result<()> {
        let (producer, lake, database) =
            tokio::join!(metrics(&fleet.producer), metrics(&fleet.lake), metrics(&fleet.database));
        let now = Instant::now();
        let ticks = producer.sum("tickstream_producer_acknowledged_total", TICKS_LABEL);
        let rate = match (self.last, ticks) {
            (Some((then, before)), Some(ticks)) => Some((ticks - before).max(0.0) / (now - then).as_secs_f64()),
            _ => None,
        };
        self.last = ticks.map(|ticks| (now, ticks));
        if !self.terminal && self.written_at.is_some_and(|at| now - at < ELSEWHERE_EVERY) {
            return Ok(());
        }
        self.written_at = Some(now);
        let seconds = self.started.elapsed().as_secs();
        let line = format!(
            "{:02}:{:02}  {} ticks, {}/s  lag: lake {}, database {}  objects {}  rows {}",
            seconds / 60,
            seconds % 60,
            shown(ticks),
            shown(rate),
            shown(lake.sum("tickstream_consumer_lag", "")),
            shown(database.sum("tickstream_consumer_lag", "")),
            shown(lake.sum("tickstream_lake_objects_total", "")),
            shown(database.sum("tickstream_db_rows_total", "")),
        );
        let mut out = std::io::stdout().lock();
        if self.terminal {
            // Back to the line's start, and clear what the longer line before left.
            write!(out, "\r\x1b[2K{line}")?;
        } else {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }

    /// Leaves the last line standing.
    pub fn end(&self) -> std::io::Result<()> {
        if self.terminal && self.written_at.is_some() { writeln!(std::io::stdout().lock()) } else { Ok(()) }
    }
}

/// The producer counts its other topics under another label.
const TICKS_LABEL: &str = "topic=\"market.ticks.v1\"";

async fn metrics(service: &super::services::Service) -> Metrics {
    Metrics::of(service.admin).await.unwrap_or_default()
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| grouped(value.round() as u64))
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn groups_thousands() {
        let check = |number: u64, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
    }
}
