use proptest::prelude::*;

use super::*;

fn record(number: u64, size: usize) -> Outgoing {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + size, b'x');
    let off_median = number.is_multiple_of(3).then_some(OffMedian(number as u32));
    let key = b"BTC-USD".to_vec();
    Outgoing { target: Target::Ticks, key, payload, source: None, received_at: number as i64, off_median, trace: None }
}

fn number(record: &Outgoing) -> u64 {
    u64::from_be_bytes(record.payload[..8].try_into().expect("8 bytes"))
}

fn open(dir: &Path) -> (Spill, Recovered) {
    Spill::open(dir, 1024 * 1024).expect("the folder is ours")
}

fn drain(spill: &mut Spill) -> Vec<u64> {
    std::iter::from_fn(|| spill.read_next().expect("readable")).map(|(_, record)| number(&record)).collect()
}

#[test]
fn records_come_back_in_order_and_their_files_go_when_all_are_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spill, recovered) = open(dir.path());
    assert_eq!(recovered, Recovered::default());
    let mut expected = 0;
    for n in 0..5_000 {
        assert_eq!(spill.append(&record(n, 100)).expect("stored"), Appended::Stored);
        // Reading while writing.
        if n % 3 == 0 {
            let (segment, read) = spill.read_next().expect("readable").expect("one is there");
            assert_eq!(number(&read), expected);
            expected += 1;
            spill.acknowledge(segment);
        }
    }
    while let Some((segment, read)) = spill.read_next().expect("readable") {
        assert_eq!((number(&read), &read.payload), (expected, &record(expected, 100).payload));
        expected += 1;
        spill.acknowledge(segment);
    }
    assert_eq!((expected, spill.bytes(), spill.waiting()), (5_000, 0, 0));
    let left: Vec<_> = fs::read_dir(dir.path()).expect("readable").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["lock"]);
    // And it can be used again.
    spill.append(&record(9, 1)).expect("stored");
    assert_eq!(drain(&mut spill), [9]);
}

#[test]
fn what_is_not_acknowledged_is_there_for_the_next_process_and_older_records_go_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spill, _) = open(dir.path());
    for n in 10..20 {
        spill.append(&record(n, 50)).expect("stored");
    }
    // Read and not acknowledged: they were on their way when the process stopped.
    spill.read_next().expect("readable");
    spill.keep(&[record(20, 5)]).expect("stored");
    spill.prepend(&[record(8, 50), record(9, 50)]).expect("stored");
    assert!(Spill::open(dir.path(), 1024 * 1024).is_err_and(|error| error.to_string().contains("another producer")));
    drop(spill);
    let (mut spill, recovered) = open(dir.path());
    assert_eq!(recovered, Recovered { records: 13, torn_bytes: 0, damaged: 0 });
    assert_eq!(drain(&mut spill), (8..=20).collect::<Vec<u64>>());
}

#[test]
fn it_never_grows_beyond_its_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spill, _) = Spill::open(dir.path(), 64 * 1024).expect("the folder is ours");
    let mut stored = 0;
    while spill.append(&record(stored, 300)).expect("stored") == Appended::Stored {
        stored += 1;
    }
    spill.sync().expect("on disk");
    let on_disk: u64 =
        fs::read_dir(dir.path()).expect("readable").flatten().map(|entry| entry.metadata().expect("there").len()).sum();
    assert!(on_disk <= 64 * 1024 && on_disk > 60 * 1024, "{on_disk}");
    // Room comes back with the first segment that is done.
    while let Some((segment, _)) = spill.read_next().expect("readable") {
        spill.acknowledge(segment);
        if spill.bytes() < 60 * 1024 {
            break;
        }
    }
    assert_eq!(spill.append(&record(stored, 300)).expect("stored"), Appended::Stored);
}

#[test]
fn bytes_that_changed_on_disk_are_an_error_and_what_is_lost_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spill, _) = open(dir.path());
    for n in 0..10 {
        spill.append(&record(n, 100)).expect("stored");
    }
    spill.sync().expect("on disk");
    let path = spill.path(spill.segments[0].id);
    let mut bytes = fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let mut read = Vec::new();
    let error = loop {
        match spill.read_next() {
            Ok(Some((_, record))) => read.push(number(&record)),
            Ok(None) => panic!("the change was not seen"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(read.len() as u64 + spill.abandon(), 10);
    assert!(spill.is_drained());
}

#[test]
fn a_disk_that_takes_no_more_does_not_cost_what_it_has() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut spill, _) = open(dir.path());
    for n in 0..3 {
        spill.append(&record(n, 100)).expect("stored");
    }
    spill.flush().expect("written");
    let good = spill.writer.replace(BufWriter::new(OpenOptions::new().write(true).open("/dev/full").expect("there")));
    spill.append(&record(3, 100)).expect("in memory");
    assert!(spill.flush().is_err());
    assert_eq!(drain(&mut spill), [0, 1, 2]);
    assert!(!spill.is_drained() && spill.read_next().expect("no read error").is_none());
    // There is room again.
    let full = std::mem::replace(&mut spill.writer, good).expect("it writes");
    let waiting = full.into_parts().1.expect("no panic");
    spill.writer.as_mut().expect("it writes").write_all(&waiting).expect("written");
    assert_eq!(drain(&mut spill), [3]);
}

#[test]
fn records_behind_a_damaged_one_are_counted_and_a_torn_last_one_is_not() {
    for (field, damaged) in [("length", 7), ("payload", 7), ("none", 0)] {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut spill, _) = open(dir.path());
        for n in 0..10 {
            spill.append(&record(n, 100)).expect("stored");
        }
        spill.sync().expect("on disk");
        let path = spill.path(spill.segments[0].id);
        drop(spill);
        let mut bytes = fs::read(&path).expect("readable");
        let size = bytes.len() / 10;
        match field {
            "length" => bytes[3 * size + 2] ^= 0x10,
            "payload" => bytes[3 * size + 60] ^= 1,
            _ => bytes.truncate(3 * size + 60),
        }
        fs::write(&path, bytes).expect("writable");
        let (mut spill, recovered) = open(dir.path());
        assert_eq!((recovered.records, recovered.damaged), (3, damaged), "{field}");
        assert_eq!(drain(&mut spill), [0, 1, 2], "{field}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A crash that cuts the last file at any byte, or leaves rubbish behind it, costs no record before that place.
    #[test]
    fn a_torn_tail_costs_only_itself(sizes in prop::collection::vec(0_usize..400, 1..60), cut in any::<prop::sample::Index>(), rubbish in prop::collection::vec(any::<u8>(), 0..40)) {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut spill, _) = Spill::open(dir.path(), 64 * 1024).expect("the folder is ours");
        for (n, size) in sizes.iter().enumerate() {
            spill.append(&record(n as u64, *size)).expect("stored");
        }
        spill.sync().expect("on disk");
        let last = spill.segments.back().expect("written to");
        let (path, in_last) = (spill.path(last.id), last.written as usize);
        drop(spill);
        let bytes = fs::read(&path).expect("readable");
        let cut = cut.index(bytes.len() + 1);
        let mut torn = bytes[..cut].to_vec();
        torn.extend(&rubbish);
        fs::write(&path, torn).expect("writable");

        let before_last = sizes.len() - in_last;
        let (mut end, mut whole) = (0, before_last);
        for (number, size) in sizes.iter().enumerate().skip(before_last) {
            let mark = if number % 3 == 0 { 4 } else { 0 };
            end += HEADER + FIXED + mark + b"BTC-USD".len() + 8 + size;
            if end <= cut { whole += 1; }
        }
        let (mut spill, recovered) = Spill::open(dir.path(), 64 * 1024).expect("the folder is ours");
        // Rubbish may by chance continue the cut frame as it was.
        prop_assert!(recovered.records as usize >= whole);
        let read = drain(&mut spill);
        prop_assert_eq!(&read[..whole], &(0..whole as u64).collect::<Vec<_>>()[..]);
        prop_assert_eq!(spill.append(&record(7, 1)).expect("stored"), Appended::Stored);
        prop_assert_eq!(drain(&mut spill), vec![7]);
    }
}
