//! MSK's tokens: a request `kafka-cluster:Connect` to the region's endpoint, signed (AWS Signature Version 4, in the query) for
//! fifteen minutes and written in base64, as Amazon's own libraries make them. Nothing is sent to that endpoint.

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::tls;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use reqwest::Url;

/// What MSK allows at most.
const LIFETIME: Duration = Duration::from_secs(900);
/// A token with less to live than this is not given to another client.
const LEAST: Duration = Duration::from_secs(420);
/// For the credentials; whoever waits may be the thread that polls.
const PATIENCE: Duration = Duration::from_secs(10);

struct Kept {
    region: String,
    token: String,
    until: SystemTime,
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// One token serves every client of the process.
pub(super) fn token(region: &str) -> Result<OAuthToken, String> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let is_good = |kept: &Kept| kept.region == region && kept.until > SystemTime::now() + LEAST;
    if !kept.as_ref().is_some_and(is_good) {
        let credentials = credentials(region)?;
        let now = SystemTime::now();
        let token = signed(region, &credentials, now)?;
        // Credentials of a role end by themselves, and what they signed ends with them.
        let until = credentials.expiry().map_or(now + LIFETIME, |expiry| expiry.min(now + LIFETIME));
        *kept = Some(Kept { region: region.to_owned(), token, until });
    }
    let Some(Kept { token, until, .. }) = &*kept else { return Err("no token".to_owned()) };
    let lifetime = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let lifetime_ms = i64::try_from(lifetime).unwrap_or(i64::MAX);
    Ok(OAuthToken { token: token.clone(), principal_name: "aws".to_owned(), lifetime_ms })
}

/// From where AWS tools look, anew for every token: new keys need no new process. On a thread of its own: who asks may
/// be in the middle of a runtime.
fn credentials(region: &str) -> Result<Credentials, String> {
    let (tell, told) = channel();
    let region = Region::new(region.to_owned());
    let ask = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let found = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(find(region)));
        drop(tell.send(found));
    };
    std::thread::Builder::new().name("aws-credentials".to_owned()).spawn(ask).map_err(|error| error.to_string())?;
    told.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(format!("no AWS credentials within {PATIENCE:?}")))
}

async fn find(region: Region) -> Result<Credentials, String> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).region(region).load().await;
    let provider = config.credentials_provider().ok_or("there are no AWS credentials")?;
    provider.provide_credentials().await.map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("AWS credentials: {error} {why}")
    })
}

fn signed(region: &str, credentials: &Credentials, now: SystemTime) -> Result<String, String> {
    let endpoint = format!("https://kafka.{region}.amazonaws.com/");
    let mut url =
        Url::parse_with_params(&endpoint, [("Action", "kafka-cluster:Connect")]).map_err(|error| error.to_string())?;
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder().identity(&identity).region(region).name("kafka-cluster").time(now);
    let params = params.settings(settings).build().map_err(|error| error.to_string())?;
    let request = SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| error.to_string())?;
    let signed = sign(request, &params.into()).map_err(|error| error.to_string())?;
    for (name, value) in signed.output().params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    // Not signed: MSK's log names it.
    url.query_pairs_mut().append_pair("User-Agent", concat!("tickstream/", env!("CARGO_PKG_VERSION")));
    Ok(URL_SAFE_NO_PAD.encode(url.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_token_is_a_signed_request_of_fifteen_minutes() {
        let credentials = Credentials::new("AKIDEXAMPLE", "hunter2", Some("session/+=".to_owned()), None, "test");
        let at = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let token = signed("eu-west-1", &credentials, at).expect("a token");
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(&token).expect("base64")).expect("text");
        assert!(!text.contains("hunter2"), "{text}");
        let url = Url::parse(&text).expect("an address");
        assert_eq!((url.host_str(), url.path()), (Some("kafka.eu-west-1.amazonaws.com"), "/"));
        let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        for (name, value) in [
            ("Action", "kafka-cluster:Connect"),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", "AKIDEXAMPLE/20260921/eu-west-1/kafka-cluster/aws4_request"),
            ("X-Amz-Date", "20260921T141320Z"),
            ("X-Amz-Expires", "900"),
            ("X-Amz-Security-Token", "session/+="),
            ("X-Amz-SignedHeaders", "host"),
        ] {
            assert_eq!(query.get(name).map(String::as_str), Some(value), "{name} in {text}");
        }
        // Reckoned apart, by the rules of Signature Version 4 and Python's hmac.
        assert_eq!(query["X-Amz-Signature"], EXPECTED);
    }

    const EXPECTED: &str = "bb1d0b3a7160bab10bac65b730bbb505822b9a93d044df86f76169bc4c5df68f";
}
