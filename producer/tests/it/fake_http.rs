//! An HTTP server that answers each request with the next entry of a script, faults included, over real TCP, and writes down
//! when. The last entry is repeated.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use producer::drive::clock::now_micros;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Promises the whole body and closes after `sent` bytes of it.
    CutOff {
        body: &'static str,
        sent: usize,
    },
    /// Says nothing until the client gives up.
    Silent,
    /// So many spaces, without saying how many there will be.
    Long(usize),
    /// The body, a byte each so often.
    Drip(Vec<u8>, Duration),
    /// The connection ends without a word.
    Hangup,
}

pub fn ok(body: &str) -> Answer {
    Answer::Status(200, Vec::new(), body.as_bytes().to_vec())
}

#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub head: String,
    /// When it had come, micros UTC.
    pub came_at: i64,
    /// When the answer to it had gone, or could go no further, micros UTC.
    pub answered_at: Option<i64>,
}

pub struct FakeHttp {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeHttp {
    pub async fn start(script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = read_head(&mut stream).await;
                let number = {
                    let mut seen = seen.lock().expect("no panic");
                    seen.push(Request { at: Instant::now(), head, came_at: now_micros(), answered_at: None });
                    seen.len() - 1
                };
                let answer = script[number.min(script.len() - 1)].clone();
                let seen = seen.clone();
                tokio::spawn(async move {
                    drop(give(&mut stream, answer).await);
                    seen.lock().expect("no panic")[number].answered_at = Some(now_micros());
                });
            }
        });
        Self { url, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

async fn give(stream: &mut TcpStream, answer: Answer) -> std::io::Result<()> {
    match answer {
        Answer::Status(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Answer::CutOff { body, sent } => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body.as_bytes()[..sent]).await?;
        }
        Answer::Silent => tokio::time::sleep(Duration::from_secs(60)).await,
        Answer::Long(length) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            let chunk = vec![b' '; 64 * 1024];
            for _ in 0..length.div_ceil(chunk.len()) {
                stream.write_all(&chunk).await?;
            }
        }
        Answer::Drip(body, every) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            for byte in body {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(every).await;
            }
        }
        Answer::Hangup => {}
    }
    stream.shutdown().await
}
