//! The simulated world: a store, and two clusters with a log and a group's commit each, behind one lock. Every request waits
//! for a ticket; the scheduler grants one at a time and says what becomes of it, so a history is a list of grants and faults,
//! and a seed repeats it. Whoever was started against a cluster stays with it, also when the others have gone to another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use anyhow::{anyhow, bail};
use bytes::Bytes;
use pipeline::events::Gap;
use pipeline::lake::{Link, LinkKind, LinkRows};
use pipeline::store::{Condition, Head, Object, Put};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::world::{Bronze, Letter, OperatorWorld, Place, World};

pub const SPAN: i64 = 3;
pub const CLUSTERS: usize = 2;

/// A record: where it stands, which creation of the topic it belongs to, and from which decoder version on it decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub offset: i64,
    pub topic: usize,
    pub decodes_from: u32,
}

#[derive(Serialize, Deserialize)]
pub struct RawFile {
    pub pairs: HashMap<String, String>,
    pub rows: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
pub struct BronzeFile {
    pub version: u32,
    pub good: Vec<Row>,
    pub bad: Vec<Letter>,
}

/// One creation of the topic.
#[derive(Clone, Debug)]
pub struct Log {
    /// `None`: an offset that is never delivered.
    pub rows: Vec<Option<Row>>,
    pub low: i64,
    pub end: i64,
}

#[derive(Clone)]
pub struct PutRequest {
    pub key: String,
    pub bytes: Bytes,
    pub metadata: HashMap<String, String>,
    pub if_match: Option<String>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It had its effect, and the answer was lost.
    AnswerLost,
    /// It never arrived.
    Dropped,
    /// No answer; a PUT has its effect at some later time, or never.
    Late,
    /// 409.
    Racing,
}

struct Ticket {
    writer: usize,
    put: Option<PutRequest>,
    granted: Option<Fate>,
    waker: Option<Waker>,
}

#[derive(Default)]
pub struct State {
    tickets: BTreeMap<u64, Ticket>,
    next_ticket: u64,
    pub objects: BTreeMap<String, Object>,
    next_etag: u64,
    pub late: Vec<PutRequest>,
    /// Every creation of the topic, in whichever cluster.
    pub logs: Vec<Log>,
    /// Which creation each cluster has now.
    pub topics: [usize; CLUSTERS],
    /// Where whoever starts now is started.
    pub cluster: usize,
    /// Of the group, in each cluster.
    pub commits: [Option<(i64, String)>; CLUSTERS],
    pub owners: [Option<usize>; CLUSTERS],
    pub letters: BTreeSet<(usize, i64)>,
    pub gaps: Vec<Gap>,
    pub broken: Option<String>,
    /// Something that an invariant speaks of has changed since it was last checked.
    pub changed: bool,
    pub trace: Vec<String>,
    /// What happened in all, to show that the histories meet what they are for.
    pub met: BTreeMap<&'static str, u64>,
}

impl State {
    pub fn note(&mut self, line: impl Into<String>) {
        self.trace.push(line.into());
    }

    pub fn count(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// The topic that whoever starts now has to do with.
    pub fn topic(&self) -> usize {
        self.topics[self.cluster]
    }

    pub fn log(&self, cluster: usize) -> &Log {
        &self.logs[self.topics[cluster]]
    }

    /// The tickets of all but those.
    pub fn waiting(&self, asleep: &[usize]) -> Vec<u64> {
        let waits = |ticket: &Ticket| ticket.granted.is_none() && !asleep.contains(&ticket.writer);
        self.tickets.iter().filter(|(_, ticket)| waits(ticket)).map(|(id, _)| *id).collect()
    }

    /// This writer waits with a PUT of a key that begins so.
    pub fn waits_with(&self, writer: usize, prefix: &str) -> bool {
        let put = |ticket: &Ticket| ticket.put.as_ref().is_some_and(|put| put.key.starts_with(prefix));
        self.tickets.values().any(|ticket| ticket.writer == writer && ticket.granted.is_none() && put(ticket))
    }

    pub fn is_put(&self, id: u64) -> bool {
        self.tickets.get(&id).is_some_and(|t| t.put.is_some())
    }

    /// Grants a ticket; gives whose it is.
    pub fn grant(&mut self, id: u64, fate: Fate) -> usize {
        let ticket = self.tickets.get_mut(&id).expect("a waiting ticket");
        ticket.granted = Some(fate);
        if let Some(waker) = ticket.waker.take() {
            waker.wake();
        }
        ticket.writer
    }

    /// The writer is gone; its PUTs under way may still land.
    pub fn forget(&mut self, writer: usize) {
        let (mine, others) = std::mem::take(&mut self.tickets).into_iter().partition(|(_, t)| t.writer == writer);
        self.tickets = others;
        let mine: BTreeMap<u64, Ticket> = mine;
        self.late.extend(mine.into_values().filter_map(|ticket| ticket.put));
    }

    /// The store carries out a PUT.
    pub fn land(&mut self, put: &PutRequest) -> Put {
        let there = self.objects.get(&put.key);
        let holds = match (&put.if_match, there) {
            (None, there) => there.is_none(),
            (Some(etag), Some(object)) => object.head.etag == *etag,
            (Some(_), None) => false,
        };
        if !holds {
            let winner = there.map(|object| object.bytes.clone()).unwrap_or_default();
            self.count("412");
            self.count_loser(put, &winner);
            return Put::Exists;
        }
        if put.key.starts_with("raw/") && put.if_match.is_some() {
            self.broken = Some(format!("5: a PUT that may change {}", put.key));
        }
        match kind(&put.bytes) {
            Some(LinkKind::Hole) => self.count("hole"),
            Some(LinkKind::End) => self.count("end"),
            Some(LinkKind::Data) | None => {}
        }
        self.changed = true;
        self.next_etag += 1;
        let etag = format!("e{}", self.next_etag);
        let head = Head { etag: etag.clone(), size: put.bytes.len() as u64, metadata: put.metadata.clone() };
        self.note(format!("  stored {} {}", put.key, String::from_utf8_lossy(&put.bytes)));
        self.objects.insert(put.key.clone(), Object { head, bytes: put.bytes.clone() });
        Put::Done { etag }
    }
}

impl State {
    /// Races that the histories are there for.
    fn count_loser(&mut self, put: &PutRequest, winner: &[u8]) {
        if put.key.ends_with("_origin.json") && *put.bytes != *winner {
            self.count("another origin refused");
        }
        match (kind(&put.bytes), kind(winner)) {
            (Some(LinkKind::Data), Some(LinkKind::Hole)) => self.count("data refused at a hole"),
            (Some(LinkKind::Data), Some(LinkKind::End)) => self.count("data refused at an end"),
            (Some(LinkKind::Hole | LinkKind::End), Some(LinkKind::Data)) => self.count("data first"),
            _ => {}
        }
    }
}

/// What kind of raw object these bytes are, if any.
fn kind(bytes: &[u8]) -> Option<LinkKind> {
    let file: RawFile = serde_json::from_slice(bytes).ok()?;
    Link::from_pairs(&file.pairs).map(|link| link.kind)
}

/// One incarnation of a writer, or of an operator, as the world sees it.
#[derive(Clone)]
pub struct Sim {
    pub state: Arc<Mutex<State>>,
    pub writer: usize,
    pub cluster: usize,
    pub version: u32,
}

struct Granted {
    sim: Sim,
    put: Option<PutRequest>,
    id: Option<u64>,
}

impl Future for Granted {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        let state = self.sim.state.clone();
        let mut state = state.lock().expect("one thread");
        let Some(id) = self.id else {
            let id = state.next_ticket;
            state.next_ticket += 1;
            let put = self.put.take();
            let raw =
                |t: &Ticket| t.put.as_ref().is_some_and(|p| p.key.starts_with("raw/") && p.key.ends_with(".parquet"));
            let ticket = Ticket { writer: self.sim.writer, put, granted: None, waker: Some(cx.waker().clone()) };
            if raw(&ticket) && state.tickets.values().any(|t| t.writer == ticket.writer && raw(t)) {
                state.broken = Some("two raw PUTs of a partition at once".to_owned());
            }
            state.tickets.insert(id, ticket);
            self.id = Some(id);
            return Poll::Pending;
        };
        let ticket = state.tickets.get_mut(&id).expect("it waits");
        match ticket.granted {
            Some(fate) => {
                state.tickets.remove(&id);
                Poll::Ready(fate)
            }
            None => {
                ticket.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Sim {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("one thread")
    }

    fn granted(&self, put: Option<PutRequest>) -> Granted {
        Granted { sim: self.clone(), put, id: None }
    }

    /// One request that reads, or that writes elsewhere than in the store.
    pub async fn ask<T>(&self, answer: impl FnOnce(&mut State) -> T) -> anyhow::Result<T> {
        match self.granted(None).await {
            Fate::Answered => Ok(answer(&mut self.lock())),
            Fate::AnswerLost => {
                answer(&mut self.lock());
                bail!("answer lost")
            }
            Fate::Dropped | Fate::Late | Fate::Racing => bail!("no answer"),
        }
    }
}

/// Two records an hour.
fn time_ms(offset: i64) -> i64 {
    offset * 1_800_000
}

pub fn topic_uuid(topic: usize) -> Uuid {
    Uuid::from_u128(1 + topic as u128)
}

pub fn decode(version: u32, rows: &[Row]) -> BronzeFile {
    let (good, bad): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| row.decodes_from <= version);
    BronzeFile { version, good, bad: bad.into_iter().map(|row| (row.offset, format!("v{version} cannot"))).collect() }
}

pub fn raw_file(link: &Link, rows: &[Row]) -> Bytes {
    let pairs: BTreeMap<String, String> = link.pairs().into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Bytes::from(serde_json::json!({ "pairs": pairs, "rows": rows }).to_string())
}

impl World for Sim {
    type Records = Arc<Vec<Row>>;

    async fn head(&self, key: &str) -> anyhow::Result<Option<Head>> {
        self.ask(|state| state.objects.get(key).map(|object| object.head.clone())).await
    }

    async fn get(&self, key: &str) -> anyhow::Result<Option<Object>> {
        self.ask(|state| state.objects.get(key).cloned()).await
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        metadata: HashMap<String, String>,
        condition: Condition<'_>,
    ) -> anyhow::Result<Put> {
        let if_match = match condition {
            Condition::IfNoneMatch => None,
            Condition::IfMatch(etag) => Some(etag.to_owned()),
        };
        if key.starts_with("bronze/") && self.lock().owners[self.cluster] != Some(self.writer) {
            self.lock().count("bronze of no owner");
        }
        let put = PutRequest { key: key.to_owned(), bytes, metadata, if_match };
        let fate = self.granted(Some(put.clone())).await;
        let mut state = self.lock();
        match fate {
            Fate::Answered => return Ok(state.land(&put)),
            Fate::Racing => return Ok(Put::Racing),
            Fate::AnswerLost => drop(state.land(&put)),
            Fate::Late => state.late.push(put),
            Fate::Dropped => {}
        }
        Err(anyhow!("no answer to PUT"))
    }

    /// No snapshot: a key that was written while it was looked for it may not show, though a later one does.
    async fn list(&self, prefix: &str, after: Option<&str>) -> anyhow::Result<Vec<String>> {
        let beyond = |key: &&String| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after);
        let keys = |state: &mut State| state.objects.keys().filter(beyond).cloned().collect::<Vec<_>>();
        let before = self.ask(keys).await?;
        let mut after = self.ask(keys).await?;
        if let Some(first) = after.iter().position(|key| !before.contains(key)) {
            self.lock().count("listing without a link");
            after.remove(first);
        }
        after.truncate(2);
        Ok(after)
    }

    async fn cluster_id(&self) -> anyhow::Result<String> {
        Ok(format!("cluster {}", self.cluster))
    }

    async fn topic_id(&self, _topic: &str, _partition: i32) -> anyhow::Result<Option<Uuid>> {
        self.ask(|state| Some(topic_uuid(state.topics[self.cluster]))).await
    }

    async fn log_range(&self, _topic: &str, _partition: i32) -> anyhow::Result<(i64, i64)> {
        self.ask(|state| (state.log(self.cluster).low, state.log(self.cluster).end)).await
    }

    async fn dead_letters(&self, place: &Place, _records: &Self::Records, letters: &[Letter]) -> anyhow::Result<()> {
        let topic = usize::try_from(place.topic_id.as_u128()).expect("small") - 1;
        let letters = letters.iter().map(|(offset, _)| (topic, *offset));
        let send = |state: &mut State| {
            state.letters.extend(letters);
            state.changed = true;
        };
        self.ask(send).await
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn span(&self) -> i64 {
        SPAN
    }

    fn rows(&self, records: &Self::Records) -> Option<LinkRows> {
        let (first, last) = (records.first()?.offset, records.last()?.offset);
        Some(LinkRows { first, last, count: records.len() as u64, first_time_ms: time_ms(first) })
    }

    async fn raw(&self, link: &Link, records: &Self::Records) -> anyhow::Result<Bytes> {
        Ok(raw_file(link, records))
    }

    async fn read_raw(&self, bytes: Bytes) -> anyhow::Result<(Link, Self::Records)> {
        let file: RawFile = serde_json::from_slice(&bytes)?;
        Ok((Link::from_pairs(&file.pairs).ok_or_else(|| anyhow!("no link"))?, Arc::new(file.rows)))
    }

    async fn bronze(&self, _place: &Place, _link: &Link, records: &Self::Records) -> anyhow::Result<Bronze> {
        let file = decode(self.version, records);
        let bytes = Bytes::from(serde_json::to_vec(&file)?);
        Ok(Bronze { bytes, rows: file.good.len(), bad: file.bad })
    }

    fn bad(&self, bronze: Bytes) -> anyhow::Result<Vec<Letter>> {
        Ok(serde_json::from_slice::<BronzeFile>(&bronze)?.bad)
    }
}

impl OperatorWorld for Sim {
    async fn first_time_ms(&self, _topic: &str, _partition: i32, since_ms: i64) -> anyhow::Result<i64> {
        let first = |state: &mut State| {
            let log = state.log(self.cluster);
            (log.low..log.end).map(time_ms).find(|time| *time >= since_ms).unwrap_or_else(|| time_ms(log.end))
        };
        self.ask(first).await
    }

    async fn gap(&self, gap: &Gap) -> anyhow::Result<()> {
        let publish = |state: &mut State| {
            if state.gaps.contains(gap) {
                state.count("a gap told again");
            }
            state.gaps.push(gap.clone());
            state.changed = true;
        };
        self.ask(publish).await
    }
}
