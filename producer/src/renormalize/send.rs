//! Corrections to the broker, each acknowledged or counted as not. Must never happen here: a tick that was sent, not
//! acknowledged, and counted as published.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::codec::Encoder;
use pipeline::events::PriceTick;
use pipeline::kafka::KafkaArgs;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::publish::broker::{Broker, Delivery, NotTaken, Ticket, is_refusal};
use crate::publish::outbox::{Outgoing, Target};

/// A broker that acknowledges nothing for this long is given up.
const NO_PROGRESS: Duration = Duration::from_secs(60);

pub struct Sending {
    encoder: Encoder,
    batches: Sender<Vec<Outgoing>>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Sending {
    /// # Errors
    /// [`pipeline::Misconfigured`] when the broker cannot be used.
    pub async fn start(kafka: &KafkaArgs, encoder: Encoder) -> anyhow::Result<Self> {
        let kafka = kafka.clone();
        let broker =
            tokio::task::spawn_blocking(move || Broker::connect(&kafka)).await.context("connecting panicked")??;
        let (batches, receiver) = channel(2);
        let thread = tokio::task::spawn_blocking(move || Publishing::new(broker).run(receiver));
        Ok(Self { encoder, batches, thread })
    }

    /// # Errors
    /// When the broker was given up.
    pub async fn send(&self, ticks: Vec<PriceTick>) -> anyhow::Result<()> {
        let encode = |tick: &PriceTick| Outgoing {
            target: Target::Ticks,
            key: tick.symbol.clone().into_bytes(),
            payload: self.encoder.tick(tick),
            source: None,
            received_at: tick.received_at,
            off_median: None,
            trace: None,
        };
        // When it is gone, `finish` says why.
        drop(self.batches.send(ticks.iter().map(encode).collect()).await);
        Ok(())
    }

    /// How many were acknowledged.
    ///
    /// # Errors
    /// When the client failed for good.
    pub async fn finish(self) -> anyhow::Result<u64> {
        drop(self.batches);
        self.thread.await.context("publishing panicked")?
    }
}

struct Publishing {
    broker: Broker,
    next_sequence: u64,
    acknowledged: u64,
    returned: VecDeque<Outgoing>,
    heard_at: Instant,
}

impl Publishing {
    fn new(broker: Broker) -> Self {
        Self { broker, next_sequence: 0, acknowledged: 0, returned: VecDeque::new(), heard_at: Instant::now() }
    }

    fn run(mut self, mut batches: Receiver<Vec<Outgoing>>) -> anyhow::Result<u64> {
        while let Some(batch) = batches.blocking_recv() {
            self.heard_at = Instant::now();
            for record in batch {
                if !self.hand_over(record)? {
                    return Ok(self.acknowledged);
                }
            }
        }
        while (self.broker.outstanding() > 0 || !self.returned.is_empty()) && self.is_alive() {
            match self.returned.pop_front() {
                Some(record) => drop(self.hand_over(record)?),
                None => self.settle()?,
            }
        }
        Ok(self.acknowledged)
    }

    /// `false` when the broker takes nothing any more.
    fn hand_over(&mut self, record: Outgoing) -> anyhow::Result<bool> {
        while self.is_alive() {
            let ticket = Ticket {
                sequence: self.next_sequence,
                target: record.target,
                source: record.source,
                received_at: record.received_at,
                off_median: None,
                trace: None,
                segment: None,
            };
            match self.broker.send(ticket, &record) {
                Ok(()) => {
                    self.next_sequence += 1;
                    return Ok(true);
                }
                Err((NotTaken::Failed(code), _)) if is_refusal(code) => {
                    tracing::error!(?code, "the broker refuses a tick for good");
                    return Ok(true);
                }
                Err(_) => self.settle()?,
            }
        }
        Ok(false)
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        let mut deliveries = self.broker.deliveries(Duration::from_millis(50));
        deliveries.extend(self.broker.renew_if_fatal()?);
        for delivery in deliveries {
            match delivery {
                Delivery::Acknowledged(_) => {
                    self.acknowledged += 1;
                    self.heard_at = Instant::now();
                }
                Delivery::Returned(_, _, code) if is_refusal(code) => {
                    tracing::error!(?code, "the broker refuses a tick for good");
                }
                Delivery::Returned(_, record, _) => self.returned.push_back(record),
            }
        }
        Ok(())
    }

    fn is_alive(&self) -> bool {
        self.heard_at.elapsed() < NO_PROGRESS
    }
}
