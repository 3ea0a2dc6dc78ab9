//! One answer, serialised once: its bytes, the same bytes compressed, and an ETag of them. Whoever has it already hears
//! "not modified".

use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use twox_hash::XxHash3_128;

/// A shorter one fits into a packet as it is.
const COMPRESSED_FROM_BYTES: usize = 1024;

#[derive(Debug)]
pub struct Answer {
    body: Bytes,
    gzip: Option<Bytes>,
    etag: HeaderValue,
    /// How long it may be given again.
    pub ttl: Duration,
}

impl Answer {
    /// Serialises a value that is known to be serialisable.
    pub fn of(value: &impl Serialize, ttl: Duration) -> Self {
        let body = serde_json::to_vec(value).expect("plain structs of text and numbers");
        let hash = XxHash3_128::oneshot(&body);
        Self::told(body, hash, ttl)
    }

    /// JSON as it is, and a hash of what makes another answer of it.
    pub fn told(body: Vec<u8>, hash: u128, ttl: Duration) -> Self {
        let etag = format!("W/\"{hash:032x}\"");
        let gzip = (body.len() >= COMPRESSED_FROM_BYTES).then(|| compressed(&body, Compression::fast()));
        let etag = HeaderValue::from_str(&etag).expect("hexadecimal digits");
        Self { body: body.into(), gzip, etag, ttl }
    }

    /// The memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.gzip.as_ref().map_or(0, Bytes::len) + 256
    }

    pub fn respond(&self, asked: &HeaderMap) -> Response {
        let cache_control = match self.ttl.as_secs() {
            0 => HeaderValue::from_static("private, no-cache"),
            seconds => HeaderValue::from_str(&format!("private, max-age={seconds}")).expect("digits"),
        };
        let about = [(ETAG, self.etag.clone()), (CACHE_CONTROL, cache_control)];
        if is_known(asked, &self.etag) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        match &self.gzip {
            Some(gzip) if accepts_gzip(asked) => {
                let encoding: [(HeaderName, &str); 2] = [(CONTENT_ENCODING, "gzip"), (VARY, "accept-encoding")];
                (about, kind, encoding, Body::from(gzip.clone())).into_response()
            }
            _ => (about, kind, Body::from(self.body.clone())).into_response(),
        }
    }
}

pub fn compressed(body: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), level);
    encoder.write_all(body).expect("memory takes all");
    encoder.finish().expect("memory takes all").into()
}

/// Whether the client holds the answer with this tag: a weak comparison, as RFC 9110 wants it of If-None-Match.
fn is_known(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let ours = plain(etag.to_str().unwrap_or_default());
    asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || plain(tag) == ours)
}

pub fn accepts_gzip(asked: &HeaderMap) -> bool {
    let encodings = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    encodings.flat_map(|value| value.split(',')).any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        let refused = weight.replace(' ', "").strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn asked(headers: &[(HeaderName, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect()
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let answer = Answer::of(&["a"], Duration::from_secs(5));
        let fresh = answer.respond(&HeaderMap::new());
        assert_eq!(
            (fresh.status(), &fresh.headers()[CACHE_CONTROL]),
            (StatusCode::OK, &"private, max-age=5".parse().expect("a header"))
        );
        let etag = fresh.headers()[ETAG].to_str().expect("text").to_owned();
        let strong = etag.trim_start_matches("W/").to_owned();
        for known in [etag.as_str(), strong.as_str(), "*", &format!("\"other\", {etag}")] {
            let status = answer.respond(&asked(&[(IF_NONE_MATCH, known)])).status();
            assert_eq!(status, StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(answer.respond(&asked(&[(IF_NONE_MATCH, "\"other\"")])).status(), StatusCode::OK);
        let other = Answer::of(&["b"], Duration::ZERO);
        assert_eq!(other.respond(&asked(&[(IF_NONE_MATCH, &etag)])).status(), StatusCode::OK);
    }

    #[test]
    fn long_answers_go_compressed_to_whoever_takes_that() {
        let answer = Answer::of(&vec!["64000.1"; 1000], Duration::ZERO);
        let encoding = |accepted: &str| {
            let response = answer.respond(&asked(&[(ACCEPT_ENCODING, accepted)]));
            response.headers().get(CONTENT_ENCODING).is_some()
        };
        assert!(encoding("gzip") && encoding("br, GZIP;q=0.5"));
        assert!(!encoding("br") && !encoding("gzip;q=0") && !encoding("gzip; q=0.0"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&answer.gzip.expect("compressed")[..]).read_to_string(&mut text).expect("gzip");
        assert_eq!(text.as_bytes(), &answer.body[..]);
    }
}
