//! `producer normalize`, the real binary.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub fn normalize(args: &[&str], input: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
    command.arg("normalize").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary is built");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.unwrap_or_default().as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// Each line as `symbol price` or `code line`.
pub fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("a JSON line");
            match (line.get("tick"), line.get("problem")) {
                (Some(tick), None) => format!("{} {}", text_of(&tick["symbol"]), text_of(&tick["price"])),
                (None, Some(problem)) => {
                    format!("{} {}", text_of(&problem["code"]), problem.get("line").unwrap_or(&Value::Null))
                }
                _ => panic!("{line}"),
            }
        })
        .collect()
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn lines_and_whole_files_become_ticks_and_problems() {
    let dir = tempfile::tempdir().expect("a folder");
    let frames = concat!(
        r#"{"type":"match","trade_id":7,"size":"0.5","price":"67000.10","product_id":"BTC-USD","sequence":1,"time":"2026-03-04T05:06:07Z"}"#,
        "\r\n\n<html>\n",
        r#"{"type":"match","trade_id":9,"size":"0.5","price":"67000.20","product_id":"BTC-USD","sequence":2,"time":"2026-03-04T05:06:08Z"}"#,
    );
    let frames = file(dir.path(), "frames.jsonl", frames);
    let read = normalize(&["--source", "coinbase", &frames], None);
    assert_eq!(lines(&read), ["BTC-USD 67000.1", "not_json 3", "BTC-USD 67000.2", "trades_missing 4"]);

    let answer = "{\n \"bitcoin\": {\"usd\": 67000.10, \"last_updated_at\": 1699999990}\n}\n";
    let answer_file = file(dir.path(), "answer.json", answer);
    let request = "/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd";
    let read = normalize(&["--source", "coingecko", "--request", request, &answer_file, "-"], Some(answer));
    assert_eq!(lines(&read), ["BTC-USD 67000.1", "not_answered null", "BTC-USD 67000.1", "not_answered null"]);
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    for (args, said) in [
        (vec!["--source", "coingecko", "/nowhere.json"], "/nowhere.json"),
        (vec!["--source", "recorded", "-"], "has no payloads of its own"),
    ] {
        let output = normalize(&args, None);
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains(said), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_payload_that_is_too_long_is_named_and_not_held() {
    let dir = tempfile::tempdir().expect("a folder");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(21 * 1024 * 1024));
    let whole = file(dir.path(), "long.json", &long);
    assert_eq!(lines(&normalize(&["--source", "coingecko", &whole], None)), ["too_long null"]);
    let both = file(dir.path(), "long.jsonl", &format!("{long}\n{{\"type\":\"news\"}}\n"));
    assert_eq!(lines(&normalize(&["--source", "coinbase", &both], None)), ["too_long 1", "unknown_type 2"]);
}
