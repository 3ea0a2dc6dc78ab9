//! The file's tables into rules: which keys a kind has, their defaults and their bounds.

use std::collections::HashMap;

use pipeline::decimal::Decimal38;
use pipeline::events::{GapReason, Kind, Severity};
use toml::de::{DeTable, DeValue};

use super::fields::{Fields, duration, integer, times};
use super::{
    Condition, Direction, Filter, MAX_FILE_BYTES, MAX_RULES, MAX_SPAN, MAX_WINDOW_TICKS, Micros, Percent, Rule,
    RuleHash, RulesError, Side, Window,
};

const COMMON: [&str; 10] = [
    "name",
    "kind",
    "enabled",
    "severity",
    "symbols",
    "sources",
    "price_kinds",
    "cooldown",
    "notify_resolved",
    "group",
];

/// A rule's kind as the file names it.
#[derive(Clone, Copy)]
enum Named {
    MovingAverage,
    Threshold,
    PercentChange,
    Volatility,
    StaleFeed,
    OpenGap,
    OffMedian,
}

const KINDS: [(&str, Named); 7] = [
    ("moving_average", Named::MovingAverage),
    ("threshold", Named::Threshold),
    ("percent_change", Named::PercentChange),
    ("volatility", Named::Volatility),
    ("stale_feed", Named::StaleFeed),
    ("open_gap", Named::OpenGap),
    ("off_median", Named::OffMedian),
];

impl Named {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::MovingAverage => &["window", "within", "share", "rearm", "direction", "min_ticks", "across_gaps"],
            Self::Threshold => &["above", "below", "rearm"],
            Self::PercentChange => &["window", "within", "share", "rearm", "direction", "across_gaps"],
            Self::Volatility => &["short", "long", "within", "factor", "rearm", "min_ticks", "across_gaps"],
            Self::StaleFeed => &["silent_for", "unchanged_counts"],
            Self::OpenGap => &["open_for", "reasons"],
            Self::OffMedian => &["share", "rearm", "direction", "fresh", "min_sources"],
        }
    }
}

const DIRECTIONS: [(&str, Direction); 3] =
    [("both", Direction::Both), ("up", Direction::Up), ("down", Direction::Down)];
const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
const MILLISECOND: Micros = Micros(1_000);
const NAME_CHARACTERS: usize = 100;

/// A whole number as a decimal, or as a share in percent.
fn whole(n: i128) -> Decimal38 {
    Decimal38::from_unscaled(n * 10_i128.pow(Decimal38::SCALE)).expect("small numbers fit")
}

pub(super) fn rules(text: &str) -> Result<Vec<Rule>, RulesError> {
    if text.len() > MAX_FILE_BYTES {
        let what = format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", text.len());
        return Err(RulesError::at(text, 0, what));
    }
    let file = DeTable::parse(text).map_err(|error| {
        RulesError::at(text, error.span().map_or(0, |span| span.start), error.message().replace('\n', " "))
    })?;
    let root = Fields { text, at: 0, table: file.get_ref() };
    root.only("a file of rules", &["rule"])?;
    let Some(value) = root.get("rule") else {
        return Err(root.missing("there is no rule in it; a rule begins with the line [[rule]]"));
    };
    let DeValue::Array(tables) = value.get_ref() else {
        return Err(root.error(value.span(), "a rule begins with the line [[rule]], in double brackets"));
    };
    if tables.is_empty() {
        return Err(root.error(value.span(), "there is no rule in it; a rule begins with the line [[rule]]"));
    }
    if tables.len() > MAX_RULES {
        let what = format!("the file has {} rules; at most {MAX_RULES} are allowed", tables.len());
        return Err(root.error(value.span(), what));
    }
    let mut rules = Vec::with_capacity(tables.len());
    // Where each stands: a line is counted out only for a mistake.
    let mut names = HashMap::new();
    for table in tables.iter() {
        let DeValue::Table(fields) = table.get_ref() else {
            return Err(root.error(table.span(), "a rule begins with the line [[rule]], in double brackets"));
        };
        let fields = Fields { text, at: table.span().start, table: fields };
        let rule = rule(&fields)?;
        let at = fields.span("name");
        if let Some(first) = names.insert(rule.name.clone(), at.start) {
            let RulesError { line: first, .. } = RulesError::at(text, first, "");
            let what =
                format!("the name {:?} is that of the rule in line {first} already; names are unique", rule.name);
            return Err(fields.error(at, what));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn rule(fields: &Fields<'_>) -> Result<Rule, RulesError> {
    let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let Some(kind) = fields.choice("kind", &KINDS)? else {
        return Err(fields.missing(format!("the rule has no `kind`; it is one of {}", names.join(", "))));
    };
    let kind_name = fields.get("kind").and_then(|kind| kind.get_ref().as_str()).unwrap_or_default();
    let allowed: Vec<&str> = COMMON.iter().chain(kind.keys()).copied().collect();
    fields.only(&format!("a rule of kind {kind_name}"), &allowed)?;
    let Some(name) = fields.text("name", NAME_CHARACTERS)? else {
        return Err(fields.missing("the rule has no `name`; any text that no other rule has"));
    };
    let kinds: Vec<(&str, Kind)> = Kind::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    let mut rule = Rule {
        name,
        hash: RuleHash(0),
        condition: condition(kind, fields)?,
        severity: fields.choice("severity", &SEVERITIES)?.unwrap_or(Severity::Warning),
        filter: Filter {
            symbols: fields.patterns("symbols")?,
            sources: fields.patterns("sources")?,
            price_kinds: fields.choices("price_kinds", &kinds)?,
        },
        cooldown: fields.span_of_time("cooldown", Micros::from_secs(600), Micros(0)..=MAX_SPAN)?,
        notify_resolved: fields.flag("notify_resolved", false)?,
        group: fields.text("group", NAME_CHARACTERS)?,
        enabled: fields.flag("enabled", true)?,
    };
    rule.hash = RuleHash::of(&rule);
    Ok(rule)
}

fn condition(kind: Named, fields: &Fields<'_>) -> Result<Condition, RulesError> {
    Ok(match kind {
        Named::MovingAverage => {
            let (share, rearm, direction) = deviation(fields, 3)?;
            Condition::MovingAverage {
                window: window(fields, "window", Window::Ticks { count: 20, within: within(fields)? })?,
                share,
                rearm,
                direction,
                min_ticks: fields.count("min_ticks", 10, 1..=MAX_WINDOW_TICKS)?,
                across_gaps: fields.flag("across_gaps", false)?,
            }
        }
        Named::Threshold => threshold(fields)?,
        Named::PercentChange => {
            let (share, rearm, direction) = deviation(fields, 5)?;
            Condition::PercentChange {
                window: window(fields, "window", Window::Time(Micros::from_secs(300)))?,
                share,
                rearm,
                direction,
                across_gaps: fields.flag("across_gaps", false)?,
            }
        }
        Named::Volatility => volatility(fields)?,
        Named::StaleFeed => Condition::StaleFeed {
            silent_for: fields.span_of_time("silent_for", Micros::from_secs(120), Micros::from_secs(1)..=MAX_SPAN)?,
            unchanged_counts: fields.flag("unchanged_counts", true)?,
        },
        Named::OpenGap => {
            let reasons: Vec<(&str, GapReason)> =
                GapReason::ALL.iter().map(|reason| (reason.as_str(), *reason)).collect();
            Condition::OpenGap {
                open_for: fields.span_of_time("open_for", Micros::from_secs(30), Micros(0)..=MAX_SPAN)?,
                reasons: fields.choices("reasons", &reasons)?,
            }
        }
        Named::OffMedian => {
            let (share, rearm, direction) = deviation(fields, 1)?;
            Condition::OffMedian {
                share,
                rearm,
                direction,
                fresh: fields.span_of_time("fresh", Micros::from_secs(60), MILLISECOND..=MAX_SPAN)?,
                min_sources: fields.count("min_sources", 3, 2..=100)?,
            }
        }
    })
}

/// `share`, `rearm` and `direction`, with a default share of so many percent.
fn deviation(fields: &Fields<'_>, percent: i128) -> Result<(Percent, Percent, Direction), RulesError> {
    let direction = fields.choice("direction", &DIRECTIONS)?.unwrap_or(Direction::Both);
    // No price falls by more than all of itself.
    let most = if direction == Direction::Down { 100 } else { 10_000 };
    let share = fields.share("share", Percent(whole(percent)), Percent(whole(most)))?;
    let rearm = fields.share("rearm", share, share)?;
    Ok((share, rearm, direction))
}

fn within(fields: &Fields<'_>) -> Result<Micros, RulesError> {
    fields.span_of_time("within", Micros::from_secs(2 * 3600), MILLISECOND..=MAX_SPAN)
}

/// A whole number is a window of ticks, a text one of time.
fn window(fields: &Fields<'_>, name: &str, default: Window) -> Result<Window, RulesError> {
    let range = MILLISECOND..=MAX_SPAN;
    let Some(value) = fields.get(name) else { return Ok(default) };
    let ticks = integer(value.get_ref()).and_then(|count| usize::try_from(count).ok());
    if let Some(count) = ticks.filter(|count| (1..=MAX_WINDOW_TICKS).contains(count)) {
        return Ok(Window::Ticks { count, within: within(fields)? });
    }
    let time = value.get_ref().as_str().and_then(duration).filter(|time| range.contains(time));
    time.map(Window::Time).ok_or_else(|| {
        let what = format!("`{name}` must be a number of ticks from 1 to {MAX_WINDOW_TICKS}, or {}", times(&range));
        fields.error(value.span(), what)
    })
}

fn threshold(fields: &Fields<'_>) -> Result<Condition, RulesError> {
    let price = "a price, as in 70000 or 0.25";
    let (above, below) = (fields.number("above", price)?, fields.number("below", price)?);
    let (side, level) = match (above, below) {
        (Some(level), None) => (Side::Above, level),
        (None, Some(level)) => (Side::Below, level),
        (Some(_), Some(_)) => {
            return Err(fields.error(fields.span("below"), "a rule has `above` or `below`, not both; make two rules"));
        }
        (None, None) => return Err(fields.missing("a rule of kind threshold needs `above` or `below`, a price")),
    };
    let rearm = fields.number("rearm", price)?.unwrap_or(level);
    let beyond = match side {
        Side::Above => rearm > level,
        Side::Below => rearm < level,
    };
    if beyond {
        let (than, key) = if side == Side::Above { ("above", "at most") } else { ("below", "at least") };
        let what = format!("`rearm` is {rearm}, {than} the price to be crossed; it must be {key} {level}");
        return Err(fields.error(fields.span("rearm"), what));
    }
    Ok(Condition::Threshold { side, level, rearm })
}

fn volatility(fields: &Fields<'_>) -> Result<Condition, RulesError> {
    let short = window(fields, "short", Window::Time(Micros::from_secs(60)))?;
    let long = window(fields, "long", Window::Time(Micros::from_secs(1800)))?;
    let longer = match (short, long) {
        (Window::Ticks { count: short, .. }, Window::Ticks { count: long, .. }) => {
            if short < 2 {
                return Err(fields.error(fields.span("short"), "`short` must have at least 2 ticks to vary"));
            }
            long > short
        }
        (Window::Time(short), Window::Time(long)) => long > short,
        (Window::Ticks { .. }, Window::Time(_)) | (Window::Time(_), Window::Ticks { .. }) => {
            let what = "`short` and `long` must both be numbers of ticks, or both times";
            return Err(fields.error(fields.span("long"), what));
        }
    };
    if !longer {
        let what = "`long` must be longer than `short`: it is what the short window is held against, and holds it";
        return Err(fields.error(fields.span("long"), what));
    }
    let allowed = "a number above 1 and at most 1000";
    let factor = fields.number("factor", allowed)?.unwrap_or(whole(4));
    if factor <= whole(1) || factor > whole(1000) {
        return Err(fields.error(fields.span("factor"), format!("`factor` must be {allowed}, not {factor}")));
    }
    let rearm = fields.number("rearm", "a number above 0")?.unwrap_or(factor);
    if rearm <= Decimal38::ZERO || rearm > factor {
        let what = format!("`rearm` must be above 0 and at most `factor` ({factor}), not {rearm}");
        return Err(fields.error(fields.span("rearm"), what));
    }
    Ok(Condition::Volatility {
        short,
        long,
        factor,
        rearm,
        min_ticks: fields.count("min_ticks", 10, 2..=MAX_WINDOW_TICKS)?,
        across_gaps: fields.flag("across_gaps", false)?,
    })
}
