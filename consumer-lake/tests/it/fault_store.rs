//! A store in front of the stack's that fails as it is told: it passes bytes on as they came, so that signatures hold, and
//! does to the requests of its choice what a [`Fault`] says. A request once begun is carried out although its sender has
//! gone, as by a real store.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stack::Stack;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing is written, and the answer has this status and code.
    Refused(u16, &'static str),
    /// It is carried out, and the connection ends without an answer.
    AnswerLost,
    /// As [`Fault::AnswerLost`], for so many requests of a hundred.
    SomeAnswersLost(u32),
    /// The connection ends at once; the request is carried out so much later.
    Late(Duration),
    /// A kilobyte a second, in both directions.
    Slow,
    /// It is carried out, and the answer's header of this name says something else.
    Says(&'static str, &'static str),
}

/// What is known of a request when its fault is chosen.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub key: String,
    /// Whether it may only replace.
    pub if_match: bool,
    /// Whether its object has been written since the faults were last set.
    pub written: bool,
}

impl Request {
    pub fn puts(&self, layer: &str) -> bool {
        self.method == "PUT" && self.key.contains(&format!("/{layer}/"))
    }
}

type Which = Box<dyn Fn(&Request) -> bool + Send>;

#[derive(Default)]
struct State {
    faults: Vec<(Which, Fault)>,
    written: BTreeSet<String>,
    hits: u64,
}

pub struct FaultStore {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl FaultStore {
    pub async fn start(stack: &Stack) -> Self {
        let upstream: Arc<str> = stack.s3.endpoint_url.trim_start_matches("http://").trim_end_matches('/').into();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, state) = (upstream.clone(), shared.clone());
                tokio::spawn(async move { serve(BufReader::new(client), &upstream, &state).await });
            }
        });
        Self { url, state }
    }

    /// From now on these faults and no others: the first whose choice a request is.
    pub fn set<const N: usize>(&self, faults: [(Which, Fault); N]) {
        *lock(&self.state) = State { faults: faults.into(), ..State::default() };
    }

    pub fn lift(&self) {
        self.set([]);
    }

    /// Requests that met a fault since the faults were last set.
    pub fn hits(&self) -> u64 {
        lock(&self.state).hits
    }
}

pub fn when(which: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) -> (Which, Fault) {
    (Box::new(which), fault)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until either side ends the connection, or a fault does.
async fn serve(mut client: BufReader<TcpStream>, upstream: &Arc<str>, state: &Arc<Mutex<State>>) {
    while let Ok(true) = exchange(&mut client, upstream, state).await {}
}

async fn exchange(client: &mut BufReader<TcpStream>, upstream: &Arc<str>, state: &Arc<Mutex<State>>) -> Result<bool> {
    let request = Message::read(client, Body::AsItSays).await?;
    let mut words = request.head.split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default().replace("%3D", "=").replace("%2B", "+");
    let fault = {
        let mut state = lock(state);
        let if_match = request.header("if-match").is_some();
        let known =
            Request { written: state.written.contains(&path), method: method.clone(), key: path.clone(), if_match };
        let chosen = state.faults.iter().find(|(which, _)| which(&known)).map(|(_, fault)| *fault);
        let chosen =
            chosen.filter(|fault| !matches!(fault, Fault::SomeAnswersLost(share) if fastrand::u32(0..100) >= *share));
        state.hits += u64::from(chosen.is_some());
        chosen
    };
    if let Some(Fault::Refused(status, code)) = fault {
        client.write_all(refusal(&method, status, code).as_bytes()).await?;
        return Ok(true);
    }
    let wait = match fault {
        Some(Fault::Late(later)) => later,
        Some(Fault::Slow) => a_kilobyte_a_second(request.bytes().len()),
        _ => Duration::ZERO,
    };
    let (upstream, written) = (upstream.clone(), state.clone());
    let carried_out = tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let answer = pass_on(&upstream, &request, &method).await?;
        if method == "PUT" && answer.head.starts_with("HTTP/1.1 200") {
            lock(&written).written.insert(path);
        }
        Ok::<_, Error>(answer)
    });
    if let Some(Fault::Late(_)) = fault {
        return Ok(false);
    }
    let mut answer = carried_out.await??;
    match fault {
        Some(Fault::AnswerLost | Fault::SomeAnswersLost(_)) => return Ok(false),
        Some(Fault::Slow) => tokio::time::sleep(a_kilobyte_a_second(answer.bytes().len())).await,
        Some(Fault::Says(name, value)) => answer.say(name, value),
        Some(Fault::Refused(..) | Fault::Late(_)) | None => {}
    }
    client.write_all(&answer.bytes()).await?;
    Ok(true)
}

async fn pass_on(upstream: &str, request: &Message, method: &str) -> Result<Message> {
    let mut server = BufReader::new(TcpStream::connect(upstream).await?);
    server.write_all(&request.bytes()).await?;
    let body = if method == "HEAD" { Body::None } else { Body::AsItSays };
    loop {
        let answer = Message::read(&mut server, body).await?;
        if !answer.head.starts_with("HTTP/1.1 1") {
            return Ok(answer);
        }
    }
}

fn a_kilobyte_a_second(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / 1024.0)
}

fn refusal(method: &str, status: u16, code: &str) -> String {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>");
    let body = if method == "HEAD" { "" } else { &body };
    format!("HTTP/1.1 {status} {code}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[derive(Clone, Copy)]
enum Body {
    None,
    AsItSays,
}

/// A request or an answer: its head up to the empty line, and its body as it was sent.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    async fn read(from: &mut BufReader<TcpStream>, body: Body) -> Result<Self> {
        let mut message = Self { head: String::new(), body: Vec::new() };
        while !message.head.ends_with("\r\n\r\n") {
            line(from, &mut message.head).await?;
        }
        if message.header("expect").is_some() {
            from.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if let Body::None = body {
            return Ok(message);
        }
        if message.header("transfer-encoding").is_some() {
            while !message.body.ends_with(b"\r\n0\r\n\r\n") && message.body != b"0\r\n\r\n" {
                message.chunk(from).await?;
            }
            return Ok(message);
        }
        let length = message.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        message.body.resize(length, 0);
        from.read_exact(&mut message.body).await?;
        Ok(message)
    }

    async fn chunk(&mut self, from: &mut BufReader<TcpStream>) -> Result<()> {
        let mut size = String::new();
        line(from, &mut size).await?;
        let length = usize::from_str_radix(size.trim_end().split(';').next().unwrap_or_default(), 16)
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        let mut data = vec![0; length + 2];
        from.read_exact(&mut data).await?;
        self.body.extend_from_slice(size.as_bytes());
        self.body.extend_from_slice(&data);
        Ok(())
    }

    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find(named).and_then(|line| Some(line.split_once(':')?.1.trim()))
    }

    /// Changes the value of a header that is there.
    fn say(&mut self, name: &str, value: &str) {
        let named = |line: &str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        let lines =
            self.head.split("\r\n").map(|line| if named(line) { format!("{name}: {value}") } else { line.to_owned() });
        self.head = lines.collect::<Vec<_>>().join("\r\n");
    }

    fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }
}

/// One line more of text; an error at the connection's end.
async fn line(from: &mut BufReader<TcpStream>, text: &mut String) -> Result<()> {
    match tokio::io::AsyncBufReadExt::read_line(from, text).await? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
