//! The form that a browser without a token is sent to, and the way out. Plain HTML, no script.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::{Keys, client_address, session};
use crate::html::{escape, page};
use crate::http::ApiError;

/// As the policy of every page, but the form may be sent.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[derive(Deserialize)]
pub struct Next {
    next: Option<String>,
}

#[derive(Deserialize)]
pub struct Told {
    token: String,
    next: Option<String>,
}

pub async fn login_page(Query(Next { next }): Query<Next>) -> Response {
    form(StatusCode::OK, next.as_deref(), "")
}

pub async fn log_in(
    State(keys): State<Keys>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    told: Result<Form<Told>, FormRejection>,
) -> Response {
    let Ok(Form(Told { token, next })) = told else {
        return form(StatusCode::BAD_REQUEST, None, "The form did not arrive as it was sent.");
    };
    let (address, now) = (client_address(&keys, peer, &headers), Instant::now());
    if !keys.0.brake.is_free(address, now) {
        super::count_unauthorized();
        return form(StatusCode::TOO_MANY_REQUESTS, next.as_deref(), &ApiError::TooManyGuesses.to_string());
    }
    if !keys.is_token(token.trim()) {
        keys.0.brake.wrong(address, now);
        super::count_unauthorized();
        return form(StatusCode::UNAUTHORIZED, next.as_deref(), "That is not the token.");
    }
    let to = HeaderValue::from_str(local(next.as_deref())).unwrap_or(HeaderValue::from_static("/"));
    let cookie = keys.cookie(&headers).map(|cookie| [(SET_COOKIE, cookie)]);
    (StatusCode::SEE_OTHER, [(LOCATION, to)], cookie.map(axum::response::AppendHeaders), "").into_response()
}

pub async fn log_out() -> Response {
    let forgotten = format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax", session::COOKIE);
    let headers = [(LOCATION, "/login".to_owned()), (SET_COOKIE, forgotten)];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn form(status: StatusCode, next: Option<&str>, problem: &str) -> Response {
    let body = format!(
        "<h1>tickstream</h1>\n<form method=\"post\" action=\"/login\">\n<p><label for=\"token\">Token</label>\n\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\n\
         <input type=\"hidden\" name=\"next\" value=\"{}\">\n<button>Log in</button></p>\n<p role=\"alert\">{}</p>\n</form>",
        escape(local(next)),
        escape(problem)
    );
    let headers = [(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-store")];
    (status, headers, Html(page("Log in", &body))).into_response()
}

/// A place on this server, and nowhere else.
fn local(next: Option<&str>) -> &str {
    match next {
        Some(next)
            if next.starts_with('/')
                && !next.starts_with("//")
                && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') =>
        {
            next
        }
        _ => "/",
    }
}

/// A path and query as a value in a query.
pub fn in_query(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_a_place_on_this_server() {
        for (next, expected) in [
            (None, "/"),
            (Some("/?symbol=BTC-USD&tf=5m"), "/?symbol=BTC-USD&tf=5m"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/\r\nSet-Cookie: a=b"), "/"),
        ] {
            assert_eq!(local(next), expected);
        }
        assert_eq!(in_query("/?symbol=BTC-USD&x=é"), "/%3Fsymbol%3DBTC-USD%26x%3D%C3%A9");
    }
}
