//! Connections as they come, whatever they are going to ask: bounded in all and from one address, and closed when they do not
//! say what they want, or nothing more, for a while. A peer that is not there any more is found out by the kernel. Must never
//! happen here: a connection that costs nothing to open and is held for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::serve::limits::Limits;

/// Until a request's head is there; between requests too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What was sent and not acknowledged for this long ends a connection.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// What the kernel takes of what a peer does not. More waits here, where a newer price takes the place of an older one.
const MOST_UNSENT_BYTES: u32 = 16 * 1024;
/// After an accept that failed: there are no descriptors left, most likely.
const PAUSE: Duration = Duration::from_millis(200);
/// Connections beside those that stay open as WebSockets and streams.
pub const MOST_PLAIN: u32 = 1000;
const MOST_PLAIN_PER_ADDRESS: u32 = 200;

/// Serves until `shutdown`, then until every connection has ended.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: Arc<Limits>,
    head_timeout: Duration,
    shutdown: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let connections = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Nothing was asked that could be answered.
        let Ok(place) = limits.enter(peer.ip()) else {
            tracing::debug!(%peer, "one connection too many is closed");
            continue;
        };
        prepare(&stream);
        let connection = connection(http.clone(), stream, peer, routes.clone(), shutdown.clone());
        connections.spawn(async move {
            connection.await;
            // An upgraded one has a place of its own.
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

/// Small messages leave at once, and a peer that takes nothing, or is not there any more, is found out: the kernel alone would
/// hold megabytes for it, which are minutes of prices.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_notsent_lowat(MOST_UNSENT_BYTES))
        .and_then(|()| socket.set_tcp_user_timeout(Some(PEER_TIMEOUT)))
        .and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        tracing::debug!("a connection without its options: {error}");
    }
}

async fn connection(
    http: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    shutdown: CancellationToken,
) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.call(request)
    });
    let served = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "connection ended: {error}");
    }
}

/// How many connections there may be: those that stay open, and room for requests beside them. Behind an ingress all come
/// from its address.
pub fn limits(most: u32, most_per_address: u32, is_behind_ingress: bool) -> Arc<Limits> {
    let most = most.saturating_add(MOST_PLAIN);
    let per_address = if is_behind_ingress { most } else { most_per_address.saturating_add(MOST_PLAIN_PER_ADDRESS) };
    Limits::new(most, per_address, "tickstream_dashboard_accepted_connections")
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(most: u32) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let routes = Router::new().route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
        let limits = Limits::new(most, most, "test");
        tokio::spawn(serve(listener, routes, limits, Duration::from_secs(2), shutdown.clone()));
        (address, shutdown)
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.expect("sent");
        let mut answer = vec![0; 1024];
        let count = stream.read(&mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    #[tokio::test]
    async fn who_says_nothing_is_closed_also_after_an_answer_and_in_the_middle_of_a_head() {
        let (address, _shutdown) = start(10).await;
        let mut silent = TcpStream::connect(address).await.expect("connected");
        let mut half = TcpStream::connect(address).await.expect("connected");
        half.write_all(b"GET / HTTP/1.1\r\nHos").await.expect("sent");
        let mut kept = TcpStream::connect(address).await.expect("connected");
        let answer = ask(&mut kept).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("127.0.0.1:"), "{answer}");
        for stream in [&mut silent, &mut half, &mut kept] {
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
            // A reset is an end as well.
            drop(closed.expect("it is closed"));
        }
    }

    #[tokio::test]
    async fn one_too_many_is_closed_and_a_place_is_given_back() {
        let (address, shutdown) = start(2).await;
        let connect = async || TcpStream::connect(address).await.expect("connected");
        let (mut first, mut second, mut third) = (connect().await, connect().await, connect().await);
        assert!(ask(&mut first).await.contains("200 OK") && ask(&mut second).await.contains("200 OK"));
        assert_eq!(third.read(&mut [0; 16]).await.unwrap_or(0), 0, "it is closed");
        drop(first);
        let given_back = async {
            loop {
                let mut next = connect().await;
                if next.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.is_ok()
                    && next.read(&mut [0; 16]).await.is_ok_and(|count| count > 0)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), given_back).await.expect("a place");
        shutdown.cancel();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), second.read_to_end(&mut rest)).await;
        drop(closed.expect("an idle connection ends with the service"));
    }
}
