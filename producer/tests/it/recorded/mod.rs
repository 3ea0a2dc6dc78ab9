//! Real payloads, where the folder of them is there, one file a source: exact ticks and problems, written down from reading
//! the payloads. A test that does not find its payload says so and checks nothing.

mod awesomeapi;
mod b3;
mod binance;
mod bitstamp;
mod coinbase;
mod coingecko;
mod coinmarketcap;
mod kraken;
mod okx;

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;

use crate::normalizing::normalize;

/// Where a recorded payload lies.
pub fn recorded(name: &str) -> Option<String> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/recorded")).join(name);
    if path.exists() {
        return Some(path.to_str().expect("UTF-8").to_owned());
    }
    eprintln!("SKIP: the recorded payload {name} is not there (../shared/recorded)");
    None
}

/// Reads one recorded payload of `source` and compares every line that comes of it.
pub fn check(source: &str, request: Option<&str>, name: &str, expected: &[&str]) {
    if let Some(said) = said(source, request, name) {
        assert_eq!(said, expected, "{source}/{name}");
    }
}

/// What a recorded payload becomes, a line each:
/// - a tick as `BTC-USD 67000.1 TRADE 2026-03-04T05:06:07.000000Z quantity=0.5 trade_id=7`: symbol, price, kind, event time
///   (`received` where the source gives none) and every optional field that is there, in the event's order;
/// - a weight as `IBOV PETR4 'PETROBRAS' 'PN      N2' 6.1% 4566445852 2026-03-04`;
/// - a problem as `not_answered rejected ethereum @3`: code, effect, path and line of the file, each where there is one;
/// - anything else as its name and its JSON.
pub fn said(source: &str, request: Option<&str>, name: &str) -> Option<Vec<String>> {
    let path = recorded(&format!("{source}/{name}"))?;
    let mut args = vec!["--source", source];
    args.extend(request.map(|request| ["--request", request]).iter().flatten());
    args.push(&path);
    let output = normalize(&args, None);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    Some(lines.lines().map(|line| line_of(&serde_json::from_str(line).expect("a JSON line"))).collect())
}

fn line_of(line: &Value) -> String {
    let (name, content) = line.as_object().and_then(|line| line.iter().next()).expect("an object of one name");
    match name.as_str() {
        "tick" => tick_line(content),
        "index_weight" => weight_line(content),
        "problem" => problem_line(content),
        other => format!("{other} {content}"),
    }
}

fn tick_line(tick: &Value) -> String {
    const OPTIONAL: [&str; 10] = [
        "quantity",
        "bid",
        "ask",
        "volume_24h",
        "quote_volume_24h",
        "market_cap",
        "change_24h_pct",
        "sequence",
        "trade_id",
        "fx_age_ms",
    ];
    let time = match tick["event_time_origin"].as_str() {
        Some("RECEIVED") => "received".to_owned(),
        _ => {
            let micros = tick["event_time"].as_i64().expect("micros");
            format!("{:.6}", Timestamp::from_microsecond(micros).expect("a time"))
        }
    };
    let mut line = format!("{} {} {} {time}", plain(&tick["symbol"]), plain(&tick["price"]), plain(&tick["kind"]));
    for field in OPTIONAL.iter().filter(|field| !tick[**field].is_null()) {
        line.push_str(&format!(" {field}={}", plain(&tick[*field])));
    }
    line
}

fn weight_line(weight: &Value) -> String {
    let text = |field: &str| plain(&weight[field]);
    let segment = weight["segment"].as_str().map_or_else(String::new, |segment| format!(" in {segment}"));
    format!(
        "{} {} '{}' '{}' {}% {} {}{segment}",
        text("index_name"),
        text("code"),
        text("asset"),
        text("type"),
        text("part"),
        text("theoretical_quantity"),
        text("pregao_date"),
    )
}

fn problem_line(problem: &Value) -> String {
    let mut line = format!("{} {}", plain(&problem["code"]), plain(&problem["effect"]));
    if let Some(path) = problem["path"].as_str() {
        line.push_str(&format!(" {path}"));
    }
    if let Some(number) = problem["line"].as_u64() {
        line.push_str(&format!(" @{number}"));
    }
    line
}

/// A string without its quotes, a number as it is.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
