//! A line between clients and a broker of the stack on which requests and answers get lost, each as the test says. Clients ask
//! the broker where it is and connect there, so its address in those answers is replaced by the line's, which is as long.
//! Must never happen here: a frame that is passed on in parts around a fault.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::kafka::Kafka;

const HOST: &[u8] = b"127.0.0.1";
/// The requests whose answers say where brokers are: Metadata, FindCoordinator, DescribeCluster.
const TELLING: [i16; 3] = [3, 10, 60];

/// What befalls a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker does what it says; the connection ends before the answer.
    AnswerLost,
    /// The broker does what it says; the answer ends with this error code instead of its own.
    AnswerSays(i16),
    /// The broker never sees it; this error code is what the answer ends with.
    Refused(i16),
}

/// A request as it is on the wire, without its length.
pub struct Request<'a>(pub &'a [u8]);

impl Request<'_> {
    pub fn api_key(&self) -> i16 {
        self.0.first_chunk().copied().map_or(-1, i16::from_be_bytes)
    }

    fn correlation(&self) -> i32 {
        self.0.get(4..).and_then(|rest| rest.first_chunk().copied()).map_or(-1, i32::from_be_bytes)
    }

    /// Whether it ends a transaction by committing it.
    pub fn is_commit_of_transaction(&self) -> bool {
        self.api_key() == 26 && self.0.last() == Some(&1)
    }

    /// Whether it commits a group's offsets.
    pub fn is_commit_of_offsets(&self) -> bool {
        self.api_key() == 8
    }
}

type Choice = Box<dyn FnMut(&Request<'_>) -> Option<Fault> + Send>;

/// Ends with the runtime that it was started on.
pub struct BrokerLine {
    /// What a client is given instead of the broker's address.
    pub bootstrap_servers: String,
    choice: Arc<Mutex<Choice>>,
}

impl BrokerLine {
    /// A line to the broker of a stack.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn to(kafka: &Kafka) -> io::Result<Self> {
        let port = kafka.port();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let choice: Arc<Mutex<Choice>> = Arc::new(Mutex::new(Box::new(|_| None)));
        let shared = choice.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let choice = shared.clone();
                tokio::spawn(async move {
                    if let Ok(broker) = TcpStream::connect(("127.0.0.1", port)).await {
                        Connection::new((port, own), choice).carry(client, broker).await;
                    }
                });
            }
        });
        Ok(Self { bootstrap_servers: format!("127.0.0.1:{own}"), choice })
    }

    /// From now on `choice` says what befalls each request.
    pub fn set(&self, choice: impl FnMut(&Request<'_>) -> Option<Fault> + Send + 'static) {
        *self.choice.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(choice);
    }

    /// From now on nothing is lost.
    pub fn mend(&self) {
        self.set(|_| None);
    }
}

/// A request that was passed on.
#[derive(Clone, Copy)]
struct Asked {
    api_key: i16,
    fault: Option<Fault>,
}

struct Connection {
    ports: (u16, u16),
    choice: Arc<Mutex<Choice>>,
    /// By correlation id.
    asked: HashMap<i32, Asked>,
}

impl Connection {
    fn new(ports: (u16, u16), choice: Arc<Mutex<Choice>>) -> Self {
        Self { ports, choice, asked: HashMap::new() }
    }

    /// Until either side, or a fault, ends it.
    async fn carry(mut self, client: TcpStream, broker: TcpStream) {
        let (from_client, mut to_client) = client.into_split();
        let (from_broker, mut to_broker) = broker.into_split();
        let (mut requests, mut answers) = (Frames::new(from_client), Frames::new(from_broker));
        loop {
            let passed = tokio::select! {
                request = requests.next() => match request {
                    Ok(frame) => self.request(frame, &mut to_broker, &mut to_client).await,
                    Err(_) => return,
                },
                answer = answers.next() => match answer {
                    Ok(frame) => self.answer(frame, &mut to_client).await,
                    Err(_) => return,
                },
            };
            if !matches!(passed, Ok(true)) {
                return;
            }
        }
    }

    async fn request(
        &mut self,
        frame: Vec<u8>,
        to_broker: &mut OwnedWriteHalf,
        to_client: &mut OwnedWriteHalf,
    ) -> io::Result<bool> {
        let request = Request(&frame);
        let fault = self.choice.lock().unwrap_or_else(PoisonError::into_inner)(&request);
        let (correlation, api_key) = (request.correlation(), request.api_key());
        if let Some(Fault::Refused(code)) = fault {
            // No tags, no throttling: as the broker answers EndTxn of the versions that librdkafka speaks.
            let answer = [&correlation.to_be_bytes()[..], &0_i32.to_be_bytes(), &code.to_be_bytes()].concat();
            write(to_client, &answer).await?;
            return Ok(true);
        }
        self.asked.insert(correlation, Asked { api_key, fault });
        write(to_broker, &frame).await?;
        Ok(true)
    }

    /// False where the connection ends here.
    async fn answer(&mut self, mut frame: Vec<u8>, to_client: &mut OwnedWriteHalf) -> io::Result<bool> {
        let correlation = frame.first_chunk().copied().map_or(-1, i32::from_be_bytes);
        let asked = self.asked.remove(&correlation);
        match asked.and_then(|asked| asked.fault) {
            Some(Fault::AnswerLost) => return Ok(false),
            Some(Fault::AnswerSays(code)) => {
                let at = frame.len().saturating_sub(2);
                frame[at..].copy_from_slice(&code.to_be_bytes());
            }
            Some(Fault::Refused(_)) | None => {}
        }
        if asked.is_some_and(|asked| TELLING.contains(&asked.api_key)) {
            self.replace_address(&mut frame);
        }
        write(to_client, &frame).await?;
        Ok(true)
    }

    fn replace_address(&self, frame: &mut [u8]) {
        let (broker, own) = self.ports;
        let address = [HOST, &i32::from(broker).to_be_bytes()].concat();
        for at in 0..frame.len().saturating_sub(address.len() - 1) {
            if frame[at..].starts_with(&address) {
                frame[at + HOST.len()..at + address.len()].copy_from_slice(&i32::from(own).to_be_bytes());
            }
        }
    }
}

/// Reads whole frames; what was read of one is kept when the reading is interrupted.
struct Frames<R> {
    from: R,
    read: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    fn new(from: R) -> Self {
        Self { from, read: Vec::new() }
    }

    async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.read.first_chunk().copied().map(u32::from_be_bytes) {
                let end = 4 + length as usize;
                if self.read.len() >= end {
                    let rest = self.read.split_off(end);
                    return Ok(std::mem::replace(&mut self.read, rest).split_off(4));
                }
            }
            if self.from.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

async fn write(to: &mut OwnedWriteHalf, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_all(&[&length.to_be_bytes()[..], frame].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_brokers_own_address_is_replaced() {
        let connection = Connection::new((9092, 40_000), Arc::new(Mutex::new(Box::new(|_| None))));
        let at = |port: i32| [b"\x0a127.0.0.1".as_slice(), &port.to_be_bytes(), b"\0"].concat();
        let mut frame = [at(9092), at(9093), at(9092)].concat();
        connection.replace_address(&mut frame);
        assert_eq!(frame, [at(40_000), at(9093), at(40_000)].concat());
        let mut short = b"127".to_vec();
        connection.replace_address(&mut short);
        assert_eq!(short, b"127");
    }

    #[tokio::test]
    async fn frames_come_whole_however_they_were_cut() {
        let bytes: &[u8] = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c\0\0";
        for cut in 1..bytes.len() {
            let mut frames = Frames::new(bytes[..cut].chain(&bytes[cut..]));
            assert_eq!(frames.next().await.expect("a frame"), b"ab");
            assert_eq!(frames.next().await.expect("a frame"), b"");
            assert_eq!(frames.next().await.expect("a frame"), b"c");
            assert!(frames.next().await.is_err());
        }
    }
}
