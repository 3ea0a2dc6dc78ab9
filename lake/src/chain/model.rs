//! Model test of the chain: writers and operators, the real chain code, a simulated world. One thread steps them a request at
//! a time in random order, and between the steps things go wrong: crashes, zombies, lost and late answers, retention, holes,
//! re-creation, another cluster and the way back, rewinds, three decoder versions. After each step every invariant is checked;
//! at the end the faults stop and the work must be finished. A seed is a history: `TICKSTREAM_SEED=n` repeats one with its
//! trace, `TICKSTREAM_HISTORIES=n` runs more of them.

mod invariants;
mod named;
mod operator;
mod sim;
mod writer;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use fastrand::Rng;

use invariants::{check, complete, note_met};
use operator::{Command, operator, sensible};
use sim::{Fate, Log, Row, SPAN, Sim, State};
use writer::writer;

const HISTORIES: u64 = 8000;
/// Steps without faults in which the work must be done.
const PATIENCE: usize = 20_000;

/// How a writer or an operator ends by itself.
pub enum End {
    /// It learned that the partition is not its own any more.
    Revoked,
    Stopped(String),
    /// A command, and what it said.
    Done(String),
}

type Task = Pin<Box<dyn Future<Output = End>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Writer,
    Operator,
}

struct Running {
    id: usize,
    role: Role,
    cluster: usize,
    /// Asleep, with whatever it was about to ask.
    stalled: bool,
    task: Task,
}

struct History {
    rng: Rng,
    state: Arc<Mutex<State>>,
    /// Running incarnations, oldest first: the last writer of a cluster owns the partition there.
    running: Vec<Running>,
    started: usize,
    /// What may still go wrong.
    faults: BTreeMap<&'static str, u32>,
    versions: BTreeMap<String, u32>,
    stops: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // The topic of the first cluster, its re-creation there, and that of the second cluster.
        let logs: Vec<Log> = (0..3).map(|topic| random_log(&mut rng, topic)).collect();
        let mut state = State::default();
        (state.logs, state.topics) = (logs, [0, 2]);
        let mut faults = BTreeMap::new();
        for (fault, most) in [
            ("crash", 3),
            ("zombie", 2),
            ("stall", 2),
            ("no answer", 6),
            ("late put lands", 4),
            ("retention", 2),
            ("rewind", 1),
            ("re-creation", 1),
            ("another cluster", 1),
            ("back", 1),
        ] {
            // Half of the histories know a fault at all, so that rare combinations are not drowned by the common ones.
            faults.insert(fault, if rng.bool() { rng.u32(0..=most) } else { 0 });
        }
        let state = Arc::new(Mutex::new(state));
        Self { rng, state, running: Vec::new(), started: 0, faults, versions: BTreeMap::new(), stops: Vec::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("one thread")
    }

    fn spend(&mut self, fault: &'static str) -> bool {
        let left = self.faults.get_mut(fault).expect("a known fault");
        if *left == 0 {
            return false;
        }
        *left -= 1;
        self.state().count(fault);
        true
    }

    /// A new incarnation, in the cluster that is in use.
    fn sim(&mut self) -> Sim {
        let writer = self.started;
        self.started += 1;
        let cluster = self.state().cluster;
        Sim { state: self.state.clone(), writer, cluster, version: self.rng.u32(1..=3) }
    }

    fn start(&mut self) {
        let sim = self.sim();
        let (id, cluster) = (sim.writer, sim.cluster);
        {
            let mut state = self.state();
            state.owners[cluster] = Some(id);
            state.note(format!("W{id} starts in cluster {cluster}, decoder version {}", sim.version));
        }
        let task = Box::pin(writer(sim, Rng::with_seed(self.rng.u64(..))));
        self.run_task(Running { id, role: Role::Writer, cluster, stalled: false, task });
    }

    fn start_operator(&mut self, command: Command) {
        let sim = self.sim();
        let (id, cluster) = (sim.writer, sim.cluster);
        self.state().note(format!("O{id} runs {command:?} in cluster {cluster}, decoder version {}", sim.version));
        let task = Box::pin(operator(sim, command));
        self.run_task(Running { id, role: Role::Operator, cluster, stalled: false, task });
    }

    fn run_task(&mut self, mut running: Running) {
        match poll(&mut running.task) {
            None => self.running.push(running),
            Some(end) => self.ended(running.id, end),
        }
    }

    fn ended(&mut self, id: usize, end: End) {
        let said = match end {
            End::Revoked => "it lost the partition".to_owned(),
            End::Done(said) => said,
            End::Stopped(message) => {
                self.stops.push(message.clone());
                message
            }
        };
        let mut state = self.state();
        state.note(format!("{id} ends: {said}"));
        state.forget(id);
    }

    /// How many are at work, and awake, in the cluster that is in use.
    fn at_work(&self, role: Role) -> usize {
        let cluster = self.state().cluster;
        let counts = |running: &&Running| running.role == role && running.cluster == cluster && !running.stalled;
        self.running.iter().filter(counts).count()
    }

    fn crash(&mut self, index: usize) {
        let Running { id, role, task, .. } = self.running.remove(index);
        drop(task);
        let mut state = self.state();
        state.note(format!("{id} crashes"));
        if role == Role::Operator {
            state.count("operator crash");
        }
        state.forget(id);
    }

    /// Lets one of them make one request.
    fn step(&mut self, calm: bool) {
        let asleep: Vec<usize> = self.running.iter().filter(|one| one.stalled).map(|one| one.id).collect();
        let waiting = self.state().waiting(&asleep);
        if waiting.is_empty() {
            return;
        }
        let ticket = waiting[self.rng.usize(..waiting.len())];
        let put = self.state().is_put(ticket);
        let fate = match self.rng.u8(0..12) {
            _ if calm => Fate::Answered,
            0..4 if self.spend("no answer") => match self.rng.u8(0..4) {
                0 if put => Fate::Racing,
                1 | 2 if put => Fate::Late,
                2 => Fate::AnswerLost,
                _ => Fate::Dropped,
            },
            _ => Fate::Answered,
        };
        let id = {
            let mut state = self.state();
            let id = state.grant(ticket, fate);
            if fate != Fate::Answered {
                state.note(format!("{id} {} {fate:?}", if put { "PUT" } else { "request" }));
            }
            id
        };
        let Some(index) = self.running.iter().position(|running| running.id == id) else { return };
        if let Some(end) = poll(&mut self.running[index].task) {
            drop(self.running.remove(index));
            self.ended(id, end);
        }
    }

    /// Something goes wrong, or time goes on.
    fn disturb(&mut self) {
        let (late, cluster, topic, low, end, committed) = {
            let state = self.state();
            // A rewind of what another creation of the topic committed would be a reset forward: the user's own skip.
            let epochs = invariants::epochs(&state);
            let ours = format!("epoch={:04}", epochs.len().saturating_sub(1));
            let commit = state.commits[state.cluster].as_ref();
            let rewindable = commit.filter(|commit| commit.1 == ours && epochs.last() == Some(&state.topic()));
            let (committed, log) = (rewindable.map_or(0, |commit| commit.0), state.log(state.cluster));
            (state.late.len(), state.cluster, state.topic(), log.low, log.end, committed)
        };
        let idle = self.at_work(Role::Writer) == 0;
        match self.rng.u8(0..20) {
            0 if !self.running.is_empty() && self.spend("crash") => {
                let index = self.rng.usize(..self.running.len());
                self.crash(index);
            }
            1 if self.at_work(Role::Writer) == 1 && self.spend("zombie") => self.start(),
            2 | 9 if late > 0 && self.spend("late put lands") => {
                let index = self.rng.usize(..late);
                let mut state = self.state();
                let put = state.late.swap_remove(index);
                state.note(format!("a late PUT of {} arrives", put.key));
                state.land(&put);
            }
            3 | 11 if low < end && self.spend("retention") => {
                let to = self.rng.i64(low + 1..=end);
                let mut state = self.state();
                state.logs[topic].low = to;
                state.changed = true;
                state.note(format!("retention moves the log start to {to}"));
            }
            4 if idle && committed > 0 && self.spend("rewind") => {
                let to = self.rng.i64(0..committed);
                let mut state = self.state();
                state.note(format!("a tool rewinds to {to}"));
                state.commits[cluster] = Some((to, String::new()));
            }
            5 if topic == 0 && self.spend("re-creation") => {
                let mut state = self.state();
                state.note("the topic is re-created");
                state.topics[cluster] = 1;
                state.commits[cluster] = None;
            }
            6 if cluster == 0 && self.spend("another cluster") => {
                let mut state = self.state();
                state.note("from now on another cluster is used; who is at work in the first one stays there");
                state.cluster = 1;
            }
            7 if cluster == 1 && self.spend("back") => {
                let mut state = self.state();
                state.note("back to the first cluster");
                state.cluster = 0;
            }
            8 | 18 => self.grow(cluster),
            9 if cluster == 1 => self.grow(0),
            10 | 19 if self.at_work(Role::Operator) < 2 => {
                let mistaken = [Command::AcceptHole, Command::NewEpoch][self.rng.usize(..2)];
                let command = if self.rng.u8(0..4) == 0 { mistaken } else { sensible(&self.state()) };
                // Who reads no message runs no command; some do.
                if !self.stops.is_empty() || self.rng.u8(0..8) == 0 {
                    self.start_operator(command);
                }
            }
            12 | 14..18 => self.stall(),
            13 => {
                if let Some(one) = self.running.iter_mut().find(|one| one.stalled) {
                    one.stalled = false;
                }
            }
            _ if idle => self.start(),
            _ => {}
        }
    }

    /// Puts one to sleep that has a PUT to send: the zombie that hurts.
    fn stall(&mut self) {
        let about_to_put = |one: &Running| !one.stalled && self.state().waits_with(one.id, "raw/");
        let Some(index) = self.running.iter().position(about_to_put) else { return };
        if self.spend("stall") {
            self.running[index].stalled = true;
            self.state().note(format!("{} stalls", self.running[index].id));
        }
    }

    fn grow(&mut self, cluster: usize) {
        let mut state = self.state();
        let topic = state.topics[cluster];
        let log = &mut state.logs[topic];
        log.end = (log.end + 1).min(i64::try_from(log.rows.len()).expect("short"));
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.usize(40..240) {
            if self.rng.u8(0..3) == 0 {
                self.disturb();
            }
            self.step(false);
            self.check()?;
        }
        let reasons = ["retention", "re-creation", "another cluster"];
        let quiet = reasons.iter().any(|reason| self.state().met.contains_key(reason));
        if let Some(message) = self.stops.first().filter(|_| !quiet) {
            return Err(format!("a writer stopped without a reason: {message}"));
        }
        self.finish()
    }

    /// Checks what has changed, if anything.
    fn check(&mut self) -> Result<bool, String> {
        let state = self.state.clone();
        let mut state = state.lock().expect("one thread");
        let changed = std::mem::take(&mut state.changed) || state.broken.is_some();
        if changed {
            check(&state, &mut self.versions)?;
        }
        Ok(changed)
    }

    /// No more faults: the work must be finished.
    fn finish(&mut self) -> Result<(), String> {
        self.running.iter_mut().for_each(|one| one.stalled = false);
        self.state().note("from here on no faults");
        self.state().changed = true;
        for _ in 0..PATIENCE {
            let cluster = self.state().cluster;
            self.grow(cluster);
            if self.at_work(Role::Operator) == 0 {
                // Of two commands the one that is not to the point is refused.
                let command = [Command::AcceptHole, Command::NewEpoch][self.rng.usize(..2)];
                self.start_operator(command);
            }
            // One that has nothing to read does not meet the end of its epoch: somebody restarts it.
            let restarted = self.running.iter().position(|running| running.role == Role::Writer);
            if let Some(index) = restarted.filter(|_| self.rng.u8(..) == 0) {
                self.crash(index);
            }
            if self.at_work(Role::Writer) == 0 {
                self.start();
            }
            self.step(true);
            if self.check()? && complete(&self.state()).is_ok() {
                return Ok(());
            }
        }
        let why = complete(&self.state()).err().unwrap_or_default();
        Err(format!("not finished: {why}; last stop: {:?}", self.stops.last()))
    }
}

fn poll(task: &mut Task) -> Option<End> {
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => Some(end),
        Poll::Pending => None,
    }
}

fn random_log(rng: &mut Rng, topic: usize) -> Log {
    let length = rng.i64(2..14);
    let markers = rng.bool();
    let mut run = 0;
    let rows = (0..length).map(|offset| {
        // Sometimes a run of undelivered offsets that is longer than an object may span.
        if run == 0 && markers && rng.u8(0..5) == 0 {
            run = rng.i64(1..=SPAN * 2);
        }
        if run > 0 {
            run -= 1;
            return None;
        }
        Some(Row { offset, topic, decodes_from: rng.u32(0..=4) })
    });
    let rows: Vec<_> = rows.collect();
    Log { rows, low: 0, end: rng.i64(0..=length) }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_history_breaks_the_chain() {
    let seeds = match from_env("TICKSTREAM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_env("TICKSTREAM_HISTORIES").unwrap_or(HISTORIES),
    };
    let (alone, mut met, mut objects) = (seeds.end - seeds.start == 1, BTreeMap::new(), 0);
    for seed in seeds {
        let mut history = History::new(seed);
        let result = history.run();
        let mut state = history.state();
        note_met(&mut state);
        if result.is_err() || alone {
            println!("{}", state.trace.join("\n"));
        }
        if let Err(broken) = result {
            panic!("{broken}; again with TICKSTREAM_SEED={seed}");
        }
        for (what, times) in &state.met {
            *met.entry(*what).or_insert(0) += times;
        }
        objects += state.objects.len();
    }
    println!("{objects} objects in all; met: {met:?}");
    let needed = [
        "crash",
        "zombie",
        "stall",
        "no answer",
        "late put lands",
        "retention",
        "rewind",
        "re-creation",
        "another cluster",
        "back",
        "412",
        "another origin refused",
        "start inside an object",
        "transaction markers",
        "bronze of no owner",
        "hole",
        "hole accepted",
        "end",
        "epoch begun",
        "data refused at an end",
        "data first",
        "operator crash",
        "a gap told again",
        "listing without a link",
    ];
    for needed in needed {
        assert!(alone || met.contains_key(needed), "no history met: {needed}");
    }
}
