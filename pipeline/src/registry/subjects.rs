//! What is asked about a subject: which versions it has, which a decoder does too when it meets a schema that it does not know;
//! and, by people alone, what the next may change, and what the registry says of a schema. Must never happen here: "no such
//! subject" for a registry that could not be asked.

use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Refusal, Registry, Stored, StoredSchema, plain};
use crate::misconfigured;

/// Confluent's codes for a subject, a version and a schema that are not there.
const NOT_THERE: [i64; 3] = [40401, 40402, 40403];
/// Confluent's code for a subject without a level of its own.
const NO_LEVEL: i64 = 40408;

/// One version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub version: u32,
    pub id: u32,
    pub schema: Stored,
}

/// The registry's own word on whether a schema may be registered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    pub is_compatible: bool,
    #[serde(default)]
    pub messages: Vec<String>,
}

#[derive(Deserialize)]
struct StoredVersion {
    version: u32,
    id: u32,
    #[serde(flatten)]
    schema: StoredSchema,
}

#[derive(Deserialize)]
struct Level {
    #[serde(rename = "compatibilityLevel", alias = "compatibility")]
    level: String,
}

impl Registry {
    /// All versions of a subject, oldest first; none when there is no such subject.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::Misconfigured) when the registry cannot be asked, as for each question here.
    pub async fn versions(&self, subject: &str) -> anyhow::Result<Vec<Version>> {
        let request = self.http.get(self.address(&["subjects", subject, "versions"]));
        let numbers: Vec<u32> = self.ask(request, &NOT_THERE).await?.unwrap_or_default();
        let mut versions = Vec::new();
        for number in numbers {
            let request = self.http.get(self.address(&["subjects", subject, "versions", &number.to_string()]));
            // One that was deleted meanwhile is none.
            versions.extend(self.ask::<StoredVersion>(request, &NOT_THERE).await?.map(|stored| {
                let StoredVersion { version, id, schema } = stored;
                Version { version, id, schema: schema.into_stored(id) }
            }));
        }
        versions.sort_unstable_by_key(|version| version.version);
        Ok(versions)
    }

    /// What the next version of a subject may change: `BACKWARD`, `FULL_TRANSITIVE` and so on.
    ///
    /// # Errors
    /// As [`Registry::versions`].
    pub async fn level(&self, subject: &str) -> anyhow::Result<String> {
        let mut own = self.address(&["config", subject]);
        own.query_pairs_mut().append_pair("defaultToGlobal", "true");
        if let Some(Level { level }) = self.ask(self.http.get(own), &[NO_LEVEL, NOT_THERE[0]]).await? {
            return Ok(level);
        }
        // One that does not know that word tells its own level apart.
        let everywhere: Option<Level> = self.ask(self.http.get(self.address(&["config"])), &[]).await?;
        everywhere.map(|Level { level }| level).ok_or_else(|| self.no_registry())
    }

    /// Version and id of a schema under a subject, if it is there.
    ///
    /// # Errors
    /// As [`Registry::versions`].
    pub async fn find(&self, subject: &str, schema: &str) -> anyhow::Result<Option<(u32, u32)>> {
        let request = self.http.post(self.address(&["subjects", subject]));
        let found: Option<StoredVersion> = self.ask(with_schema(request, schema), &NOT_THERE).await?;
        Ok(found.map(|found| (found.version, found.id)))
    }

    /// What the registry would say to this schema as the subject's next version; nothing where there is no such subject.
    ///
    /// # Errors
    /// As [`Registry::versions`].
    pub async fn judge(&self, subject: &str, schema: &str) -> anyhow::Result<Option<Verdict>> {
        let mut address = self.address(&["compatibility", "subjects", subject, "versions", "latest"]);
        address.query_pairs_mut().append_pair("verbose", "true");
        self.ask(with_schema(self.http.post(address), schema), &NOT_THERE).await
    }

    /// `None` for an answer that says, by one of these codes, that there is no such thing.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder, none: &[i64]) -> anyhow::Result<Option<T>> {
        let response = request.send().await.map_err(|error| {
            misconfigured(format!(
                "the schema registry {self} cannot be reached ({}); SCHEMA_REGISTRY_URL says where it is",
                plain(error)
            ))
        })?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map(Some).map_err(|_| self.no_registry());
        }
        let refusal: Refusal = response.json().await.unwrap_or_default();
        if status == StatusCode::NOT_FOUND && none.contains(&refusal.error_code) {
            return Ok(None);
        }
        Err(misconfigured(format!("the schema registry {self} answered {status}: {}", refusal.message)))
    }

    fn no_registry(&self) -> anyhow::Error {
        misconfigured(format!("{self} does not answer like a schema registry; check SCHEMA_REGISTRY_URL"))
    }
}

fn with_schema(request: RequestBuilder, schema: &str) -> RequestBuilder {
    request
        .header("content-type", "application/vnd.schemaregistry.v1+json")
        .body(serde_json::json!({ "schema": schema }).to_string())
}
