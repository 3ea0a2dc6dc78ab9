//! A WebSocket server that plays a script for each connection, faults included, over real TCP. After the last script
//! connections are accepted and held in silence.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use producer::drive::clock::now_micros;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone, Debug)]
pub enum Step {
    Send(String),
    SendBytes(Vec<u8>),
    /// As many frames as that, made by number from 1.
    Burst(u64, fn(u64) -> String),
    /// A text frame of which a byte comes each so often.
    Drip(String, Duration),
    Ping,
    /// Waits until the client has said something with this in it.
    Hears(&'static str),
    /// Writes down when this was reached.
    Mark(&'static str),
    Wait(Duration),
    /// The closing handshake.
    Close,
    /// The TCP connection ends inside of a frame.
    CutMidFrame,
    /// Answers the upgrade with this HTTP status; only as the first step.
    Refuse(u16, &'static str),
    /// What a market says for as long as the connection lasts, beginning with some seconds of what it said before.
    Market(Market),
    /// Holds the connection and says nothing.
    Silence,
    /// The same without reading, so that not even the library answers a ping.
    Deaf,
    /// Does not wait for the client's first message; only as the first step.
    Unasked,
}

/// How much of what it said before a market begins with.
const HISTORY: Duration = Duration::from_secs(3);

/// Says something this often, the same to every connection.
#[derive(Clone, Copy, Debug)]
pub struct Market {
    pub began: Instant,
    pub every: Duration,
    pub says: fn(u32) -> String,
}

pub fn send(text: impl Into<String>) -> Step {
    Step::Send(text.into())
}

pub struct FakeWs {
    pub url: String,
    pub connected: Arc<Mutex<Vec<Instant>>>,
    /// What the client sent first on each connection.
    pub subscribed: Arc<Mutex<Vec<String>>>,
    /// When a market was listened to.
    pub heard: Arc<Mutex<Vec<Instant>>>,
    marks: Marks,
}

/// What was reached when, micros UTC.
type Marks = Arc<Mutex<Vec<(&'static str, i64)>>>;

impl FakeWs {
    /// The same to every connection.
    pub async fn market(market: Market) -> Self {
        Self::serve(Vec::new(), vec![Step::Market(market)]).await
    }

    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        Self::serve(scripts, vec![Step::Silence]).await
    }

    async fn serve(scripts: Vec<Vec<Step>>, then: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("bound"));
        let marks = Marks::default();
        let fake = Self { url, connected: Arc::default(), subscribed: Arc::default(), heard: Arc::default(), marks };
        let (connected, subscribed, heard) = (fake.connected.clone(), fake.subscribed.clone(), fake.heard.clone());
        let marks = fake.marks.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut connected = connected.lock().expect("no panic");
                    connected.push(Instant::now());
                    connected.len() - 1
                };
                let script = scripts.get(number).cloned().unwrap_or_else(|| then.clone());
                let (subscribed, heard, marks) = (subscribed.clone(), heard.clone(), marks.clone());
                tokio::spawn(async move { drop(play(stream, script, subscribed, heard, marks).await) });
            }
        });
        fake
    }
}

impl FakeWs {
    pub fn connections(&self) -> usize {
        self.connected.lock().expect("no panic").len()
    }

    /// When this mark was first reached, micros UTC.
    pub fn reached(&self, mark: &str) -> Option<i64> {
        self.marks.lock().expect("no panic").iter().find(|(name, _)| *name == mark).map(|(_, at)| *at)
    }
}

async fn play(
    mut stream: TcpStream,
    script: Vec<Step>,
    subscribed: Arc<Mutex<Vec<String>>>,
    heard: Arc<Mutex<Vec<Instant>>>,
    marks: Marks,
) -> anyhow::Result<()> {
    if let Some(Step::Refuse(status, headers)) = script.first() {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        stream.write_all(format!("HTTP/1.1 {status} No\r\n{headers}content-length: 0\r\n\r\n").as_bytes()).await?;
        return Ok(());
    }
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    if !matches!(script.first(), Some(Step::Unasked))
        && let Some(Ok(Message::Text(text))) = socket.next().await
    {
        subscribed.lock().expect("no panic").push(text.to_string());
    }
    for step in script {
        match step {
            Step::Send(text) => socket.send(Message::text(text)).await?,
            Step::SendBytes(bytes) => socket.send(Message::binary(bytes)).await?,
            Step::Burst(count, frame) => {
                for number in 1..=count {
                    socket.feed(Message::text(frame(number))).await?;
                }
                socket.flush().await?;
            }
            Step::Drip(text, every) => {
                // Its length in the two bytes that follow 126.
                let length = u16::try_from(text.len())?.to_be_bytes();
                for byte in [&[0x81, 126][..], &length[..], text.as_bytes()].concat() {
                    socket.get_mut().write_all(&[byte]).await?;
                    tokio::time::sleep(every).await;
                }
            }
            Step::Hears(said) => loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) if text.contains(said) => break,
                    Some(Ok(_)) => {}
                    other => anyhow::bail!("never heard {said}: {other:?}"),
                }
            },
            Step::Mark(mark) => marks.lock().expect("no panic").push((mark, now_micros())),
            Step::Deaf => std::future::pending().await,
            Step::Unasked => {}
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
            Step::Market(Market { began, every, says }) => {
                let now = u32::try_from(began.elapsed().as_nanos() / every.as_nanos())?;
                let before = u32::try_from(HISTORY.as_nanos() / every.as_nanos())?;
                for number in now.saturating_sub(before).. {
                    tokio::time::sleep_until((began + every * number).into()).await;
                    socket.send(Message::text(says(number))).await?;
                    heard.lock().expect("no panic").push(Instant::now());
                }
            }
            Step::Silence => while socket.next().await.is_some() {},
        }
    }
    Ok(())
}
