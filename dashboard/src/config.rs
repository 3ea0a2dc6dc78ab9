//! What a user can set. The doc comments are the help text.

use std::net::SocketAddr;

use clap::Parser;
use jiff::SignedDuration;
use pipeline::admin::AdminArgs;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::telemetry::LogArgs;
use pipeline::topics;

/// The live page: prices from Kafka to the browser by WebSocket.
#[derive(Clone, Debug, Parser)]
#[command(name = "dashboard", version)]
pub struct Config {
    /// Where the page, its WebSocket and its JSON are served; port 0 takes a free one.
    #[arg(long, env = "DASHBOARD_ADDR", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub listen_addr: SocketAddr,
    /// How far back the page reads at start, such as 90s, 15m or 1h: what the chart and the change are made of.
    #[arg(long, env = "DASHBOARD_LOOK_BACK", default_value = "1h", value_parser = parse_look_back)]
    pub look_back: SignedDuration,
    /// Origins allowed to open the WebSocket besides the page's own, `https://host[:port]` separated by commas.
    #[arg(long, env = "DASHBOARD_ALLOWED_ORIGINS", value_delimiter = ',', value_parser = parse_origin)]
    pub allowed_origins: Vec<String>,
    /// WebSockets open at once; more are answered 503.
    #[arg(long, env = "DASHBOARD_MAX_CONNECTIONS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
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
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

fn parse_look_back(text: &str) -> Result<SignedDuration, String> {
    let look_back: SignedDuration =
        text.parse().map_err(|_| "expected a duration such as 90s, 15m or 1h".to_owned())?;
    if look_back < SignedDuration::from_secs(1) || look_back > SignedDuration::from_hours(7 * 24) {
        return Err("expected between 1s and 168h".to_owned());
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
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Config::command().debug_assert();
    }

    #[test]
    fn a_look_back_has_a_unit_and_bounds() {
        assert_eq!(parse_look_back("15m"), Ok(SignedDuration::from_mins(15)));
        for bad in ["", "1", "0s", "-1h", "30d", "yesterday"] {
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
