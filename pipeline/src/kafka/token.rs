//! Tokens for brokers that ask for OAUTHBEARER. Where they come from stands in librdkafka's `sasl.oauthbearer.config`, so that every
//! client knows it: `aws-msk-iam` signs one with the AWS credentials of this machine, `file=PATH` reads a JWT that somebody else
//! renews. A client that is polled asks for the next one by its context; [`renew`] is for those that are not, which would else show
//! the one that they were made with until it expires. Must never happen here: a token in a message.

mod msk;

use std::error::Error;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::admin::AdminClient;
use rdkafka::bindings as c;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::{BaseProducer, FutureProducer, Producer, ProducerContext};
use rdkafka::types::RDKafka;
use serde::Deserialize;

/// The setting that says where tokens come from.
pub(super) const SETTING: &str = "sasl.oauthbearer.config";

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// Signed for a cluster of MSK; without a region the brokers' names or `AWS_REGION` tell it.
    Msk { region: Option<String> },
    /// A JWT in a file.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{SETTING} is `aws-msk-iam`, `aws-msk-iam region=eu-west-1`, or `file=/path/of/a/token`");
        match text.trim().split_once(' ').unwrap_or((text.trim(), "")) {
            ("aws-msk-iam", "") => Ok(Self::Msk { region: None }),
            ("aws-msk-iam", more) => {
                let region =
                    more.trim().strip_prefix("region=").filter(|region| is_region(region)).ok_or_else(wrong)?;
                Ok(Self::Msk { region: Some(region.to_owned()) })
            }
            _ => match text.trim().strip_prefix("file=") {
                Some(path) if !path.is_empty() => Ok(Self::File(path.into())),
                _ => Err(wrong()),
            },
        }
    }
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// # Errors
/// What would be right.
pub(super) fn check(setting: &str) -> Result<(), String> {
    setting.parse::<Source>().map(drop)
}

/// The setting with nothing left to be found out later.
///
/// # Errors
/// What would be right.
pub(super) fn complete(setting: &str, servers: &str) -> Result<String, String> {
    match setting.parse()? {
        Source::Msk { region: None } => {
            let region =
                region_of(servers).or_else(|| std::env::var("AWS_REGION").ok().filter(|region| is_region(region)));
            region.map(|region| format!("aws-msk-iam region={region}")).ok_or_else(|| {
                format!("{SETTING}=aws-msk-iam: neither the brokers' names nor AWS_REGION tell the region; say `aws-msk-iam region=eu-west-1`")
            })
        }
        Source::Msk { .. } | Source::File(_) => Ok(setting.trim().to_owned()),
    }
}

/// `b-1.name.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098` stands in eu-west-1; serverless clusters are named alike.
fn region_of(servers: &str) -> Option<String> {
    let host = servers.split(',').next()?.trim().split(':').next()?;
    let (name, _) = host.rsplit_once(".amazonaws.")?;
    // From the end: what stands before may be named as it likes.
    let mut parts = name.rsplit('.');
    let region = parts.next().filter(|region| is_region(region))?;
    matches!(parts.next(), Some("kafka" | "kafka-serverless")).then(|| region.to_owned())
}

/// The token that a client is to show now. For [`ClientContext::generate_oauth_token`].
///
/// # Errors
/// Why there is none.
pub fn token(setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
    let found = match setting.ok_or_else(|| format!("the broker wants a token: set {SETTING}"))?.parse()? {
        Source::Msk { region: Some(region) } => msk::token(&region),
        Source::Msk { region: None } => Err(format!("{SETTING} names no region")),
        Source::File(path) => of_file(&path),
    };
    found.map_err(|why| {
        tracing::warn!("no token for the Kafka broker: {why}");
        why.into()
    })
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
}

fn of_file(path: &Path) -> Result<OAuthToken, String> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{place}: {error}"))?;
    let token = text.trim();
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    let claims = claims.and_then(|bytes| serde_json::from_slice::<Claims>(&bytes).ok());
    let Claims { sub, exp } = claims.ok_or_else(|| format!("{place} holds no JWT with `sub` and `exp`"))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a time in milliseconds, and a wrong one is refused by the client"
    )]
    let lifetime_ms = (exp * 1000.0) as i64;
    Ok(OAuthToken { token: token.to_owned(), principal_name: sub, lifetime_ms })
}

/// Gives a client a token that is good for a while, where its broker asks for one.
pub fn renew<T: Native>(client: &T) {
    let client = client.native();
    let Some(setting) = setting_of(client) else { return };
    let Ok(OAuthToken { token, principal_name, lifetime_ms }) = token(Some(&setting)) else { return };
    let (Ok(token), Ok(principal)) = (CString::new(token), CString::new(principal_name)) else { return };
    let mut why: [c_char; 256] = [0; 256];
    // SAFETY: the client lives as long as the reference that it came from; the texts are copied, and `why` is as long as it says.
    let refused = unsafe {
        let none = std::ptr::null_mut();
        let why = why.as_mut_ptr();
        c::rd_kafka_oauthbearer_set_token(client, token.as_ptr(), lifetime_ms, principal.as_ptr(), none, 0, why, 256)
    };
    if refused != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: librdkafka ends what it writes there with a zero.
        let why = unsafe { CStr::from_ptr(why.as_ptr()) }.to_string_lossy();
        tracing::warn!("the Kafka client does not take the token: {why}");
    }
}

fn setting_of(client: *mut RDKafka) -> Option<String> {
    let name = CString::new(SETTING).ok()?;
    let mut value: [c_char; 4096] = [0; 4096];
    let mut size = value.len();
    // SAFETY: the settings belong to the client, which lives; `value` is as long as `size` says.
    let found = unsafe { c::rd_kafka_conf_get(c::rd_kafka_conf(client), name.as_ptr(), value.as_mut_ptr(), &mut size) };
    if found != c::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
        return None;
    }
    // SAFETY: librdkafka ends what it writes there with a zero.
    let text = unsafe { CStr::from_ptr(value.as_ptr()) }.to_string_lossy().into_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// A client of librdkafka's.
pub trait Native {
    fn native(&self) -> *mut RDKafka;
}

impl<C: ConsumerContext> Native for BaseConsumer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ProducerContext> Native for BaseProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ClientContext + 'static> Native for FutureProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ClientContext> Native for AdminClient<C> {
    fn native(&self) -> *mut RDKafka {
        self.inner().native_ptr()
    }
}

/// A context that adds nothing but the next token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl ClientContext for Plain {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token(setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_tokens_come_from() {
        for (text, expected) in [
            ("aws-msk-iam", Some(Source::Msk { region: None })),
            (" aws-msk-iam region=eu-west-1 ", Some(Source::Msk { region: Some("eu-west-1".to_owned()) })),
            ("file=/run/token", Some(Source::File("/run/token".into()))),
            ("file=", None),
            ("aws-msk-iam region=EU west", None),
            ("principal=anybody", None),
        ] {
            assert_eq!(text.parse::<Source>().ok(), expected, "{text}");
        }
        let msk = "b-1.prices.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098,b-2.prices.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098";
        assert_eq!(complete("aws-msk-iam", msk), Ok("aws-msk-iam region=eu-west-1".to_owned()));
        let serverless = "boot-x.c1.kafka-serverless.us-east-2.amazonaws.com:9098";
        assert_eq!(complete("aws-msk-iam", serverless), Ok("aws-msk-iam region=us-east-2".to_owned()));
        assert_eq!(complete("aws-msk-iam region=sa-east-1", msk), Ok("aws-msk-iam region=sa-east-1".to_owned()));
        let named_kafka = "b-1.kafka.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098";
        assert_eq!(region_of(named_kafka).as_deref(), Some("eu-west-1"));
        let in_china = "b-1.prices.a1b2c3.c2.kafka.cn-north-1.amazonaws.com.cn:9098";
        assert_eq!(region_of(in_china).as_deref(), Some("cn-north-1"));
        for other in ["kafka.example.com:9092", "ec2-1.eu-west-1.compute.amazonaws.com:9098"] {
            assert_eq!(region_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_of_a_file_says_whose_it_is_and_until_when() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let setting = format!("file={}", path.display());
        let jwt =
            |claims: &str| format!("{}.{}.c2lnbmVk", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims));
        let good = jwt(r#"{"sub":"producer","exp":1900000000,"aud":"kafka"}"#);
        std::fs::write(&path, format!("{good}\n")).expect("written");
        let found = token(Some(&setting)).expect("a token");
        assert_eq!(
            (found.token, found.principal_name.as_str(), found.lifetime_ms),
            (good, "producer", 1_900_000_000_000)
        );
        for bad in ["", "hunter2", &jwt(r#"{"sub":"hunter2"}"#)] {
            std::fs::write(&path, bad).expect("written");
            let refused = token(Some(&setting)).map(|_| ()).expect_err("no token").to_string();
            assert!(refused.contains("holds no JWT") && !refused.contains("hunter2"), "{refused}");
        }
        assert!(token(None).is_err());
    }
}
