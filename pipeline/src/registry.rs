//! A Confluent-compatible schema registry: services register at start, read by id, and look a schema that they were not built
//! with up among the versions of its topic. Used only when SCHEMA_REGISTRY_URL is set. Must never happen here: an outage that looks like an unknown schema, since the records
//! would then go to the dead letters instead of waiting; or a password of the URL in a message.

mod subjects;

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::codec::{Framing, RecordType};
use crate::misconfigured;
pub use subjects::{Verdict, Version};

/// Confluent's code for an id that no schema has; a plain 404 is a wrong address.
const SCHEMA_NOT_FOUND: i64 = 40403;

#[derive(clap::Args, Clone, Debug, Default)]
pub struct RegistryArgs {
    /// Schema registry (Confluent's API), for example http://localhost:8081. Without it records carry their schema's
    /// fingerprint and no registry is needed; with it a schema newer than this program is looked up there.
    #[arg(long, env = "SCHEMA_REGISTRY_URL", hide_env_values = true, global = true)]
    pub schema_registry_url: Option<SecretString>,
}

impl RegistryArgs {
    /// # Errors
    /// [`Misconfigured`](crate::Misconfigured) when the value is no http(s) URL.
    pub fn registry(&self) -> anyhow::Result<Option<Registry>> {
        match &self.schema_registry_url {
            // Compose files and manifests set it to nothing to leave it out.
            None => Ok(None),
            Some(url) if url.expose_secret().trim().is_empty() => Ok(None),
            Some(url) => Registry::new(url.expose_secret()).map(Some),
        }
    }

    /// # Errors
    /// As [`RegistryArgs::registry`].
    pub fn framing(&self) -> anyhow::Result<Framing> {
        Ok(self.registry()?.map_or(Framing::SingleObject, Framing::Registry))
    }
}

/// Where a registry keeps the schemas of a record type's values.
#[must_use]
pub fn subject(record: RecordType) -> String {
    format!("{}-value", record.topic())
}

/// A handle on one registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    base: Url,
    http: reqwest::Client,
}

/// What the registry has under an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    Avro(String),
    /// No schema, or one that is not Avro or not whole: asking again will not help. The reason.
    Unusable(String),
}

/// The registry cannot be asked; it may answer later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RegistryOutage(String);

#[derive(Deserialize)]
struct StoredSchema {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde_json::Value>,
}

impl StoredSchema {
    fn into_stored(self, id: u32) -> Stored {
        match self {
            Self { schema_type: Some(kind), .. } if kind != "AVRO" => {
                Stored::Unusable(format!("schema id {id} is {kind}, not AVRO"))
            }
            Self { references, .. } if !references.is_empty() => {
                Stored::Unusable(format!("schema id {id} refers to other schemas, which is not supported"))
            }
            Self { schema, .. } => Stored::Avro(schema),
        }
    }
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    message: String,
}

impl Registry {
    /// # Errors
    /// [`Misconfigured`](crate::Misconfigured) when `url` is no http(s) URL.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let wrong = || {
            misconfigured("SCHEMA_REGISTRY_URL is not an http:// or https:// address, such as http://localhost:8081")
        };
        let mut base = Url::parse(url.trim()).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong());
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been faster; then there is one all the same.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(15))
            .build()
            .context("HTTP client for the schema registry")?;
        Ok(Self { base, http })
    }

    /// Registers `schema` under `subject` (or finds it there) and gives its id.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::Misconfigured) whatever goes wrong: this is asked at start only.
    pub async fn register(&self, subject: &str, schema: &str) -> anyhow::Result<u32> {
        let request = self
            .http
            .post(self.address(&["subjects", subject, "versions"]))
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(serde_json::json!({ "schema": schema }).to_string());
        let response = request.send().await.map_err(|error| {
            misconfigured(format!(
                "the schema registry {self} cannot be reached ({}); SCHEMA_REGISTRY_URL says where it is",
                plain(error)
            ))
        })?;
        let status = response.status();
        if status.is_success() {
            let registered: Registered = response.json().await.map_err(|_| {
                misconfigured(format!("{self} does not answer like a schema registry; check SCHEMA_REGISTRY_URL"))
            })?;
            return Ok(registered.id);
        }
        let refusal: Refusal = response.json().await.unwrap_or_default();
        Err(misconfigured(match status {
            StatusCode::CONFLICT => format!(
                "the schema registry {self} refuses the schema of {subject} as incompatible with the one it has ({}); \
                 another program's schema is registered under that subject",
                refusal.message
            ),
            _ => {
                format!("the schema registry {self} answered {status} to the schema of {subject}: {}", refusal.message)
            }
        }))
    }

    /// The schema with this id.
    ///
    /// # Errors
    /// When the registry does not answer, or answers anything but the schema or that there is none.
    pub async fn schema(&self, id: u32) -> Result<Stored, RegistryOutage> {
        let outage = |reason: String| RegistryOutage(format!("schema registry {self}: {reason}"));
        let url = self.address(&["schemas", "ids", &id.to_string()]);
        let response = self.http.get(url).send().await.map_err(|error| outage(plain(error)))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            let refusal: Refusal = response.json().await.unwrap_or_default();
            return match refusal.error_code {
                SCHEMA_NOT_FOUND => Ok(Stored::Unusable(format!("schema id {id} is not in the registry"))),
                _ => Err(outage(format!("answered {status} for schema id {id}"))),
            };
        }
        if !status.is_success() {
            return Err(outage(format!("answered {status} for schema id {id}")));
        }
        let stored: StoredSchema = response.json().await.map_err(|error| outage(plain(error)))?;
        Ok(stored.into_stored(id))
    }

    /// The schemas of a record type, as [`Registry::versions`] has them under its topic.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn schemas_of(&self, record: RecordType) -> Result<Vec<String>, RegistryOutage> {
        let versions = self.versions(&subject(record)).await.map_err(|error| RegistryOutage(format!("{error:#}")))?;
        let json = |version: Version| match version.schema {
            Stored::Avro(json) => Some(json),
            Stored::Unusable(_) => None,
        };
        Ok(versions.into_iter().filter_map(json).collect())
    }

    fn address(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

/// An error without its URL, which may hold a password, but with its cause.
fn plain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// The address without user and password.
impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.base.clone();
        // Only a URL that cannot have them refuses to lose them.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({self})")
    }
}
