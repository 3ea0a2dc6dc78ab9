//! All services of the demo together: started at once, stopped in order, the producer first, so that what it had
//! acknowledged has been read by everybody before the consumers end.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pipeline::topics;
use stack::Stack;

use super::DemoArgs;
use super::positions;
use super::services::{self, Service};

const READY_PATIENCE: Duration = Duration::from_secs(60);
/// A real exchange may not answer at all; the gap ledger says so, and the page.
const LIVE_PATIENCE: Duration = Duration::from_secs(15);
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(90);
/// Above the services' own drain.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

pub struct Fleet {
    pub producer: Service,
    pub lake: Service,
    pub refiner: Service,
    pub database: Service,
    pub alerts: Service,
    pub dashboard: Service,
}

impl Fleet {
    /// Starts every service and waits until each says that it is ready.
    pub async fn start(args: &DemoArgs, page: std::net::SocketAddr, stack: &Stack) -> anyhow::Result<Self> {
        let lake = [("LAKE_MAX_AGE_MS", "5000".to_owned())];
        // Somebody watches: candles a few seconds old.
        let refiner = [("REFINER_EVERY", "10s".to_owned()), ("REFINER_OPEN_EVERY", "10s".to_owned())];
        let page = [("DASHBOARD_ADDR", page.to_string())];
        let fleet = Self {
            lake: Service::start("consumer-lake", &[], &lake, stack)?,
            refiner: Service::start("refiner", &["run"], &refiner, stack)?,
            database: Service::start("consumer-db", &[], &[], stack)?,
            alerts: Service::start("consumer-alerts", &["run"], &[], stack)?,
            dashboard: Service::start("dashboard", &[], &page, stack)?,
            producer: Service::start("producer", &[], &args.producer_settings(stack), stack)?,
        };
        for service in [&fleet.lake, &fleet.refiner, &fleet.database, &fleet.alerts, &fleet.dashboard] {
            service.wait_until_ready(READY_PATIENCE).await?;
        }
        if args.live {
            if let Err(err) = fleet.producer.wait_until_ready(LIVE_PATIENCE).await {
                if let Some(obituary) = fleet.producer.process.died() {
                    bail!(obituary);
                }
                tracing::warn!("{err:#}; going on, the sources are tried again and again");
            }
        } else {
            fleet.producer.wait_until_ready(READY_PATIENCE).await?;
        }
        Ok(fleet)
    }

    /// The first service that has ended without being asked to, with the last lines of its log.
    pub fn died(&self) -> Option<String> {
        self.all().into_iter().find_map(|service| service.process.died())
    }

    pub fn all(&self) -> [&Service; 6] {
        [&self.producer, &self.lake, &self.refiner, &self.database, &self.alerts, &self.dashboard]
    }

    /// Stops the producer, waits until the consumers have settled all that it wrote, stops them and the dashboard, and lets
    /// the refiner take up what came last.
    /// Goes on to the end whatever happens on the way; the first thing that went wrong is the result.
    pub async fn stop(&mut self, stack: &Stack) -> anyhow::Result<()> {
        let produced = self.producer.stop(STOP_PATIENCE).await;
        // Before the others have caught up: what it writes is for them to read.
        let alerts = self.alerts.stop(STOP_PATIENCE).await;
        let caught_up = match &produced {
            Ok(()) => self.catch_up(stack).await,
            Err(_) => Ok(()),
        };
        let (lake, refiner, database, dashboard) = tokio::join!(
            self.lake.stop(STOP_PATIENCE),
            self.refiner.stop(STOP_PATIENCE),
            self.database.stop(STOP_PATIENCE),
            self.dashboard.stop(STOP_PATIENCE),
        );
        produced.and(alerts).and(caught_up).and(lake).and(refiner).and(database).and(dashboard)?;
        let last = services::run("refiner", &["once"], &stack.env()).await?;
        if last.status.success() {
            return Ok(());
        }
        bail!("`refiner once` failed: {}", String::from_utf8_lossy(&last.stderr).trim());
    }

    async fn catch_up(&self, stack: &Stack) -> anyhow::Result<()> {
        let deadline = Instant::now() + CATCH_UP_PATIENCE;
        loop {
            let servers = stack.kafka_bootstrap_servers.clone();
            let behind = tokio::task::spawn_blocking(move || {
                let archived = topics::archived();
                let read: Vec<&str> = archived.iter().map(|topic| topic.name.as_str()).collect();
                let lake = positions::behind(&servers, "consumer-lake", topics::TICKS, &read)?;
                Ok::<_, anyhow::Error>(lake + positions::behind(&servers, "consumer-db", topics::TICKS, &read)?)
            })
            .await
            .context("asking for positions panicked")??;
            if behind == 0 {
                return Ok(());
            }
            if let Some(obituary) = self.lake.process.died().or_else(|| self.database.process.died()) {
                bail!(obituary);
            }
            if Instant::now() >= deadline {
                bail!(
                    "the consumers were still {behind} records behind {CATCH_UP_PATIENCE:?} after the producer had ended"
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
