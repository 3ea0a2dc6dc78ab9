//! Runs a driver against a fake and collects what it hands to the publisher, decoded by the pipeline's own decoder.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::BinaryArray;
use pipeline::admin::Health;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decode::{Decoder, Gaps, Ticks};
use pipeline::events::{Gap, PriceTick};
use producer::outbox::{Outbox, Outgoing, Target};
use producer::status::Status;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub struct Heard {
    pub ticks: Vec<PriceTick>,
    pub gaps: Vec<Gap>,
    pub ready: Vec<Result<(), String>>,
}

impl Heard {
    /// The gaps that have closed, in the order of their opening. Checks that each was opened first, under the same id.
    pub fn closed(&self) -> Vec<&Gap> {
        self.gaps
            .iter()
            .enumerate()
            .filter(|(_, gap)| gap.ended_at.is_some())
            .map(|(at, gap)| {
                let opening =
                    self.gaps[..at].iter().find(|earlier| earlier.id == gap.id).expect("it was opened before");
                assert_eq!((opening.started_at, opening.ended_at), (gap.started_at, None));
                assert!(gap.ended_at >= Some(gap.started_at));
                gap
            })
            .collect()
    }

    pub fn prices(&self) -> Vec<String> {
        self.ticks.iter().map(|tick| format!("{} {}", tick.symbol, tick.price)).collect()
    }
}

/// Runs `driver` until `enough`, then stops it and takes what it still says.
pub async fn hear<F>(
    source: &'static str,
    driver: impl FnOnce(Outbox, Status, CancellationToken) -> F,
    enough: impl Fn(&Heard) -> bool,
) -> Heard
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    install_tls();
    let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
    let (outbox, mut batches) = Outbox::new(Arc::new(encoder));
    let health = Health::new();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(driver(outbox, Status::new(source, health.clone()), shutdown.clone()));
    let mut heard = Heard::default();
    let until = Instant::now() + Duration::from_secs(30);
    while !enough(&heard) {
        assert!(Instant::now() < until, "only heard {} ticks and {:?}", heard.ticks.len(), heard.gaps);
        match tokio::time::timeout(Duration::from_millis(50), batches.recv()).await {
            Ok(Some(batch)) => take(&mut heard, batch).await,
            Ok(None) => panic!("the driver ended: {:?}", running.await),
            Err(_) => {}
        }
        heard.ready.push(health.ready());
    }
    shutdown.cancel();
    while let Some(batch) = batches.recv().await {
        take(&mut heard, batch).await;
    }
    running.await.expect("no panic").expect("an orderly end");
    heard
}

/// What a service's `main` does: HTTP clients cannot be made without it.
pub fn install_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

async fn take(heard: &mut Heard, batch: Vec<Outgoing>) {
    // A batch is of one target.
    let Some(target) = batch.first().map(|record| record.target) else { return };
    assert!(batch.iter().all(|record| record.target == target));
    let payloads: Vec<Vec<u8>> = batch.iter().map(|record| record.payload.clone()).collect();
    match target {
        Target::Ticks => heard.ticks.extend(ticks(&payloads).await),
        Target::Gaps => {
            assert!(batch.iter().all(|record| record.source.is_none_or(|source| record.key == source.as_bytes())));
            heard.gaps.extend(gaps(&payloads).await);
        }
        Target::Health => {}
    }
}

pub async fn ticks(values: &[Vec<u8>]) -> Vec<PriceTick> {
    let mut decoder = Decoder::new(RecordType::PriceTick, None);
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let decoded = decoder.decode(&BinaryArray::from_vec(values)).await.expect("no registry");
    assert_eq!(decoded.bad, []);
    Ticks::new(&decoded.batch).iter().collect()
}

pub async fn gaps(values: &[Vec<u8>]) -> Vec<Gap> {
    let mut decoder = Decoder::new(RecordType::Gap, None);
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let decoded = decoder.decode(&BinaryArray::from_vec(values)).await.expect("no registry");
    assert_eq!(decoded.bad, []);
    Gaps::new(&decoded.batch).iter().collect()
}
