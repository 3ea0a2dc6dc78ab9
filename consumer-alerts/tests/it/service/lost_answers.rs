//! Transactions that end without an answer, with a wrong one, or that the broker is never asked to commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stack::{BrokerLine, Fault};

use super::exactly_once::CROSSED;
use super::room::Room;

/// What the broker may answer to a commit: after the first the client is of no more use, after the second it wants to abort.
const INVALID_TXN_STATE: i16 = 48;
const UNKNOWN_SERVER_ERROR: i16 = -1;

struct Line {
    line: BrokerLine,
    met: Arc<AtomicUsize>,
}

impl Line {
    /// `None` where the broker is not the stack's own: its address cannot be replaced then.
    async fn new() -> Option<Self> {
        let Some(kafka) = stack::shared().await.kafka() else {
            eprintln!("SKIPPED: KAFKA_BOOTSTRAP_SERVERS names a broker that this test cannot stand before");
            return None;
        };
        Some(Self { line: BrokerLine::to(kafka).await.expect("a free port"), met: Arc::default() })
    }

    /// The next commits of transactions meet it.
    fn befalls_commits(&mut self, fault: Fault, times: usize) {
        let met = Arc::new(AtomicUsize::new(0));
        let counted = met.clone();
        self.line.set(move |request| {
            let is_met = request.is_commit_of_transaction() && counted.load(Ordering::Relaxed) < times;
            is_met.then(|| {
                counted.fetch_add(1, Ordering::Relaxed);
                fault
            })
        });
        self.met = met;
    }
}

/// Crosses a hundred so many times.
fn cross(room: &Room, times: usize) {
    for _ in 0..times {
        room.tick("A-USD", "99");
        room.tick("A-USD", "101");
    }
    room.flush();
}

async fn assert_each_once(room: &Room, crossings: usize) {
    let alerts = room.alerts().await;
    let ids: BTreeSet<_> = alerts.iter().map(|alert| alert.alert_id).collect();
    assert_eq!((alerts.len(), ids.len()), (crossings, crossings));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_or_wrong_tells_each_crossing_once() {
    let Some(mut line) = Line::new().await else { return };
    let room = Room::new(1, CROSSED).await;
    let service = room.start_at(&line.line.bootstrap_servers);
    room.wait_begun();
    let mut crossings = 0;
    for fault in [Fault::AnswerSays(INVALID_TXN_STATE), Fault::AnswerSays(UNKNOWN_SERVER_ERROR), Fault::AnswerLost] {
        line.befalls_commits(fault, 2);
        for _ in 0..3 {
            cross(&room, 5);
            crossings += 5;
            room.wait_judged();
        }
        room.wait_for("the fault", |_| line.met.load(Ordering::Relaxed) == 2);
        assert_each_once(&room, crossings).await;
    }
    // One is killed before it can find out.
    line.befalls_commits(Fault::AnswerLost, usize::MAX);
    cross(&room, 5);
    room.wait_for("the fault", |_| line.met.load(Ordering::Relaxed) > 0);
    service.kill();
    line.line.mend();
    let service = room.start_at(&line.line.bootstrap_servers);
    room.wait_judged();
    assert_each_once(&room, crossings + 5).await;
    service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_arrives_is_made_good() {
    let Some(mut line) = Line::new().await else { return };
    let room = Room::new(1, CROSSED).await;
    let service = room.start_at(&line.line.bootstrap_servers);
    room.wait_begun();
    for (round, code) in (1..).zip([INVALID_TXN_STATE, UNKNOWN_SERVER_ERROR]) {
        line.befalls_commits(Fault::Refused(code), 1);
        cross(&room, 5);
        room.wait_for("the fault", |_| line.met.load(Ordering::Relaxed) == 1);
        room.wait_judged();
        assert_each_once(&room, 5 * round).await;
    }
    service.stop();
}
