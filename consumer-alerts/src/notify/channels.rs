//! The channels file: which channels there are, what each is sent and how. Invariant: what is wrong in it is said with line
//! and column and what is allowed, and nothing of the file's text is repeated that might be a secret. Secrets themselves
//! stand in the environment or in files of their own; the file only names them.

mod file;
mod place;
mod secrets;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use glob::Pattern;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use pipeline::events::{Alert, Severity};
use pipeline::misconfigured;
use secrecy::SecretString;

use super::quiet::QuietHours;

/// A larger file is refused.
const MOST_BYTES: u64 = 1 << 20;

/// Where secrets come from: the value of an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One channel, as its table of the file has it.
#[derive(Clone, Debug)]
pub struct Channel {
    pub name: String,
    pub to: To,
    pub filter: Filter,
    pub grouping: Grouping,
    pub quiet: Option<QuietHours>,
    /// Of the channel's readers, beside UTC.
    pub zone: TimeZone,
    /// A message that comes more than this after its alert says so.
    pub late_after: SignedDuration,
    /// For a whole answer.
    pub timeout: SignedDuration,
}

/// Where a channel leads. The addresses are secrets where who knows them may write there.
#[derive(Clone, Debug)]
pub enum To {
    Telegram { token: SecretString, chat_id: String, api_url: String },
    Webhook { url: SecretString, secret: Option<SecretString> },
    Slack { url: SecretString },
}

/// Which alerts a channel is sent.
#[derive(Clone, Debug)]
pub struct Filter {
    pub min_severity: Severity,
    /// None: all.
    pub symbols: Vec<Pattern>,
    pub rules: Vec<Pattern>,
}

#[derive(Clone, Debug)]
pub struct Grouping {
    pub by: GroupBy,
    /// How long the first alert waits for others.
    pub wait: SignedDuration,
    /// Alerts that a message names; it only counts what is more.
    pub most: usize,
}

/// What alerts have in common that become one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    Rule,
    Symbol,
    Channel,
    /// Each alert is a message.
    Nothing,
}

impl Filter {
    /// An alert about a whole source has no symbol and passes a filter of symbols: it may concern them.
    pub fn wants(&self, alert: &Alert) -> bool {
        let among =
            |patterns: &[Pattern], name: &str| patterns.is_empty() || patterns.iter().any(|is| is.matches(name));
        alert.severity >= self.min_severity
            && among(&self.rules, &alert.rule)
            && alert.symbol.as_deref().is_none_or(|symbol| among(&self.symbols, symbol))
    }
}

impl Channel {
    /// The consumer group of this channel alone.
    pub fn group(&self) -> String {
        format!("notifier-{}", self.name)
    }
}

/// Reads the channels file.
///
/// # Errors
/// [`pipeline::Misconfigured`] with the place of what is wrong.
pub fn read(path: &Path, environment: Environment<'_>) -> anyhow::Result<Vec<Channel>> {
    let shown = path.display();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    let why = match read {
        Ok(bytes) if bytes as u64 > MOST_BYTES => Some(format!("it has more than {MOST_BYTES} bytes")),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = why {
        let what = format!("cannot read the channels file {shown}, set by --channels (ALERT_CHANNELS): {why}");
        return Err(misconfigured(what));
    }
    parse(&text, environment).map_err(|mistake| misconfigured(format!("{shown}:{mistake}")))
}

/// # Errors
/// `line:column: what is wrong`.
pub fn parse(text: &str, environment: Environment<'_>) -> Result<Vec<Channel>, String> {
    file::channels(text, environment).map_err(|mistake| mistake.in_text(text))
}

#[cfg(test)]
mod tests;
