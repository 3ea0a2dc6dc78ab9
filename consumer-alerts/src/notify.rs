//! The notifier: alerts from market.alerts.v1 to the channels of one file, each alert once a channel, as far as the channel
//! allows. A channel is a consumer group of its own with a ledger of its own (a compacted topic), so that none waits for
//! another.
//!
//! The way of an alert: `sink` takes a batch, leaves out what the channel's filter or the ledger says, holds what quiet hours
//! hold, groups the rest; `message` says it in `markup` that the channel understands, `transport` sends it by `http`; the
//! `ledger` records it; then the consume loop commits.

mod channels;
mod config;
mod figures;
mod held;
mod http;
mod ledger;
mod markup;
mod message;
mod quiet;
mod sink;
mod start;
mod tally;
mod transport;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use pipeline::admin::{self, Health};
use pipeline::codec::RecordType;
use pipeline::consume::{ConsumeConfig, Until, consume};
use pipeline::decode::Decoder;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::Registry;
use pipeline::topic_id::TopicIds;
use reqwest::Url;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use channels::{Channel, parse as parse_channels};
pub use config::NotifyArgs;
use http::Verdict;
use ledger::Ledger;
use sink::ChannelSink;
use transport::Transport;

/// What time it is: of a person, who sleeps at night and wants to know how old a message is. Rules never ask it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How often what the channels say of themselves becomes what the process says.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the notifier works on.
#[derive(Clone)]
pub struct Notifier {
    pub kafka: KafkaArgs,
    pub registry: Option<Registry>,
    pub channels: Vec<Channel>,
    pub dashboard_url: Option<Url>,
    pub alerts_topic: String,
    pub deliveries_topic: String,
    pub clock: Clock,
}

/// Sends alerts until `shutdown`, or one trial message.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a channels file, a broker or a topic that cannot be used; a trial that did not arrive.
pub async fn notify(args: NotifyArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let channels = channels::read(&args.channels, &|name| std::env::var(name).ok())?;
    if let Some(name) = &args.test {
        return try_out(&channels, name, &mut std::io::stdout()).await;
    }
    let notifier = Notifier {
        registry: args.registry.registry()?,
        channels,
        dashboard_url: args.dashboard_url,
        alerts_topic: args.alerts_topic,
        deliveries_topic: args.deliveries_topic,
        clock: Arc::new(Timestamp::now),
        kafka: args.kafka,
    };
    let health = Health::new();
    admin::serve(args.admin.admin_addr, health.clone(), None, shutdown.clone()).await?;
    notifier.run(health, shutdown).await
}

impl Notifier {
    /// Runs every channel until `shutdown`, or until one cannot go on.
    ///
    /// # Errors
    /// What the first channel says that cannot go on; the others have ended in good order then.
    pub async fn run(self, health: Health, shutdown: CancellationToken) -> anyhow::Result<()> {
        let shutdown = shutdown.child_token();
        let (mut running, mut of_channels) = (JoinSet::new(), Vec::new());
        for channel in &self.channels {
            let of_channel = Health::new();
            // Once a channel and process: parts of readiness have names for good.
            let part: &'static str = Box::leak(format!("channel {}", channel.name).into_boxed_str());
            of_channels.push((part, of_channel.clone()));
            let (name, sink, config) = (channel.name.clone(), self.sink(channel)?, self.consuming(channel));
            let (kafka, token) = (self.kafka.clone(), shutdown.clone());
            running.spawn(async move {
                let done = consume(config, &kafka, sink, of_channel, token).await;
                done.with_context(|| format!("channel {name}"))
            });
        }
        let telling = tokio::spawn(tell(health, of_channels, shutdown.clone()));
        let mut result = Ok(());
        while let Some(ended) = running.join_next().await {
            shutdown.cancel();
            result = result.and(ended.unwrap_or_else(|panic| Err(anyhow!(panic))));
        }
        telling.abort();
        result
    }

    fn sink(&self, channel: &Channel) -> anyhow::Result<ChannelSink> {
        Ok(ChannelSink::new(
            channel.clone(),
            Transport::new(channel)?,
            Ledger::new(&self.kafka, &self.deliveries_topic, &channel.name)?,
            Decoder::new(RecordType::Alert, self.registry.clone()),
            TopicIds::new(&self.kafka)?,
            self.dashboard_url.clone(),
            self.clock.clone(),
        ))
    }

    fn consuming(&self, channel: &Channel) -> ConsumeConfig {
        let wait = Duration::try_from(channel.grouping.wait).unwrap_or_default();
        ConsumeConfig {
            topics: vec![self.alerts_topic.clone()],
            group: channel.group(),
            max_rows: 500,
            max_bytes: 1 << 20,
            // A batch is what alerts are grouped in: it is cut when its first alert has waited for others.
            max_age: wait.max(Duration::from_millis(5)),
            together: false,
            max_span: None,
            buffer_bytes: 4 << 20,
            idle_every: Duration::from_secs(1),
            stop_when_bad: true,
            drain: Duration::from_secs(15),
            until: Until::Shutdown,
        }
    }
}

/// Makes of what each channel says of itself what the process says.
async fn tell(health: Health, of_channels: Vec<(&'static str, Health)>, shutdown: CancellationToken) {
    loop {
        for (part, of_channel) in &of_channels {
            health.set(part, of_channel.ready().map_err(|reasons| reasons.replace('\n', "; ")));
        }
        if of_channels.iter().all(|(_, of_channel)| of_channel.live()) {
            health.beat();
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            health.set("shutdown", Err("shutting down".to_owned()));
            return;
        }
    }
}

/// Sends one message to the channel called `name` and says what came of it.
async fn try_out(channels: &[Channel], name: &str, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    let Some(channel) = channels.iter().find(|channel| channel.name == name) else {
        let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        return Err(misconfigured(format!("--test: there is no channel {name:?}; there are {}", names.join(", "))));
    };
    let mut transport = Transport::new(channel)?;
    let parcel = transport.trial(name, Uuid::new_v4().to_string());
    match transport.send(&parcel).await {
        Verdict::Delivered => Ok(writeln!(out, "channel {name}: the message was taken")?),
        Verdict::GivenUp(reason) => bail!("channel {name} refuses messages: {reason}"),
        Verdict::Later(reason, _) => bail!("channel {name} cannot be reached now: {reason}"),
    }
}
