//! Bad records of every kind, and mutations of good ones.

use super::*;
use crate::decimal::Decimal38;
use crate::events::IndexWeight;

/// One bad value between good ones: it alone is bad, with this reason, and the others come through.
fn check_bad(value: Option<Vec<u8>>, reason: &str) {
    let values = [Some(encoded(1)), Some(encoded(2)), value, Some(encoded(3))];
    let decoded = run(&mut decoder(RecordType::PriceTick), &values);
    assert_eq!(decoded.rows, [0, 1, 3]);
    assert_eq!(ticks(&decoded), [1, 2, 3].map(arbitrary::numbered_tick));
    assert!(decoded.bad[0].1.contains(reason), "{:?} does not say {reason:?}", decoded.bad[0].1);
}

/// A good record with the bytes of `field`'s value replaced; `field` is found by comparing with a tick that differs there.
fn with_bytes(other: &PriceTick, length: usize, replacement: &[u8]) -> Vec<u8> {
    let [mut record, marked] = [&example::tick(), other].map(|tick| encoder_for_tests().tick(tick));
    let at = record.iter().zip(&marked).position(|(a, b)| a != b).unwrap();
    record.splice(at..at + length, replacement.iter().copied());
    record
}

#[test]
fn no_record_at_all() {
    check_bad(None, "no value");
    check_bad(Some(vec![]), "empty value");
    check_bad(Some(b"{\"price\": 1}".to_vec()), "no Avro framing: starts with 7b 22 70 72");
    check_bad(Some(vec![0xC3, 0x02, 1, 2, 3, 4, 5, 6, 7, 8]), "no Avro framing");
    check_bad(Some([&[0xC3, 0x01][..], &[9; 8], b"body"].concat()), "unknown schema fingerprint 0909090909090909");
    check_bad(Some(vec![0, 0, 0, 0, 99, 1]), "schema id 99, but no schema registry is configured");
    let health = example::health();
    check_bad(Some(encoder_for_tests().health(&health)), "a source_health record, not price_tick");
}

#[test]
fn too_large() {
    check_bad(Some(vec![0xC3; 10 << 20]), "10485760 bytes");
    let mut record =
        encoder_for_tests().tick(&PriceTick { source_symbol: "x".repeat(MAX_RECORD_BYTES), ..example::tick() });
    check_bad(Some(record.clone()), "1048576 are the most");
    record.truncate(MAX_RECORD_BYTES);
    check_bad(Some(record), "source_symbol: truncated");
    let fits = PriceTick { source_symbol: "x".repeat(MAX_RECORD_BYTES - 300), ..example::tick() };
    let decoded = run(&mut decoder(RecordType::PriceTick), &[Some(encoder_for_tests().tick(&fits))]);
    assert_eq!(ticks(&decoded), [fits]);
}

#[test]
fn truncated_at_every_byte() {
    for record in [encoded(9), confluent(&encoded(9))] {
        for length in 1..record.len() {
            // Half of the two bytes that tell single-object encoding is no framing yet.
            let reason = if record[..length] == [0xC3] { "no Avro framing" } else { "truncated" };
            check_bad(Some(record[..length].to_vec()), reason);
        }
    }
}

#[test]
fn more_than_one_record() {
    check_bad(Some([encoded(8), encoded(9)].concat()), "bytes after the end of the record");
    check_bad(Some([confluent(&encoded(8)), encoded(9)].concat()), "bytes after the end of the record");
    check_bad(Some([encoded(8), vec![0]].concat()), "1 bytes after the end of the record");
}

#[test]
fn values_that_the_columns_cannot_hold() {
    let tick = example::tick();
    let price = PriceTick { price: Decimal38::ZERO, ..tick.clone() };
    let price_bytes = encoder_for_tests().tick(&tick).len() - encoder_for_tests().tick(&price).len() + 2;
    let limit = 10_i128.pow(38).to_be_bytes();
    let price_of = |bytes: &[u8]| with_bytes(&price, price_bytes, &[&[bytes.len() as u8 * 2], bytes].concat());
    check_bad(Some(price_of(&limit)), "price: decimal of 16 bytes has too many digits");
    check_bad(Some(price_of(&[0x01; 17])), "price: decimal of 17 bytes has too many digits");
    check_bad(Some(price_of(&[0xFE; 17])), "price: decimal of 17 bytes has too many digits");
    check_bad(Some(price_of(&[0x7F; 16])), "price: decimal of 16 bytes has too many digits");

    let kind = PriceTick { kind: crate::events::Kind::Fx, ..tick.clone() };
    check_bad(Some(with_bytes(&kind, 1, &[12])), "kind: symbol 6 of 6");
    check_bad(Some(with_bytes(&kind, 1, &[1])), "kind: symbol -1 of 6");
    let bid = PriceTick { bid: Some(Decimal38::ZERO), ..tick.clone() };
    check_bad(Some(with_bytes(&bid, 1, &[4, 2, 0])), "bid: union branch 2 of 2");
    let source = PriceTick { source: "coinbasf".into(), ..tick.clone() };
    check_bad(Some(with_bytes(&source, 1, &[0xFF])), "source: text is not UTF-8");
    let retracted = PriceTick { retracted: true, ..tick.clone() };
    check_bad(Some(with_bytes(&retracted, 1, &[2])), "retracted: boolean 2");
    let revision = PriceTick { revision: 1, ..tick };
    check_bad(Some(with_bytes(&revision, 1, &[0x80, 0x80, 0x80, 0x80, 0x20])), "revision: int");
    check_bad(Some(with_bytes(&revision, 1, &[0xFF; 11])), "revision: number longer than 64 bits");
}

#[test]
fn a_day_that_the_calendar_does_not_have() {
    let weight = example::index_weight();
    let whole = encoder_for_tests().index_weight(&weight);
    let next_day = IndexWeight { pregao_date: weight.pregao_date.tomorrow().unwrap(), ..weight.clone() };
    let marked = encoder_for_tests().index_weight(&next_day);
    let at = whole.iter().zip(&marked).position(|(a, b)| a != b).unwrap();
    let with_day = |day: &[u8]| {
        let mut record = whole.clone();
        record.splice(at..at + 3, day.iter().copied());
        record
    };
    // 2^31 - 1, -2^31 and 2^31, as varints.
    let days: [(&[u8], &str); 3] = [
        (&[0xFE, 0xFF, 0xFF, 0xFF, 0x0F], "pregao_date: day 2147483647 is not in the calendar"),
        (&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], "pregao_date: day -2147483648 is not in the calendar"),
        (&[0x80, 0x80, 0x80, 0x80, 0x10], "pregao_date: int 2147483648 out of range"),
    ];
    for (day, reason) in days {
        let values = [Some(whole.clone()), Some(with_day(day)), Some(whole.clone())];
        let decoded = run(&mut decoder(RecordType::IndexWeight), &values);
        assert_eq!(decoded.bad, [(1, reason.to_owned())]);
        assert_eq!(IndexWeights::new(&decoded.batch).iter().collect::<Vec<_>>(), [weight.clone(), weight.clone()]);
    }
}

#[test]
fn a_wide_decimal_that_fits_is_good() {
    let tick = example::tick();
    let bid = PriceTick { bid: Some(Decimal38::ZERO), ..tick.clone() };
    let padded = [&[2, 40][..], &[0xFF; 19], &[0xFE]].concat();
    let decoded = run(&mut decoder(RecordType::PriceTick), &[Some(with_bytes(&bid, 1, &padded))]);
    assert_eq!(ticks(&decoded), [PriceTick { bid: Decimal38::from_unscaled(-2), ..tick }]);
}

#[test]
fn three_percent_poison_costs_three_percent() {
    let values: Vec<_> = (0..2_000)
        .map(|number| Some(if number % 33 == 0 { encoded(number)[..40].to_vec() } else { encoded(number) }))
        .collect();
    let decoded = run(&mut decoder(RecordType::PriceTick), &values);
    assert_eq!(decoded.bad.len(), 61);
    let expected: Vec<_> = (0..2_000).filter(|number| number % 33 != 0).map(arbitrary::numbered_tick).collect();
    assert_eq!(ticks(&decoded), expected);
}

/// What gets past the walk must not get past the decoder: poison straight into arrow-avro.
#[test]
fn the_decoder_itself_loses_only_the_bad() {
    let tick = example::tick();
    let kind = PriceTick { kind: crate::events::Kind::Fx, ..tick.clone() };
    let source = PriceTick { source: "coinbasf".into(), ..tick };
    let poison = [
        encoded(9)[..60].to_vec(),
        [encoded(8), encoded(9)].concat(),
        [encoded(8), vec![0xC3]].concat(),
        // These two show only when the columns are taken out.
        with_bytes(&kind, 1, &[12]),
        with_bytes(&source, 1, &[0xFF]),
    ];
    for bad_value in poison {
        let mut values: Vec<_> = (0..40).map(encoded).collect();
        values[13] = bad_value.clone();
        values[14] = bad_value.clone();
        values[39] = bad_value;
        let values: BinaryArray = values.iter().map(|value| Some(value.as_slice())).collect();
        let mut decoder = decoder(RecordType::PriceTick);
        let writer = decoder.writers.get_mut(&header(values.value(0)).unwrap()).unwrap().as_mut().unwrap();
        let (mut pieces, mut bad) = (Vec::new(), Vec::new());
        writer.decode_whole(&values, &(0..40).collect::<Vec<_>>(), &mut pieces, &mut bad);
        let mut bad: Vec<u32> = bad.into_iter().map(|(row, _)| row).collect();
        bad.sort_unstable();
        assert_eq!(bad, [13, 14, 39]);
        let (batch, _) = decoder.in_input_order(pieces);
        let expected: Vec<_> =
            (0..40).filter(|number| !bad.contains(number)).map(|n| arbitrary::numbered_tick(n.into())).collect();
        assert_eq!(Ticks::new(&batch).iter().collect::<Vec<_>>(), expected);
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Swap(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        any::<usize>().prop_map(Mutation::Remove),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Mutation::Swap(a, b)),
    ]
}

fn mutate(record: &mut Vec<u8>, mutation: &Mutation) {
    if record.is_empty() {
        return;
    }
    let count = record.len();
    match *mutation {
        Mutation::Flip(at, bits) => record[at % count] ^= bits,
        Mutation::Insert(at, byte) => record.insert(at % count, byte),
        Mutation::Remove(at) => {
            record.remove(at % count);
        }
        Mutation::Swap(a, b) => record.swap(a % count, b % count),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a good record is turned into: no panic, the neighbours whole, and if it is still a row then every value of
    /// it can be had and means those bytes again.
    #[test]
    fn mutations_hurt_nobody_else(
        tick in arbitrary::tick(),
        other in any::<bool>(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let encoder = encoder_for_tests();
        let mut record = encoder.tick(&tick);
        if other {
            record = confluent(&record);
        }
        mutations.iter().for_each(|mutation| mutate(&mut record, mutation));
        let decoded = run(&mut decoder(RecordType::PriceTick), &[Some(encoded(1)), Some(record), Some(encoded(2))]);
        let found = ticks(&decoded);
        prop_assert_eq!(found.first(), Some(&arbitrary::numbered_tick(1)));
        prop_assert_eq!(found.last(), Some(&arbitrary::numbered_tick(2)));
        if let [_, mutant, _] = found.as_slice() {
            let again = run(&mut decoder(RecordType::PriceTick), &[Some(encoder.tick(mutant))]);
            prop_assert_eq!(&ticks(&again)[0], mutant);
        }
    }

    #[test]
    fn mutated_gaps_hurt_nobody(gap in arbitrary::gap(), mutations in proptest::collection::vec(mutation(), 1..4)) {
        let mut record = encoder_for_tests().gap(&gap);
        mutations.iter().for_each(|mutation| mutate(&mut record, mutation));
        let whole = encoder_for_tests().gap(&gap);
        let decoded = run(&mut decoder(RecordType::Gap), &[Some(whole.clone()), Some(record), Some(whole)]);
        let found: Vec<_> = Gaps::new(&decoded.batch).iter().collect();
        prop_assert_eq!(found.first(), Some(&gap));
        prop_assert_eq!(found.last(), Some(&gap));
    }

    #[test]
    fn mutated_index_weights_hurt_nobody(
        weight in arbitrary::index_weight(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let whole = encoder_for_tests().index_weight(&weight);
        let mut record = whole.clone();
        mutations.iter().for_each(|mutation| mutate(&mut record, mutation));
        let decoded = run(&mut decoder(RecordType::IndexWeight), &[Some(whole.clone()), Some(record), Some(whole)]);
        let found: Vec<_> = IndexWeights::new(&decoded.batch).iter().collect();
        prop_assert_eq!((found.first(), found.last()), (Some(&weight), Some(&weight)));
    }

    #[test]
    fn mutated_payloads_hurt_nobody(
        part in arbitrary::payload(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let whole = encoder_for_tests().payload(&part);
        let mut record = whole.clone();
        mutations.iter().for_each(|mutation| mutate(&mut record, mutation));
        let decoded = run(&mut decoder(RecordType::Payload), &[Some(whole.clone()), Some(record), Some(whole)]);
        let found: Vec<_> = Payloads::new(&decoded.batch).iter().collect();
        prop_assert_eq!((found.first(), found.last()), (Some(&part), Some(&part)));
    }

    #[test]
    fn mutated_alerts_hurt_nobody(
        alert in arbitrary::alert(),
        mutations in proptest::collection::vec(mutation(), 1..4),
    ) {
        let whole = encoder_for_tests().alert(&alert);
        let mut record = whole.clone();
        mutations.iter().for_each(|mutation| mutate(&mut record, mutation));
        let decoded = run(&mut decoder(RecordType::Alert), &[Some(whole.clone()), Some(record), Some(whole)]);
        let found: Vec<_> = Alerts::new(&decoded.batch).iter().collect();
        prop_assert_eq!((found.first(), found.last()), (Some(&alert), Some(&alert)));
    }

    #[test]
    fn noise_is_bad(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let body = [&encoded(1)[..10], &noise].concat();
        let decoded = run(&mut decoder(RecordType::PriceTick), &[Some(noise), Some(body)]);
        prop_assert!(decoded.bad.iter().any(|(row, _)| *row == 0));
    }
}
