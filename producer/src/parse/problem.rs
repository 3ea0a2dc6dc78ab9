//! What was wrong with a payload, named so that a person can find it. Must never happen here: a problem that says nothing,
//! or one as long as the payload that it complains about.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;

/// What became of the data that the problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// There is no tick.
    Rejected,
    /// There is a tick, without this field.
    Nulled,
    /// Nothing was left out.
    Noted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub code: &'static str,
    pub effect: Effect,
    /// Where in the payload, such as `bitcoin.usd`; empty for the whole of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    pub detail: String,
}

impl Problem {
    pub fn rejected(code: &'static str, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(code, Effect::Rejected, path.into(), detail.into())
    }

    pub fn nulled(code: &'static str, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(code, Effect::Nulled, path.into(), detail.into())
    }

    pub fn noted(code: &'static str, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(code, Effect::Noted, path.into(), detail.into())
    }

    /// Names and words from outside stand in both, as long as someone made them.
    fn new(code: &'static str, effect: Effect, mut path: String, mut detail: String) -> Self {
        cut(&mut path, LONGEST_PATH);
        cut(&mut detail, LONGEST_DETAIL);
        Self { code, effect, path, detail }
    }
}

/// No true path or sentence comes near these, in bytes.
const LONGEST_PATH: usize = 400;
const LONGEST_DETAIL: usize = 1_200;

fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
}

/// The start of a text that came from outside, escaped and short enough for a log line.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(SHOWN).collect();
    format!("{start:?}{}", if chars.next().is_some() { "…" } else { "" })
}

/// Counts every problem, and logs each kind at once and then once a minute with how many there were since.
#[derive(Debug)]
pub struct ProblemLog {
    source: &'static str,
    kinds: HashMap<&'static str, (Instant, u64)>,
}

const QUIET: Duration = Duration::from_secs(60);

impl ProblemLog {
    #[must_use]
    pub fn new(source: &'static str) -> Self {
        Self { source, kinds: HashMap::new() }
    }

    pub fn note(&mut self, problems: &[Problem]) {
        for problem in problems {
            metrics::counter!("tickstream_producer_problems_total", "source" => self.source, "code" => problem.code)
                .increment(1);
            let now = Instant::now();
            let (logged_at, since) = self.kinds.entry(problem.code).or_insert((now, 0));
            *since += 1;
            if *since == 1 || logged_at.elapsed() >= QUIET {
                tracing::warn!(
                    source = self.source,
                    code = problem.code,
                    path = problem.path,
                    count = *since,
                    "problem in a payload: {}",
                    problem.detail
                );
                (*logged_at, *since) = (now, 1);
            }
        }
    }
}
