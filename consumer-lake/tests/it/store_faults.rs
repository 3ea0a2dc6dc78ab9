//! Every way in which a store fails, for a while: the service goes on, or pauses and says why; afterwards the chain is whole,
//! and nothing was skipped.

use std::time::Duration;

use pipeline::codec::{Encoder, Framing};
use pipeline::{example, topics};

use crate::broker::{Broker, Commits};
use crate::fault_store::{Fault, FaultStore, Request, when};
use crate::lake::Lake;
use crate::service::{Service, command, wait_for};

/// What the service does while a fault lasts.
#[derive(Clone, Copy)]
enum Then {
    GoesOn,
    /// Readiness has this in it, and nothing is committed.
    Pauses(&'static str),
}
use Then::{GoesOn, Pauses};

const WRONG_ETAG: Fault = Fault::Says("etag", "\"0123456789abcdef0123456789abcdef\"");
const HOURS_OFF: Fault = Fault::Says("date", "Thu, 01 Jan 2026 00:00:00 GMT");
const RACING: Fault = Fault::Refused(409, "ConditionalRequestConflict");
const EXISTS: Fault = Fault::Refused(412, "PreconditionFailed");

/// Nobody waits for a larger object.
const SOON: [&str; 2] = ["--max-age-ms", "20"];

/// Faults of any PUT.
const FAULTS: &[(Fault, Then)] = &[
    (Fault::Refused(503, "SlowDown"), Pauses("503 SlowDown")),
    (Fault::Refused(200, "InternalError"), Pauses("200 InternalError")),
    (Fault::Refused(403, "AccessDenied"), Pauses("403 AccessDenied")),
    (Fault::Refused(403, "RequestTimeTooSkewed"), Pauses("403 RequestTimeTooSkewed")),
    // What stores say of a full disk; the stack's says the second.
    (Fault::Refused(507, "InsufficientStorage"), Pauses("507 InsufficientStorage")),
    (Fault::Refused(500, "InternalError"), Pauses("500 InternalError")),
    (Fault::AnswerLost, GoesOn),
    (Fault::Late(Duration::from_millis(700)), GoesOn),
    (Fault::Slow, GoesOn),
    (WRONG_ETAG, GoesOn),
];

/// A service behind a store that fails, and what was sent to it so far.
struct Trial<'a> {
    broker: &'a Broker,
    store: &'a FaultStore,
    service: &'a Service,
    topic: &'a str,
    commits: Commits,
    sent: Vec<Vec<u8>>,
}

impl Trial<'_> {
    fn send(&mut self, values: Vec<Vec<u8>>) {
        self.broker.send(self.topic, 1, &values);
        self.sent.extend(values);
    }

    fn committed(&self) -> i64 {
        self.commits.of(self.topic, 0).map_or(0, |(offset, _)| offset)
    }

    fn settle(&self) {
        let end = i64::try_from(self.sent.len()).expect("few");
        wait_for("the commit of everything", || self.committed() == end);
        self.service.wait_ready();
    }

    /// One fault, for a while, of the requests of this choice, while records come.
    fn meet(
        &mut self,
        which: impl Fn(&Request) -> bool + Send + 'static,
        (fault, then): (Fault, Then),
        values: Vec<Vec<u8>>,
    ) {
        let before = self.committed();
        self.store.set([when(which, fault)]);
        self.send(values);
        if let Pauses(reason) = then {
            wait_for(&format!("readiness to tell of {fault:?}"), || tells(self.service, reason));
            assert_eq!(self.committed(), before, "{fault:?}");
            assert!(self.service.is_live(), "{fault:?} is no reason to be killed");
            self.store.lift();
            self.settle();
        } else {
            self.settle();
            assert!(self.store.hits() > 0, "{fault:?} was met");
            self.store.lift();
        }
    }
}

fn tells(service: &Service, reason: &str) -> bool {
    let answer = service.readiness();
    answer.contains("503 Service Unavailable") && answer.contains(reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_objects_meet_every_fault() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) =
        (Broker::of(stack), Lake::of(stack, "raw-faults"), "lake.raw-faults", "raw-faults");
    broker.create(topic, 1).await;
    let store = FaultStore::start(stack).await;
    let service = Service::start(command(stack, &lake, topic, group).env("S3_ENDPOINT_URL", &store.url).args(SOON));
    service.wait_ready();
    let commits = broker.commits(group);
    let mut trial = Trial { broker: &broker, store: &store, service: &service, topic, commits, sent: Vec::new() };
    let own = [(RACING, Pauses("is always under way")), (EXISTS, Pauses("exists and does not show it"))];
    for (round, case) in (0u8..).zip(FAULTS.iter().chain(&own)) {
        trial.meet(|request| request.puts("raw"), *case, (0..20u8).map(|index| vec![round, index]).collect());
    }
    // A store whose clock shows another hour and that refuses what was not signed by the right one: the client believes it.
    trial.store.set([when(|_| true, HOURS_OFF)]);
    trial.send(vec![b"signed by the right clock".to_vec()]);
    trial.settle();
    trial.meet(|_| true, (HOURS_OFF, Pauses("403")), vec![b"signed by a wrong one".to_vec()]);
    let sent = trial.sent;
    service.terminate();
    println!("{} faults met by raw objects", FAULTS.len() + own.len() + 1);
    assert_eq!(lake.values(topic, 0), sent.into_iter().map(Some).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_objects_meet_every_fault() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) =
        (Broker::of(stack), Lake::of(stack, "bronze-faults"), topics::INDEX, "bronze-faults");
    broker.create(topic, 1).await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    let store = FaultStore::start(stack).await;
    let service = Service::start(command(stack, &lake, topic, group).env("S3_ENDPOINT_URL", &store.url).args(SOON));
    service.wait_ready();
    let commits = broker.commits(group);
    let mut trial = Trial { broker: &broker, store: &store, service: &service, topic, commits, sent: Vec::new() };
    let own = [(RACING, Pauses("keeps changing")), (EXISTS, Pauses("keeps changing"))];
    for case in FAULTS.iter().chain(&own) {
        trial.meet(|request| request.puts("bronze"), *case, vec![encoder.index_weight(&example::index_weight()); 2]);
    }
    let sent = trial.sent;
    service.terminate();
    println!("{} faults met by bronze objects", FAULTS.len() + own.len());
    let rows: usize = lake.bronze("index_weights", topic, 0).iter().map(|(rows, _)| rows).sum();
    assert_eq!(rows, sent.len());
    assert_eq!(lake.values(topic, 0), sent.into_iter().map(Some).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_objects_that_are_made_again_meet_every_fault() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) =
        (Broker::of(stack), Lake::of(stack, "again-faults"), topics::PAYLOADS, "again-faults");
    broker.create(topic, 1).await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    let payloads = vec![encoder.payload(&example::payload()); 3];
    let store = FaultStore::start(stack).await;
    let start = || Service::start(command(stack, &lake, topic, group).env("S3_ENDPOINT_URL", &store.url).args(SOON));
    let commits = broker.commits(group);
    let committed = || commits.of(topic, 0).map(|(offset, _)| offset);
    let service = start();
    service.wait_ready();
    broker.send(topic, 1, &payloads);
    wait_for("the commit", || committed() == Some(3));
    service.terminate();
    let before = lake.files("");

    let looked_at =
        |request: &Request| request.method == "HEAD" && request.key.contains("/bronze/") && !request.written;
    let older = Fault::Says("x-amz-meta-tickstream-decoder-version", "1");
    let own = [(RACING, Pauses("keeps changing")), (EXISTS, Pauses("keeps changing"))];
    let cases = FAULTS.iter().filter(|(fault, _)| !matches!(fault, Fault::Slow)).chain(&own);
    let mut met = 0;
    for (fault, then) in cases {
        broker.rewind(group, topic, 0);
        store.set([when(|request| request.puts("bronze") && request.if_match, *fault), when(looked_at, older)]);
        let service = start();
        if let Pauses(reason) = then {
            wait_for(&format!("readiness to tell of {fault:?}"), || tells(&service, reason));
            assert_eq!(committed(), Some(0), "{fault:?}");
            store.set([when(looked_at, older)]);
        }
        wait_for("the commit of everything", || committed() == Some(3));
        service.wait_ready();
        service.terminate();
        met += 1;
    }
    println!("{met} faults met by bronze objects that are made again");
    let after = lake.files("");
    let notes = after.keys().filter(|path| !before.contains_key(*path)).count();
    assert!(notes > 0, "what is made again is told to the refiner");
    for (path, (bytes, written)) in &before {
        let (bytes_now, written_now) = &after[path];
        assert!(bytes == bytes_now, "{} is a function of its input", path.display());
        let bronze = path.components().any(|part| part.as_os_str() == "bronze");
        assert_eq!(written != written_now, bronze, "{}", path.display());
    }
}
