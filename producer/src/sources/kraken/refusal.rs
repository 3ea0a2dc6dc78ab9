//! What Kraken says when it does not serve, on the feed and by REST, and what to do then.
//!
//! A subscription that is refused for one symbol is that symbol's fault: it is named, and the others go on. The source as a
//! whole is refused when the symbol was the only one that was asked for, when no symbol is named, or when the words are
//! those of a limit or of a fault on the other side.

use std::collections::HashSet;

use crate::parse::json::{Field, Object, Value, elements};
use crate::parse::problem::excerpt;
use crate::sources::Refusal;

/// No market's name is longer.
const LONGEST_NAME: usize = 40;

/// What an error of the feed is about.
pub(super) enum Refused {
    /// Nothing is lost by it.
    Nothing(String),
    Symbol {
        symbol: String,
        detail: String,
    },
    All(Refusal),
}

/// Reads `{"error","method","success":false,"symbol"}`; `request` is what was sent after connecting.
pub(super) fn refused(object: &Object<'_>, request: &str) -> Refused {
    let error = object.text("error").unwrap_or_default();
    let detail = if error.is_empty() { "refused without a reason".to_owned() } else { excerpt(&error) };
    let said = error.to_ascii_lowercase();
    if said.contains("already subscribed") || !matches!(object.text("method").as_deref(), Some("subscribe") | None) {
        return Refused::Nothing(detail);
    }
    if let Some(refusal) = passing(&said, &detail) {
        return Refused::All(refusal);
    }
    // Where the symbol is not told beside it, it ends the sentence: "Currency pair not supported NOPE/USD".
    let named = || error.split_ascii_whitespace().next_back().filter(|word| word.contains('/')).map(str::to_owned);
    let symbol = object.text("symbol").map(std::borrow::Cow::into_owned).or_else(named);
    let Some(symbol) = symbol.filter(|symbol| (1..=LONGEST_NAME).contains(&symbol.len())) else {
        return Refused::All(wrongly_asked(&said, detail));
    };
    let asked = asked(request);
    if !asked.is_empty() && asked.iter().all(|asked| *asked == symbol) {
        return Refused::All(Refusal::Configuration(detail));
    }
    Refused::Symbol { symbol, detail }
}

/// Words that are not known are tried again: a feed that comes back by itself is worth more than one that stands still
/// because of a sentence.
fn wrongly_asked(said: &str, detail: String) -> Refusal {
    const WORDS: [&str; 10] = [
        "must ",
        "invalid",
        "malformed",
        "unknown",
        "not supported",
        "unsupported",
        "not found",
        "missing",
        "permission",
        "denied",
    ];
    if WORDS.iter().any(|word| said.contains(word)) { Refusal::Configuration(detail) } else { Refusal::Retry(detail) }
}

/// What the errors of a REST body ask for; those that begin with W are warnings. `None` when there is no error.
pub(super) fn of_rest(errors: &[Value<'_>]) -> Option<Refusal> {
    let errors: Vec<&str> = errors
        .iter()
        .map(|error| match error {
            Value::Text(text) => text.as_ref(),
            _ => "an error that is no text",
        })
        .filter(|error| !error.starts_with('W'))
        .collect();
    let said = errors.join(", ");
    let detail = excerpt(&said);
    let said = said.to_ascii_lowercase();
    match errors[..] {
        [] => None,
        _ if said.contains("lockout") => Some(Refusal::Banned(None, detail)),
        _ => Some(passing(&said, &detail).unwrap_or(Refusal::Configuration(detail))),
    }
}

/// What passes by itself: a limit, or a fault on the other side.
fn passing(said: &str, detail: &str) -> Option<Refusal> {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["rate limit", "too many", "exceeded", "throttl"]) {
        Some(Refusal::RateLimited(detail.to_owned()))
    } else if says(&[
        "internal",
        "unavailable",
        "timeout",
        "timed out",
        "busy",
        "try again",
        "eservice:",
        "maintenance",
    ]) {
        Some(Refusal::Retry(detail.to_owned()))
    } else {
        None
    }
}

/// The symbols of every subscription that was sent.
fn asked(request: &str) -> HashSet<String> {
    let mut symbols = HashSet::new();
    for line in request.lines() {
        let Value::Object(text) = Value::of(line.trim_ascii()) else { continue };
        let Field::One(Value::Object(params)) = Object::parse(text).get("params") else { continue };
        let Field::One(Value::Array(list)) = Object::parse(params).get("symbol") else { continue };
        symbols.extend(elements(list).0.into_iter().filter_map(Value::into_text).map(std::borrow::Cow::into_owned));
    }
    symbols
}
