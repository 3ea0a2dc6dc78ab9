//! What a message says: of one alert everything, of several a line each up to a number, of more only how many. Whatever an
//! alert's texts are, the message fits its channel: sentences are shortened first, then lines are only counted. Must never
//! happen here: the clock, which is passed in, or markup, which is [`Words`]'s.

use std::num::NonZeroUsize;

use jiff::{SignedDuration, Timestamp};
use pipeline::events::{Alert, AlertState};
use reqwest::Url;

use super::channels::Channel;
use super::figures::{beside, instant, late, percent, when};
use super::markup::Words;

/// How long before the alert the page that a message leads to begins.
const BEFORE: SignedDuration = SignedDuration::from_mins(30);
/// Letters of a name and of a sentence that are shown; more of a sentence is left out where a message would not fit.
const NAME: usize = 80;
const SENTENCES: [usize; 4] = [500, 200, 80, 0];

/// What stays the same from message to message.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub channel: &'a Channel,
    pub dashboard: Option<&'a Url>,
    pub now: Timestamp,
}

/// A message and how many of its alerts it names; the others it counts.
#[derive(Clone, Debug)]
pub struct Message {
    pub text: String,
    pub named: usize,
}

impl Setting<'_> {
    /// A message of `alerts`, oldest first, not empty; `more` belong to it that are only counted. `render` writes
    /// it down for the channel, in at most `limit` UTF-16 units.
    pub fn message(
        &self,
        title: &str,
        alerts: &[&Alert],
        more: usize,
        render: fn(&Words) -> String,
        limit: NonZeroUsize,
    ) -> Message {
        let fits = |text: &str| text.encode_utf16().count() <= limit.get();
        if let ([alert], 0) = (alerts, more) {
            let texts = SENTENCES.iter().map(|&sentence| render(&self.one(alert, sentence)));
            let text = texts.into_iter().find(|text| fits(text)).unwrap_or_else(|| render(&self.least(1)));
            return Message { text, named: 1 };
        }
        let mut named = alerts.len().min(self.channel.grouping.most);
        loop {
            for &sentence in &SENTENCES {
                let text = render(&self.several(title, alerts, named, more, sentence));
                if fits(&text) {
                    return Message { text, named };
                }
            }
            if named == 0 {
                return Message { text: render(&self.least(alerts.len() + more)), named };
            }
            named = named * 3 / 4;
        }
    }

    fn one(&self, alert: &Alert, sentence: usize) -> Words {
        let mut words = Words::default();
        words.bold(headline(alert)).new_line();
        if sentence > 0 {
            words.text(shortened(&alert.message, sentence)).new_line();
        }
        if let Some(against) = against(alert) {
            words.text(against).new_line();
        }
        words.text(self.when(alert)).new_line();
        if let Some(late) = self.late(alert) {
            words.bold(format!("late: {late}")).new_line();
        }
        words.text(format!("rule {}", shortened(&alert.rule, NAME)));
        if let Some(url) = self.page(alert) {
            words.text(" · ").link("dashboard", url);
        }
        words
    }

    fn several(&self, title: &str, alerts: &[&Alert], named: usize, more: usize, sentence: usize) -> Words {
        let mut words = Words::default();
        words.bold(format!("{} alerts{title}", alerts.len() + more)).new_line();
        for alert in &alerts[..named] {
            words.text(format!("{}: ", self.when(alert))).bold(headline(alert));
            match against(alert) {
                Some(against) => words.text(format!(", {against}")),
                None => words.text(format!(", rule {}", shortened(&alert.rule, NAME))),
            };
            if sentence > 0 {
                words.text(format!(". {}", shortened(&alert.message, sentence)));
            }
            words.new_line();
        }
        let counted = alerts.len() + more - named;
        if counted > 0 {
            words.text(format!("and {counted} more")).new_line();
        }
        let Some(first) = alerts.first() else { return words };
        if let Some(late) = self.late(first) {
            words.bold(format!("late: the first {late}")).new_line();
        }
        if let Some(url) = self.page(first) {
            words.link("dashboard", url);
        }
        words
    }

    /// What fits anywhere.
    fn least(&self, alerts: usize) -> Words {
        let mut words = Words::default();
        words.bold(if alerts == 1 { "1 alert".to_owned() } else { format!("{alerts} alerts") });
        words
    }

    fn when(&self, alert: &Alert) -> String {
        let zone = &self.channel.zone;
        let (Some(fired), event) = (instant(alert.fired_at), instant(alert.event_time)) else {
            return "at an unknown time".to_owned();
        };
        let fired_text = when(fired, zone);
        match event {
            // A tick that came much later than it happened.
            Some(event) if fired.duration_since(event).abs() > SignedDuration::from_mins(1) => {
                format!("{fired_text}, on what happened {}", event.strftime("%Y-%m-%d %H:%M:%S UTC"))
            }
            _ => fired_text,
        }
    }

    /// `happened 12:03 UTC, 61 minutes ago` of an alert that comes late.
    pub fn late(&self, alert: &Alert) -> Option<String> {
        late(instant(alert.fired_at)?, self.now, self.channel.late_after)
    }

    /// The page that shows the alert's symbol from a while before it.
    pub fn page(&self, alert: &Alert) -> Option<String> {
        let mut url = self.dashboard?.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(symbol) = &alert.symbol {
                query.append_pair("symbol", &shortened(symbol, NAME));
            }
            if let Some(from) = instant(alert.event_time).and_then(|at| at.checked_sub(BEFORE).ok()) {
                query.append_pair("from", &from.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            }
        }
        Some(url.into())
    }
}

/// `WARNING BTC-USD 67187.34`: how bad, of what, at which price.
pub fn headline(alert: &Alert) -> String {
    let word = match alert.state {
        AlertState::Firing => alert.severity.as_str(),
        AlertState::Resolved => "RESOLVED",
    };
    let of = [alert.symbol.as_deref(), alert.source.as_deref()];
    let of: Vec<String> = of.into_iter().flatten().map(|name| shortened(name, NAME)).collect();
    let price = alert.price.map(|price| format!(" {price}")).unwrap_or_default();
    match of.as_slice() {
        [symbol, source] => format!("{word} {symbol}{price} on {source}"),
        [only] => format!("{word} {only}{price}"),
        _ => format!("{word}{price}"),
    }
}

/// `67187.34 against 65000: +3.37 %`: what crossed what, and by how much.
fn against(alert: &Alert) -> Option<String> {
    let change = alert.change_pct.map(percent);
    match (alert.price, alert.reference, change) {
        (Some(price), Some(reference), Some(change)) => {
            Some(format!("{price} against {}: {change}", beside(reference, price)))
        }
        (Some(price), Some(reference), None) => Some(format!("{price} against {}", beside(reference, price))),
        (_, _, change) => change,
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;
    use crate::notify::channels;

    const TELEGRAM: NonZeroUsize = NonZeroUsize::new(4096).expect("more than none");

    fn channel(more: &str) -> Channel {
        let text = format!("[[channel]]\nname = \"c\"\ntype = \"slack\"\nurl = \"http://s/\"\n{more}");
        channels::parse(&text, &|_| None).expect("a channel").remove(0)
    }

    fn say(channel: &Channel, dashboard: Option<&str>, minutes: i64, alerts: &[Alert], more: usize) -> Message {
        let dashboard = dashboard.map(|url| url.parse::<Url>().expect("an address"));
        let first = instant(alerts[0].fired_at).expect("a time");
        let now = first + SignedDuration::from_mins(minutes);
        let setting = Setting { channel, dashboard: dashboard.as_ref(), now };
        setting.message(" by rule r", &alerts.iter().collect::<Vec<_>>(), more, Words::html, TELEGRAM)
    }

    #[test]
    fn one_alert_says_all_that_a_person_needs() {
        let alert = example::alert();
        let channel = channel("time_zone = \"America/Sao_Paulo\"");
        let message = say(&channel, Some("https://prices.example/live"), 0, std::slice::from_ref(&alert), 0);
        assert_eq!(
            message.text,
            "<b>WARNING BTC-USD 67187.34 on coinbase</b>\n\
             BTC-USD at 67187.34 is 3.37 % above the mean of the last 20 ticks\n\
             67187.34 against 65000: +3.37 %\n\
             2025-10-09 08:53:20 UTC (05:53:20 America/Sao_Paulo)\n\
             rule away-from-mean · <a href=\"https://prices.example/live?symbol=BTC-USD&amp;from=2025-10-09T08%3A23%3A20Z\">dashboard</a>"
        );
        let late = say(&channel, None, 61, &[alert], 0);
        assert!(late.text.contains("<b>late: happened 08:53 UTC, 61 minutes ago</b>"), "{}", late.text);
        assert!(late.text.ends_with("rule away-from-mean"), "{}", late.text);
    }

    #[test]
    fn an_alert_of_a_silent_source_has_no_price() {
        let silent = Alert {
            state: AlertState::Resolved,
            symbol: None,
            price: None,
            reference: None,
            change_pct: None,
            event_time: example::alert().fired_at - 600_000_000,
            message: "coinbase is heard again after 10 minutes".to_owned(),
            ..example::alert()
        };
        assert_eq!(
            say(&channel(""), None, 0, &[silent], 0).text,
            "<b>RESOLVED coinbase</b>\n\
             coinbase is heard again after 10 minutes\n\
             2025-10-09 08:53:20 UTC, on what happened 2025-10-09 08:43:20 UTC\n\
             rule away-from-mean"
        );
    }

    #[test]
    fn of_many_the_first_are_named_and_the_others_counted() {
        let alerts = vec![example::alert(); 40];
        let message = say(&channel("group_most = 3"), None, 61, &alerts, 100);
        let lines: Vec<&str> = message.text.lines().collect();
        assert_eq!(lines[0], "<b>140 alerts by rule r</b>");
        assert!(
            lines[1]
                .starts_with("2025-10-09 08:53:20 UTC: <b>WARNING BTC-USD 67187.34 on coinbase</b>, 67187.34 against")
        );
        assert_eq!(&lines[4..], ["and 137 more", "<b>late: the first happened 08:53 UTC, 61 minutes ago</b>"]);
        assert_eq!(message.named, 3);
    }

    #[test]
    fn whatever_the_texts_are_it_fits() {
        let long = "&<>\"\u{1F680}".repeat(2000);
        let hostile = Alert {
            rule: long.clone(),
            symbol: Some(long.clone()),
            source: Some(long.clone()),
            message: long,
            ..example::alert()
        };
        let url = format!("https://prices.example/{}", "x".repeat(1000));
        for count in [1, 2, 50, 500] {
            let message = say(&channel("group_most = 500"), Some(&url), 100, &vec![hostile.clone(); count], 0);
            assert!(message.text.encode_utf16().count() <= 4096, "{count}");
            assert!(message.text.contains(if count == 1 { "WARNING" } else { "alerts" }), "{}", message.text);
        }
        let plain = say(&channel("group_most = 500"), None, 0, &vec![example::alert(); 500], 0);
        let lines = plain.text.lines().count();
        assert!(plain.named > 10 && lines == plain.named + 2, "{} named in {lines} lines", plain.named);
    }
}
