//! Several producers share the sources: whoever holds partition N of market.sources.v1 in their consumer group reads source
//! N. Nothing is read from that topic and nothing committed; the group's own rules (one member a partition, a dead member's
//! partitions go to the others after its session time-out) are all the leadership there is, so no further service is needed.
//! The assignment is cooperative: a rebalance stops no source that stays where it is.
//!
//! **What is ours stays ours until the group says that it is not.** A broker that is away also takes the group away, and
//! librdkafka then revokes everything as lost. That is not believed: every producer would stop reading in exactly the outage
//! that the spill is there for. A lost source is read on until this producer is in the group again and told what it has now.
//!
//! **Two readers for a moment are harmless.** A producer that was paused or cut off (a zombie) goes on reading until it hears
//! of the group again, beside the one that took over. A trade, and a quote with a time of its source, has the same event id
//! whoever read it, so it is one event; a quote whose source gives no time is two readings of it, each true at its time. Both
//! readers' gaps are true of themselves: what one missed and the other has is in the log. Only calls are spent twice, for as
//! long as the cut lasts; the one that keeps the source believes the larger of both accounts when it starts.
//!
//! Must never happen here: a callback that waits (they run inside of poll), or a source that no producer of the group reads
//! because another one holds it that was not told to, with nobody saying so.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use pipeline::admin::Health;
use pipeline::kafka::{KafkaArgs, create};
use pipeline::{misconfigured, topics};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, TopicPartitionList};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::SourceName;
use crate::runner::Ours;

/// What this is called in `/readyz`.
const PART: &str = "sharing";
/// A member that was not heard of for this long is dead: the least that brokers allow as they come.
const SESSION: Duration = Duration::from_secs(6);
const HEARTBEAT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(100);
/// How often the other members are asked what they read, and how soon after the sources were shared out anew.
const MEMBERS_EVERY: Duration = Duration::from_secs(30);
const MEMBERS_SOON: Duration = Duration::from_secs(2);
/// How long the broker may take for that: nothing is polled meanwhile.
const MEMBERS_PATIENCE: Duration = Duration::from_secs(2);
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long leaving may take: without the broker it could take for ever.
const LEAVING: Duration = Duration::from_secs(5);
/// Each member's client id says what it reads, so that the others can tell.
const CLIENT: &str = "tickstream-producer";

/// A membership in the group.
pub struct Sharing {
    /// The sources that are ours now.
    pub ours: watch::Receiver<Ours>,
    left: oneshot::Receiver<()>,
}

impl Sharing {
    /// Waits until the group was left, after `shutdown`, so that the others need not wait for a time-out.
    pub async fn left(self) {
        drop(tokio::time::timeout(LEAVING, self.left).await);
    }
}

/// Joins the group, and stays in it until `shutdown`.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the topic is not there or has too few partitions, or a setting is refused.
pub async fn join(
    kafka: &KafkaArgs,
    group: &str,
    sources: &Ours,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<Sharing> {
    let (sender, ours) = watch::channel(Ours::new());
    let told = Arc::new(Told { sources: sources.clone(), ours: sender, held: Mutex::default() });
    let consumer: BaseConsumer<Callbacks> = create(&settings(kafka, group, sources), Callbacks(told.clone()))?;
    let servers = kafka.kafka_bootstrap_servers.clone();
    let consumer = tokio::task::spawn_blocking(move || {
        expect_partitions(&consumer, &servers)?;
        consumer.subscribe(&[topics::SOURCES]).context("cannot join the group")?;
        anyhow::Ok(consumer)
    });
    let consumer = consumer.await.context("joining the group panicked")??;
    health.set(PART, Err(format!("joining the group {group}")));
    let member = Member {
        group: group.to_owned(),
        client_id: client_id(sources),
        told,
        health,
        trouble: None,
        others: None,
        ask_members_at: Instant::now() + MEMBERS_EVERY,
        changes: 0,
    };
    let (done, left) = oneshot::channel();
    let thread = std::thread::Builder::new().name(PART.to_owned());
    thread
        .spawn(move || {
            member.stay(&consumer, &shutdown);
            // Closing leaves the group.
            drop(consumer);
            let _ = done.send(());
        })
        .context("cannot start the thread that keeps our place in the group")?;
    Ok(Sharing { ours, left })
}

fn settings(kafka: &KafkaArgs, group: &str, sources: &Ours) -> ClientConfig {
    let mut settings = kafka.consumer(Some(group));
    settings
        .set("client.id", client_id(sources))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION.as_millis().to_string())
        .set("heartbeat.interval.ms", HEARTBEAT.as_millis().to_string())
        .set("max.poll.interval.ms", "30000")
        // There is nothing in the topic: see [`Member::read_nothing`].
        .set("auto.offset.reset", "latest")
        .set("enable.partition.eof", "false");
    settings
}

fn expect_partitions(consumer: &BaseConsumer<Callbacks>, servers: &str) -> anyhow::Result<()> {
    let needed = SourceName::value_variants().iter().map(|name| *name as i32 + 1).max().unwrap_or(0);
    let metadata = consumer.fetch_metadata(Some(topics::SOURCES), START_TIMEOUT).map_err(|error| {
        misconfigured(format!(
            "no Kafka broker answers at {servers}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error}; \
             start the broker or name another"
        ))
    })?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if i32::try_from(partitions).is_ok_and(|partitions| partitions < needed) {
        return Err(misconfigured(format!(
            "sources are shared by the topic {}, which has {partitions} partitions on the broker at {servers} and needs \
             {needed}; run `tickstream topics apply` first",
            topics::SOURCES
        )));
    }
    Ok(())
}

/// What the group has told us, written by the callbacks.
struct Told {
    /// What this producer was told to read.
    sources: Ours,
    ours: watch::Sender<Ours>,
    held: Mutex<Held>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    partitions: BTreeSet<i32>,
    /// The group was heard of since the start.
    joined: bool,
    /// The group is gone: what we hold is from before.
    lost: bool,
    changes: u64,
}

impl Held {
    fn assigned(&mut self, partitions: BTreeSet<i32>) {
        if std::mem::take(&mut self.lost) {
            self.partitions.clear();
        }
        self.partitions.extend(partitions);
        self.joined = true;
        self.changes += 1;
    }

    fn revoked(&mut self, partitions: &BTreeSet<i32>, lost: bool) {
        if lost {
            self.lost = true;
        } else {
            self.partitions.retain(|partition| !partitions.contains(partition));
        }
        self.changes += 1;
    }

    fn sources(&self) -> Ours {
        self.partitions.iter().filter_map(|partition| source_of(*partition)).collect()
    }
}

fn source_of(partition: i32) -> Option<SourceName> {
    SourceName::value_variants().iter().copied().find(|name| *name as i32 == partition)
}

impl Told {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        let mut held = self.held();
        change(&mut held);
        let ours: Ours = held.sources().intersection(&self.sources).copied().collect();
        self.ours.send_if_modified(|known| {
            let news = *known != ours;
            *known = ours;
            news
        });
    }
}

/// They run inside of poll: they note, and wait for nothing.
struct Callbacks(Arc<Told>);

impl ClientContext for Callbacks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        pipeline::kafka::token(setting)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What lasts is told by the poll, once.
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: BTreeSet<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let lost = consumer.assignment_lost();
        self.0.change(|held| if assigned { held.assigned(partitions) } else { held.revoked(&partitions, lost) });
        let done = match (assigned, cooperative) {
            (true, true) => consumer.incremental_assign(list),
            (true, false) => consumer.assign(list),
            (false, true) => consumer.incremental_unassign(list),
            (false, false) => consumer.unassign(),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "cannot take up what the group has shared out");
        }
    }
}

struct Member {
    group: String,
    client_id: String,
    told: Arc<Told>,
    health: Health,
    /// Why we are not in the group, when the broker said so.
    trouble: Option<String>,
    /// What is wrong between us and the other members.
    others: Option<Mismatch>,
    ask_members_at: Instant,
    changes: u64,
}

impl Member {
    fn stay(mut self, consumer: &BaseConsumer<Callbacks>, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            match consumer.poll(POLL) {
                // Nobody writes to this topic; what somebody did all the same means nothing.
                None | Some(Ok(_)) => {}
                Some(Err(error)) => self.note(&error.to_string()),
            }
            if self.take_up_changes() {
                self.read_nothing(consumer);
            }
            self.ask_members(consumer);
            self.health.set(PART, self.state());
        }
        tracing::info!(group = self.group, "leaving the group");
    }

    /// What the client reports, once: it goes on reporting while it lasts.
    fn note(&mut self, error: &str) {
        if self.trouble.as_deref() != Some(error) {
            tracing::warn!(group = self.group, error, "the client that shares the sources has trouble");
            self.trouble = Some(error.to_owned());
        }
    }

    /// Whether there were any.
    fn take_up_changes(&mut self) -> bool {
        let held = self.told.held().clone();
        if held.changes == self.changes {
            return false;
        }
        self.changes = held.changes;
        self.trouble = None;
        self.ask_members_at = Instant::now() + MEMBERS_SOON;
        let ours = self.told.ours.borrow().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
        if held.lost {
            tracing::warn!(group = self.group, ours, "the group is lost; what is ours is read on until it answers");
        } else {
            tracing::info!(group = self.group, ours, "the sources are shared out");
        }
        true
    }

    /// Being assigned a partition means to fetch from it, for ever and for nothing; and what else is asked of the broker would
    /// wait for each fetch to end.
    fn read_nothing(&self, consumer: &BaseConsumer<Callbacks>) {
        if let Err(error) = consumer.assignment().and_then(|assigned| consumer.pause(&assigned)) {
            tracing::debug!(group = self.group, %error, "the partitions are fetched from");
        }
    }

    fn state(&self) -> Result<(), String> {
        let held = self.told.held();
        let group = &self.group;
        match (&self.trouble, &self.others) {
            _ if held.lost => Err(format!("the group {group} is lost; what is ours is read on until it answers")),
            (Some(trouble), _) if !held.joined => Err(format!("cannot join the group {group}: {trouble}")),
            _ if !held.joined => Err(format!("joining the group {group}")),
            (_, Some(Mismatch { unread: true, what })) => Err(what.clone()),
            _ => Ok(()),
        }
    }

    /// Compares what the members read. A member whose list is another one may hold what it does not read and others do.
    fn ask_members(&mut self, consumer: &BaseConsumer<Callbacks>) {
        let Held { joined, lost, .. } = *self.told.held();
        if !joined || lost || Instant::now() < self.ask_members_at {
            return;
        }
        self.ask_members_at = Instant::now() + MEMBERS_EVERY;
        let group = match consumer.client().fetch_group_list(Some(&self.group), MEMBERS_PATIENCE) {
            Ok(group) => group,
            Err(error) => {
                tracing::debug!(group = self.group, %error, "the members of the group are not known");
                return;
            }
        };
        let members = group.groups().iter().flat_map(|group| group.members());
        let others = members.map(|member| member.client_id()).filter(|id| *id != self.client_id);
        let held = self.told.held().sources();
        let mismatch =
            others.map(|id| mismatch(&self.group, id, &self.told.sources, &held)).max_by_key(|one| one.unread);
        metrics::gauge!("tickstream_producer_sharing_mismatch").set(f64::from(u8::from(mismatch.is_some())));
        if let Some(Mismatch { what, .. }) = mismatch.as_ref().filter(|_| mismatch != self.others) {
            tracing::warn!(group = self.group, "{what}");
        }
        self.others = mismatch;
    }
}

/// Another member reads other sources than we do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mismatch {
    /// We hold one that the other would read and we do not: nobody does.
    unread: bool,
    what: String,
}

fn client_id(sources: &Ours) -> String {
    sources.iter().fold(CLIENT.to_owned(), |id, name| format!("{id}/{}", name.as_str()))
}

/// What the client id of another member, which is not ours, says.
fn mismatch(group: &str, id: &str, ours: &Ours, held: &Ours) -> Mismatch {
    let Some(theirs) = id.strip_prefix(CLIENT) else {
        let what = format!(
            "the group {group} has a member that is no producer ({id}); give the producers a group of their own"
        );
        return Mismatch { unread: true, what };
    };
    let theirs: BTreeSet<&str> = theirs.split('/').filter(|name| !name.is_empty()).collect();
    let unread: Vec<&str> =
        held.difference(ours).map(|name| name.as_str()).filter(|name| theirs.contains(name)).collect();
    let list = |names: Vec<&str>| if names.is_empty() { "nothing".to_owned() } else { names.join(",") };
    let mut what = format!(
        "another producer of the group {group} reads {} and this one {}: all producers of a group must have the same \
         --sources (PRODUCER_SOURCES)",
        list(theirs.into_iter().collect()),
        list(ours.iter().map(|name| name.as_str()).collect()),
    );
    if !unread.is_empty() {
        what = format!("nobody reads {}: {what}", unread.join(","));
    }
    Mismatch { unread: !unread.is_empty(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sources: &[SourceName]) -> (Told, watch::Receiver<Ours>) {
        let (ours, receiver) = watch::channel(Ours::new());
        (Told { sources: sources.iter().copied().collect(), ours, held: Mutex::default() }, receiver)
    }

    fn partitions(sources: &[SourceName]) -> BTreeSet<i32> {
        sources.iter().map(|name| *name as i32).collect()
    }

    #[test]
    fn a_lost_group_takes_nothing_and_its_next_word_is_the_whole_truth() {
        use SourceName::{Binance, Coinbase, Kraken};
        let (told, ours) = told(&[Binance, Coinbase]);
        let now = || ours.borrow().iter().copied().collect::<Vec<_>>();
        told.change(|held| held.assigned(partitions(&[Binance, Kraken])));
        assert_eq!(now(), [Binance], "what was not asked for is not read, though it is held");
        told.change(|held| held.assigned(partitions(&[Coinbase])));
        assert_eq!(now(), [Binance, Coinbase], "the assignment is what comes on top");
        told.change(|held| held.revoked(&partitions(&[Binance]), false));
        assert_eq!(now(), [Coinbase]);
        told.change(|held| held.revoked(&partitions(&[Coinbase, Kraken]), true));
        assert_eq!(now(), [Coinbase], "the broker is away: it is read on");
        told.change(|held| held.assigned(partitions(&[Binance])));
        assert_eq!(now(), [Binance], "another producer has taken the other one over");
        told.change(|held| held.revoked(&partitions(&[Binance]), true));
        told.change(|held| held.assigned(BTreeSet::new()));
        assert_eq!(now(), [], "others have taken over everything");
    }

    #[test]
    fn a_member_that_reads_something_else_is_told_of() {
        use SourceName::{Binance, Coinbase, Kraken};
        let set = |names: &[SourceName]| names.iter().copied().collect::<Ours>();
        let theirs = client_id(&set(&[Binance, Coinbase]));
        let found = mismatch("g", &theirs, &set(&[Binance]), &set(&[Binance, Coinbase, Kraken]));
        assert!(found.unread && found.what.starts_with("nobody reads coinbase: another"), "{found:?}");
        assert!(found.what.contains("reads binance,coinbase and this one binance"), "{found:?}");
        let found = mismatch("g", &theirs, &set(&[Binance]), &set(&[Binance, Kraken]));
        assert!(!found.unread && found.what.contains("PRODUCER_SOURCES"), "{found:?}");
        assert!(mismatch("g", "tickstream", &set(&[Binance]), &set(&[])).what.contains("no producer"));
    }
}
