//! The histories that the rules are there for, each by its name: the same world, one schedule.

use pipeline::lake::{LinkKind, epoch_key, hole_told_key, origin_key, raw_key};
use pipeline::store::Put;

use super::invariants::{TOPIC, origin, raw};
use super::operator::Command;
use super::sim::{PutRequest, Row};
use super::{History, Role};

const STEPS: usize = 1000;

impl History {
    /// A world without faults: topics of `rows` records each, `None` being an offset that is never delivered.
    fn quiet(rows: &[Option<()>]) -> Self {
        let mut history = Self::new(7);
        history.faults.values_mut().for_each(|left| *left = 0);
        {
            let mut state = history.state();
            for (topic, log) in state.logs.iter_mut().enumerate() {
                let row = |(offset, row): (i64, &Option<()>)| row.map(|()| Row { offset, topic, decodes_from: 0 });
                log.rows = (0..).zip(rows).map(row).collect();
                log.end = i64::try_from(rows.len()).expect("short");
            }
        }
        history
    }

    /// Steps until somebody waits with a PUT of a key that begins so, and gives it.
    fn until_put(&mut self, prefix: &str) {
        for _ in 0..STEPS {
            if self.running.iter().any(|one| self.state().waits_with(one.id, prefix)) {
                return;
            }
            self.step(true);
        }
        panic!("nobody puts {prefix}\n{}", self.state().trace.join("\n"));
    }

    /// Steps until nobody of this role is at work.
    fn until_done(&mut self, role: Role) {
        for _ in 0..STEPS {
            if self.running.iter().all(|running| running.role != role) {
                return;
            }
            self.step(true);
        }
        panic!("it does not end\n{}", self.state().trace.join("\n"));
    }

    fn operate(&mut self, command: Command) {
        self.start_operator(command);
        self.until_done(Role::Operator);
    }

    /// All at work crash; what they had under way is given, to land whenever the test wants it.
    fn crash_all(&mut self) -> Vec<PutRequest> {
        while !self.running.is_empty() {
            self.crash(0);
        }
        std::mem::take(&mut self.state().late)
    }

    /// A late PUT that must change nothing.
    fn refused(&mut self, late: Vec<PutRequest>) {
        assert!(!late.is_empty());
        for put in late {
            assert_eq!(self.state().land(&put), Put::Exists, "{}", put.key);
        }
    }

    fn all_is_well(mut self) {
        if let Err(broken) = self.check().and_then(|_| self.finish()) {
            panic!("{broken}\n{}", self.state().trace.join("\n"));
        }
    }

    fn kinds(&self, epoch: u32) -> Vec<(LinkKind, i64, i64)> {
        let objects = raw(&self.state(), epoch);
        objects.values().map(|stored| (stored.link.kind, stored.link.start, stored.link.next_offset)).collect()
    }
}

#[test]
fn of_two_origins_the_first_one_stands() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&origin_key(TOPIC, 0, 0));
    let late = history.crash_all();
    history.state().logs[0].low = 2;
    history.start();
    history.until_put(&raw_key(TOPIC, 0, 0, 2));
    history.refused(late);
    assert_eq!(origin(&history.state(), 0), Some(2));
    history.all_is_well();
}

#[test]
fn a_zombies_late_data_after_an_accepted_hole_changes_nothing() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    let late = history.crash_all();
    history.state().logs[0].low = 4;
    history.operate(Command::AcceptHole);
    assert_eq!(history.kinds(0), [(LinkKind::Hole, 0, 4)]);
    history.refused(late);
    assert_eq!(history.state().gaps.len(), 1);
    history.all_is_well();
}

#[test]
fn data_that_was_first_leaves_a_smaller_hole() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    let late = history.crash_all();
    history.state().logs[0].low = 5;
    history.start_operator(Command::AcceptHole);
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    let stored = history.state().land(&late[0]);
    assert!(matches!(stored, Put::Done { .. }));
    history.until_done(Role::Operator);
    let kinds = history.kinds(0);
    let [(LinkKind::Data, 0, end), (LinkKind::Hole, start, 5)] = kinds[..] else { panic!("{kinds:?}") };
    assert_eq!(end, start);
    assert_eq!(history.state().gaps.len(), 1, "what the lake has after all is not told as lost");
    history.all_is_well();
}

#[test]
fn a_hole_that_was_not_told_is_told_by_the_next_run_and_once() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    drop(history.crash_all());
    history.state().logs[0].low = 3;
    history.start_operator(Command::AcceptHole);
    for _ in 0..STEPS {
        if history.kinds(0) == [(LinkKind::Hole, 0, 3)] {
            break;
        }
        history.step(true);
    }
    drop(history.crash_all());
    assert!(history.state().gaps.is_empty());
    history.operate(Command::AcceptHole);
    assert!(history.state().objects.contains_key(&hole_told_key(TOPIC, 0, 0, 0)));
    history.operate(Command::AcceptHole);
    assert_eq!(history.state().gaps.len(), 1);
    history.all_is_well();
}

#[test]
fn a_zombies_late_bronze_replaces_no_newer_one() {
    let mut history = History::quiet(&[Some(()); 3]);
    history.start();
    history.until_put("bronze/");
    let late = history.crash_all();
    history.start();
    for _ in 0..STEPS {
        if history.state().commits[0].is_some() {
            break;
        }
        history.step(true);
    }
    history.refused(late);
    history.all_is_well();
}

#[test]
fn data_of_a_recreated_topic_comes_too_late_for_the_old_epoch() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    let late = history.crash_all();
    history.state().topics[0] = 1;
    history.operate(Command::AcceptHole);
    assert!(history.kinds(0).is_empty(), "refused: the topic is another one");
    history.operate(Command::NewEpoch);
    assert_eq!(history.kinds(0), [(LinkKind::End, 0, 0)]);
    history.refused(late);
    history.all_is_well();
}

/// A lake with records of a topic whose place another one takes, up to the moment that this operator's key is put.
fn another_topic_up_to(prefix: &str) -> History {
    let mut history = History::quiet(&[Some(()); 6]);
    history.state().logs[0].end = 4;
    history.start();
    for _ in 0..STEPS {
        if history.state().commits[0].as_ref().is_some_and(|(offset, _)| *offset == 4) {
            break;
        }
        history.step(true);
    }
    drop(history.crash_all());
    history.state().logs[0].end = 6;
    // The new one has lost records of its own.
    history.state().logs[1].low = 5;
    history.state().topics[0] = 1;
    history.start_operator(Command::NewEpoch);
    history.until_put(prefix);
    history
}

#[test]
fn what_the_lake_does_not_have_of_a_topic_that_is_gone_is_told_before_another_epoch_begins() {
    let history = another_topic_up_to(&epoch_key(TOPIC, 1));
    let state = history.state();
    let [gap] = &state.gaps[..] else { panic!("{:?}", state.gaps) };
    assert!(gap.detail.contains("up to offset 4"), "{gap:?}");
    assert!(gap.ended_at.is_some_and(|end| end > gap.started_at), "{gap:?}");
    drop(state);
    history.all_is_well();
}

#[test]
fn a_loss_that_was_not_told_when_the_chain_was_closed_is_told_by_the_next_run_and_once() {
    let mut history = another_topic_up_to(&raw_key(TOPIC, 0, 0, 4));
    for _ in 0..STEPS {
        if history.kinds(0).last() == Some(&(LinkKind::End, 4, 4)) {
            break;
        }
        history.step(true);
    }
    drop(history.crash_all());
    assert!(history.state().gaps.is_empty());
    history.operate(Command::NewEpoch);
    history.operate(Command::NewEpoch);
    assert_eq!(history.state().gaps.len(), 1);
    history.all_is_well();
}

#[test]
fn a_start_in_the_middle_of_an_object_writes_it_no_second_time() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    for _ in 0..STEPS {
        if history.state().commits[0].as_ref().is_some_and(|(offset, _)| *offset == 6) {
            break;
        }
        history.step(true);
    }
    drop(history.crash_all());
    let before = history.kinds(0);
    for rewound in 1..6 {
        history.state().commits[0] = Some((rewound, String::new()));
        history.start();
        for _ in 0..STEPS {
            history.step(true);
        }
        drop(history.crash_all());
    }
    assert_eq!(history.kinds(0), before);
    assert!(history.state().met.contains_key("start inside an object"));
    history.all_is_well();
}

#[test]
fn offsets_that_are_never_delivered_leave_no_hole() {
    // Two markers, a run longer than an object may span, and one at the very end.
    let rows = [Some(()), None, Some(()), None, None, None, None, None, None, None, Some(()), None];
    let mut history = History::quiet(&rows);
    history.start();
    for _ in 0..STEPS {
        history.step(true);
    }
    let kinds = history.kinds(0);
    assert!(kinds.iter().all(|(kind, ..)| *kind == LinkKind::Data) && kinds.last().is_some_and(|last| last.2 >= 11));
    history.all_is_well();
}

#[test]
fn on_the_way_back_to_the_first_cluster_nothing_is_written_twice() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.state().logs[0].end = 3;
    history.start();
    for _ in 0..STEPS {
        if history.state().commits[0].as_ref().is_some_and(|(offset, _)| *offset == 3) {
            break;
        }
        history.step(true);
    }
    drop(history.crash_all());
    history.state().cluster = 1;
    history.operate(Command::NewEpoch);
    history.state().cluster = 0;
    history.operate(Command::NewEpoch);
    history.state().logs[0].end = 6;
    history.start();
    for _ in 0..STEPS {
        history.step(true);
    }
    assert_eq!([1, 2].map(|epoch| origin(&history.state(), epoch)), [None, Some(3)]);
    assert_eq!(history.kinds(2).last().map(|last| last.2), Some(6));
    history.all_is_well();
}

#[test]
fn whoever_stalled_before_it_began_an_epoch_finds_it_closed_on_the_way_back() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&origin_key(TOPIC, 0, 0));
    let late = history.crash_all();
    for cluster in [1, 0] {
        history.state().cluster = cluster;
        history.operate(Command::NewEpoch);
    }
    assert!(history.state().objects.contains_key(&epoch_key(TOPIC, 2)));
    history.start();
    history.until_put(&raw_key(TOPIC, 2, 0, 0));
    history.refused(late);
    assert_eq!(history.kinds(0), [(LinkKind::End, 0, 0)]);
    history.all_is_well();
}

#[test]
fn an_epoch_that_somebody_began_to_close_by_mistake_goes_on_in_the_next_one() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    drop(history.crash_all());
    history.state().cluster = 1;
    history.start_operator(Command::NewEpoch);
    history.until_put(&epoch_key(TOPIC, 1));
    drop(history.crash_all());
    history.state().cluster = 0;
    assert_eq!(history.kinds(0), [(LinkKind::End, 0, 0)]);
    history.operate(Command::NewEpoch);
    assert!(history.state().objects.contains_key(&epoch_key(TOPIC, 1)));
    history.all_is_well();
}

#[test]
fn whoever_writes_at_the_tail_that_is_being_closed_is_followed() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    let late = history.crash_all();
    history.state().topics[0] = 1;
    history.start_operator(Command::NewEpoch);
    history.until_put(&raw_key(TOPIC, 0, 0, 0));
    let stored = history.state().land(&late[0]);
    assert!(matches!(stored, Put::Done { .. }));
    history.until_done(Role::Operator);
    let kinds = history.kinds(0);
    assert!(matches!(kinds[..], [(LinkKind::Data, 0, end), (LinkKind::End, tail, _)] if end == tail), "{kinds:?}");
    history.all_is_well();
}

#[test]
fn a_topic_that_is_recreated_under_the_operators_hands_makes_no_hole_in_the_old_one() {
    for steps in 0..40 {
        let mut history = History::quiet(&[Some(()); 6]);
        history.start();
        history.until_put(&raw_key(TOPIC, 0, 0, 0));
        drop(history.crash_all());
        history.state().logs[0].low = 2;
        history.state().logs[1].low = 5;
        history.start_operator(Command::AcceptHole);
        for _ in 0..steps {
            history.step(true);
        }
        history.state().topics[0] = 1;
        history.until_done(Role::Operator);
        let kinds = history.kinds(0);
        assert!(kinds.is_empty() || kinds == [(LinkKind::Hole, 0, 2)], "after {steps} steps: {kinds:?}");
        history.all_is_well();
    }
}

#[test]
fn a_chain_that_was_begun_behind_the_operators_back_is_closed_by_the_next_run() {
    let mut history = History::quiet(&[Some(()); 6]);
    history.start();
    history.until_put(&origin_key(TOPIC, 0, 0));
    history.running[0].stalled = true;
    history.state().cluster = 1;
    history.operate(Command::NewEpoch);
    history.running[0].stalled = false;
    history.until_put("bronze/");
    drop(history.crash_all());
    history.operate(Command::NewEpoch);
    let kinds = history.kinds(0);
    assert!(matches!(kinds[..], [(LinkKind::Data, 0, end), (LinkKind::End, tail, _)] if end == tail), "{kinds:?}");
    history.all_is_well();
}
