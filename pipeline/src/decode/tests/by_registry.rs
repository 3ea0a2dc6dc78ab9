//! A registry over real HTTP on loopback: what it answers decides between a row, a bad record and an outage.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;
use crate::codec::{Encoder, Framing};

/// Schemas by id (a position), and whether it is down or refuses what it is given.
#[derive(Default)]
struct Fake {
    schemas: Vec<Value>,
    subjects: Vec<String>,
    down: bool,
    refuses: bool,
    asked: usize,
}

type Shared = Arc<Mutex<Fake>>;

async fn registry() -> (Registry, Shared) {
    let fake = Shared::default();
    let app = Router::new()
        .route("/base/subjects/{subject}/versions", post(register).get(versions))
        .route("/base/subjects/{subject}/versions/{version}", get(version))
        .route("/base/schemas/ids/{id}", get(by_id))
        .with_state(fake.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (Registry::new(&format!("http://user:hush@{address}/base")).unwrap(), fake)
}

async fn register(
    State(fake): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let mut fake = fake.lock().unwrap();
    if fake.refuses {
        let refusal = json!({"error_code": 409, "message": "Schema being registered is incompatible"});
        return (StatusCode::CONFLICT, Json(refusal));
    }
    fake.subjects.push(subject);
    fake.schemas.push(json!({"schema": body["schema"]}));
    (StatusCode::OK, Json(json!({"id": fake.schemas.len() - 1})))
}

async fn by_id(State(fake): State<Shared>, Path(id): Path<usize>) -> (StatusCode, Json<Value>) {
    let mut fake = fake.lock().unwrap();
    fake.asked += 1;
    if fake.down {
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error_code": 50001, "message": "down"})));
    }
    match fake.schemas.get(id) {
        Some(schema) => (StatusCode::OK, Json(schema.clone())),
        None => (StatusCode::NOT_FOUND, Json(json!({"error_code": 40403, "message": "Schema not found"}))),
    }
}

/// All schemas are versions of the one subject that there is.
async fn versions(State(fake): State<Shared>, Path(subject): Path<String>) -> (StatusCode, Json<Value>) {
    let mut fake = fake.lock().unwrap();
    fake.asked += 1;
    if fake.down {
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error_code": 50001, "message": "down"})));
    }
    if !fake.subjects.contains(&subject) {
        return (StatusCode::NOT_FOUND, Json(json!({"error_code": 40401, "message": "Subject not found"})));
    }
    (StatusCode::OK, Json(json!((1..=fake.schemas.len()).collect::<Vec<_>>())))
}

async fn version(State(fake): State<Shared>, Path((_, version)): Path<(String, usize)>) -> Json<Value> {
    let stored = &fake.lock().unwrap().schemas[version - 1];
    Json(json!({"version": version, "id": version, "schema": stored["schema"]}))
}

fn array(values: &[&[u8]]) -> BinaryArray {
    values.iter().map(|value| Some(*value)).collect()
}

#[tokio::test]
async fn registered_at_start_and_read_by_id() {
    let (registry, fake) = registry().await;
    fake.lock().unwrap().schemas.push(json!({"schema": "\"string\""}));
    let encoder = Encoder::new(Framing::Registry(registry.clone())).await.unwrap();
    let subjects = [
        "market.ticks.v1-value",
        "market.gaps.v1-value",
        "market.health.v1-value",
        "market.index.v1-value",
        "market.payloads.v1-value",
        "market.alerts.v1-value",
    ];
    assert_eq!(fake.lock().unwrap().subjects, subjects);

    let tick = arbitrary::numbered_tick(3);
    let record = encoder.tick(&tick);
    assert_eq!(record[..5], [0, 0, 0, 0, 1]);
    let mut decoder = Decoder::new(RecordType::PriceTick, Some(registry));
    let single_object = encoded(4);
    let foreign = [0, 0, 0, 0, 0, 2, b'x'];
    let values = array(&[&record, &single_object, &foreign, &[0, 0, 0, 0, 9, 1], &record]);
    for _ in 0..2 {
        let decoded = decoder.decode(&values).await.unwrap();
        assert_eq!(ticks(&decoded), [tick.clone(), arbitrary::numbered_tick(4), tick.clone()]);
        assert_eq!(decoded.rows, [0, 1, 4]);
        assert!(decoded.bad[0].1.starts_with("schema id 0 cannot be read as price_tick"), "{}", decoded.bad[0].1);
        assert_eq!(decoded.bad[1], (3, "schema id 9 is not in the registry".to_owned()));
    }
    assert_eq!(fake.lock().unwrap().asked, 3, "once an id, good or not");
}

#[tokio::test]
async fn an_outage_is_no_record_s_fault() {
    let (registry, fake) = registry().await;
    let encoder = Encoder::new(Framing::Registry(registry.clone())).await.unwrap();
    let tick = arbitrary::numbered_tick(3);
    let record = encoder.tick(&tick);
    let mut decoder = Decoder::new(RecordType::PriceTick, Some(registry));
    fake.lock().unwrap().down = true;
    let outage = decoder.decode(&array(&[&record])).await.unwrap_err().to_string();
    assert!(outage.contains("500") && !outage.contains("hush"), "{outage}");
    fake.lock().unwrap().down = false;
    assert_eq!(ticks(&decoder.decode(&array(&[&record])).await.unwrap()), [tick]);
}

#[tokio::test]
async fn mistakes_at_start_are_the_user_s_and_say_so() {
    let misconfigured = |error: anyhow::Error| {
        assert!(error.is::<crate::Misconfigured>(), "{error:#}");
        let text = format!("{error:#}");
        assert!(!text.contains("hush"), "{text}");
        text
    };
    let (registry, fake) = registry().await;
    fake.lock().unwrap().refuses = true;
    let refused = misconfigured(Encoder::new(Framing::Registry(registry)).await.unwrap_err());
    assert!(refused.contains("incompatible") && refused.contains("market.ticks.v1-value"), "{refused}");
    // Port 1 has no listener.
    let nobody = Registry::new("http://user:hush@127.0.0.1:1").unwrap();
    let unreachable = misconfigured(Encoder::new(Framing::Registry(nobody.clone())).await.unwrap_err());
    assert!(unreachable.contains("127.0.0.1:1") && unreachable.contains("SCHEMA_REGISTRY_URL"), "{unreachable}");
    for wrong in ["localhost:8081", "ftp://hush", "hush"] {
        misconfigured(Registry::new(wrong).unwrap_err());
    }
    let mut decoder = Decoder::new(RecordType::PriceTick, Some(nobody));
    let outage = decoder.decode(&array(&[&[0, 0, 0, 0, 1, 2]])).await.unwrap_err().to_string();
    assert!(!outage.contains("hush"), "{outage}");
}

/// A tick of a version that comes after the newest: one field more, which is null.
fn of_a_later_version(tick: &[u8]) -> (String, Vec<u8>) {
    let mut schema: Value = serde_json::from_str(RecordType::PriceTick.newest().json).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.push(json!({"name": "venue", "type": ["null", "string"], "default": null}));
    let schema = schema.to_string();
    let header = [&SINGLE_OBJECT[..], &fingerprint_of(&schema).unwrap().to_le_bytes()].concat();
    let record = [&header, &tick[header.len()..], &[0]].concat();
    (schema, record)
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_found_by_its_fingerprint() {
    let (registry, fake) = registry().await;
    let (schema, record) = of_a_later_version(&encoded(5));
    let values = array(&[&record, &encoded(6), &[&SINGLE_OBJECT[..], &[9; 8], b"x"].concat()]);
    let mut early = Decoder::new(RecordType::PriceTick, Some(registry.clone()));
    for _ in 0..2 {
        let decoded = early.decode(&values).await.unwrap();
        assert_eq!(ticks(&decoded), [arbitrary::numbered_tick(6)]);
        let reason = &decoded.bad[0].1;
        assert!(
            reason.starts_with("unknown schema fingerprint") && reason.contains("market.ticks.v1-value"),
            "{reason}"
        );
    }
    assert_eq!(fake.lock().unwrap().asked, 1, "not again for a while");

    fake.lock().unwrap().subjects.push("market.ticks.v1-value".to_owned());
    fake.lock().unwrap().schemas.extend([json!({"schema": "\"string\""}), json!({"schema": schema})]);
    let mut later = Decoder::new(RecordType::PriceTick, Some(registry.clone()));
    for _ in 0..2 {
        let decoded = later.decode(&values).await.unwrap();
        assert_eq!(ticks(&decoded), [5, 6].map(arbitrary::numbered_tick));
        assert_eq!(decoded.bad[0].0, 2, "the third is of no schema that anybody knows");
    }
    assert_eq!(fake.lock().unwrap().asked, 2);

    fake.lock().unwrap().down = true;
    let mut without = Decoder::new(RecordType::PriceTick, Some(registry));
    let outage = without.decode(&values).await.unwrap_err().to_string();
    assert!(outage.contains("500") && !outage.contains("hush"), "{outage}");
    assert_eq!(ticks(&without.decode(&array(&[&encoded(6)])).await.unwrap()), [arbitrary::numbered_tick(6)]);
}
