//! What a user can set. The doc comments are the help text.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use jiff::SignedDuration;
use pipeline::admin::AdminArgs;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::telemetry::LogArgs;
use pipeline::topics;
use pipeline::trace::TraceArgs;

use crate::access::AccessArgs;
use crate::history::HistoryArgs;
use crate::replay::ReplayArgs;
use crate::rest::cache::CacheArgs;
use crate::rest::forecasts::LakeArgs;
use crate::rest::status::Setting;

/// The live page: prices from Kafka to the browser by WebSocket.
#[derive(Clone, Debug, Parser)]
#[command(name = "dashboard", version)]
pub struct Config {
    /// Where the page, its WebSocket and its JSON are served; port 0 takes a free one.
    #[arg(long, env = "DASHBOARD_ADDR", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub listen_addr: SocketAddr,
    /// How far back the page reads at start, such as 15m or 24h, at most 25h: what candles and changes are made of. A day of 50 symbols
    /// with a tick a second takes about 100 MB; the newest minutes are shown first.
    #[arg(long, env = "DASHBOARD_LOOK_BACK", default_value = "24h", value_parser = parse_look_back)]
    pub look_back: SignedDuration,
    /// Origins allowed to open the WebSocket besides the page's own, `https://host[:port]` separated by commas.
    #[arg(long, env = "DASHBOARD_ALLOWED_ORIGINS", value_delimiter = ',', value_parser = parse_origin)]
    pub allowed_origins: Vec<String>,
    /// WebSockets and streams open at once; more are answered 503.
    #[arg(long, env = "DASHBOARD_MAX_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// WebSockets and streams open at once from one address; more are answered 429. Behind an ingress all have its address, but
    /// for `--trust-forwarded-for`.
    #[arg(long, env = "DASHBOARD_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_address: u32,
    /// Pairs of symbol and source kept at once; further ones are counted and not shown.
    #[arg(long, env = "DASHBOARD_MAX_SERIES", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_series: u32,
    /// The topic of price ticks.
    #[arg(long, env = "DASHBOARD_TICKS_TOPIC", default_value = topics::TICKS, value_name = "TOPIC")]
    pub ticks_topic: String,
    /// The topic of gaps.
    #[arg(long, env = "DASHBOARD_GAPS_TOPIC", default_value = topics::GAPS, value_name = "TOPIC")]
    pub gaps_topic: String,
    /// The topic of source health.
    #[arg(long, env = "DASHBOARD_HEALTH_TOPIC", default_value = topics::HEALTH, value_name = "TOPIC")]
    pub health_topic: String,
    /// The topic of alerts.
    #[arg(long, env = "DASHBOARD_ALERTS_TOPIC", default_value = topics::ALERTS, value_name = "TOPIC")]
    pub alerts_topic: String,
    /// Show the settings, without secrets, at /config.
    #[arg(long, env = "DASHBOARD_DEV")]
    pub dev: bool,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub history: HistoryArgs,
    #[command(flatten)]
    pub replay: ReplayArgs,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
}

impl Config {
    /// Every setting by its variable, without what is secret.
    pub(crate) fn shown(&self) -> Vec<Setting> {
        let list = |items: &[String]| items.join(",");
        let secret = |is_set: bool| if is_set { "set" } else { "not set" }.to_owned();
        let path = |path: &Option<PathBuf>| path.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let ttls: Vec<String> = self.cache.cache_ttl.iter().map(ToString::to_string).collect();
        let shown = [
            ("DASHBOARD_ADDR", self.listen_addr.to_string()),
            ("DASHBOARD_LOOK_BACK", format!("{:#}", self.look_back)),
            ("DASHBOARD_ALLOWED_ORIGINS", list(&self.allowed_origins)),
            ("DASHBOARD_MAX_CONNECTIONS", self.max_connections.to_string()),
            ("DASHBOARD_MAX_CONNECTIONS_PER_ADDRESS", self.max_connections_per_address.to_string()),
            ("DASHBOARD_MAX_SERIES", self.max_series.to_string()),
            ("DASHBOARD_TICKS_TOPIC", self.ticks_topic.clone()),
            ("DASHBOARD_GAPS_TOPIC", self.gaps_topic.clone()),
            ("DASHBOARD_HEALTH_TOPIC", self.health_topic.clone()),
            ("DASHBOARD_ALERTS_TOPIC", self.alerts_topic.clone()),
            ("DASHBOARD_DEV", self.dev.to_string()),
            ("DASHBOARD_AUTH_TOKEN_FILE", path(&self.access.auth_token_file)),
            ("DASHBOARD_BASIC_AUTH_FILE", path(&self.access.basic_auth_file)),
            ("DASHBOARD_TRUST_FORWARDED_FOR", self.access.trust_forwarded_for.to_string()),
            ("DATABASE_URL", secret(self.history.database_url.is_some())),
            ("DASHBOARD_MAX_REPLAYS", self.replay.max_replays.to_string()),
            ("DASHBOARD_CACHE_TTL", list(&ttls)),
            ("DASHBOARD_CACHE_MB", self.cache.cache_mb.to_string()),
            ("S3_BUCKET", text(&self.lake.s3_bucket)),
            ("S3_ENDPOINT_URL", self.lake.s3_endpoint_url.as_deref().map_or_else(String::new, without_user)),
            ("S3_PREFIX", self.lake.s3_prefix.clone()),
            ("AWS_REGION", self.lake.aws_region.clone()),
            ("REFINER_GOLD_PREFIX", self.lake.gold_prefix.clone()),
            ("KAFKA_BOOTSTRAP_SERVERS", self.kafka.kafka_bootstrap_servers.clone()),
            ("KAFKA_PROPERTIES", secret(!self.kafka.kafka_properties.is_empty())),
            ("SCHEMA_REGISTRY_URL", secret(self.registry.schema_registry_url.is_some())),
            ("ADMIN_ADDR", self.admin.admin_addr.to_string()),
            ("SECRETS_CHECK_SECONDS", self.admin.secrets.secrets_check_seconds.to_string()),
            ("SECRETS_SPREAD_SECONDS", self.admin.secrets.secrets_spread_seconds.to_string()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", secret(self.trace.otel_exporter_otlp_endpoint.is_some())),
            ("OTEL_SERVICE_NAME", text(&self.trace.otel_service_name)),
            ("OTEL_TRACES_SAMPLER", self.trace.otel_traces_sampler.clone()),
            ("OTEL_TRACES_SAMPLER_ARG", self.trace.otel_traces_sampler_arg.clone()),
            ("OTEL_SDK_DISABLED", self.trace.otel_sdk_disabled.clone()),
        ];
        shown.into_iter().map(|(name, value)| Setting { name: name.to_owned(), value }).collect()
    }
}

/// A URL without the user and the password that it may hold.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

fn parse_look_back(text: &str) -> Result<SignedDuration, String> {
    let look_back: SignedDuration =
        text.parse().map_err(|_| "expected a duration such as 90s, 15m or 1h".to_owned())?;
    // So long minutes are kept.
    if look_back < SignedDuration::from_secs(1) || look_back > SignedDuration::from_hours(25) {
        return Err(
            "expected between 1s and 25h; what is older is read from Postgres or the topic when it is asked for"
                .to_owned(),
        );
    }
    Ok(look_back)
}

fn parse_origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '*']) => Ok(text.to_ascii_lowercase()),
        _ => Err("expected an origin such as https://prices.example:8443, without a path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Config::command().debug_assert();
    }

    #[test]
    fn every_setting_is_shown_and_no_secret() {
        let mut config = Config::parse_from(["dashboard", "--kafka-property=sasl.password=hunter2"]);
        config.history.database_url = Some("postgres://u:hunter2@h/d".into());
        config.lake.s3_endpoint_url = Some("https://key:hunter2@store.example:9000/path".to_owned());
        let shown = config.shown();
        assert!(shown.iter().all(|setting| !setting.value.contains("hunter2")), "{shown:?}");
        let endpoint = shown.iter().find(|setting| setting.name == "S3_ENDPOINT_URL").expect("it is shown");
        assert_eq!(endpoint.value, "https://store.example:9000/path");
        let names: BTreeSet<&str> = shown.iter().map(|setting| &*setting.name).collect();
        let command = Config::command();
        let read = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
        // What is logged is no secret, and shows in the log.
        let read: BTreeSet<&str> = read.filter(|name| !name.starts_with("LOG_") && *name != "RUST_LOG").collect();
        assert_eq!(names, read);
    }

    #[test]
    fn a_look_back_has_a_unit_and_bounds() {
        assert_eq!(parse_look_back("15m"), Ok(SignedDuration::from_mins(15)));
        assert_eq!(parse_look_back("25h"), Ok(SignedDuration::from_hours(25)));
        for bad in ["", "1", "0s", "-1h", "26h", "30d", "yesterday"] {
            assert!(parse_look_back(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        assert_eq!(parse_origin("https://Prices.example"), Ok("https://prices.example".to_owned()));
        for bad in ["*", "prices.example", "https://", "https://a/b", "https://*.example"] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }
}
