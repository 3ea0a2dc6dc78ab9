//! What a user can set for the notifier. The doc comments are the help text.

use std::path::PathBuf;

use clap::Args;
use pipeline::admin::AdminArgs;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::topics;
use reqwest::Url;

#[derive(Args, Clone, Debug)]
pub struct NotifyArgs {
    /// The file of channels (TOML).
    #[arg(long, env = "ALERT_CHANNELS", value_name = "FILE")]
    pub channels: PathBuf,
    /// Sends one trial message to this channel, says what came of it, and ends.
    #[arg(long, value_name = "CHANNEL")]
    pub test: Option<String>,
    /// Where the dashboard is, such as `https://prices.example/`: messages lead there. Without it they lead nowhere.
    #[arg(long, env = "DASHBOARD_URL", value_name = "URL", value_parser = page)]
    pub dashboard_url: Option<Url>,
    /// The topic of alerts.
    #[arg(long, env = "ALERT_ALERTS_TOPIC", default_value = topics::ALERTS, value_name = "TOPIC")]
    pub alerts_topic: String,
    /// The topic that remembers what was delivered.
    #[arg(long, env = "ALERT_DELIVERIES_TOPIC", default_value = topics::DELIVERIES, value_name = "TOPIC")]
    pub deliveries_topic: String,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

fn page(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(_) | Err(_) => Err("expected an address such as https://prices.example/".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_scheme() {
        assert!(page("https://prices.example/live").is_ok());
        for bad in ["prices.example", "ftp://prices.example", "", "javascript:alert(1)"] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }
}
