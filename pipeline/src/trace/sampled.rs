//! Which payloads and records are traced. Invariant: one decision a trace, made where it begins.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

use super::args::SamplerName;

pub(super) fn sampler(name: SamplerName, ratio: f64) -> Sampler {
    let parent_based = |root: Sampler| Sampler::ParentBased(Box::new(root));
    match name {
        SamplerName::AlwaysOn => Sampler::AlwaysOn,
        SamplerName::AlwaysOff => Sampler::AlwaysOff,
        SamplerName::Traceidratio => Sampler::TraceIdRatioBased(ratio),
        SamplerName::ParentbasedAlwaysOn => parent_based(Sampler::AlwaysOn),
        SamplerName::ParentbasedAlwaysOff => parent_based(Sampler::AlwaysOff),
        SamplerName::ParentbasedTraceidratio => parent_based(Sampler::TraceIdRatioBased(ratio)),
    }
}

/// Whether a trace begins here.
pub(super) fn begins(sampler: &Sampler, trace_id: TraceId) -> bool {
    is_sampled(sampler, None, trace_id)
}

/// Whether what another service began is gone on with. What it did not sample has no spans for ours to stand under.
pub(super) fn follows(sampler: &Sampler, parent: &SpanContext) -> bool {
    parent.is_sampled() && {
        let context = Context::new().with_remote_span_context(parent.clone());
        is_sampled(sampler, Some(&context), parent.trace_id())
    }
}

fn is_sampled(sampler: &Sampler, parent: Option<&Context>, trace_id: TraceId) -> bool {
    let result = sampler.should_sample(parent, trace_id, "", &SpanKind::Internal, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}
