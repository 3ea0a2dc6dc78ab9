//! Whose connection it is: the socket's address, or behind an ingress the one that the ingress has written down.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use super::Keys;

/// The address that limits are counted by. The last entry of X-Forwarded-For is the ingress's own word; those before it are the
/// client's.
pub fn client_address(keys: &Keys, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    if !keys.0.trust_forwarded {
        return peer.ip();
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let last = last.and_then(|value| value.rsplit(',').next()).map(str::trim);
    last.and_then(parse).unwrap_or_else(|| peer.ip())
}

fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches(['[', ']']);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Inner;
    use super::*;

    #[test]
    fn a_header_counts_only_where_it_is_trusted() {
        let peer: SocketAddr = "10.0.0.9:4000".parse().expect("an address");
        let check = |trusted: bool, values: &[&str], expected: &str| {
            let keys = Keys(Arc::new(Inner { trust_forwarded: trusted, ..Inner::default() }));
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().expect("a header"));
            }
            assert_eq!(client_address(&keys, peer, &headers).to_string(), expected, "{values:?}");
        };
        check(false, &["1.2.3.4"], "10.0.0.9");
        check(true, &[], "10.0.0.9");
        check(true, &["1.2.3.4"], "1.2.3.4");
        check(true, &["6.6.6.6, 1.2.3.4"], "1.2.3.4");
        check(true, &["6.6.6.6", "1.2.3.4:5000"], "1.2.3.4");
        check(true, &["2001:db8::1"], "2001:db8::1");
        check(true, &["[2001:db8::1]:443"], "2001:db8::1");
        check(true, &["nonsense"], "10.0.0.9");
    }
}
