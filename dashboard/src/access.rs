//! Who may come in. Where a token or a password is set, every request proves that it knows it, the WebSocket's upgrade too: by
//! `Authorization`, or by a cookie that the login form or a first Basic answer sets. Secrets are compared by their digests and in
//! constant time. Must never happen here: a secret in a message, in a log or in a cookie.

mod address;
mod brake;
mod host;
mod login;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use pipeline::misconfigured;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

pub use address::client_address;
pub use host::{Hosts, check_host};
pub use login::{log_in, log_out, login_page};
pub use session::Session;

use crate::http::ApiError;
use brake::Brake;

/// A shorter token can be guessed.
const LEAST_TOKEN_CHARS: usize = 16;

#[derive(Args, Clone, Debug)]
pub struct AccessArgs {
    /// A file that holds one token of 16 characters or more: every request then needs `Authorization: Bearer TOKEN`; a browser asks
    /// for it once.
    #[arg(long, env = "DASHBOARD_AUTH_TOKEN_FILE", value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,
    /// A file of `user:password` lines: every request then needs one of them (Basic).
    #[arg(long, env = "DASHBOARD_BASIC_AUTH_FILE", value_name = "FILE")]
    pub basic_auth_file: Option<PathBuf>,
    /// Behind an ingress: the last address in X-Forwarded-For is the client's, and X-Forwarded-Proto says whether it came by TLS.
    /// Anybody can write these headers, so say it only where nothing but the ingress can connect.
    #[arg(long, env = "DASHBOARD_TRUST_FORWARDED_FOR")]
    pub trust_forwarded_for: bool,
}

type Digested = [u8; 32];

/// What opens the door; nothing where the door is open.
#[derive(Clone, Default)]
pub struct Keys(Arc<Inner>);

#[derive(Default)]
struct Inner {
    token: Option<Digested>,
    /// Of `user:password`.
    users: Vec<Digested>,
    session: Option<Session>,
    trust_forwarded: bool,
    brake: Brake,
}

impl Keys {
    /// # Errors
    /// [`pipeline::Misconfigured`] when a file cannot be read or holds nothing of use.
    pub fn read(args: &AccessArgs) -> anyhow::Result<Self> {
        let token = args.auth_token_file.as_deref().map(read_token).transpose()?;
        let users = args.basic_auth_file.as_deref().map(read_users).transpose()?.unwrap_or_default();
        let mut all = Sha256::new();
        all.update(token.as_deref().unwrap_or_default());
        users.iter().for_each(|user| all.update(digest(user.as_bytes())));
        let is_set = token.is_some() || !users.is_empty();
        Ok(Self(Arc::new(Inner {
            token: token.map(|token| digest(token.as_bytes())),
            users: users.iter().map(|user| digest(user.as_bytes())).collect(),
            session: is_set.then(|| Session::new(&all.finalize())),
            trust_forwarded: args.trust_forwarded_for,
            brake: Brake::default(),
        })))
    }

    /// Whether anything is asked of a client.
    pub fn are_set(&self) -> bool {
        self.0.session.is_some()
    }

    fn is_token(&self, told: &str) -> bool {
        let told = digest(told.as_bytes());
        self.0.token.is_some_and(|token| token.ct_eq(&told).into())
    }

    fn is_user(&self, told: &[u8]) -> bool {
        let told = digest(told);
        let is_any = |found: Choice, user: &Digested| found | user.ct_eq(&told);
        self.0.users.iter().fold(Choice::from(0), is_any).into()
    }

    /// How the client has proved that it may come in.
    fn proof(&self, headers: &HeaderMap) -> Option<Proof> {
        let session = self.0.session.as_ref()?;
        for told in headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok()) {
            let (scheme, value) = told.split_once(' ').unwrap_or((told, ""));
            let value = value.trim();
            if scheme.eq_ignore_ascii_case("bearer") && self.is_token(value) {
                return Some(Proof::Header);
            }
            let is_basic = scheme.eq_ignore_ascii_case("basic");
            if is_basic && STANDARD.decode(value).is_ok_and(|told| self.is_user(&told)) {
                return Some(Proof::Basic);
            }
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut cookies = cookies.flat_map(|value| value.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(name, value)| name == session::COOKIE && session.is_good(value)).then_some(Proof::Cookie)
    }

    /// The cookie that stands for the proof from now on.
    fn cookie(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.0.session.as_ref().map(|session| session.cookie(self.came_by_tls(headers)))
    }

    fn came_by_tls(&self, headers: &HeaderMap) -> bool {
        let told = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
        self.0.trust_forwarded && told.is_some_and(|told| told.trim().eq_ignore_ascii_case("https"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Header,
    Basic,
    Cookie,
}

fn digest(bytes: &[u8]) -> Digested {
    Sha256::digest(bytes).into()
}

fn read(path: &Path, set_by: &str) -> anyhow::Result<String> {
    pipeline::secrets::read(path)
        .map_err(|error| misconfigured(format!("cannot read {}, set by {set_by}: {error}", path.display())))
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let set_by = "--auth-token-file (DASHBOARD_AUTH_TOKEN_FILE)";
    let token = read(path, set_by)?.trim().to_owned();
    if token.len() < LEAST_TOKEN_CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let path = path.display();
        return Err(misconfigured(format!(
            "{path}, set by {set_by}, does not hold one token of {LEAST_TOKEN_CHARS} or more visible ASCII characters, such as `openssl rand -hex 24` prints"
        )));
    }
    Ok(token)
}

fn read_users(path: &Path) -> anyhow::Result<Vec<String>> {
    let set_by = "--basic-auth-file (DASHBOARD_BASIC_AUTH_FILE)";
    let text = read(path, set_by)?;
    let users: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let is_user =
        |line: &String| line.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
    if users.is_empty() || !users.iter().all(is_user) {
        return Err(misconfigured(format!(
            "{}, set by {set_by}, is not made of lines such as user:password",
            path.display()
        )));
    }
    Ok(users)
}

/// What is served to anybody: it is what asks for the secret.
const OPEN: [&str; 3] = ["/login", "/logout", "/plain.css"];

/// Lets a request through that proves itself.
pub async fn guard(State(keys): State<Keys>, request: Request, next: Next) -> Response {
    if !keys.are_set() || OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let address = address_of(&keys, &request);
    let is_guess = request.headers().contains_key(AUTHORIZATION);
    if is_guess && !keys.0.brake.is_free(address, Instant::now()) {
        count_unauthorized();
        return ApiError::TooManyGuesses.into_response();
    }
    match keys.proof(request.headers()) {
        Some(Proof::Basic) => {
            // A browser does not send Basic credentials with every WebSocket.
            let cookie = keys.cookie(request.headers());
            let mut response = next.run(request).await;
            response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
            response
        }
        Some(Proof::Header | Proof::Cookie) => next.run(request).await,
        None => {
            if is_guess {
                keys.0.brake.wrong(address, Instant::now());
            }
            refusal(&keys, &request)
        }
    }
}

fn address_of(keys: &Keys, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    // Every connection has one.
    let peer = peer.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |ConnectInfo(peer)| *peer);
    client_address(keys, peer, request.headers())
}

/// What the brake stops counts too: whoever guesses at one address is stopped long before anybody is warned of it.
fn count_unauthorized() {
    metrics::counter!("tickstream_dashboard_unauthorized_total").increment(1);
}

fn refusal(keys: &Keys, request: &Request) -> Response {
    count_unauthorized();
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let by_form = keys.0.users.is_empty();
    if by_form && request.method() == Method::GET && accepted.contains("text/html") {
        let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
        let to = format!("/login?next={}", login::in_query(here));
        if let Ok(to) = HeaderValue::from_str(&to) {
            return (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response();
        }
    }
    let challenge =
        if by_form { "Bearer realm=\"tickstream\"" } else { "Basic realm=\"tickstream\", charset=\"UTF-8\"" };
    let mut response = ApiError::Unauthorized.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef-token";

    fn keys(token: Option<&str>, users: &[&str]) -> Keys {
        Keys(Arc::new(Inner {
            token: token.map(|token| digest(token.as_bytes())),
            users: users.iter().map(|user| digest(user.as_bytes())).collect(),
            session: Some(Session::new(b"secret")),
            ..Inner::default()
        }))
    }

    fn proof(keys: &Keys, authorization: &str) -> Option<Proof> {
        let headers = [(AUTHORIZATION, authorization.parse().expect("a header"))];
        keys.proof(&headers.into_iter().collect())
    }

    #[test]
    fn a_token_or_a_password_proves_and_nothing_else_does() {
        let by_token = keys(Some(TOKEN), &[]);
        assert_eq!(proof(&by_token, &format!("Bearer {TOKEN}")), Some(Proof::Header));
        assert_eq!(proof(&by_token, &format!("bearer  {TOKEN} ")), Some(Proof::Header));
        for wrong in
            ["Bearer", "Bearer ", "Bearer 0123456789abcdef-tokem", TOKEN, "Basic OjA=", &format!("Basic {TOKEN}")]
        {
            assert_eq!(proof(&by_token, wrong), None, "{wrong}");
        }
        let by_password = keys(None, &["ana:pa:ss", "bob:word"]);
        for (user, expected) in [
            ("ana:pa:ss", Some(Proof::Basic)),
            ("bob:word", Some(Proof::Basic)),
            ("bob:pa:ss", None),
            ("ana", None),
            ("", None),
        ] {
            assert_eq!(proof(&by_password, &format!("Basic {}", STANDARD.encode(user))), expected, "{user}");
        }
        assert_eq!(proof(&by_password, "Bearer ana:pa:ss"), None);
        assert_eq!(by_password.proof(&HeaderMap::new()), None);
    }

    #[test]
    fn a_cookie_stands_for_the_proof() {
        let keys = keys(Some(TOKEN), &[]);
        let cookie = keys.cookie(&HeaderMap::new()).expect("a cookie").to_str().expect("text").to_owned();
        assert!(
            cookie.contains("HttpOnly; SameSite=Lax") && !cookie.contains("Secure") && !cookie.contains(TOKEN),
            "{cookie}"
        );
        let (pair, _) = cookie.split_once(';').expect("attributes");
        let with = |cookie: &str| keys.proof(&[(COOKIE, cookie.parse().expect("a header"))].into_iter().collect());
        assert_eq!(with(&format!("theme=dark; {pair}")), Some(Proof::Cookie));
        assert_eq!(with(&format!("{pair}0")), None);
        assert_eq!(with(session::COOKIE), None);
    }

    #[test]
    fn files_that_hold_nothing_of_use_are_refused_without_telling_what_they_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let token = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let args =
                AccessArgs { auth_token_file: Some(path.clone()), basic_auth_file: None, trust_forwarded_for: false };
            Keys::read(&args).map(|keys| keys.is_token(TOKEN)).map_err(|error| error.to_string())
        };
        assert_eq!(token(&format!("{TOKEN}\n")), Ok(true));
        for bad in ["", "short", "two words of some length", "0123456789abcdefé"] {
            let error = token(bad).expect_err("refused");
            assert!(error.contains("DASHBOARD_AUTH_TOKEN_FILE") && (bad.is_empty() || !error.contains(bad)), "{error}");
        }
        let users = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let args =
                AccessArgs { auth_token_file: None, basic_auth_file: Some(path.clone()), trust_forwarded_for: false };
            Keys::read(&args).map(|keys| keys.is_user(b"bob:word")).map_err(|error| error.to_string())
        };
        assert_eq!(users("ana:pass\n\nbob:word\n"), Ok(true));
        for bad in ["", "hunter2", ":hunter2", "bob:"] {
            let error = users(bad).expect_err("refused");
            assert!(error.contains("DASHBOARD_BASIC_AUTH_FILE") && !error.contains("hunter2"), "{error}");
        }
    }
}
