use super::*;

fn refused(text: &str, expected: &str) {
    let error = Rules::parse(text).expect_err(text);
    assert_eq!(error.to_string(), expected, "{text}");
}

/// The mistake in a rule whose other lines are right: line 1 is `[[rule]]`, 2 the name, 3 the kind, 4 and on `lines`.
fn wrong(kind: &str, lines: &str, expected: &str) {
    refused(&format!("[[rule]]\nname = \"it\"\nkind = \"{kind}\"\n{lines}"), expected);
}

#[test]
fn the_built_in_rules_are_read_and_said() {
    let sentences: Vec<String> =
        Rules::built_in().iter().map(|rule| format!("{}: {}", rule.name, rule.sentence())).collect();
    assert_eq!(
        sentences,
        [
            "3 % off the mean of 20 ticks: warning when a price of any symbol at any source is more than 3 % off the mean of the 20 ticks before it, armed again below 2 %, at most once in 10m, silent together with the rules of group moves",
            "3 % off the mean of 5 minutes: warning when a price of any symbol at any source is more than 3 % off the mean of the 5m before it, armed again below 2 %, at most once in 10m, silent together with the rules of group moves",
            "5 % in 15 minutes: critical when a price of any symbol at any source is more than 5 % off the oldest one of the 15m before it, armed again below 3 %, at most once in 10m, silent together with the rules of group moves",
            "rough market: info when a price of any symbol at any source varies more than 4 times as much in the 1m as in the rest of the 30m, armed again below 2 times, at most once in 30m, silent together with the rules of group moves",
            "off the other sources: warning when a price of any symbol at any source is more than 1 % off the median of at least 3 other sources' prices of the last 1m, armed again below 0.5 %, at most once in 10m",
            "silent feed: warning when any symbol at any source has had no price for 5m (an unchanged answer to a poll counts as one), at most once in 30m",
            "open gap: warning when a gap at any source has been open for 30s, at most once in 10m",
            "bitcoin above 100,000: warning when a price (TRADE, REFERENCE) of BTC-USD or BTC-USDT at any source rises above 100000, armed again at 99000, at most once in 10m, and when it is over (switched off)",
        ]
    );
}

#[test]
fn what_is_no_file_of_rules() {
    refused("", "line 1, column 1: there is no rule in it; a rule begins with the line [[rule]]");
    refused("# nothing\n", "line 1, column 1: there is no rule in it; a rule begins with the line [[rule]]");
    refused("rule = []", "line 1, column 8: there is no rule in it; a rule begins with the line [[rule]]");
    refused("\n[rule]\nname = 'a'", "line 2, column 1: a rule begins with the line [[rule]], in double brackets");
    refused("rule = [1]", "line 1, column 9: a rule begins with the line [[rule]], in double brackets");
    refused("[[rules]]\n", "line 1, column 3: unknown key `rules` (did you mean `rule`?); a file of rules takes rule");
    refused("[[rule]]\nname = 'a'\n\nname = 'b'", "line 4, column 1: duplicate key");
    refused("[[rule]]\nname = 'é' x", "line 2, column 12: unexpected key or value, expected newline, `#`");
    refused("[[rule]]\nname = \u{0}", "line 2, column 8: string values must be quoted, expected literal string");
    let deep = Rules::parse(&format!("x = {}", "[".repeat(100_000))).expect_err("too deep");
    assert!(deep.what.contains("cannot recurse further"), "{deep}");
}

#[test]
fn what_is_wrong_with_a_rule_and_what_is_allowed() {
    refused(
        "[[rule]]\nname = 'a'",
        "line 1, column 1: the rule has no `kind`; it is one of moving_average, threshold, percent_change, volatility, stale_feed, open_gap, off_median",
    );
    refused(
        "[[rule]]\nkind = 'stale_feed'",
        "line 1, column 1: the rule has no `name`; any text that no other rule has",
    );
    refused(
        "[[rule]]\nname = 'a'\nkind = 'moving'",
        "line 3, column 8: `kind` must be one of moving_average, threshold, percent_change, volatility, stale_feed, open_gap, off_median, not \"moving\"",
    );
    refused(
        "[[rule]]\nname = 'a'\nkind = 'stale_feed'\n[[rule]]\nkind = 'open_gap'\nname = 'a'",
        "line 6, column 8: the name \"a\" is that of the rule in line 2 already; names are unique",
    );
    wrong(
        "stale_feed",
        "silent = '1m'",
        "line 4, column 1: unknown key `silent`; a rule of kind stale_feed takes name, kind, enabled, severity, symbols, sources, price_kinds, cooldown, notify_resolved, group, silent_for, unchanged_counts",
    );
    wrong(
        "threshold",
        "above = 1\nwindow = 3",
        "line 5, column 1: unknown key `window`; a rule of kind threshold takes name, kind, enabled, severity, symbols, sources, price_kinds, cooldown, notify_resolved, group, above, below, rearm",
    );
    for (lines, expected) in [
        (
            "windw = 3",
            "line 4, column 1: unknown key `windw` (did you mean `window`?); a rule of kind moving_average takes name, kind, enabled, severity, symbols, sources, price_kinds, cooldown, notify_resolved, group, window, within, share, rearm, direction, min_ticks, across_gaps",
        ),
        (
            "window = 0",
            "line 4, column 10: `window` must be a number of ticks from 1 to 10000, or a time from 1ms to 1day, as in \"90s\", \"10m\" or \"1h 30m\"",
        ),
        (
            "window = 10001",
            "line 4, column 10: `window` must be a number of ticks from 1 to 10000, or a time from 1ms to 1day, as in \"90s\", \"10m\" or \"1h 30m\"",
        ),
        (
            "window = '0s'",
            "line 4, column 10: `window` must be a number of ticks from 1 to 10000, or a time from 1ms to 1day, as in \"90s\", \"10m\" or \"1h 30m\"",
        ),
        (
            "window = '25h'",
            "line 4, column 10: `window` must be a number of ticks from 1 to 10000, or a time from 1ms to 1day, as in \"90s\", \"10m\" or \"1h 30m\"",
        ),
        (
            "window = '20 ticks'",
            "line 4, column 10: `window` must be a number of ticks from 1 to 10000, or a time from 1ms to 1day, as in \"90s\", \"10m\" or \"1h 30m\"",
        ),
        (
            "window = -5",
            "line 4, column 10: `window` must be a number of ticks from 1 to 10000, or a time from 1ms to 1day, as in \"90s\", \"10m\" or \"1h 30m\"",
        ),
        (
            "share = -3",
            "line 4, column 9: `share` must be a number of percent above 0 and at most 10000 (3 means 3 %), not -3",
        ),
        (
            "share = 0.0",
            "line 4, column 9: `share` must be a number of percent above 0 and at most 10000 (3 means 3 %), not 0.0",
        ),
        (
            "share = nan",
            "line 4, column 9: `share` must be a number of percent above 0 and at most 10000 (3 means 3 %), not nan",
        ),
        (
            "share = '3 %'",
            "line 4, column 9: `share` must be a number of percent above 0 and at most 10000 (3 means 3 %), not \"3 %\"",
        ),
        (
            "share = 101\ndirection = 'down'",
            "line 4, column 9: `share` must be a number of percent above 0 and at most 100 (3 means 3 %), not 101",
        ),
        (
            "share = 2\nrearm = 3",
            "line 5, column 9: `rearm` must be a number of percent above 0 and at most 2 (3 means 3 %), not 3",
        ),
        ("direction = 'left'", "line 4, column 13: `direction` must be one of both, up, down, not \"left\""),
        ("min_ticks = 1.5", "line 4, column 13: `min_ticks` must be a whole number from 1 to 10000, not 1.5"),
        (
            "within = 5",
            "line 4, column 10: `within` must be a time from 1ms to 1day, as in \"90s\", \"10m\" or \"1h 30m\", not 5",
        ),
        ("across_gaps = 'yes'", "line 4, column 15: `across_gaps` must be true or false, not \"yes\""),
        ("severity = 'high'", "line 4, column 12: `severity` must be one of info, warning, critical, not \"high\""),
        (
            "cooldown = '-1m'",
            "line 4, column 12: `cooldown` must be a time from 0s to 1day, as in \"90s\", \"10m\" or \"1h 30m\", not \"-1m\"",
        ),
        (
            "cooldown = '99999999999999999999y'",
            "line 4, column 12: `cooldown` must be a time from 0s to 1day, as in \"90s\", \"10m\" or \"1h 30m\", not \"99999999999999999999y\"",
        ),
        (
            "symbols = 'BTC-USD'",
            "line 4, column 11: `symbols` must be a list of texts, as in [\"BTC-*\"], not \"BTC-USD\"",
        ),
        (
            "symbols = ['BTC-USD', '']",
            "line 4, column 23: `symbols` must be a name or a pattern as in \"BTC-*\", \"*-USD\" or \"*\", not \"\"",
        ),
        (
            "symbols = ['[a']",
            "line 4, column 12: `symbols`: \"[a\" is no pattern (invalid range pattern); allowed is a name or a pattern as in \"BTC-*\", \"*-USD\" or \"*\"",
        ),
        (
            "price_kinds = ['BARTER']",
            "line 4, column 16: `price_kinds` must be one of TRADE, QUOTE, TICKER, REFERENCE, FX, FX_IMPLIED, not \"BARTER\"",
        ),
        (
            "group = \"a\\nb\"",
            "line 4, column 9: `group` must be a text of 1 to 100 characters without line breaks, not \"a?b\"",
        ),
        ("group = ''", "line 4, column 9: `group` must be a text of 1 to 100 characters without line breaks, not \"\""),
    ] {
        wrong("moving_average", lines, expected);
    }
    for (lines, expected) in [
        ("", "line 1, column 1: a rule of kind threshold needs `above` or `below`, a price"),
        ("above = 1\nbelow = 2", "line 5, column 9: a rule has `above` or `below`, not both; make two rules"),
        ("above = '1'", "line 4, column 9: `above` must be a price, as in 70000 or 0.25, not \"1\""),
        ("above = 1e30", "line 4, column 9: `above` must be a price, as in 70000 or 0.25, not 1e30"),
        ("above = 0x10", "line 4, column 9: `above` must be a price, as in 70000 or 0.25, not 10"),
        (
            "above = 100\nrearm = 101",
            "line 5, column 9: `rearm` is 101, above the price to be crossed; it must be at most 100",
        ),
        (
            "below = 100\nrearm = 99.5",
            "line 5, column 9: `rearm` is 99.5, below the price to be crossed; it must be at least 100",
        ),
    ] {
        wrong("threshold", lines, expected);
    }
    for (lines, expected) in [
        (
            "short = '1h'",
            "line 1, column 1: `long` must be longer than `short`: it is what the short window is held against, and holds it",
        ),
        (
            "short = 20\nlong = '1h'",
            "line 5, column 8: `short` and `long` must both be numbers of ticks, or both times",
        ),
        ("short = 1\nlong = 20", "line 4, column 9: `short` must have at least 2 ticks to vary"),
        ("factor = 1", "line 4, column 10: `factor` must be a number above 1 and at most 1000, not 1"),
        ("rearm = 5", "line 4, column 9: `rearm` must be above 0 and at most `factor` (4), not 5"),
    ] {
        wrong("volatility", lines, expected);
    }
    wrong(
        "open_gap",
        "reasons = ['BORED']",
        "line 4, column 12: `reasons` must be one of DISCONNECTED, POLL_FAILED, RATE_LIMITED, SEQUENCE, STALE, PRODUCER_DOWN, OVERFLOW, not \"BORED\"",
    );
    wrong(
        "off_median",
        "min_sources = 1",
        "line 4, column 15: `min_sources` must be a whole number from 2 to 100, not 1",
    );
}

#[test]
fn sizes_have_bounds() {
    let many =
        |count: usize| (0..count).map(|n| format!("[[rule]]\nname='{n}'\nkind='stale_feed'\n")).collect::<String>();
    assert_eq!(Rules::parse(&many(MAX_RULES)).unwrap().iter().count(), MAX_RULES);
    refused(&many(MAX_RULES + 1), "line 1, column 1: the file has 10001 rules; at most 10000 are allowed");
    refused(&"#".repeat(MAX_FILE_BYTES + 1), "line 1, column 1: the file has 4194305 bytes; at most 4194304 are read");
    let list = "'*',".repeat(1_001);
    wrong(
        "stale_feed",
        &format!("symbols = [{list}]"),
        "line 4, column 11: `symbols` has 1001 entries; at most 1000 are allowed",
    );
    let name = "x".repeat(101);
    let shown = format!("{}…", "x".repeat(40));
    refused(
        &format!("[[rule]]\nkind = 'stale_feed'\nname = '{name}'"),
        &format!("line 3, column 8: `name` must be a text of 1 to 100 characters without line breaks, not {shown:?}"),
    );
}

#[test]
fn a_rule_is_known_by_what_it_says() {
    let hash = |text: &str| Rules::parse(text).unwrap().iter().next().unwrap().hash.to_string();
    let one = hash("[[rule]]\nname='a'\nkind='moving_average'\nsymbols=['BTC-*','ETH-*']");
    let same = "# commented\n[[rule]]\nsymbols=['ETH-*', 'BTC-*', 'ETH-*'] # here\nenabled = false\nshare=3.00\ncooldown='600s'\nwindow = 20\nkind='moving_average'\nname='a'";
    assert_eq!(hash(same), one);
    for other in [
        "name='b'\nkind='moving_average'\nsymbols=['BTC-*','ETH-*']",
        "name='a'\nkind='moving_average'\nsymbols=['BTC-*']",
        "name='a'\nkind='moving_average'\nsymbols=['BTC-*','ETH-*']\nshare=3.01",
        "name='a'\nkind='moving_average'\nsymbols=['BTC-*','ETH-*']\nwindow='20s'",
        "name='a'\nkind='moving_average'\nsymbols=['BTC-*','ETH-*']\nseverity='info'",
        "name='a'\nkind='percent_change'\nsymbols=['BTC-*','ETH-*']",
    ] {
        assert_ne!(hash(&format!("[[rule]]\n{other}")), one, "{other}");
    }
    // Alert ids and states hang on these: a change here makes every rule a new one.
    let pinned: Vec<String> = Rules::built_in().iter().map(|rule| rule.hash.to_string()).collect();
    assert_eq!(pinned, PINNED);
}

const PINNED: [&str; 8] = [
    "545bd149a798e127",
    "a0a04ab31156016d",
    "73926cacc052ac28",
    "0b7d83d78febc305",
    "be7fa4f0abd6c329",
    "a4c1386ca9d4c102",
    "821e3c88048ea92c",
    "93f7beca9096ec8a",
];

/// Every example of the documentation that is one, with a text before it that names it.
#[test]
fn the_documentation_s_examples_are_rules() {
    let page = include_str!("../../../docs/alerts.md");
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|text| text.contains("[[rule]]"))
        .collect();
    let mut kinds: Vec<String> = Vec::new();
    for example in examples {
        let rules = Rules::parse(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
        kinds.extend(rules.iter().map(|rule| rule.condition.kind().to_string()));
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), pipeline::events::AlertKind::ALL.len(), "an example of each kind: {kinds:?}");
}
