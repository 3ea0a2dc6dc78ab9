//! Where frames come from: a WebSocket, a folder of recorded ones, or a market that is made up here. The driver reads all
//! of them the same way. Must never happen here: a message larger than the cap in memory, or a queue of our own making.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::{Sink, Stream};
use pipeline::events::GapReason;
use tokio::time::timeout;
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::drive::clock::now_micros;
use crate::drive::failure::Failure;
use crate::parse::problem::excerpt;
use crate::sources::Refusal;

/// No market-data frame comes near this.
const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Frames come out of it, and what is said to the source goes in.
pub trait Wire: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send {}

impl<T: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Send> Wire for T {}

/// Makes connections.
#[async_trait]
pub trait Feed: Send {
    /// # Errors
    /// Why there is no connection.
    async fn connect(&mut self) -> Result<Pin<Box<dyn Wire>>, Failure>;

    /// Whether the last wire ended because there is no more, ever: nothing is missing then.
    fn finished(&self) -> bool {
        false
    }

    /// For the connection that was just made from a recording: what was sent after connecting, as far as it is known. A
    /// recording goes on whatever the source said in it. `None` for what is live.
    fn recorded(&self) -> Option<String> {
        None
    }
}

/// Over a WebSocket.
pub struct WebSocket {
    pub url: String,
}

#[async_trait]
impl Feed for WebSocket {
    async fn connect(&mut self) -> Result<Pin<Box<dyn Wire>>, Failure> {
        let config = WebSocketConfig::default()
            .read_buffer_size(32 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(1024 * 1024)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let connecting = Box::pin(connect_async_with_config(self.url.as_str(), Some(config), true));
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok((socket, _))) => Ok(Box::pin(socket)),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(Failure::disconnected(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }
}

/// A handshake that was answered with HTTP says more than that it failed.
fn refused(error: &Error) -> Failure {
    let Error::Http(response) = error else {
        return Failure::disconnected(format!("cannot connect: {error}"));
    };
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = response.body().as_deref().unwrap_or_default();
    let said = excerpt(&String::from_utf8_lossy(&body[..body.len().min(400)]));
    let refusal = Refusal::Retry(format!("the handshake was answered with {said}"));
    Failure::refused(&refusal, status, retry_after, GapReason::Disconnected, now_micros())
}
