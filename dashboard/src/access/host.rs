//! By what name a request came. A page of somebody else may point a name of its own to 127.0.0.1 (DNS rebinding): its browser then
//! takes what is served there for that page's own. A server that listens on the loopback answers to addresses and to `localhost`,
//! to the origins that are allowed, and to nothing else; behind an ingress the ingress decides.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::ApiError;

/// The names that are answered to; nothing: all.
#[derive(Clone, Default)]
pub struct Hosts(Option<Arc<[String]>>);

impl Hosts {
    pub fn new(addr: SocketAddr, is_behind_ingress: bool, allowed_origins: &[String]) -> Self {
        let is_checked = addr.ip().is_loopback() && !is_behind_ingress;
        let names = allowed_origins.iter().filter_map(|origin| origin.split_once("://"));
        Self(is_checked.then(|| names.map(|(_, host)| name(host).to_owned()).collect()))
    }

    fn allow(&self, host: &str) -> bool {
        let Some(names) = &self.0 else { return true };
        let host = name(host).to_ascii_lowercase();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address || host == "localhost" || host.ends_with(".localhost") || names.contains(&host)
    }
}

/// Without the port.
fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Refuses what came by a name that is not this server's.
pub async fn check_host(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    // Without the header it is no browser.
    let is_allowed =
        request.headers().get_all(HOST).iter().all(|host| host.to_str().is_ok_and(|host| hosts.allow(host)));
    if is_allowed { next.run(request).await } else { ApiError::ForeignHost.into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_the_loopback_answers_to_its_own_names() {
        let allowed = ["https://prices.example:8443".to_owned()];
        let local: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        let hosts = Hosts::new(local, false, &allowed);
        for own in [
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:8080",
            "192.168.0.4",
            "localhost:9000",
            "LOCALHOST",
            "prices.example",
        ] {
            assert!(hosts.allow(own), "{own}");
        }
        for foreign in [
            "evil.example:8080",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "prices.example.",
            "a:b",
        ] {
            assert!(!hosts.allow(foreign), "{foreign}");
        }
        for open in [Hosts::new(local, true, &[]), Hosts::new("0.0.0.0:8080".parse().expect("an address"), false, &[])]
        {
            assert!(open.allow("prices.example"));
        }
    }
}
