//! A WebSocket server that plays a script for each connection, faults included, over real TCP. After the last script
//! connections are accepted and held in silence.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone, Debug)]
pub enum Step {
    Send(String),
    SendBytes(Vec<u8>),
    Ping,
    Wait(Duration),
    /// The closing handshake.
    Close,
    /// The TCP connection ends inside of a frame.
    CutMidFrame,
    /// Answers the upgrade with this HTTP status; only as the first step.
    Refuse(u16, &'static str),
    /// Holds the connection and says nothing.
    Silence,
}

pub fn send(text: impl Into<String>) -> Step {
    Step::Send(text.into())
}

pub struct FakeWs {
    pub url: String,
    pub connected: Arc<Mutex<Vec<Instant>>>,
    /// What the client sent first on each connection.
    pub subscribed: Arc<Mutex<Vec<String>>>,
}

impl FakeWs {
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("bound"));
        let fake = Self { url, connected: Arc::default(), subscribed: Arc::default() };
        let (connected, subscribed) = (fake.connected.clone(), fake.subscribed.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut connected = connected.lock().expect("no panic");
                    connected.push(Instant::now());
                    connected.len() - 1
                };
                let script = scripts.get(number).cloned().unwrap_or_else(|| vec![Step::Silence]);
                let subscribed = subscribed.clone();
                tokio::spawn(async move { drop(play(stream, script, subscribed).await) });
            }
        });
        fake
    }
}

async fn play(mut stream: TcpStream, script: Vec<Step>, subscribed: Arc<Mutex<Vec<String>>>) -> anyhow::Result<()> {
    if let Some(Step::Refuse(status, headers)) = script.first() {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        stream.write_all(format!("HTTP/1.1 {status} No\r\n{headers}content-length: 0\r\n\r\n").as_bytes()).await?;
        return Ok(());
    }
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    if let Some(Ok(Message::Text(text))) = socket.next().await {
        subscribed.lock().expect("no panic").push(text.to_string());
    }
    for step in script {
        match step {
            Step::Send(text) => socket.send(Message::text(text)).await?,
            Step::SendBytes(bytes) => socket.send(Message::binary(bytes)).await?,
            Step::Ping => socket.send(Message::Ping(Vec::new().into())).await?,
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Close => {
                socket.close(None).await?;
                while socket.next().await.is_some() {}
            }
            Step::CutMidFrame => {
                // A text frame of 100 bytes of which 5 come.
                socket.get_mut().write_all(b"\x81\x64{\"typ").await?;
                socket.get_mut().shutdown().await?;
            }
            Step::Refuse(..) => anyhow::bail!("only the first step may refuse"),
            Step::Silence => while socket.next().await.is_some() {},
        }
    }
    Ok(())
}
