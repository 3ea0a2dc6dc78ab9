//! What a user can set, by the names that OpenTelemetry gives: the doc comments are the help text. Invariant: as
//! OpenTelemetry has it, a variable that is set to nothing is not set. Must never happen here: tracing on because of
//! anything but an endpoint; a start refused for tracing that is off, since other programs read the same variables.

use clap::{ArgAction, Args, ValueEnum};

use crate::telemetry::misconfigured;

const SAMPLER: &str = "parentbased_traceidratio";
const RATIO: &str = "0.001";

#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// The OTLP/HTTP collector that spans are sent to, such as http://collector:4318. Tracing is off without one.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", hide_env_values = true, global = true)]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// The service's name in traces; the program's when not given.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME", global = true)]
    pub otel_service_name: Option<String>,
    /// Which records are traced: always_on, always_off, traceidratio, or one of these behind parentbased_. The producer
    /// decides for each payload and the ticks in it; the others follow.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", default_value = SAMPLER, value_name = "SAMPLER", global = true)]
    pub otel_traces_sampler: String,
    /// The share of payloads that are traced, for a sampler by ratio.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value = RATIO, value_name = "RATIO", global = true)]
    pub otel_traces_sampler_arg: String,
    /// `true` turns tracing off, whatever else is set.
    #[arg(
        long,
        env = "OTEL_SDK_DISABLED",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_name = "BOOLEAN",
        global = true
    )]
    pub otel_sdk_disabled: String,
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

impl TraceArgs {
    /// The collector, when tracing is on. An empty variable counts as none.
    pub(super) fn endpoint(&self) -> Option<&str> {
        let endpoint = self.otel_exporter_otlp_endpoint.as_deref().map(str::trim)?;
        let is_disabled = self.otel_sdk_disabled.trim().eq_ignore_ascii_case("true");
        (!is_disabled && !endpoint.is_empty()).then_some(endpoint)
    }

    /// Which payloads are traced, and for a sampler by ratio their share. To be asked where tracing is on.
    ///
    /// # Errors
    /// [`crate::Misconfigured`] for what cannot be meant.
    pub(super) fn sampler(&self) -> anyhow::Result<(SamplerName, f64)> {
        let text = set_or(&self.otel_traces_sampler, SAMPLER);
        let name = SamplerName::from_str(text, false).map_err(|_| {
            let names = SamplerName::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
            misconfigured(format!(
                "--otel-traces-sampler (OTEL_TRACES_SAMPLER) {text:?}: expected one of {}",
                names.join(", ")
            ))
        })?;
        let text = set_or(&self.otel_traces_sampler_arg, RATIO);
        let ratio = text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| {
            misconfigured(format!(
                "--otel-traces-sampler-arg (OTEL_TRACES_SAMPLER_ARG) {text:?}: expected a share between 0 and 1, such \
                 as 0.001 for one payload in a thousand"
            ))
        })?;
        Ok((name, ratio))
    }
}

fn set_or<'a>(text: &'a str, default: &'a str) -> &'a str {
    Some(text.trim()).filter(|text| !text.is_empty()).unwrap_or(default)
}
