//! What a user can set for the service. The doc comments are the help text.

use clap::Args;
use pipeline::admin::AdminArgs;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::topics;

use crate::config::RulesArgs;

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub rules: RulesArgs,
    /// The Kafka consumer group.
    #[arg(long, env = "ALERT_GROUP", default_value = "consumer-alerts")]
    pub group: String,
    #[command(flatten)]
    pub topics: Topics,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// The declared topics, by default.
#[derive(Args, Clone, Debug)]
pub struct Topics {
    #[arg(long = "ticks-topic", default_value = topics::TICKS, hide = true)]
    pub ticks: String,
    #[arg(long = "gaps-topic", default_value = topics::GAPS, hide = true)]
    pub gaps: String,
    #[arg(long = "health-topic", default_value = topics::HEALTH, hide = true)]
    pub health: String,
    #[arg(long = "alerts-topic", default_value = topics::ALERTS, hide = true)]
    pub alerts: String,
    #[arg(long = "state-topic", default_value = topics::ALERT_STATE, hide = true)]
    pub state: String,
}
