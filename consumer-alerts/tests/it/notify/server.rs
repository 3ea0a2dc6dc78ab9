//! A server on loopback that takes every POST, keeps it, and answers as it was told: well, badly, late, or not at all.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const TOKEN: &str = "123456:hunter2-token";
pub const SECRET: &str = "hunter2-secret";

/// What becomes of one request. A request is taken when its sender may believe that it was.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Taken: status and body.
    Taken(u16, String),
    /// Not taken: status, further header lines, body.
    Refused(u16, String, String),
    /// Taken, and the connection closed instead of an answer.
    Lost,
    /// The connection closed as soon as it is there.
    Dropped,
    /// Never answered.
    Hung,
    /// Taken after a while.
    Slow(Duration),
    /// Taken, and answered with a body without end.
    Huge(u16),
}

/// A request that was kept.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
    pub taken: bool,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// The next answers; when they are used up, all is well.
    next: VecDeque<Answer>,
}

pub struct Server {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

pub fn ok() -> Answer {
    Answer::Taken(200, json!({"ok": true, "result": {"message_id": 1}}).to_string())
}

/// As the Bot API refuses.
pub fn telegram_error(status: u16, code: u16, description: &str, parameters: &Value) -> Answer {
    let body = json!({"ok": false, "error_code": code, "description": description, "parameters": parameters});
    Answer::Refused(status, String::new(), body.to_string())
}

impl Server {
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve(listener, answers)
    }

    /// On a port that was free a while ago.
    pub async fn start_on(addr: SocketAddr) -> Self {
        Self::serve(TcpListener::bind(addr).await.expect("the port is still free"), [])
    }

    fn serve(listener: TcpListener, answers: impl IntoIterator<Item = Answer>) -> Self {
        let addr = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { requests: Vec::new(), next: answers.into_iter().collect() }));
        let for_task = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, for_task.clone()));
            }
        });
        Self { addr, state, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock held")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().next.extend(answers);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    pub fn taken(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.taken).collect()
    }

    /// Which of `names` each taken message has in it.
    pub fn said(&self, names: &[&str]) -> Vec<Vec<String>> {
        let among = |request: &Request| {
            let mut found: Vec<(usize, String)> =
                names.iter().filter_map(|name| Some((request.body.find(name)?, (*name).to_owned()))).collect();
            found.sort();
            found.into_iter().map(|(_, name)| name).collect()
        };
        self.taken().iter().map(among).collect()
    }

    pub async fn wait_for(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: {:#?}", self.requests());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_taken(&self, count: usize) {
        self.wait_for(&format!("{count} messages"), |server| server.taken().len() >= count).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    if matches!(state.lock().expect("not poisoned").next.front(), Some(Answer::Dropped)) {
        state.lock().expect("not poisoned").next.pop_front();
        return;
    }
    loop {
        let Some(mut request) = read(&mut stream).await else { return };
        let answer = state.lock().expect("not poisoned").next.pop_front().unwrap_or_else(ok);
        request.taken = matches!(answer, Answer::Taken(..) | Answer::Lost | Answer::Slow(_) | Answer::Huge(_));
        state.lock().expect("not poisoned").requests.push(request);
        let (status, headers, body) = match answer {
            Answer::Taken(status, body) => (status, String::new(), body),
            Answer::Refused(status, headers, body) => (status, headers, body),
            Answer::Lost | Answer::Dropped => return,
            Answer::Hung => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                return;
            }
            Answer::Slow(wait) => {
                tokio::time::sleep(wait).await;
                (200, String::new(), json!({"ok": true}).to_string())
            }
            Answer::Huge(status) => {
                let mut text = format!("HTTP/1.1 {status} Said\r\n\r\n{{\"ok\":true,\"result\":\"").into_bytes();
                // Until the other side has had enough.
                while stream.write_all(&text).await.is_ok() {
                    text = vec![b'x'; 65_536];
                }
                return;
            }
        };
        let text = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request with a content-length, as the client makes them.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).expect("text");
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().expect("a number"));
    let mut body = bytes.split_off(head + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(body).expect("text");
    Some(Request { path, headers, body, at: Instant::now(), taken: false })
}
