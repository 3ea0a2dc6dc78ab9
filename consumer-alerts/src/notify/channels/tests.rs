use pipeline::example;
use secrecy::ExposeSecret;

use super::*;

const EXAMPLE: &str = include_str!("../../../channels/example.toml");

fn environment(name: &str) -> Option<String> {
    Some(match name {
        "TELEGRAM_BOT_TOKEN" => "123456:hunter2-hunter2\n".to_owned(),
        "PAGER_SECRET" => "hunter2-pager".to_owned(),
        "SLACK_WEBHOOK_URL" => "https://hooks.slack.example/services/hunter2".to_owned(),
        "EMPTY" => " \n".to_owned(),
        "NO_TOKEN" => "hunter2 without a colon".to_owned(),
        "NO_URL" => "hunter2".to_owned(),
        _ => return None,
    })
}

#[test]
fn the_example_is_what_it_says_and_shows_no_secret() {
    let channels = parse(EXAMPLE, &environment).expect("the example is read");
    let [phone, pager, desk] = channels.as_slice() else { panic!("three channels") };
    let To::Telegram { token, chat_id, api_url } = &phone.to else { panic!("a Telegram channel") };
    assert_eq!(token.expose_secret(), "123456:hunter2-hunter2", "without the line end");
    assert_eq!((chat_id.as_str(), api_url.as_str()), ("-1001234567890", "https://api.telegram.org"));
    assert_eq!(phone.group(), "notifier-phone");
    assert_eq!(
        (phone.grouping.by, phone.grouping.wait, phone.grouping.most),
        (GroupBy::Rule, SignedDuration::from_secs(5), 20)
    );
    assert_eq!(phone.quiet.as_ref().and_then(|quiet| quiet.except), Some(Severity::Critical));
    assert_eq!(phone.zone.iana_name(), Some("America/Sao_Paulo"));
    assert!(matches!(&pager.to, To::Webhook { secret: Some(_), .. }));
    assert_eq!((pager.grouping.by, pager.grouping.wait), (GroupBy::Nothing, SignedDuration::ZERO));
    assert!(matches!(&desk.to, To::Slack { .. }));
    assert_eq!(desk.late_after, SignedDuration::from_mins(5));
    assert!(!format!("{channels:?}").contains("hunter2"));
}

#[test]
fn a_filter_asks_for_severity_rule_and_symbol() {
    let channels = parse(EXAMPLE, &environment).expect("the example is read");
    let alert = |severity, rule: &str, symbol: Option<&str>| Alert {
        severity,
        rule: rule.to_owned(),
        symbol: symbol.map(str::to_owned),
        ..example::alert()
    };
    let [phone, pager, desk] = channels.as_slice() else { panic!("three channels") };
    let wanted = |alert: &Alert| [phone, pager, desk].map(|channel| channel.filter.wants(alert));
    assert_eq!(wanted(&alert(Severity::Warning, "btc-mean", Some("BTC-EUR"))), [true, false, true]);
    assert_eq!(wanted(&alert(Severity::Critical, "mean", Some("ETH-USD"))), [true, true, false]);
    assert_eq!(wanted(&alert(Severity::Critical, "mean", Some("ETH-USDT"))), [false, true, false]);
    assert_eq!(wanted(&alert(Severity::Warning, "stale", None)), [true, false, false], "of a whole source");
    assert_eq!(wanted(&alert(Severity::Info, "btc-mean", Some("BTC-USD"))), [false, false, true]);
}

/// A channel of `kind` with `lines`, which begin on line 5.
fn check(kind: &str, lines: &str, expected: &str) {
    let text = format!("# a file\n[[channel]]\nname = \"c\"\ntype = \"{kind}\"\n{lines}\n");
    let said = parse(&text, &environment).expect_err(&format!("{lines} is wrong"));
    assert!(said.contains(expected), "{said:?} does not have {expected:?}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_would_be_right() {
    let telegram = "token_env = \"TELEGRAM_BOT_TOKEN\"\nchat_id = 1\n";
    let slack = "url_env = \"SLACK_WEBHOOK_URL\"\n";
    check("telegram", "token = \"123:hunter2\"", "5:1: a secret does not stand in this file: `token_env` names");
    check("webhook", "url = \"https://h/\"\nsecret = \"hunter2\"", "6:1: a secret does not stand in this file");
    check("telegram", "tokenenv = 1", "5:1: unknown field `tokenenv`, expected one of `name`, `type`, `token_env`");
    check("email", "", "4:8: unknown variant `email`, expected one of `telegram`, `webhook`, `slack`");
    check("telegram", "chat_id = 1", "2:1: this channel lacks `token_env` or `token_file`");
    check("telegram", "token_env = \"TELEGRAM_BOT_TOKEN\"", "2:1: this channel lacks `chat_id`");
    check("telegram", "token_env = \"NOWHERE\"\nchat_id = 1", "5:13: the environment variable NOWHERE is not set");
    check("telegram", "token_env = \"EMPTY\"\nchat_id = 1", "5:13: what EMPTY names is empty");
    check("telegram", "token_env = \"NO_TOKEN\"\nchat_id = 1", "5:13: what this names is no bot token");
    check("telegram", "token_file = \"/no/such/file\"\nchat_id = 1", "5:14: cannot read the file /no/such/file");
    check(
        "telegram",
        "token_env = \"TELEGRAM_BOT_TOKEN\"\nchat_id = \"prices\"",
        "6:11: `chat_id` is a number such as",
    );
    check("telegram", "token_env = \"TELEGRAM_BOT_TOKEN\"\nchat_id = 1.5", "6:11: expected a number such as");
    check("telegram", &format!("{telegram}api_url = \"example.org\""), "7:11: `api_url` is no address");
    check(
        "telegram",
        &format!("{telegram}url = \"http://x\""),
        "7:7: `url` is not for a channel of type telegram, which has `token_env`",
    );
    check("webhook", "url = \"ftp://x\"", "5:7: the address begins with http:// or https://");
    check("webhook", "url_env = \"NO_URL\"", "5:11: the address is no address");
    check("webhook", "", "2:1: this channel lacks `url`, `url_env` or `url_file`");
    check(
        "webhook",
        "url = \"http://x\"\nurl_env = \"NO_URL\"",
        "5:7: `url`, `url_env` and `url_file` are ways to say the same",
    );
    check(
        "webhook",
        "url = \"http://x\"\ngroup_wait = \"1s\"",
        "6:14: `group_wait` is not for a channel of type webhook",
    );
    check(
        "webhook",
        "url = \"http://x\"\nsecret_env = \"A\"\nsecret_file = \"B\"",
        "7:15: `secret_env` and `secret_file` are two ways",
    );
    check(
        "slack",
        &format!("{slack}min_severity = \"fatal\""),
        "6:16: unknown variant `fatal`, expected one of `info`, `warning`, `critical`",
    );
    check("slack", &format!("{slack}symbols = [\"***\"]"), "6:12: expected a name, or a pattern such as");
    check("slack", &format!("{slack}time_zone = \"Lisbon\""), "6:13: there is no time zone \"Lisbon\"");
    check(
        "slack",
        &format!("{slack}quiet_hours = {{ from = \"25:00\", to = \"07:00\" }}"),
        "6:24: expected a time of day such as \"22:00\"",
    );
    check(
        "slack",
        &format!("{slack}quiet_hours = {{ from = \"07:00\", to = \"07:00\" }}"),
        "6:38: quiet hours that end when they begin",
    );
    check(
        "slack",
        &format!("{slack}quiet_hours = {{ from = \"07:00\", until = \"08:00\" }}"),
        "6:33: unknown field `until`, expected one of `from`, `to`, `except`",
    );
    check("slack", &format!("{slack}group_wait = \"10m\""), "6:14: expected a duration from 0s to 5m, such as \"5s\"");
    check("slack", &format!("{slack}group_wait = 5"), "6:14: invalid type: integer `5`, expected a string");
    check("slack", &format!("{slack}group_most = 0"), "6:14: `group_most` is at least 1");
    check("slack", &format!("{slack}timeout = \"0s\""), "6:11: expected a duration from 1s to 2m");
    check("slack", "url_env = ", "5:");
    check(
        "slack",
        &format!("{slack}[[channel]]\nname = \"c\"\ntype = \"slack\"\n{slack}"),
        "7:8: there are two channels called \"c\"",
    );
    check(
        "slack",
        &format!("{slack}[[channel]]\nname = \"c d\"\ntype = \"slack\"\n{slack}"),
        "7:8: a channel's name has 1 to 60 letters",
    );
}

#[test]
fn a_file_without_a_channel_is_a_mistake() {
    assert!(parse("", &environment).expect_err("nothing").contains("missing field `channel`"));
    assert!(parse("channel = []", &environment).expect_err("none").contains("there is no channel"));
    let missing = read(Path::new("/no/such/channels.toml"), &environment).expect_err("no file");
    assert!(missing.to_string().contains("ALERT_CHANNELS"), "{missing}");
    assert_eq!(pipeline::exit_code(&missing), 2);
}
