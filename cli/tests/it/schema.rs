//! The schema commands, against a registry over real HTTP.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use pipeline::codec::RecordType;
use serde_json::{Value, json};

use crate::{Answer, run};

const TICKS: &str = "market.ticks.v1-value";

/// Nothing but a registry, where one is given, in its environment.
async fn schema(registry: Option<&str>, arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickstream"));
    command.arg("schema").args(arguments).stdin(Stdio::null()).env_clear();
    command.envs(registry.map(|url| ("SCHEMA_REGISTRY_URL", url)));
    run(command).await
}

fn rows(answer: &Answer) -> Vec<Value> {
    answer.json().as_array().expect("rows").clone()
}

fn broken(rows: &[Value]) -> Vec<(&str, &str, &str)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("").to_owned().leak() as &str;
    let breaks = |row: &&Value| row["compatible"] == false && row["demanded"] == true;
    rows.iter().filter(breaks).map(|row| (text(row, "direction"), text(row, "field"), text(row, "reason"))).collect()
}

/// The newest tick schema, changed, as a file of that name.
pub fn changed(folder: &FilePath, name: &str, change: impl Fn(&mut Value)) -> String {
    let mut schema: Value = serde_json::from_str(RecordType::PriceTick.newest().json).expect("JSON");
    change(&mut schema);
    let path = folder.join(name);
    std::fs::write(&path, schema.to_string()).expect("written");
    path.to_str().expect("text").to_owned()
}

pub fn fields(schema: &mut Value) -> &mut Vec<Value> {
    schema["fields"].as_array_mut().expect("fields")
}

#[tokio::test]
async fn the_history_gets_on_with_itself_and_says_where_old_readers_do_not() {
    let table = schema(None, &["check"]).await;
    assert_eq!((table.code, table.stderr.as_str()), (0, ""), "{}", table.stdout);
    let line = |start: &str| table.stdout.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let ticks = line("price_tick v2");
    assert!(ticks[0].contains("v1") && ticks[0].contains("backward") && ticks[0].ends_with("ok"), "{ticks:?}");
    assert!(
        ticks[1].contains("breaks, allowed  kind")
            && ticks[1].ends_with("v2 may write FX_IMPLIED, which v1 does not know and has no default for"),
        "{ticks:?}"
    );

    let full = schema(None, &["check", "--compatibility", "full", "-o", "json"]).await;
    assert_eq!((full.code, full.line()), (1, "tickstream: 1 incompatibility"));
    assert_eq!(broken(&rows(&full))[0].1, "kind");
}

#[tokio::test]
async fn each_field_in_the_way_of_a_new_version_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let next = changed(folder.path(), "price_tick-v3.avsc", |schema| {
        fields(schema)[2]["type"] = json!("long");
        fields(schema).push(json!({"name": "venue", "type": "string"}));
        fields(schema).push(json!({"name": "fee", "type": ["null", "long"], "default": null}));
    });
    let answer = schema(None, &["check", &next, "-o", "json"]).await;
    assert_eq!((answer.code, answer.line()), (1, "tickstream: 4 incompatibilities"));
    let found = rows(&answer);
    for against in ["v1", "v2"] {
        let found: Vec<Value> = found.iter().filter(|row| row["against"] == against).cloned().collect();
        let no_default = format!("{against} does not write it, and v3 has no default for it");
        let other_type = format!("{against} writes string, v3 reads long");
        let expected = [("backward", "source", other_type.as_str()), ("backward", "venue", no_default.as_str())];
        assert_eq!(broken(&found), expected);
    }
    let csv = schema(None, &["check", &next, "-o", "csv"]).await;
    assert_eq!(csv.stdout.lines().next(), Some("schema,against,direction,compatible,demanded,field,reason"));
    assert_eq!(csv.stdout.lines().count(), found.len() + 1);

    let good = changed(folder.path(), "price_tick-v4.avsc", |schema| {
        fields(schema).push(json!({"name": "venue", "type": ["null", "string"], "default": null}));
    });
    let answer = schema(None, &["check", &good]).await;
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);

    // A version that records were written with is not to be changed.
    let same = changed(folder.path(), "price_tick-v2.avsc", |schema| fields(schema)[0]["doc"] = json!("said better"));
    assert_eq!(schema(None, &["check", &same]).await.code, 0);
    let other = changed(folder.path(), "price_tick-v2.avsc", |schema| drop(fields(schema).pop()));
    let answer = schema(None, &["check", &other, "-o", "json"]).await;
    assert_eq!(answer.code, 1);
    assert_eq!(broken(&rows(&answer))[0].0, "version");
}

#[tokio::test]
async fn what_is_no_schema_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.avsc");
    std::fs::write(&file, "{\"type\": \"recrod\"}").expect("written");
    for (arguments, said) in [
        (vec!["check", file.to_str().expect("text")], "x.avsc is no Avro schema: "),
        (vec!["check", "/nowhere.avsc"], "/nowhere.avsc: "),
        (vec!["check", "--history", "/nowhere"], "--history (SCHEMA_HISTORY) /nowhere: "),
        (vec!["check", "--against", "registry"], "no schema registry is named: set --schema-registry-url"),
        (vec!["register"], "no schema registry is named: set --schema-registry-url"),
    ] {
        let answer = schema(None, &arguments).await;
        assert_eq!(answer.code, 2, "{arguments:?}");
        assert!(answer.line().contains(said) && answer.stdout.is_empty(), "{}", answer.stderr);
    }
    let answer = schema(Some("http://user:hush@127.0.0.1:1"), &["check"]).await;
    assert_eq!(answer.code, 2);
    assert!(
        answer.line().contains("http://127.0.0.1:1/ cannot be reached") && !answer.stderr.contains("hush"),
        "{}",
        answer.stderr
    );
}

/// Subjects with their versions; an id is a place among all that was ever registered.
#[derive(Default)]
pub struct Fake {
    subjects: BTreeMap<String, Vec<usize>>,
    schemas: Vec<String>,
    level: String,
    /// What it says against any further version.
    objection: Option<String>,
}

pub type Shared = Arc<Mutex<Fake>>;
type Reply = (StatusCode, Json<Value>);

pub async fn registry(level: &str) -> (String, Shared) {
    let fake = Shared::default();
    fake.lock().expect("no panic").level = level.to_owned();
    let app = Router::new()
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route("/subjects/{subject}", post(find))
        .route("/config/{subject}", get(own_level))
        .route("/config", get(level_of_all))
        .route("/compatibility/subjects/{subject}/versions/latest", post(judge))
        .with_state(fake.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), fake)
}

fn not_found(code: u32) -> Reply {
    (StatusCode::NOT_FOUND, Json(json!({"error_code": code, "message": "not found"})))
}

async fn versions(State(fake): State<Shared>, Path(subject): Path<String>) -> Reply {
    match fake.lock().expect("no panic").subjects.get(&subject) {
        Some(ids) => (StatusCode::OK, Json(json!((1..=ids.len()).collect::<Vec<_>>()))),
        None => not_found(40401),
    }
}

impl Fake {
    fn version(&self, subject: &str, version: usize) -> Reply {
        let id = self.subjects[subject][version - 1];
        let schema = &self.schemas[id];
        (StatusCode::OK, Json(json!({"subject": subject, "version": version, "id": id, "schema": schema})))
    }
}

async fn version(State(fake): State<Shared>, Path((subject, version)): Path<(String, usize)>) -> Reply {
    fake.lock().expect("no panic").version(&subject, version)
}

async fn register(State(fake): State<Shared>, Path(subject): Path<String>, Json(body): Json<Value>) -> Reply {
    let mut fake = fake.lock().expect("no panic");
    let id = fake.schemas.len();
    fake.schemas.push(body["schema"].as_str().expect("text").to_owned());
    fake.subjects.entry(subject).or_default().push(id);
    (StatusCode::OK, Json(json!({"id": id})))
}

async fn find(State(fake): State<Shared>, Path(subject): Path<String>, Json(body): Json<Value>) -> Reply {
    let fake = fake.lock().expect("no panic");
    let Some(ids) = fake.subjects.get(&subject) else { return not_found(40401) };
    match ids.iter().position(|id| body["schema"] == *fake.schemas[*id]) {
        Some(place) => fake.version(&subject, place + 1),
        None => not_found(40403),
    }
}

/// A registry that does not know `defaultToGlobal`.
async fn own_level() -> Reply {
    not_found(40408)
}

async fn level_of_all(State(fake): State<Shared>) -> Reply {
    (StatusCode::OK, Json(json!({"compatibilityLevel": fake.lock().expect("no panic").level})))
}

async fn judge(State(fake): State<Shared>, Path(subject): Path<String>) -> Reply {
    let fake = fake.lock().expect("no panic");
    if !fake.subjects.contains_key(&subject) {
        return not_found(40401);
    }
    let messages: Vec<&String> = fake.objection.iter().collect();
    (StatusCode::OK, Json(json!({"is_compatible": messages.is_empty(), "messages": messages})))
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_registered_once_and_what_would_break_is_not() {
    let (url, fake) = registry("BACKWARD").await;
    let empty = schema(Some(&url), &["check"]).await;
    assert_eq!(empty.code, 0, "{}", empty.stderr);
    assert!(empty.stderr.contains(&format!("the registry has no version of {TICKS} yet")), "{}", empty.stderr);

    let planned = schema(Some(&url), &["register", "--all-versions", "--dry-run", "-o", "json"]).await;
    assert!(rows(&planned).iter().all(|row| row["state"] == "would_be_registered"), "{}", planned.stdout);
    assert_eq!(fake.lock().expect("no panic").schemas.len(), 0);
    let done = schema(Some(&url), &["register", "--all-versions", "price_tick", "-o", "csv"]).await;
    let lines: Vec<&str> = done.stdout.lines().collect();
    let expected = [
        "subject,schema,version,id,state".to_owned(),
        format!("{TICKS},price_tick v1,1,0,registered"),
        format!("{TICKS},price_tick v2,2,1,registered"),
    ];
    assert_eq!((done.code, lines), (0, expected.iter().map(String::as_str).collect()), "{}", done.stderr);
    let again = schema(Some(&url), &["register"]).await;
    let ticks = again.stdout.lines().find(|line| line.starts_with(TICKS)).expect("the ticks");
    assert_eq!(ticks.split_whitespace().collect::<Vec<_>>(), [TICKS, "price_tick", "v2", "2", "1", "unchanged"]);
    assert_eq!(fake.lock().expect("no panic").schemas.len(), 1 + RecordType::ALL.len());

    // The registry's level counts, and so does its own word.
    let checked = schema(Some(&url), &["check", "--against", "registry", "-o", "json"]).await;
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let old = rows(&checked).into_iter().find(|row| row["against"] == "registry v1" && row["field"] == "kind");
    assert_eq!(old.map(|row| row["demanded"].clone()), Some(json!(false)));
    fake.lock().expect("no panic").level = "FULL_TRANSITIVE".to_owned();
    let checked = schema(Some(&url), &["check", "--against", "registry", "-o", "json"]).await;
    let all = rows(&checked);
    assert_eq!((checked.code, broken(&all)[0].0, broken(&all)[0].1), (1, "forward", "kind"));
    fake.lock().expect("no panic").level = "BACKWARD".to_owned();
    fake.lock().expect("no panic").objection = Some("the gatekeeper says no".to_owned());
    let checked = schema(Some(&url), &["check", "--against", "registry", "-o", "json"]).await;
    assert_eq!(broken(&rows(&checked))[0], ("registry", "", "the gatekeeper says no"));
    fake.lock().expect("no panic").objection = None;

    // A schema of the history that breaks what the registry holds: nothing of the run is registered.
    let folder = tempfile::tempdir().expect("a folder");
    changed(folder.path(), "price_tick-v3.avsc", |schema| fields(schema)[2]["type"] = json!("long"));
    let before = fake.lock().expect("no panic").schemas.len();
    let history = folder.path().to_str().expect("text");
    let refused = schema(Some(&url), &["register", "--history", history]).await;
    assert_eq!(refused.code, 1);
    let said = "nothing was registered: price_tick v3 against registry v2, backward: field source: registry v2 writes string, v3 reads long";
    assert!(refused.line().contains(said), "{}", refused.stderr);
    assert_eq!(fake.lock().expect("no panic").schemas.len(), before);
    let unknown = schema(Some(&url), &["register", "price_tik"]).await;
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.line().contains("no record type price_tik is known; the nearest names are price_tick"),
        "{}",
        unknown.stderr
    );
}
