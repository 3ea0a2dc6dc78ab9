//! The way to the collector: a queue with a bound, and one task that sends what is in it by OTLP over HTTP. A collector that is
//! down, slow or answers nonsense costs spans, which are counted. Must never happen here: a wait of whoever tells a span.

use std::hash::RandomState;
use std::time::Duration;

use anyhow::Context;
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{RandomIdGenerator, SpanData, SpanExporter};
use reqwest::Url;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::args::TraceArgs;
use super::{Tracer, sampled};
use crate::telemetry::misconfigured;

/// Spans that wait: about a megabyte.
pub(super) const QUEUE: usize = 2048;
/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others that go with it.
const GATHER: Duration = Duration::from_secs(1);
/// The longest that one request may take; OTEL_EXPORTER_OTLP_TIMEOUT says how long it is tried again.
const ANSWER: Duration = Duration::from_secs(10);
/// What is sent of the spans at the end has this long.
pub(super) const LAST_WORD: Duration = Duration::from_secs(2);

/// Nothing where tracing is off.
///
/// # Errors
/// [`crate::Misconfigured`] for an endpoint or a sampler that is none.
pub(super) fn start(
    program: &'static str,
    args: &TraceArgs,
    ending: CancellationToken,
) -> anyhow::Result<Option<(Tracer, JoinHandle<()>)>> {
    let Some(endpoint) = args.endpoint() else { return Ok(None) };
    let endpoint = traces_of(endpoint).ok_or_else(|| {
        misconfigured(
            "--otel-exporter-otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) is not the address of an OTLP/HTTP collector; \
             expected one such as http://collector:4318",
        )
    })?;
    let (sampler, ratio) = args.sampler()?;
    crate::admin::metrics();
    let client = reqwest::Client::builder()
        .user_agent(concat!("tickstream/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER)
        .build()
        .context("cannot make an HTTP client")?;
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint.as_str())
        .build()
        .map_err(|error| misconfigured(format!("the OTEL_EXPORTER_OTLP_… variables: {error}")))?;
    let name = args.otel_service_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| program.to_owned());
    exporter.set_resource(&Resource::builder().with_service_name(name).build());
    let (spans, queue) = channel(QUEUE);
    let tracer = Tracer {
        spans,
        sampler: sampled::sampler(sampler, ratio),
        ids: RandomIdGenerator::default(),
        scope: InstrumentationScope::builder("tickstream").with_version(env!("CARGO_PKG_VERSION")).build(),
        payload_ids: RandomState::new(),
        dropped: metrics::counter!("tickstream_trace_spans_dropped_total", "reason" => "queue_full"),
    };
    // Of the address no more than this: a password may stand in it.
    let collector = endpoint.origin().ascii_serialization();
    tracing::info!(collector, ?sampler, ratio, "tracing is on: spans go to {collector}");
    Ok(Some((tracer, tokio::spawn(send(queue, exporter, ending)))))
}

/// Where a collector takes traces.
fn traces_of(endpoint: &str) -> Option<Url> {
    let mut url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
    Some(url)
}

/// Sends until `ending`, and then what is left.
async fn send(mut queue: Receiver<SpanData>, exporter: impl SpanExporter, ending: CancellationToken) {
    let sent = metrics::counter!("tickstream_trace_spans_sent_total");
    let failed = metrics::counter!("tickstream_trace_spans_dropped_total", "reason" => "not_sent");
    let mut works = true;
    while let Some(batch) = gather(&mut queue, &ending).await {
        let spans = batch.len() as u64;
        match exporter.export(batch).await {
            Ok(()) => {
                sent.increment(spans);
                if !std::mem::replace(&mut works, true) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                failed.increment(spans);
                if std::mem::replace(&mut works, false) {
                    tracing::warn!(%error, "the collector does not take spans; they are dropped and counted until it does");
                }
            }
        }
    }
}

/// The first span that comes and those that follow it within a moment. `None` at the end.
async fn gather(queue: &mut Receiver<SpanData>, ending: &CancellationToken) -> Option<Vec<SpanData>> {
    let first = match ending.run_until_cancelled(queue.recv()).await {
        Some(first) => first?,
        None => {
            queue.close();
            queue.recv().await?
        }
    };
    let mut batch = vec![first];
    let follow = async {
        while batch.len() < BATCH {
            match queue.recv().await {
                Some(span) => batch.push(span),
                None => return,
            }
        }
    };
    let _ = ending.run_until_cancelled(timeout(GATHER, follow)).await;
    // At the end nothing is waited for, and what is there is taken all the same.
    while batch.len() < BATCH
        && let Ok(span) = queue.try_recv()
    {
        batch.push(span);
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};

    use super::super::tests::{spans_of, tracer_into};
    use super::*;

    /// Keeps how many spans each request had.
    #[derive(Clone, Debug, Default)]
    struct Requests {
        spans: Arc<Mutex<Vec<usize>>>,
        fails: bool,
    }

    impl SpanExporter for Requests {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.spans.lock().expect("no panic").push(batch.len());
            if self.fails { Err(OTelSdkError::InternalFailure("away".to_owned())) } else { Ok(()) }
        }
    }

    #[test]
    fn a_collector_takes_traces_below_its_address() {
        let of = |endpoint| traces_of(endpoint).map(String::from);
        for endpoint in ["http://collector:4318", "http://collector:4318/"] {
            assert_eq!(of(endpoint).as_deref(), Some("http://collector:4318/v1/traces"));
        }
        assert_eq!(of("https://host/otlp/").as_deref(), Some("https://host/otlp/v1/traces"));
        assert_eq!(of("collector:4318"), None);
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_sent() {
        let (spans, queue) = channel(QUEUE);
        let tracer = tracer_into(spans);
        for _ in 0..BATCH + 1 {
            spans_of(&tracer);
        }
        let (requests, ending) = (Requests::default(), CancellationToken::new());
        ending.cancel();
        send(queue, requests.clone(), ending).await;
        let sent = requests.spans.lock().expect("no panic").clone();
        assert_eq!(sent.iter().sum::<usize>(), BATCH + 1);
        assert!(sent.iter().all(|spans| *spans <= BATCH), "{sent:?}");
    }

    #[test]
    fn what_does_not_fit_or_is_not_taken_is_dropped_and_counted() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let (spans, queue) = channel(2);
            let tracer = tracer_into(spans);
            for _ in 0..5 {
                spans_of(&tracer);
            }
            let ending = CancellationToken::new();
            ending.cancel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(send(queue, Requests { fails: true, ..Requests::default() }, ending));
        });
        let told = recorder.handle().render();
        for (reason, count) in [("queue_full", 3), ("not_sent", 2)] {
            let line = format!("tickstream_trace_spans_dropped_total{{reason=\"{reason}\"}} {count}\n");
            assert!(told.contains(&line), "{told}");
        }
    }
}
