//! Clients that are not there any more, or that want nothing, over real sockets and with less patience.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::routing::get;
use futures::{SinkExt, StreamExt};
use pipeline::events::PriceTick;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use tokio_util::sync::CancellationToken;

use super::socket::{Patience, prepare, serve};
use super::{Hub, Session, Showing};
use crate::state::Live;
use crate::state::tests::{NOW, tick};
use crate::state::tick::{Position, Told};

const LONG: Duration = Duration::from_secs(60);

struct Server {
    hub: Arc<Hub>,
    address: std::net::SocketAddr,
    ended: mpsc::UnboundedReceiver<()>,
}

impl Server {
    async fn start(patience: Patience, idle_after: Duration) -> Self {
        let hub = Arc::new(Hub::new(Live::new(86_400_000_000, 1000, NOW)));
        let (tell, ended) = mpsc::unbounded_channel();
        let served = hub.clone();
        let upgrade = move |upgrade: WebSocketUpgrade| {
            let (session, tell) = (Session::new(served.clone()).idle_after(idle_after), tell.clone());
            let over = async move |socket| {
                serve(socket, session, patience, CancellationToken::new(), None).await;
                // Nobody waits for it when the test is over.
                let _ = tell.send(());
            };
            std::future::ready(prepare(upgrade).on_upgrade(over))
        };
        let socket = TcpSocket::new_v4().expect("a socket");
        // What is accepted has it too.
        socket.set_send_buffer_size(8192).expect("a small buffer");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let listener: TcpListener = socket.listen(16).expect("listens");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().route("/ws", get(upgrade));
        tokio::spawn(axum::serve(listener, routes).into_future());
        Self { hub, address, ended }
    }

    async fn connect(&self) -> WebSocketStream<TcpStream> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = socket.connect(self.address).await.expect("connected");
        tokio_tungstenite::client_async(format!("ws://{}/ws", self.address), stream).await.expect("upgraded").0
    }

    async fn ends(&mut self) {
        tokio::time::timeout(LONG, self.ended.recv()).await.expect("it ends").expect("one");
    }

    fn publish(&self, round: i64) {
        let ticks: Vec<PriceTick> =
            (0..100).map(|i| tick(&format!("{i:X>56}-USD"), &round.to_string(), "1", NOW + round)).collect();
        let at = Position { partition: 0, offset: round };
        self.hub.put_ticks(ticks.iter().map(|tick| Told::of(tick, NOW, at)), Showing::Each, &[at]);
    }
}

async fn subscribe(client: &mut WebSocketStream<TcpStream>, channel: &str) {
    let wanted = json!({"type": "subscribe", "channel": channel}).to_string();
    client.send(Message::text(wanted)).await.expect("sent");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_given_up() {
    let mut server = Server::start(Patience { send: LONG, ping_every: Duration::from_millis(500) }, LONG).await;
    let mut vanished = server.connect().await;
    subscribe(&mut vanished, "health").await;
    // From here on nobody reads, answers or closes: a laptop's lid, a cable.
    server.ends().await;
    drop(vanished);
}

#[tokio::test]
async fn a_peer_that_answers_stays() {
    let mut server = Server::start(Patience { send: LONG, ping_every: Duration::from_secs(1) }, LONG).await;
    let mut client = server.connect().await;
    subscribe(&mut client, "health").await;
    let mut pings = 0;
    while pings < 4 {
        match client.next().await.expect("an open connection").expect("a good frame") {
            Message::Ping(_) => pings += 1,
            Message::Close(_) => panic!("it is shown out"),
            _ => {}
        }
    }
    assert!(server.ended.try_recv().is_err());
}

#[tokio::test]
async fn who_subscribes_to_nothing_is_shown_out() {
    let mut server = Server::start(Patience::default(), Duration::from_millis(500)).await;
    let mut client = server.connect().await;
    let mut code = Value::Null;
    let closed = loop {
        match client.next().await.expect("a frame").expect("a good frame") {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["type"] == "error" {
                    code = message["code"].clone();
                }
            }
            Message::Close(frame) => break frame.expect("with a reason"),
            _ => {}
        }
    };
    assert_eq!((&code, closed.code, closed.reason.as_str()), (&json!("idle"), CloseCode::Normal, "idle"));
    drop(client);
    server.ends().await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up() {
    let server = Server::start(Patience { send: Duration::from_secs(1), ping_every: LONG }, LONG).await;
    let mut deaf = server.connect().await;
    subscribe(&mut deaf, "ticks").await;
    let begun = std::time::Instant::now();
    let mut round = 0;
    while server.ended.is_empty() {
        round += 1;
        assert!(begun.elapsed() < LONG, "it is held for ever");
        server.publish(round);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It hears nothing of it.
    drop(deaf);
}
