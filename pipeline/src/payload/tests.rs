//! Splitting and joining: any body, any order, repeats, and records that nobody split.

use proptest::prelude::*;

use super::*;
use crate::codec::encoder_for_tests;
use crate::example;

const MEBIBYTE: usize = 1 << 20;

fn payload(number: u128, body: impl Into<Bytes>) -> Payload {
    let PayloadRecord { source, request, status, received_at, .. } = example::payload();
    Payload { payload_id: Uuid::from_u128(number), source, request, status, received_at, body: body.into() }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

fn text(length: usize) -> Vec<u8> {
    b"{\"symbol\":\"BTC-USD\",\"price\":\"67187.34\"},".iter().copied().cycle().take(length).collect()
}

fn join(records: impl IntoIterator<Item = PayloadRecord>) -> Vec<Payload> {
    let mut joiner = Joiner::new();
    let joined =
        records.into_iter().filter_map(|record| joiner.push(record).expect("records that were split")).collect();
    assert_eq!((joiner.given_up(), joiner.unfinished()), (0, 0));
    joined
}

#[test]
fn a_body_is_compressed_where_it_helps_and_cut_where_it_must() {
    let check = |body: Vec<u8>, encoding: &str, parts: usize| {
        let length = body.len();
        let whole = payload(1, body);
        let records = split(&whole);
        let found: Vec<_> = records.iter().map(|record| (record.part, record.content_encoding.as_str())).collect();
        let expected: Vec<_> = (0..parts as i32).map(|part| (part, encoding)).collect();
        assert_eq!(found, expected, "{length} bytes");
        assert!(records.iter().all(|record| record.parts == parts as i32 && record.content.len() <= PART_BYTES));
        assert_eq!(join(records), [whole]);
    };
    check(vec![], "identity", 1);
    check(text(1024), "identity", 1);
    check(text(1025), "zstd", 1);
    check(noise(1025), "identity", 1);
    check(noise(PART_BYTES), "identity", 1);
    check(noise(PART_BYTES + 1), "identity", 2);
    check(text(MAX_PAYLOAD_BYTES), "zstd", 1);
    check(noise(MAX_PAYLOAD_BYTES), "identity", 40);
    check([noise(3 * PART_BYTES), text(PART_BYTES)].concat(), "zstd", 4);
}

#[test]
fn every_record_is_smaller_than_a_broker_s_limit() {
    let longest = Payload { request: "x".repeat(100_000), ..payload(1, noise(2 * MEBIBYTE)) };
    for record in split(&longest) {
        assert!(encoder_for_tests().payload(&record).len() < 1_000_000);
    }
}

#[test]
fn parts_that_come_again_change_nothing() {
    let wholes = [payload(1, noise(2 * MEBIBYTE)), payload(2, noise(MEBIBYTE))];
    let records: Vec<_> = wholes.iter().flat_map(split).collect();
    let twice = records.iter().flat_map(|record| [record.clone(), record.clone()]).chain(records.clone());
    assert_eq!(join(twice), wholes);
}

#[test]
fn what_never_ends_is_given_up_oldest_first_and_counted() {
    let mut joiner = Joiner::new();
    let wholes: Vec<_> = (0..200).map(|number| payload(number, noise(PART_BYTES + 1))).collect();
    for whole in &wholes {
        let [first, _] = split(whole).try_into().expect("two parts");
        assert_eq!(joiner.push(first), Ok(None));
        assert!(joiner.unfinished() * PART_BYTES <= 64 * MEBIBYTE);
    }
    assert_eq!((joiner.unfinished(), joiner.given_up()), (127, 73), "64 MiB, with a little beside each half of one");
    let [_, last] = split(&wholes[199]).try_into().expect("two parts");
    assert_eq!(joiner.push(last), Ok(Some(wholes[199].clone())));
    let [_, last] = split(&wholes[0]).try_into().expect("two parts");
    assert_eq!(joiner.push(last), Ok(None), "its first part is gone");

    // Parts without a byte in them are not free.
    let mut joiner = Joiner::new();
    for number in 0..300_000 {
        let payload_id = Uuid::from_u128(number);
        let empty = PayloadRecord { payload_id, parts: i32::MAX, content: Bytes::new(), ..example::payload() };
        assert_eq!(joiner.push(empty), Ok(None));
    }
    assert!(joiner.given_up() > 0 && joiner.unfinished() < 150_000, "{}", joiner.unfinished());
}

#[test]
fn records_that_nobody_split_are_refused() {
    let payload_id = example::payload().payload_id;
    let of = |part, parts| PayloadRecord { part, parts, ..example::payload() };
    let one = |record| Joiner::new().push(record);
    for (part, parts) in [(-1, 1), (1, 1), (0, 0), (0, -1), (i32::MAX, i32::MAX)] {
        assert_eq!(one(of(part, parts)), Err(JoinError::NoSuchPart { payload_id, part, parts }));
    }
    let encoding = "br".to_owned();
    let unknown = PayloadRecord { content_encoding: encoding.clone(), ..of(0, 1) };
    assert_eq!(one(unknown), Err(JoinError::UnknownEncoding { payload_id, encoding }));

    // A second part of another payload under the same id costs both; the next one is not touched.
    let mut joiner = Joiner::new();
    assert_eq!(joiner.push(of(0, 2)), Ok(None));
    let other = PayloadRecord { received_at: 1, ..of(1, 2) };
    assert_eq!(joiner.push(other), Err(JoinError::Disagreement { payload_id }));
    assert_eq!((joiner.unfinished(), joiner.given_up()), (0, 0));
    let whole = payload(5, noise(MEBIBYTE));
    let found: Vec<_> = split(&whole).into_iter().filter_map(|record| joiner.push(record).expect("good")).collect();
    assert_eq!(found, [whole]);

    let mut joiner = Joiner::new();
    assert_eq!(joiner.push(of(0, 2)), Ok(None));
    let rewritten = PayloadRecord { content: Bytes::from_static(b"other bytes"), ..of(0, 2) };
    assert_eq!(joiner.push(rewritten), Err(JoinError::Disagreement { payload_id }));
}

#[test]
fn a_payload_that_grows_too_long_is_refused() {
    let payload_id = example::payload().payload_id;
    let too_long = Err(JoinError::TooLong { payload_id });
    let compressed = |bytes: usize| {
        let content = zstd::bulk::compress(&vec![0; bytes], 3).expect("compressed").into();
        PayloadRecord { content_encoding: ZSTD.to_owned(), content, ..example::payload() }
    };
    let bomb = compressed(MAX_PAYLOAD_BYTES + 1);
    assert!(bomb.content.len() < 10_000);
    assert_eq!(Joiner::new().push(bomb), too_long);
    let longest = Joiner::new().push(compressed(MAX_PAYLOAD_BYTES)).expect("within the limit").expect("whole");
    assert_eq!(longest.body.len(), MAX_PAYLOAD_BYTES);

    let body = Bytes::from(vec![0; MAX_PAYLOAD_BYTES + 1]);
    let one = PayloadRecord { content: body.clone(), ..example::payload() };
    assert_eq!(Joiner::new().push(one), too_long);
    let mut joiner = Joiner::new();
    let half = |part| PayloadRecord { part, parts: 3, content: body.slice(..body.len() / 2 + 1), ..example::payload() };
    assert_eq!(joiner.push(half(0)), Ok(None));
    assert_eq!(joiner.push(half(2)), too_long);
    assert_eq!(joiner.unfinished(), 0);
}

#[test]
fn damaged_compression_is_said() {
    let [record] = split(&payload(1, text(100_000))).try_into().expect("one part");
    for content in [record.content.slice(..record.content.len() / 2), Bytes::from_static(b"no zstd")] {
        let damaged = PayloadRecord { content, ..record.clone() };
        let found = Joiner::new().push(damaged);
        assert!(matches!(&found, Err(JoinError::NotZstd { .. })), "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_bodies_in_any_order_are_joined(
        bodies in proptest::collection::vec((0_usize..3 * PART_BYTES, any::<bool>()), 1..6),
        seed in any::<u64>(),
    ) {
        let body = |(length, compresses)| if compresses { text(length) } else { noise(length) };
        let wholes: Vec<_> = (0..).zip(bodies).map(|(number, of)| payload(number, body(of))).collect();
        let mut records: Vec<_> = wholes.iter().flat_map(split).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut records);
        let mut joined = join(records);
        joined.sort_by_key(|whole| whole.payload_id);
        prop_assert_eq!(joined, wholes);
    }
}
