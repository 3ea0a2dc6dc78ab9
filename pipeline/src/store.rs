//! The object store: whole objects, read and written under conditions, each with a checksum of its bytes in its metadata.
//! Invariant: an `Err` of [`Store::put`] says nothing about whether the object is there now; only a HEAD tells. Must never
//! happen here: an unconditional PUT.

mod modified;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls;
use bytes::Bytes;
use clap::Args;

use crate::{misconfigured, secrets};

/// An attempt that takes longer has lost its answer. An object is a few megabytes.
const ATTEMPT: Duration = Duration::from_secs(15);
/// What a link must carry at least: an upload is given as much time besides.
const BYTES_A_SECOND: u64 = 32 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
const PROBE_KEY: &str = "_probe/conditional-writes";
/// In an object's metadata: the CRC-32 of its bytes, eight hexadecimal digits. An ETag is not always one.
const CHECKSUM: &str = "tickstream-crc32";

#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// The lake's bucket. It must exist.
    #[arg(long, env = "S3_BUCKET", default_value = "lake", value_name = "BUCKET")]
    pub s3_bucket: String,
    /// An S3-compatible store other than AWS, such as `http://127.0.0.1:9000`; addressed by path.
    #[arg(long, env = "S3_ENDPOINT_URL", value_name = "URL")]
    pub s3_endpoint_url: Option<String>,
    /// Put before every key, so that several lakes can share a bucket.
    #[arg(long, env = "S3_PREFIX", default_value = "", value_name = "PREFIX")]
    pub s3_prefix: String,
    /// The bucket's region. Credentials come from where AWS tools look: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a
    /// profile, or the machine's role.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1", value_name = "REGION")]
    pub aws_region: String,
}

/// What HEAD tells of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub etag: String,
    pub size: u64,
    pub metadata: HashMap<String, String>,
}

/// An object, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub head: Head,
    pub bytes: Bytes,
}

impl Object {
    /// Whether the bytes are those that were put; `None` when the metadata, and the checksum with it, was lost.
    #[must_use]
    pub fn is_as_written(&self) -> Option<bool> {
        self.head.metadata.get(CHECKSUM).map(|checksum| *checksum == checksum_of(&self.bytes))
    }
}

/// One line of a listing. A listing never tells metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub etag: String,
    pub size: u64,
}

/// Under what condition a PUT may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// There is no object under the key.
    IfNoneMatch,
    /// The object under the key still has this ETag.
    IfMatch(&'a str),
}

/// How the store answered a PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    Done {
        etag: String,
    },
    /// The condition did not hold (412, or 404 for If-Match): somebody was first.
    Exists,
    /// 409: another PUT of this key was under way. HEAD, then decide.
    Racing,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No bucket of that name.
    NoBucket,
    /// The credentials are missing, wrong, or may not do this.
    Denied,
    /// The store does not know what was asked of it (400, 405, 501).
    Unsupported,
    /// No answer, or half of one: a write may have happened, and may yet happen.
    Unanswered,
    /// The store answered that it cannot now (5xx, throttling, anything else).
    Unavailable,
}

/// A request that failed. At run time each of these is an outage.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {key}: {reason}")]
pub struct StoreError {
    pub failure: Failure,
    operation: &'static str,
    key: String,
    reason: String,
}

/// A bucket, or the part of it below a prefix. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    bucket: String,
    prefix: String,
    /// As long may an attempt take, an upload's body apart.
    attempt: Duration,
}

impl Store {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`crate::Misconfigured`] when the bucket is missing, refused or out of reach.
    pub async fn connect(args: &StoreArgs) -> anyhow::Result<Self> {
        Self::open(args, None).await
    }

    /// Opens the bucket with these credentials, wherever others may lie.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn connect_as(args: &StoreArgs, key_id: &str, secret: &str) -> anyhow::Result<Self> {
        Self::open(args, Some(Credentials::new(key_id, secret, None, None, "given"))).await
    }

    async fn open(args: &StoreArgs, credentials: Option<Credentials>) -> anyhow::Result<Self> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(args.aws_region.clone()))
            .timeout_config(
                TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build(),
            )
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(100)))
            .load()
            .await;
        let mut config = aws_sdk_s3::config::Builder::from(&shared);
        match credentials {
            Some(credentials) => config = config.credentials_provider(credentials),
            None => secrets::note_aws(),
        }
        if let Some(url) = &args.s3_endpoint_url {
            // Other stores reject the checksums that the SDK adds by itself, and have no host name for each bucket.
            config = config
                .endpoint_url(url)
                .force_path_style(true)
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        let prefix = match args.s3_prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let store = Self {
            client: Client::from_conf(config.build()),
            bucket: args.s3_bucket.clone(),
            prefix,
            attempt: ATTEMPT,
        };
        let Err(error) = store.client.head_bucket().bucket(&store.bucket).send().await else { return Ok(store) };
        Err(misconfigured(explain(&failed("HEAD", "", error), args)))
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The object, or `None` when there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let output = match self.client.get_object().bucket(&self.bucket).key(self.full(key)).send().await {
            Ok(output) => output,
            Err(error) if missing(&error) => return Ok(None),
            Err(error) => return Err(failed("GET", key, error)),
        };
        let etag = output.e_tag.unwrap_or_default();
        let metadata = output.metadata.unwrap_or_default();
        let body = output.body.collect().await.map_err(|error| unanswered("GET", key, causes(&error)))?;
        let bytes = body.into_bytes();
        let expected = output.content_length.and_then(|length| usize::try_from(length).ok());
        if expected.is_some_and(|length| length != bytes.len()) {
            return Err(unanswered("GET", key, "the answer ended early"));
        }
        Ok(Some(Object { head: Head { etag, size: bytes.len() as u64, metadata }, bytes }))
    }

    /// The last `bytes` of an object, or all of a shorter one, and the whole object's size; `None` when there is no such
    /// object.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get_tail(&self, key: &str, bytes: u64) -> Result<Option<(Bytes, u64)>, StoreError> {
        // Not every store takes a suffix that is longer than the object, so its size is asked for first.
        let Some(Head { size, .. }) = self.head(key).await? else { return Ok(None) };
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key));
        let output = match request.range(format!("bytes={}-", size.saturating_sub(bytes))).send().await {
            Ok(output) => output,
            Err(error) if missing(&error) => return Ok(None),
            Err(error) => return Err(failed("GET", key, error)),
        };
        let body = output.body.collect().await.map_err(|error| unanswered("GET", key, causes(&error)))?;
        Ok(Some((body.into_bytes(), size)))
    }

    /// Deletes an object: the refiner's, once it has taken up the note that the object is. Never one of raw: that would free
    /// its create-only key.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(self.full(key));
        request.send().await.map(drop).map_err(|error| failed("DELETE", key, error))
    }

    /// ETag, size and metadata, or `None` when there is no such object.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        match self.client.head_object().bucket(&self.bucket).key(self.full(key)).send().await {
            Ok(output) => Ok(Some(Head {
                size: output.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0),
                etag: output.e_tag.unwrap_or_default(),
                metadata: output.metadata.unwrap_or_default(),
            })),
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(failed("HEAD", key, error)),
        }
    }

    /// Writes a whole object when `condition` holds. It is tried once: whether to try again is the caller's decision, after
    /// a HEAD.
    ///
    /// # Errors
    /// When the answer did not come or was not a plain yes or no. The object may be there all the same, now or later.
    pub async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        mut metadata: HashMap<String, String>,
        condition: Condition<'_>,
    ) -> Result<Put, StoreError> {
        metadata.insert(CHECKSUM.to_owned(), checksum_of(&bytes));
        let patience = self.attempt + upload_time(bytes.len() as u64);
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .set_metadata(Some(metadata))
            .body(ByteStream::from(bytes));
        let request = match condition {
            Condition::IfNoneMatch => request.if_none_match("*"),
            Condition::IfMatch(etag) => request.if_match(etag),
        };
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
        let once = aws_sdk_s3::Config::builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts);
        match request.customize().config_override(once).send().await {
            // A yes without an ETag is not a PutObject answer: an error dressed as success.
            Ok(output) => match output.e_tag {
                Some(etag) => Ok(Put::Done { etag }),
                None => Err(unanswered("PUT", key, "the store answered 200 without an ETag")),
            },
            Err(error) => match (status(&error), condition) {
                (Some(412), _) => Ok(Put::Exists),
                (Some(409), _) => Ok(Put::Racing),
                (Some(404), Condition::IfMatch(_)) if error.code() != Some("NoSuchBucket") => Ok(Put::Exists),
                _ => Err(failed("PUT", key, error)),
            },
        }
    }

    /// Up to 1,000 keys under `prefix`, in order, beginning with the first one greater than `after`. Ask again after the last
    /// one until the answer is empty.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.full(prefix));
        let request = request.set_start_after(after.map(|key| self.full(key)));
        let output = request.send().await.map_err(|error| failed("LIST", prefix, error))?;
        let listed = output.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let key = object.key?.strip_prefix(&self.prefix)?.to_owned();
            let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            Some(Listed { key, etag: object.e_tag.unwrap_or_default(), size })
        });
        Ok(listed.collect())
    }

    /// Proves that the store honours If-None-Match and If-Match, without which two writers would overwrite each other.
    ///
    /// # Errors
    /// [`crate::Misconfigured`] when it does not; a [`StoreError`] when it does not answer.
    pub async fn probe(&self) -> anyhow::Result<()> {
        let put = async |condition: Condition<'_>| match self
            .put(PROBE_KEY, Bytes::from_static(b"{}"), HashMap::new(), condition)
            .await
        {
            Err(error) if error.failure == Failure::Unsupported => Err(misconfigured(format!(
                "the store does not take conditional writes ({error}): use one that honours If-None-Match and If-Match"
            ))),
            answer => Ok(answer?),
        };
        let refuse = |header: &str| {
            let bucket = &self.bucket;
            misconfigured(format!(
                "the store ignores {header} on PutObject (tried on {PROBE_KEY} in bucket {bucket}): use one that honours conditional writes"
            ))
        };
        put(Condition::IfNoneMatch).await?;
        if matches!(put(Condition::IfNoneMatch).await?, Put::Done { .. }) {
            return Err(refuse("If-None-Match"));
        }
        if matches!(put(Condition::IfMatch("\"00000000000000000000000000000000\"")).await?, Put::Done { .. }) {
            return Err(refuse("If-Match"));
        }
        let head = self.head(PROBE_KEY).await?.ok_or_else(|| refuse("If-None-Match"))?;
        match put(Condition::IfMatch(&head.etag)).await? {
            // Another service may be probing at this moment, with the same bytes and so the same ETag.
            Put::Done { .. } | Put::Racing => Ok(()),
            Put::Exists => Err(misconfigured(format!(
                "the store refuses If-Match with the ETag that it gave ({}): use one that honours conditional writes",
                head.etag
            ))),
        }
    }
}

/// How long a slow link takes for so many bytes.
fn upload_time(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / BYTES_A_SECOND)
}

fn checksum_of(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

type Response = aws_sdk_s3::config::http::HttpResponse;

fn status<E>(error: &SdkError<E, Response>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// 404, unless it is the bucket that is missing.
fn missing<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> bool {
    status(error) == Some(404) && error.code() != Some("NoSuchBucket")
}

fn unanswered(operation: &'static str, key: &str, reason: impl std::fmt::Display) -> StoreError {
    StoreError { failure: Failure::Unanswered, operation, key: key.to_owned(), reason: reason.to_string() }
}

/// An error and what caused it, as one plain line.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn failed<E>(operation: &'static str, key: &str, error: SdkError<E, Response>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let failure = match (&error, status(&error)) {
        // Nothing was sent: the SDK found no credentials, or could not use what it was given. (Only the words depend on it.)
        (SdkError::ConstructionFailure(_), _) => Failure::Denied,
        (SdkError::DispatchFailure(inner), _) if !inner.is_io() && !inner.is_timeout() => Failure::Denied,
        (_, None) => Failure::Unanswered,
        (_, Some(404)) => Failure::NoBucket,
        (_, Some(401 | 403)) => Failure::Denied,
        (_, Some(400 | 405 | 501)) => Failure::Unsupported,
        (_, Some(_)) => Failure::Unavailable,
    };
    let code = error.code().or_else(|| error.message()).map(str::to_owned);
    let reason = match (status(&error), code) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(status), None) => format!("status {status}"),
        (None, _) => causes(&error),
    };
    StoreError { failure, operation, key: key.to_owned(), reason }
}

/// The one line for a bucket that cannot be opened at start.
fn explain(error: &StoreError, args: &StoreArgs) -> String {
    let bucket = &args.s3_bucket;
    let place = args.s3_endpoint_url.as_deref().unwrap_or("AWS");
    match error.failure {
        Failure::NoBucket => format!(
            "bucket {bucket} does not exist at {place}: create it, or name another with --s3-bucket or S3_BUCKET"
        ),
        Failure::Denied => format!(
            "bucket {bucket} at {place} cannot be opened ({}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
            error.reason
        ),
        Failure::Unsupported => format!(
            "{place} did not take the request for bucket {bucket} ({}): check --aws-region or AWS_REGION, and S3_ENDPOINT_URL",
            error.reason
        ),
        Failure::Unanswered | Failure::Unavailable => format!(
            "the store at {place} cannot be reached ({}): check --s3-endpoint-url or S3_ENDPOINT_URL, and that it runs",
            error.reason
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A store at the end of a link that takes this long for a body.
    async fn store_behind_a_slow_link(takes: Duration) -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut some = [0; 1024];
                    stream.readable().await?;
                    tokio::time::sleep(takes).await;
                    let mut rest = Vec::new();
                    while !rest.ends_with(b"the end") {
                        let read = stream.read(&mut some).await?;
                        rest.extend_from_slice(&some[..read]);
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 0\r\n\r\n").await
                });
            }
        });
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Credentials::new("key", "secret", None, None, "given"))
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{address}"))
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(300)).build());
        Store {
            client: Client::from_conf(config.build()),
            bucket: "lake".to_owned(),
            prefix: String::new(),
            attempt: Duration::from_millis(300),
        }
    }

    #[tokio::test]
    async fn an_upload_is_given_the_time_that_a_slow_link_takes_for_it() {
        assert_eq!(upload_time(4 << 20), Duration::from_secs(128));
        let store = store_behind_a_slow_link(Duration::from_secs(1)).await;
        let put = async |bytes: usize| {
            let body = [&vec![b'.'; bytes][..], b"the end"].concat();
            store.put("k", Bytes::from(body), HashMap::new(), Condition::IfNoneMatch).await
        };
        let refused = put(100).await.expect_err("a small one has lost its answer by then");
        assert_eq!(refused.failure, Failure::Unanswered);
        // Half a megabyte: 16 s.
        assert_eq!(put(1 << 19).await.expect("written"), Put::Done { etag: "\"1\"".to_owned() });
    }
}
