//! Arguments for every Kafka client, with each librdkafka default that loses or repeats records set otherwise. What is
//! set here for safety cannot be overridden by `--kafka-property`.

mod token;

use std::ffi::OsStr;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::secrets;
use crate::telemetry::misconfigured;

pub use token::{Native, Plain, renew, token};

#[derive(Args, Clone, Debug)]
pub struct KafkaArgs {
    /// Kafka brokers to start from, `host:port` separated by commas.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    pub kafka_bootstrap_servers: String,
    /// librdkafka settings passed through, `name=value` separated by commas (SASL, TLS, client.rack, …). A secret may stand in a
    /// file, which is read at the start: `sasl.password.file=/run/secrets/kafka`.
    #[arg(
        long = "kafka-property",
        env = "KAFKA_PROPERTIES",
        value_parser = PropertyParser,
        value_delimiter = ',',
        value_name = "NAME=VALUE",
        hide_env_values = true
    )]
    pub kafka_properties: Vec<KafkaProperty>,
}

/// One `name=value`. Its `Debug` shows no value: it may be a password.
#[derive(Clone)]
pub struct KafkaProperty {
    name: String,
    value: String,
}

impl std::fmt::Debug for KafkaProperty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

/// Settings that carry a promise; a user's property may not change them.
const FIXED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "group.remote.assignor",
    "isolation.level",
    "partition.assignment.strategy",
    "transactional.id",
];

const NO_PROPERTY: &str = "a part is not NAME=VALUE; a value with a comma goes into a file: NAME.file=PATH";

impl FromStr for KafkaProperty {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or(NO_PROPERTY)?;
        let (name, value) = (name.trim(), value.trim());
        let (name, file) = name.strip_suffix(".file").map_or((name, None), |name| (name, Some(value)));
        if FIXED.contains(&name) {
            return Err(format!("{name} is fixed: nothing lost and nothing twice depends on it"));
        }
        // Certificates, keys and authorities, which the library reads once.
        if name.starts_with("ssl.") && name.ends_with(".location") {
            secrets::note(value);
        }
        let value = match file {
            None => value.to_owned(),
            Some(file) => {
                let text = secrets::read(Path::new(file)).map_err(|error| format!("{name}.file: {file}: {error}"))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        if name == token::SETTING {
            token::check(&value)?;
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// Refuses a property without telling it, as clap would: it may be the rest of a password that has a comma.
#[derive(Clone, Copy, Debug)]
struct PropertyParser;

impl TypedValueParser for PropertyParser {
    type Value = KafkaProperty;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<KafkaProperty, clap::Error> {
        let property = value.to_str().ok_or_else(|| "a part is not UTF-8".to_owned()).and_then(KafkaProperty::from_str);
        property.map_err(|why| {
            let line = format!("--kafka-property (KAFKA_PROPERTIES): {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, line).with_cmd(command)
        })
    }
}

impl KafkaArgs {
    /// Clients that only ask: topics, offsets, ids.
    #[must_use]
    pub fn admin(&self) -> ClientConfig {
        self.client(&[])
    }

    /// A consumer; without a group it can only be assigned. Commits are by hand, where to start is decided by code, and
    /// prefetching is bounded so that a service stays under 100 MB.
    #[must_use]
    pub fn consumer(&self, group: Option<&str>) -> ClientConfig {
        self.client(&[
            ("group.id", group.unwrap_or("tickstream-unused")),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
            ("partition.assignment.strategy", "range"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "2000"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.message.max.bytes", "524288"),
            ("queued.max.messages.kbytes", "2048"),
            ("queued.min.messages", "10000"),
            ("topic.metadata.refresh.interval.ms", "30000"),
        ])
    }

    /// A producer that neither loses nor repeats what it was given while the process lives.
    #[must_use]
    pub fn producer(&self) -> ClientConfig {
        self.client(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "zstd"),
            ("linger.ms", "5"),
            ("batch.size", "524288"),
        ])
    }

    /// A producer that writes in transactions. One that dies keeps readers of what it wrote into waiting for ten seconds.
    #[must_use]
    pub fn transactional_producer(&self, id: &str) -> ClientConfig {
        let mut config = self.producer();
        config.set("transactional.id", id).set("transaction.timeout.ms", "10000").set("message.timeout.ms", "10000");
        config
    }

    /// Our settings, then the user's, who may change any but the [`FIXED`] ones.
    fn client(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "tickstream").set("allow.auto.create.topics", "false").set("log_level", "4");
        for (name, value) in ours {
            config.set(*name, *value);
        }
        for property in &self.kafka_properties {
            config.set(&property.name, &property.value);
        }
        config.set("bootstrap.servers", &self.kafka_bootstrap_servers);
        config
    }
}

/// A consumer that is in no group's assignment and is told by its caller where to read.
pub type Reader = BaseConsumer<ReaderContext>;

/// Says nothing of the end of a partition, which the client reports as an error each time that reading comes to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReaderContext;

impl ClientContext for ReaderContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token(setting)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let is_end = error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF);
        if !is_end && !matches!(error, KafkaError::PartitionEOF(_)) {
            tracing::warn!(%error, "the Kafka client reports: {reason}");
        }
    }
}

impl ConsumerContext for ReaderContext {}

/// Asks a partition's leader something, again for at most `patience` while there is none: so it is for a moment when a topic
/// is new or a broker comes back. Blocking.
///
/// # Errors
/// The last answer.
pub fn ask_leader<T>(patience: Duration, mut ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    const PAUSE: Duration = Duration::from_millis(200);
    let begun = Instant::now();
    loop {
        let answer = ask();
        let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        let no_leader = matches!(
            code,
            Some(
                RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::FencedLeaderEpoch
                    | RDKafkaErrorCode::UnknownLeaderEpoch
            )
        );
        if !no_leader || begun.elapsed() >= patience {
            return answer;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A client of these settings.
///
/// # Errors
/// [`crate::Misconfigured`] for a property that librdkafka refuses; its value, perhaps a password, is not told.
pub fn create<C, T>(settings: &ClientConfig, context: C) -> anyhow::Result<T>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C> + Native,
{
    let mut settings = settings.clone();
    let tokens = settings.get(token::SETTING).map(str::to_owned);
    if let Some(tokens) = &tokens {
        let servers = settings.get("bootstrap.servers").unwrap_or_default();
        let tokens = token::complete(tokens, servers)
            .map_err(|why| misconfigured(format!("--kafka-property (KAFKA_PROPERTIES): {why}")))?;
        settings.set(token::SETTING, tokens);
    }
    let client = T::from_config_and_context(&settings, context).map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            misconfigured(format!("--kafka-property (KAFKA_PROPERTIES): {name}: {reason}"))
        }
        other => misconfigured(format!("--kafka-property (KAFKA_PROPERTIES): {other}")),
    })?;
    if tokens.is_some() {
        // One that nobody polls would never ask.
        renew(&client);
    }
    Ok(client)
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::DefaultConsumerContext;

    use super::*;

    fn args(properties: &[&str]) -> KafkaArgs {
        KafkaArgs {
            kafka_bootstrap_servers: "broker:9092".to_owned(),
            kafka_properties: properties.iter().map(|text| text.parse().expect("a good property")).collect(),
        }
    }

    #[test]
    fn a_property_is_passed_through() {
        let config = args(&["security.protocol=SASL_SSL", "sasl.password=a=b"]).producer();
        assert_eq!(config.get("security.protocol"), Some("SASL_SSL"));
        assert_eq!(config.get("sasl.password"), Some("a=b"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        let consumer = args(&["session.timeout.ms=6000"]).consumer(Some("group"));
        assert_eq!(consumer.get("session.timeout.ms"), Some("6000"));
    }

    #[test]
    fn a_secret_may_stand_in_a_file() {
        let dir = std::env::temp_dir().join(format!("tickstream-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).expect("a folder");
        let file = dir.join("password");
        std::fs::write(&file, "a,b=c \n").expect("written");
        let property = |file: &std::path::Path| format!("sasl.password.file={}", file.display());
        assert_eq!(args(&[&property(&file)]).admin().get("sasl.password"), Some("a,b=c "));
        let missing = property(&dir.join("missing")).parse::<KafkaProperty>();
        assert!(missing.is_err_and(|error| error.starts_with("sasl.password.file: ") && error.contains("missing")));
        assert!(format!("group.id.file={}", file.display()).parse::<KafkaProperty>().is_err());
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let kafka = args(&["sasl.pasword=hunter2"]);
        let refused: anyhow::Result<BaseConsumer> = create(&kafka.consumer(None), DefaultConsumerContext);
        let error = refused.map(|_| ()).expect_err("there is no such property");
        assert_eq!(crate::exit_code(&error), 2);
        let said = error.to_string();
        assert!(
            said.contains("sasl.pasword") && said.contains("KAFKA_PROPERTIES") && !said.contains("hunter2"),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_property_is_refused_without_being_told() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            kafka: KafkaArgs,
        }
        let parse = |properties: &str| {
            let cli = <Cli as clap::Parser>::try_parse_from(["program", "--kafka-property", properties]);
            cli.map(|cli| cli.kafka.kafka_properties.len()).map_err(|error| (error.exit_code(), error.to_string()))
        };
        assert_eq!(parse("sasl.username=u,sasl.password=ab"), Ok(2));
        for (properties, reason) in [
            ("sasl.username=u,sasl.password=ab,hunter2", NO_PROPERTY),
            ("sasl.password=hunter2,acks=1", "acks is fixed"),
            ("sasl.oauthbearer.config=hunter2", "sasl.oauthbearer.config is `aws-msk-iam`"),
            ("sasl.password.file=/gone", "sasl.password.file: /gone: "),
        ] {
            let (code, said) = parse(properties).expect_err(properties);
            let begins = format!("error: --kafka-property (KAFKA_PROPERTIES): {reason}");
            assert!(code == 2 && said.starts_with(&begins) && !said.contains("hunter2"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn a_promise_cannot_be_overridden_and_a_password_is_not_shown() {
        assert!("enable.auto.commit=true".parse::<KafkaProperty>().is_err_and(|error| error.contains("is fixed")));
        assert!("sasl.password".parse::<KafkaProperty>().is_err());
        assert!(!format!("{:?}", args(&["sasl.password=hunter2"])).contains("hunter2"));
    }
}
