//! A rule as one plain sentence, for a person who wants to know what a file says.

use super::{Condition, Direction, Percent, Rule, Side, Window};
use glob::Pattern;

impl Rule {
    /// What the rule does, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut sentence =
            format!("{} when {}{}", self.severity.as_str().to_lowercase(), self.subject(), self.condition_sentence());
        if self.cooldown.0 > 0 {
            sentence.push_str(&format!(", at most once in {}", self.cooldown));
        }
        if let Some(group) = &self.group {
            sentence.push_str(&format!(", silent together with the rules of group {group}"));
        }
        if self.notify_resolved {
            sentence.push_str(", and when it is over");
        }
        if !self.enabled {
            sentence.push_str(" (switched off)");
        }
        sentence
    }

    fn subject(&self) -> String {
        let kinds: Vec<&str> = self.filter.price_kinds.iter().map(|kind| kind.as_str()).collect();
        let price = match (&self.condition, kinds.is_empty()) {
            (Condition::OpenGap { .. }, _) => return String::new(),
            (Condition::StaleFeed { .. }, _) => String::new(),
            (_, true) => "a price of ".to_owned(),
            (_, false) => format!("a price ({}) of ", kinds.join(", ")),
        };
        let symbols = any_of(&self.filter.symbols, "any symbol");
        let sources = any_of(&self.filter.sources, "any source");
        format!("{price}{symbols} at {sources} ")
    }

    fn condition_sentence(&self) -> String {
        match &self.condition {
            Condition::MovingAverage { window, share, rearm, direction, .. } => {
                let (way, again) = (way(*direction, *share), again(*rearm, *share));
                format!("is {way} the mean of {} before it{again}", before(*window))
            }
            Condition::Threshold { side, level, rearm } => {
                let side = match side {
                    Side::Above => "rises above",
                    Side::Below => "falls below",
                };
                let again = if rearm == level { String::new() } else { format!(", armed again at {rearm}") };
                format!("{side} {level}{again}")
            }
            Condition::PercentChange { window, share, rearm, direction, .. } => {
                let (way, again) = (way(*direction, *share), again(*rearm, *share));
                format!("is {way} the oldest one of {} before it{again}", before(*window))
            }
            Condition::Volatility { short, long, factor, rearm, .. } => {
                let again = if rearm == factor { String::new() } else { format!(", armed again below {rearm} times") };
                format!(
                    "varies more than {factor} times as much in {} as in the rest of {}{again}",
                    before(*short),
                    before(*long)
                )
            }
            Condition::StaleFeed { silent_for, unchanged_counts } => {
                let unchanged = if *unchanged_counts { " (an unchanged answer to a poll counts as one)" } else { "" };
                format!("has had no price for {silent_for}{unchanged}")
            }
            Condition::OpenGap { open_for, reasons } => {
                let of = if self.filter.symbols.is_empty() {
                    String::new()
                } else {
                    format!(" of {}", any_of(&self.filter.symbols, ""))
                };
                let reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
                let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
                let sources = any_of(&self.filter.sources, "any source");
                format!("a gap{of} at {sources}{reasons} has been open for {open_for}")
            }
            Condition::OffMedian { share, rearm, direction, fresh, min_sources } => {
                let (way, again) = (way(*direction, *share), again(*rearm, *share));
                format!(
                    "is {way} the median of at least {min_sources} other sources' prices of the last {fresh}{again}"
                )
            }
        }
    }
}

fn any_of(patterns: &[Pattern], all: &str) -> String {
    if patterns.is_empty() || patterns.iter().any(|pattern| pattern.as_str() == "*") {
        return all.to_owned();
    }
    let texts: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
    texts.join(" or ")
}

fn way(direction: Direction, share: Percent) -> String {
    match direction {
        Direction::Both => format!("more than {share} off"),
        Direction::Up => format!("more than {share} above"),
        Direction::Down => format!("more than {share} below"),
    }
}

fn again(rearm: Percent, share: Percent) -> String {
    if rearm == share { String::new() } else { format!(", armed again below {rearm}") }
}

pub(crate) fn before(window: Window) -> String {
    match window {
        Window::Ticks { count, .. } => format!("the {count} ticks"),
        Window::Time(span) => format!("the {span}"),
    }
}
