//! The file's text to channels: the shape by serde, then what a shape cannot say. All kinds of channels share one table
//! shape, so that every mistake has its own place; [`only_for`] says which key is for which.

use std::collections::HashSet;
use std::ops::Range;

use glob::Pattern;
use jiff::SignedDuration;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use pipeline::events::Severity;
use secrecy::ExposeSecret;
use serde::Deserialize;
use toml::Spanned;

use super::place::Mistake;
use super::secrets::{Secrets, good_url};
use super::{Channel, Environment, Filter, GroupBy, Grouping, To};
use crate::notify::quiet::QuietHours;

const TELEGRAM: &str = "https://api.telegram.org";
const LONGEST_NAME: usize = 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    channel: Vec<Spanned<Table>>,
}

type Text = Option<Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Spanned<String>,
    r#type: Type,
    token_env: Text,
    token_file: Text,
    chat_id: Option<Spanned<ChatId>>,
    api_url: Text,
    url: Text,
    url_env: Text,
    url_file: Text,
    secret_env: Text,
    secret_file: Text,
    min_severity: Option<Level>,
    symbols: Option<Vec<Spanned<String>>>,
    rules: Option<Vec<Spanned<String>>>,
    group_by: Option<Spanned<By>>,
    group_wait: Text,
    group_most: Option<Spanned<u16>>,
    quiet_hours: Option<Spanned<Quiet>>,
    time_zone: Text,
    late_after: Text,
    timeout: Text,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Telegram,
    Webhook,
    Slack,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number such as -1001234567890, or a name such as \"@prices\"")]
enum ChatId {
    Number(i64),
    Name(String),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Info,
    Warning,
    Critical,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Rule,
    Symbol,
    Channel,
    Nothing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quiet {
    from: Spanned<String>,
    to: Spanned<String>,
    except: Option<Level>,
}

pub fn channels(text: &str, environment: Environment<'_>) -> Result<Vec<Channel>, Mistake> {
    let file: File = toml::from_str(text).map_err(|error| with_hint(error.into()))?;
    let mut names = HashSet::new();
    let mut channels = Vec::with_capacity(file.channel.len());
    for table in file.channel {
        let span = table.span();
        let name = table.get_ref().name.clone();
        if !names.insert(name.get_ref().clone()) {
            return Err(Mistake::at(name.span(), format!("there are two channels called {:?}", name.get_ref())));
        }
        channels.push(channel(table.into_inner(), span, environment)?);
    }
    if channels.is_empty() {
        return Err(Mistake::at(0..0, "there is no channel: begin one with [[channel]]"));
    }
    Ok(channels)
}

/// People write a secret where it is wanted: they are told where it belongs.
fn with_hint(mut mistake: Mistake) -> Mistake {
    for secret in ["token", "secret"] {
        if mistake.message.starts_with(&format!("unknown field `{secret}`")) {
            mistake.message = format!(
                "a secret does not stand in this file: `{secret}_env` names an environment variable that has it, \
                 `{secret}_file` a file"
            );
        }
    }
    mistake
}

fn channel(table: Table, span: Range<usize>, environment: Environment<'_>) -> Result<Channel, Mistake> {
    let name = table.name.get_ref();
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fit) {
        let message = format!(
            "a channel's name has 1 to {LONGEST_NAME} letters, digits, dashes, underscores or points: it names a consumer group"
        );
        return Err(Mistake::at(table.name.span(), message));
    }
    only_for(&table)?;
    let zone = zone(table.time_zone.as_ref())?;
    let quiet = table.quiet_hours.as_ref().map(|quiet| quiet_hours(quiet, zone.clone())).transpose()?;
    let secrets = Secrets { environment, channel: span };
    let to = match table.r#type {
        Type::Telegram => telegram(&table, &secrets)?,
        Type::Webhook => {
            let secret = secrets.find("secret", table.secret_env.as_ref(), table.secret_file.as_ref())?;
            To::Webhook { url: secrets.url([&table.url, &table.url_env, &table.url_file].map(Option::as_ref))?, secret }
        }
        Type::Slack => {
            To::Slack { url: secrets.url([&table.url, &table.url_env, &table.url_file].map(Option::as_ref))? }
        }
    };
    let of_persons = table.r#type != Type::Webhook;
    let wait = duration(table.group_wait.as_ref(), "5s", "0s", "5m")?;
    let most = table.group_most.as_ref();
    if let Some(none) = most.filter(|most| *most.get_ref() == 0) {
        return Err(Mistake::at(none.span(), "`group_most` is at least 1"));
    }
    let by = match table.group_by.map_or(By::Rule, Spanned::into_inner) {
        _ if !of_persons => GroupBy::Nothing,
        By::Rule => GroupBy::Rule,
        By::Symbol => GroupBy::Symbol,
        By::Channel => GroupBy::Channel,
        By::Nothing => GroupBy::Nothing,
    };
    Ok(Channel {
        to,
        filter: Filter {
            min_severity: table.min_severity.map_or(Severity::Info, severity),
            symbols: patterns(table.symbols.as_deref().unwrap_or_default())?,
            rules: patterns(table.rules.as_deref().unwrap_or_default())?,
        },
        grouping: Grouping {
            by,
            wait: if by == GroupBy::Nothing { SignedDuration::ZERO } else { wait },
            most: most.map_or(20, |most| usize::from(*most.get_ref())),
        },
        quiet,
        zone,
        late_after: duration(table.late_after.as_ref(), "5m", "1s", "168h")?,
        timeout: duration(table.timeout.as_ref(), "10s", "1s", "2m")?,
        name: table.name.into_inner(),
    })
}

/// A key, where it stands if it does, and the kinds of channels that have it.
type Key<'a> = (&'static str, Option<Range<usize>>, &'a [Type]);

/// Refuses a key that another kind of channel has.
fn only_for(table: &Table) -> Result<(), Mistake> {
    let (telegram, webhook) = ([Type::Telegram], [Type::Webhook]);
    let (addressed, of_persons) = ([Type::Webhook, Type::Slack], [Type::Telegram, Type::Slack]);
    let span = |text: &Text| text.as_ref().map(Spanned::span);
    let keys: [Key<'_>; 13] = [
        ("token_env", span(&table.token_env), &telegram),
        ("token_file", span(&table.token_file), &telegram),
        ("chat_id", table.chat_id.as_ref().map(Spanned::span), &telegram),
        ("api_url", span(&table.api_url), &telegram),
        ("url", span(&table.url), &addressed),
        ("url_env", span(&table.url_env), &addressed),
        ("url_file", span(&table.url_file), &addressed),
        ("secret_env", span(&table.secret_env), &webhook),
        ("secret_file", span(&table.secret_file), &webhook),
        ("quiet_hours", table.quiet_hours.as_ref().map(Spanned::span), &of_persons),
        ("group_by", table.group_by.as_ref().map(Spanned::span), &of_persons),
        ("group_wait", span(&table.group_wait), &of_persons),
        ("group_most", table.group_most.as_ref().map(Spanned::span), &of_persons),
    ];
    let foreign = keys.iter().find(|(_, span, types)| span.is_some() && !types.contains(&table.r#type));
    let Some((key, Some(span), _)) = foreign else { return Ok(()) };
    let own: Vec<String> =
        keys.iter().filter(|key| key.2.contains(&table.r#type)).map(|key| format!("`{}`", key.0)).collect();
    let kind = table.r#type.as_str();
    let message = format!("`{key}` is not for a channel of type {kind}, which has {} of its own", own.join(", "));
    Err(Mistake::at(span.clone(), message))
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
        }
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Info => Severity::Info,
        Level::Warning => Severity::Warning,
        Level::Critical => Severity::Critical,
    }
}

fn telegram(table: &Table, secrets: &Secrets<'_>) -> Result<To, Mistake> {
    let token = secrets.find("token", table.token_env.as_ref(), table.token_file.as_ref())?;
    let token = token.ok_or_else(|| secrets.missing("`token_env` or `token_file`"))?;
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
    if !token.expose_secret().contains(':') || !token.expose_secret().chars().all(fit) {
        let span =
            table.token_env.as_ref().or(table.token_file.as_ref()).map_or(secrets.channel.clone(), Spanned::span);
        return Err(Mistake::at(
            span,
            "what this names is no bot token: @BotFather gives one such as 123456:ABC-DEF1234",
        ));
    }
    let chat_id = table.chat_id.as_ref().ok_or_else(|| secrets.missing("`chat_id`"))?;
    let chat_id = match chat_id.get_ref() {
        ChatId::Number(number) => number.to_string(),
        ChatId::Name(name) if name.starts_with('@') && name.len() > 1 => name.clone(),
        ChatId::Name(name) if name.parse::<i64>().is_ok() => name.clone(),
        ChatId::Name(_) => {
            let message = "`chat_id` is a number such as -1001234567890, or a name such as \"@prices\"";
            return Err(Mistake::at(chat_id.span(), message));
        }
    };
    let api_url = match &table.api_url {
        None => TELEGRAM.to_owned(),
        Some(url) => {
            good_url(url.get_ref()).map_err(|reason| Mistake::at(url.span(), format!("`api_url` {reason}")))?;
            url.get_ref().trim_end_matches('/').to_owned()
        }
    };
    Ok(To::Telegram { token, chat_id, api_url })
}

fn patterns(list: &[Spanned<String>]) -> Result<Vec<Pattern>, Mistake> {
    let parse = |text: &Spanned<String>| {
        let pattern = Pattern::new(text.get_ref()).ok().filter(|_| !text.get_ref().is_empty());
        pattern.ok_or_else(|| Mistake::at(text.span(), "expected a name, or a pattern such as \"BTC-*\""))
    };
    list.iter().map(parse).collect()
}

fn zone(name: Option<&Spanned<String>>) -> Result<TimeZone, Mistake> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name.get_ref()).map_err(|_| {
        let message = format!("there is no time zone {:?}; an IANA name is such as \"Europe/Lisbon\"", name.get_ref());
        Mistake::at(name.span(), message)
    })
}

fn quiet_hours(quiet: &Spanned<Quiet>, zone: TimeZone) -> Result<QuietHours, Mistake> {
    let Quiet { from, to, except } = quiet.get_ref();
    let time = |text: &Spanned<String>| {
        let parsed = text.get_ref().parse::<Time>();
        parsed.map_err(|_| Mistake::at(text.span(), "expected a time of day such as \"22:00\""))
    };
    let (begin, end) = (time(from)?, time(to)?);
    if begin == end {
        return Err(Mistake::at(to.span(), "quiet hours that end when they begin would be none, or all"));
    }
    Ok(QuietHours { from: begin, to: end, zone, except: except.map(severity) })
}

fn duration(text: Option<&Spanned<String>>, default: &str, least: &str, most: &str) -> Result<SignedDuration, Mistake> {
    let parse = |text: &str| text.parse::<SignedDuration>().ok();
    let bounds = parse(least).zip(parse(most));
    let Some(text) = text else { return Ok(parse(default).unwrap_or_default()) };
    parse(text.get_ref())
        .filter(|duration| bounds.is_some_and(|(least, most)| (least..=most).contains(duration)))
        .ok_or_else(|| {
            Mistake::at(text.span(), format!("expected a duration from {least} to {most}, such as \"{default}\""))
        })
}
