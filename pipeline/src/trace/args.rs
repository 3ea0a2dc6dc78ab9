//! What a user can set, by the names that OpenTelemetry gives: the doc comments are the help text. Must never happen here:
//! tracing on because of anything but an endpoint.

use clap::{ArgAction, Args, ValueEnum};

#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// The OTLP/HTTP collector that spans are sent to, such as http://collector:4318. Tracing is off without one.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", hide_env_values = true, global = true)]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// The service's name in traces; the program's when not given.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME", global = true)]
    pub otel_service_name: Option<String>,
    /// Which records are traced. The producer decides for each payload and the ticks in it; the others follow.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_enum, default_value = "parentbased_traceidratio", global = true)]
    pub otel_traces_sampler: SamplerName,
    /// The share of payloads that are traced, for a sampler by ratio.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = "0.001", value_parser = ratio, value_name = "RATIO", global = true)]
    pub otel_traces_sampler_arg: f64,
    /// Turns tracing off, whatever else is set.
    #[arg(long, env = "OTEL_SDK_DISABLED", action = ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true", global = true)]
    pub otel_sdk_disabled: bool,
}

/// The samplers, by the names that OTEL_TRACES_SAMPLER has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SamplerName {
    AlwaysOn,
    AlwaysOff,
    Traceidratio,
    #[value(name = "parentbased_always_on")]
    ParentbasedAlwaysOn,
    #[value(name = "parentbased_always_off")]
    ParentbasedAlwaysOff,
    #[value(name = "parentbased_traceidratio")]
    ParentbasedTraceidratio,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "expected a share between 0 and 1, such as 0.001 for one payload in a thousand".to_owned())
}

impl TraceArgs {
    /// The collector, when tracing is on. An empty variable counts as none.
    pub(super) fn endpoint(&self) -> Option<&str> {
        let endpoint = self.otel_exporter_otlp_endpoint.as_deref().map(str::trim)?;
        (!self.otel_sdk_disabled && !endpoint.is_empty()).then_some(endpoint)
    }
}
