//! Runs a driver against a fake and collects what it hands to the publisher, decoded by the pipeline's own decoder.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{BinaryArray, RecordBatch};
use pipeline::admin::Health;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decode::{Decoder, Gaps, Healths, IndexWeights, Payloads, Ticks};
use pipeline::events::{Gap, IndexWeight, PriceTick, SourceHealth};
use pipeline::payload::Joiner;
use producer::drive::Way;
use producer::drive::clock::Clock;
use producer::drive::status::Status;
use producer::publish::outbox::{Outbox, Outgoing, Target};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub struct Heard {
    pub ticks: Vec<PriceTick>,
    pub gaps: Vec<Gap>,
    pub ready: Vec<Result<(), String>>,
    /// Records of payloads.
    pub payloads: usize,
    /// Rows of index portfolios.
    pub weights: Vec<IndexWeight>,
    /// Every record as it was handed on, but payloads: those as they were received.
    pub said: Vec<u8>,
    pub status: Option<Status>,
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
pub async fn hear<F>(source: &'static str, driver: impl FnOnce(Way) -> F, enough: impl Fn(&Heard) -> bool) -> Heard
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    install_tls();
    let encoder = Encoder::new(Framing::SingleObject).await.expect("an encoder");
    let (outbox, mut batches) = Outbox::new(Arc::new(encoder));
    let health = Health::new();
    let shutdown = CancellationToken::new();
    let status = Status::new(source, health.clone());
    let way = Way {
        outbox,
        status: status.clone(),
        clock: Clock::Wall,
        keep_payloads: true,
        state_dir: None,
        predecessor: None,
        shutdown: shutdown.clone(),
    };
    let running = tokio::spawn(driver(way));
    let mut heard = Heard { status: Some(status), ..Heard::default() };
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
        Target::Payloads => {
            heard.payloads += batch.len();
            heard.said.extend(bodies(&payloads).await);
        }
        Target::Index => heard.weights.extend(weights(&payloads).await),
        Target::Health => {}
    }
    if target != Target::Payloads {
        heard.said.extend(batch.iter().flat_map(|record| [record.key.as_slice(), record.payload.as_slice()]).flatten());
    }
}

pub async fn ticks(values: &[Vec<u8>]) -> Vec<PriceTick> {
    Ticks::new(&decoded(RecordType::PriceTick, values).await).iter().collect()
}

pub async fn healths(values: &[Vec<u8>]) -> Vec<SourceHealth> {
    let mut decoder = Decoder::new(RecordType::SourceHealth, None);
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let decoded = decoder.decode(&BinaryArray::from_vec(values)).await.expect("no registry");
    assert_eq!(decoded.bad, []);
    Healths::new(&decoded.batch).iter().collect()
}

pub async fn gaps(values: &[Vec<u8>]) -> Vec<Gap> {
    Gaps::new(&decoded(RecordType::Gap, values).await).iter().collect()
}

async fn weights(values: &[Vec<u8>]) -> Vec<IndexWeight> {
    IndexWeights::new(&decoded(RecordType::IndexWeight, values).await).iter().collect()
}

/// What was asked and answered, of those that came whole in one record.
async fn bodies(values: &[Vec<u8>]) -> Vec<u8> {
    let mut joiner = Joiner::default();
    let batch = decoded(RecordType::Payload, values).await;
    let whole = Payloads::new(&batch).iter().filter_map(|record| joiner.push(record).ok().flatten());
    whole.flat_map(|payload| [payload.request.into_bytes(), payload.body.to_vec()].concat()).collect()
}

async fn decoded(record: RecordType, values: &[Vec<u8>]) -> RecordBatch {
    let mut decoder = Decoder::new(record, None);
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let decoded = decoder.decode(&BinaryArray::from_vec(values)).await.expect("no registry");
    assert_eq!(decoded.bad, []);
    decoded.batch
}
