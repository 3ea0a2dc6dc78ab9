//! Poison in every form that was ever met, among good records that must come through untouched.

mod allocation;
mod by_registry;
mod poison;

use proptest::prelude::*;

use super::*;
use crate::arbitrary;
use crate::codec::encoder_for_tests;
use crate::events::{PriceTick, SourceHealth};
use crate::example;

/// A registry id that decoders made by [`decoder`] know without asking: the newest schema.
const KNOWN_ID: u32 = 7;

fn decoder(record: RecordType) -> Decoder {
    let mut decoder = Decoder::new(record, None);
    let header = Header::Id(KNOWN_ID);
    decoder.writers.insert(header, Writer::new(header, record.newest().json, record));
    decoder
}

fn run(decoder: &mut Decoder, values: &[Option<Vec<u8>>]) -> Decoded {
    let values: BinaryArray = values.iter().map(|value| value.as_deref()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let decoded = runtime.block_on(decoder.decode(&values)).unwrap();
    assert_eq!(decoded.rows.len(), decoded.batch.num_rows());
    assert_eq!(decoded.batch.schema(), decoder.schema());
    assert!(decoded.rows.is_sorted() && decoded.bad.is_sorted());
    let mut all: Vec<u32> = decoded.rows.iter().copied().chain(decoded.bad.iter().map(|(row, _)| *row)).collect();
    all.sort_unstable();
    assert_eq!(all, (0..values.len() as u32).collect::<Vec<_>>(), "every value comes out once");
    decoded
}

fn ticks(decoded: &Decoded) -> Vec<PriceTick> {
    Ticks::new(&decoded.batch).iter().collect()
}

/// The same record with the other framing.
fn confluent(record: &[u8]) -> Vec<u8> {
    [&CONFLUENT[..], &KNOWN_ID.to_be_bytes(), &record[10..]].concat()
}

fn encoded(number: i64) -> Vec<u8> {
    encoder_for_tests().tick(&arbitrary::numbered_tick(number))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ticks_round_trip_in_both_framings(
        input in proptest::collection::vec((arbitrary::tick(), any::<bool>()), 0..20),
    ) {
        let encoder = encoder_for_tests();
        let values: Vec<_> = input
            .iter()
            .map(|(tick, other)| if *other { confluent(&encoder.tick(tick)) } else { encoder.tick(tick) })
            .map(Some)
            .collect();
        let decoded = run(&mut decoder(RecordType::PriceTick), &values);
        prop_assert_eq!(&decoded.bad, &[]);
        let expected: Vec<_> = input.into_iter().map(|(tick, _)| tick).collect();
        prop_assert_eq!(ticks(&decoded), expected);
    }

    #[test]
    fn gaps_round_trip(input in proptest::collection::vec(arbitrary::gap(), 0..20)) {
        let values: Vec<_> = input.iter().map(|gap| Some(encoder_for_tests().gap(gap))).collect();
        let decoded = run(&mut decoder(RecordType::Gap), &values);
        prop_assert_eq!(Gaps::new(&decoded.batch).iter().collect::<Vec<_>>(), input);
    }

    #[test]
    fn health_round_trips(input in proptest::collection::vec(arbitrary::health(), 0..20)) {
        let values: Vec<_> = input.iter().map(|health| Some(encoder_for_tests().health(health))).collect();
        let decoded = run(&mut decoder(RecordType::SourceHealth), &values);
        prop_assert_eq!(Healths::new(&decoded.batch).iter().collect::<Vec<_>>(), input);
    }

    #[test]
    fn index_weights_round_trip(input in proptest::collection::vec(arbitrary::index_weight(), 0..20)) {
        let values: Vec<_> = input.iter().map(|weight| Some(encoder_for_tests().index_weight(weight))).collect();
        let decoded = run(&mut decoder(RecordType::IndexWeight), &values);
        prop_assert_eq!(IndexWeights::new(&decoded.batch).iter().collect::<Vec<_>>(), input);
    }

    #[test]
    fn payloads_round_trip(input in proptest::collection::vec(arbitrary::payload(), 0..20)) {
        let values: Vec<_> = input.iter().map(|part| Some(encoder_for_tests().payload(part))).collect();
        let decoded = run(&mut decoder(RecordType::Payload), &values);
        prop_assert_eq!(Payloads::new(&decoded.batch).iter().collect::<Vec<_>>(), input);
    }

    #[test]
    fn alerts_round_trip(input in proptest::collection::vec(arbitrary::alert(), 0..20)) {
        let values: Vec<_> = input.iter().map(|alert| Some(encoder_for_tests().alert(alert))).collect();
        let decoded = run(&mut decoder(RecordType::Alert), &values);
        prop_assert_eq!(Alerts::new(&decoded.batch).iter().collect::<Vec<_>>(), input);
    }
}

#[test]
fn one_decoder_serves_batch_after_batch() {
    let mut decoder = decoder(RecordType::PriceTick);
    for batch in 0..3 {
        let values = vec![Some(encoded(batch)), Some(b"poison".to_vec()), Some(encoded(batch + 100))];
        let decoded = run(&mut decoder, &values);
        assert_eq!(ticks(&decoded), [arbitrary::numbered_tick(batch), arbitrary::numbered_tick(batch + 100)]);
    }
    assert_eq!(run(&mut decoder, &[]).batch.num_rows(), 0);
}

/// A record of an earlier schema version, its body as fastavro wrote it.
fn old_record(record: RecordType, version: u32, body: &[&str]) -> Vec<u8> {
    let text = record.schemas().iter().find(|text| text.version == version).unwrap();
    let body = body.concat();
    let body = (0..body.len()).step_by(2).map(|at| u8::from_str_radix(&body[at..at + 2], 16).unwrap());
    SINGLE_OBJECT.into_iter().chain(text.fingerprint().to_le_bytes()).chain(body).collect()
}

#[test]
fn what_was_written_before_a_field_was_added_is_read_with_nothing_in_it() {
    // Python, fastavro 1.13: schemaless_writer with schemas/price_tick-v1.avsc and the values of the example tick.
    let tick = old_record(
        RecordType::PriceTick,
        1,
        &[
            "e55c51ae1ba55691a5db0bebf335f2f00010636f696e626173650e4254432d555344064254430655534400140e3a3ba5",
            "dc37618e0000020e0176c1dde13400000000000000d08ff0ecbdada00600f09cf6ecbdada00602a6db8bddfd02021238",
            "36313233343536380e4254432d55534400000000000000000000000000000007000000",
        ],
    );
    let aged = PriceTick { fx_age_ms: Some(1), ..arbitrary::numbered_tick(2) };
    let values = [Some(encoder_for_tests().tick(&aged)), Some(tick), Some(encoded(3))];
    let decoded = run(&mut decoder(RecordType::PriceTick), &values);
    assert_eq!(ticks(&decoded), [aged, PriceTick { fx_age_ms: None, ..example::tick() }, arbitrary::numbered_tick(3)]);

    // The same with schemas/source_health-v1.avsc.
    let body = ["10636f696e626173658080f0ecbdada006028080f0ecbdada006044f4b00"];
    let health = old_record(RecordType::SourceHealth, 1, &body);
    let told = SourceHealth { used_today: Some(3), producer: Some("a".to_owned()), ..example::health() };
    let values = [Some(health), Some(encoder_for_tests().health(&told))];
    let decoded = run(&mut decoder(RecordType::SourceHealth), &values);
    let old = SourceHealth { used_today: None, used_this_month: None, producer: None, ..example::health() };
    assert_eq!(Healths::new(&decoded.batch).iter().collect::<Vec<_>>(), [old, told]);
}

/// The schema with one change, as another version of it might have.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut schema = serde_json::from_str(RecordType::PriceTick.newest().json).unwrap();
    change(&mut schema);
    schema.to_string()
}

fn field<'a>(schema: &'a mut serde_json::Value, name: &str) -> &'a mut serde_json::Value {
    schema["fields"].as_array_mut().unwrap().iter_mut().find(|field| field["name"] == name).unwrap()
}

/// Decodes one hand-made record of a writer with `schema`, between two good ones of the newest.
fn from_writer(schema: &str, body: &[u8]) -> Decoded {
    let header = Header::Id(8);
    let mut decoder = decoder(RecordType::PriceTick);
    decoder.writers.insert(header, Writer::new(header, schema, RecordType::PriceTick));
    let value = [&CONFLUENT[..], &8_u32.to_be_bytes(), body].concat();
    let decoded = run(&mut decoder, &[Some(encoded(1)), Some(value), Some(encoded(2))]);
    assert!(decoded.rows.starts_with(&[0]) && decoded.rows.ends_with(&[2]));
    decoded
}

#[test]
fn an_old_writer_without_the_optional_fields_is_read() {
    let left_out = [
        "volume_24h",
        "quote_volume_24h",
        "market_cap",
        "previous_event_time",
        "previous_symbol",
        "sequence",
        "fx_age_ms",
    ];
    let old = changed(|schema| {
        schema["fields"].as_array_mut().unwrap().retain(|field| !left_out.contains(&field["name"].as_str().unwrap()));
    });
    let tick = PriceTick { sequence: None, ..arbitrary::numbered_tick(5) };
    let whole = encoder_for_tests().tick(&tick);
    // Absent optionals are one zero byte each: volume_24h, quote_volume_24h and market_cap of the four after `ask`, then
    // sequence, then the two before `retracted` and the one after it.
    let body = old_body(&tick);
    assert_eq!(body.len() + left_out.len(), whole.len() - 10);
    let decoded = from_writer(&old, &body);
    assert_eq!(decoded.bad, []);
    assert_eq!(ticks(&decoded), [arbitrary::numbered_tick(1), tick, arbitrary::numbered_tick(2)]);
}

/// The body without the absent optionals of `an_old_writer_without_the_optional_fields_is_read`.
fn old_body(tick: &PriceTick) -> Vec<u8> {
    let with_marks = PriceTick { volume_24h: Some(tick.price), ..tick.clone() };
    let [plain, marked] = [tick, &with_marks].map(|tick| encoder_for_tests().tick(tick)[10..].to_vec());
    let volume_at = plain.iter().zip(&marked).position(|(a, b)| a != b).unwrap();
    let mut body = plain;
    body.drain(volume_at..volume_at + 3);
    let sequence_at = {
        let with_sequence = PriceTick { sequence: Some(1), ..tick.clone() };
        let marked = encoder_for_tests().tick(&with_sequence)[10..].to_vec();
        let plain = encoder_for_tests().tick(tick)[10..].to_vec();
        plain.iter().zip(&marked).position(|(a, b)| a != b).unwrap() - 3
    };
    body.remove(sequence_at);
    let end = body.len();
    body.remove(end - 1);
    body.drain(end - 4..end - 2);
    body
}

#[test]
fn a_newer_writer_is_read_as_far_as_it_can_be() {
    let newer = changed(|schema| {
        field(schema, "kind")["type"]["symbols"] =
            serde_json::json!(["BARTER", "TRADE", "QUOTE", "TICKER", "REFERENCE", "FX", "FX_IMPLIED"]);
        let extra = serde_json::json!({"name": "venue", "type": "string"});
        schema["fields"].as_array_mut().unwrap().push(extra);
    });
    let tick = arbitrary::numbered_tick(5);
    let mut body = encoder_for_tests().tick(&tick)[10..].to_vec();
    let kind_at = 16 + 1 + 9 + 8 + 4 + 4;
    assert_eq!(body[kind_at], 0, "TRADE");
    body.extend_from_slice(b"\x06XYZ");
    let decoded = from_writer(&newer, &body);
    assert_eq!(decoded.bad, [(1, "kind: symbol BARTER is not known here".to_owned())]);
    body[kind_at] = 2;
    let decoded = from_writer(&newer, &body);
    assert_eq!(ticks(&decoded)[1], tick);
}

#[test]
fn a_writer_that_means_something_else_is_refused() {
    let check = |schema: &str, reason: &str| {
        let decoded = from_writer(schema, &encoded(5)[10..]);
        assert_eq!(decoded.rows, [0, 2]);
        assert!(decoded.bad[0].1.contains(reason), "{}", decoded.bad[0].1);
    };
    check(&changed(|schema| field(schema, "price")["type"]["scale"] = 8.into()), "price is decimal of scale 8");
    check(&changed(|schema| field(schema, "bid")["type"][1]["scale"] = 2.into()), "bid is decimal of scale 2");
    let millis =
        |schema: &mut serde_json::Value| field(schema, "event_time")["type"]["logicalType"] = "timestamp-millis".into();
    check(&changed(millis), "event_time is timestamp-millis, timestamp-micros is needed");
    check(&changed(|schema| field(schema, "received_at")["type"] = "long".into()), "received_at is of no logical type");
    check(&changed(|schema| schema["name"] = "Something".into()), "Record");
    check(&changed(|schema| field(schema, "price")["type"] = "Undefined".into()), "price");
    check(RecordType::Gap.newest().json, "");
    check("{", "no JSON");
}
