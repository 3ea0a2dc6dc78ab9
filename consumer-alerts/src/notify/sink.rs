//! One channel's end of the consume loop. A batch is what alerts are grouped in. Invariants: messages leave oldest first, one
//! at a time; an alert whose message was taken is in the ledger before anything else happens; the commit passes neither an
//! alert that waits for its channel nor one that quiet hours hold. A channel that is down is an outage of the loop: it tries
//! the same batch again, and what is settled of it is passed over.
//!
//! Crash points: see `ledger.rs`. Must never happen here: a wait as long as quiet hours, which would keep the loop from
//! following a rebalance.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pipeline::consume::{Assigned, DeadLetter, Fault, PartitionBatch, Sink, Wanted, Written};
use pipeline::decode::{Alerts, Decoder};
use pipeline::events::Alert;
use pipeline::topic_id::TopicIds;
use reqwest::Url;
use uuid::Uuid;

use super::Clock;
use super::channels::{Channel, GroupBy};
use super::figures::instant;
use super::held::Held;
use super::http::Verdict;
use super::ledger::{Entry, Ledger, ReadError, Status, first_at, kept_for};
use super::message::Setting;
use super::start::{NEW_CHANNEL_BEGINS, Start, start_of};
use super::tally::Tally;
use super::transport::Transport;

/// The longest that a call waits for a channel that has asked for a pause; then the loop is asked to come again.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
const FORGET_EVERY: SignedDuration = SignedDuration::from_hours(24);

pub struct ChannelSink {
    channel: Channel,
    transport: Transport,
    ledger: Ledger,
    decoder: Decoder,
    topic_ids: TopicIds,
    /// By topic and partition, as asked when it was assigned.
    ids: HashMap<(Arc<str>, i32), String>,
    dashboard: Option<Url>,
    clock: Clock,
    held: Held,
    /// The channel has asked to be left alone until then, in these words.
    not_before: Option<(Instant, String)>,
    /// Tries since the last message that the channel took or refused.
    attempts: u32,
    forgotten_at: Timestamp,
    /// Broker time of the newest record that was read, milliseconds: what is old is older than that, whatever clock is here.
    newest_ms: i64,
    tally: Tally,
    wanted: Option<Wanted>,
}

/// An alert that the channel is to be sent.
struct Waiting {
    alert: Alert,
    partition: i32,
    offset: i64,
}

impl ChannelSink {
    pub fn new(
        channel: Channel,
        transport: Transport,
        ledger: Ledger,
        decoder: Decoder,
        topic_ids: TopicIds,
        dashboard: Option<Url>,
        clock: Clock,
    ) -> Self {
        Self {
            tally: Tally::new(&channel.name),
            forgotten_at: Timestamp::UNIX_EPOCH,
            newest_ms: 0,
            ids: HashMap::new(),
            wanted: None,
            held: Held::default(),
            not_before: None,
            attempts: 0,
            channel,
            transport,
            ledger,
            decoder,
            topic_ids,
            dashboard,
            clock,
        }
    }

    async fn topic_id(&self, topic: &str, partition: i32) -> Result<String, Fault> {
        Ok(self.topic_ids.topic_id(topic, partition).await?.to_string())
    }

    async fn recent(&self, assigned: &Assigned) -> Result<i64, Fault> {
        let at = (self.clock)().checked_sub(NEW_CHANNEL_BEGINS).unwrap_or(Timestamp::UNIX_EPOCH);
        let (kafka, topic, partition) = (self.ledger.kafka().clone(), assigned.topic.clone(), assigned.partition);
        let found = tokio::task::spawn_blocking(move || first_at(&kafka, &topic, partition, at)).await;
        let found = found.map_err(|error| Fault::Outage(error.into()))?.map_err(Fault::Outage)?;
        Ok(found.unwrap_or(assigned.log_end).max(assigned.log_start))
    }

    async fn decode(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Waiting>, Vec<DeadLetter>), Fault> {
        let (mut waiting, mut letters, mut met) = (Vec::new(), Vec::new(), HashSet::new());
        let times = batches.iter().flat_map(|batch| batch.records.timestamps_ms().values());
        self.newest_ms = times.copied().fold(self.newest_ms, i64::max);
        let too_old = self.too_old().as_millisecond();
        for batch in batches {
            let decoded = self.decoder.decode(batch.records.values()).await;
            let decoded = decoded.map_err(|error| Fault::Outage(error.into()))?;
            let offsets = batch.records.offsets();
            letters.extend(decoded.bad.iter().map(|(record, reason)| DeadLetter {
                topic: batch.topic.to_string(),
                partition: batch.partition,
                offset: offsets.value(*record as usize),
                reason: reason.clone(),
            }));
            for (alert, record) in Alerts::new(&decoded.batch).iter().zip(&decoded.rows) {
                let record = *record as usize;
                if self.ledger.is_settled(&alert.alert_id) || !met.insert(alert.alert_id) {
                    self.tally.known += 1;
                } else if !self.channel.filter.wants(&alert) {
                    self.tally.filtered += 1;
                } else if batch.records.timestamps_ms().value(record) < too_old {
                    self.tally.expired += 1;
                } else {
                    waiting.push(Waiting { alert, partition: batch.partition, offset: offsets.value(record) });
                }
            }
        }
        if batches.len() > 1 {
            waiting.sort_by_key(|waiting| waiting.alert.fired_at);
        }
        Ok((waiting, letters))
    }

    /// Before this broker time nothing is sent, and nothing that was sent need be known.
    fn too_old(&self) -> Timestamp {
        let newest = Timestamp::from_millisecond(self.newest_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        newest.checked_sub(kept_for()).unwrap_or(Timestamp::MIN)
    }

    fn is_quiet(&self) -> bool {
        self.channel.quiet.as_ref().is_some_and(|quiet| quiet.until((self.clock)()).is_some())
    }

    /// Holds what quiet hours hold. Gives what they do not.
    fn hold_back(&mut self, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let Some(quiet) = &self.channel.quiet else { return waiting };
        let (held, loud): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|waiting| quiet.holds(waiting.alert.severity));
        for Waiting { alert, partition, offset } in held {
            self.held.hold(alert, partition, offset);
        }
        loud
    }

    /// Sends one summary of what quiet hours held.
    async fn release(&mut self) -> Result<(), Fault> {
        if self.held.len() == 0 {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let quiet = self.channel.quiet.as_ref();
        let title = quiet.map_or_else(String::new, |quiet| {
            format!(" held over quiet hours, {} to {}", quiet.from.strftime("%H:%M"), quiet.to.strftime("%H:%M"))
        });
        let done = self.send(&title, &held.whole().iter().collect::<Vec<_>>(), held.counted()).await;
        if done.is_err() {
            self.held = held;
        }
        done?;
        self.save().await
    }

    async fn deliver(&mut self, waiting: &[Waiting]) -> Result<(), Fault> {
        for (key, alerts) in groups(waiting.iter().map(|waiting| &waiting.alert), self.channel.grouping.by) {
            let title = match self.channel.grouping.by {
                GroupBy::Rule => format!(" by rule {key}"),
                GroupBy::Symbol => format!(" on {key}"),
                GroupBy::Channel | GroupBy::Nothing => String::new(),
            };
            self.send(&title, &alerts, &[]).await?;
            self.save().await?;
        }
        Ok(())
    }

    /// Sends one message and settles its alerts; they are not in the topic yet.
    async fn send(&mut self, title: &str, alerts: &[&Alert], counted: &[Uuid]) -> Result<(), Fault> {
        self.wait_turn().await?;
        self.attempts = self.attempts.saturating_add(1);
        let setting = Setting { channel: &self.channel, dashboard: self.dashboard.as_ref(), now: (self.clock)() };
        let parcel = self.transport.parcel(&setting, title, alerts, counted.len());
        let first = alerts.first().and_then(|alert| instant(alert.fired_at));
        let (status, reason) = match self.transport.send(&parcel).await {
            Verdict::Delivered => (Status::Delivered, None),
            Verdict::GivenUp(reason) => {
                let (channel, count) = (&self.channel.name, alerts.len() + counted.len());
                tracing::error!(
                    channel,
                    alerts = count,
                    first = parcel.key,
                    reason,
                    "channel {channel} refuses {count} alerts for good, from {}: {reason}",
                    parcel.key
                );
                (Status::GivenUp, Some(reason))
            }
            Verdict::Later(reason, wait) => {
                self.tally.waits(first, (self.clock)());
                let asked = wait.map_or_else(String::new, |wait| format!("; it asks to wait {} s", wait.as_secs()));
                let said = format!("channel {}: {reason}{asked}", self.channel.name);
                self.not_before = wait.map(|wait| (Instant::now() + wait, said.clone()));
                return Err(Fault::Outage(anyhow!(said)));
            }
        };
        let now = (self.clock)();
        for (place, alert) in alerts.iter().enumerate() {
            let status = if status == Status::Delivered && place >= parcel.named { Status::Counted } else { status };
            self.settle(alert.alert_id, status, reason.clone(), now);
            self.tally.settled(status, instant(alert.fired_at), now);
        }
        for alert in counted {
            let status = if status == Status::Delivered { Status::Counted } else { status };
            self.settle(*alert, status, reason.clone(), now);
            self.tally.settled(status, None, now);
        }
        self.attempts = 0;
        Ok(())
    }

    fn settle(&mut self, alert: Uuid, status: Status, reason: Option<String>, at: Timestamp) {
        self.ledger.settle(alert, Entry { at, status, attempts: self.attempts, reason });
    }

    async fn save(&mut self) -> Result<(), Fault> {
        self.ledger.save().await.map_err(Fault::Outage)
    }

    /// Waits as long as the channel has asked for, or says that the loop has to come again.
    async fn wait_turn(&mut self) -> Result<(), Fault> {
        // What is left is another member's to send.
        if self.wanted.as_ref().is_some_and(|wanted| !wanted.is_wanted()) {
            return Err(Fault::Outage(anyhow!("channel {}: the partitions are given away", self.channel.name)));
        }
        let Some((until, said)) = &self.not_before else { return Ok(()) };
        let until = *until;
        tokio::time::sleep_until(until.min(Instant::now() + LONGEST_SLEEP).into()).await;
        if Instant::now() < until {
            return Err(Fault::Outage(anyhow!(said.clone())));
        }
        self.not_before = None;
        Ok(())
    }

    /// What may be committed: all but what is held.
    fn written(&self, batch: &PartitionBatch) -> Written {
        let held = self.held.first(batch.partition).unwrap_or(batch.next_offset);
        Written {
            topic: batch.topic.clone(),
            partition: batch.partition,
            commit: held.min(batch.next_offset),
            metadata: self.ids.get(&(batch.topic.clone(), batch.partition)).cloned().unwrap_or_default(),
            resume_at: batch.next_offset,
        }
    }
}

#[async_trait]
impl Sink for ChannelSink {
    fn asked(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
    }

    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<i64>, Fault> {
        self.save().await?;
        self.held.clear();
        self.ids.clear();
        self.ledger.read_to_end().await.map_err(|error| match error {
            ReadError::Outage(error) => Fault::Outage(error),
            ReadError::Missing(error) => Fault::Stop(error),
        })?;
        let mut starts = Vec::with_capacity(assigned.len());
        for partition in assigned {
            let id = self.topic_id(&partition.topic, partition.partition).await?;
            starts.push(match start_of(partition, &id) {
                Start::At(offset) => offset,
                Start::Recent => self.recent(partition).await?,
            });
            self.ids.insert((partition.topic.clone(), partition.partition), id);
        }
        Ok(starts)
    }

    /// A channel that is new goes on from its start after a restart, though nothing was sent yet.
    fn commit_start(&self, assigned: &Assigned) -> Option<String> {
        self.ids.get(&(assigned.topic.clone(), assigned.partition)).cloned()
    }

    async fn write(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault> {
        self.save().await?;
        self.tally.begin();
        let (mut waiting, letters) = self.decode(batches).await?;
        // Asked once: quiet that ends in between must not let newer alerts go before those that are held.
        if self.is_quiet() {
            waiting = self.hold_back(waiting);
        } else {
            self.release().await?;
            // An earlier try of these batches may have held some, which are sent now.
            waiting.retain(|waiting| !self.ledger.is_settled(&waiting.alert.alert_id));
        }
        self.deliver(&waiting).await?;
        self.tally.end(self.held.len());
        Ok((batches.iter().map(|batch| self.written(batch)).collect(), letters))
    }

    async fn idle(&mut self) -> Result<(), Fault> {
        let now = (self.clock)();
        if now.duration_since(self.forgotten_at) > FORGET_EVERY {
            self.forgotten_at = now;
            self.ledger.forget_before(self.too_old());
        }
        self.save().await?;
        if !self.is_quiet() {
            self.release().await?;
        }
        self.tally.holds(self.held.len());
        Ok(())
    }
}

/// Alerts that become one message each, with what they have in common; by their first alerts in order, and each in order.
fn groups<'a>(alerts: impl Iterator<Item = &'a Alert>, by: GroupBy) -> Vec<(&'a str, Vec<&'a Alert>)> {
    let mut groups: Vec<(&str, Vec<&Alert>)> = Vec::new();
    for alert in alerts {
        let key = match by {
            GroupBy::Rule => alert.rule.as_str(),
            GroupBy::Symbol => alert.symbol.as_deref().or(alert.source.as_deref()).unwrap_or_default(),
            GroupBy::Channel | GroupBy::Nothing => "",
        };
        match groups.iter_mut().find(|(known, _)| by != GroupBy::Nothing && *known == key) {
            Some((_, group)) => group.push(alert),
            None => groups.push((key, vec![alert])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    #[test]
    fn groups_are_in_the_order_of_their_first_alerts() {
        let alert = |rule: &str, symbol: Option<&str>, n: i64| Alert {
            rule: rule.to_owned(),
            symbol: symbol.map(str::to_owned),
            trigger_offset: n,
            ..example::alert()
        };
        let alerts =
            [alert("b", Some("X"), 1), alert("a", Some("Y"), 2), alert("b", None, 3), alert("a", Some("X"), 4)];
        let grouped = |by| {
            let groups = groups(alerts.iter(), by).into_iter();
            let offsets = |group: Vec<&Alert>| group.iter().map(|alert| alert.trigger_offset).collect::<Vec<_>>();
            groups.map(|(key, group)| (key, offsets(group))).collect::<Vec<_>>()
        };
        assert_eq!(grouped(GroupBy::Rule), [("b", vec![1, 3]), ("a", vec![2, 4])]);
        assert_eq!(grouped(GroupBy::Symbol), [("X", vec![1, 4]), ("Y", vec![2]), ("coinbase", vec![3])]);
        assert_eq!(grouped(GroupBy::Channel), [("", vec![1, 2, 3, 4])]);
        assert_eq!(grouped(GroupBy::Nothing), [("", vec![1]), ("", vec![2]), ("", vec![3]), ("", vec![4])]);
    }
}
