//! An OTLP/HTTP collector on loopback that keeps what it is sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;

/// A span and the service that told it.
#[derive(Clone, Debug)]
pub struct Received {
    pub service: String,
    pub span: Span,
}

pub struct Collector {
    pub endpoint: String,
    spans: Arc<Mutex<Vec<Received>>>,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (spans, ended) = (Arc::<Mutex<Vec<Received>>>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (spans, ended) = (spans.clone(), ended.clone());
            move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    spans.lock().unwrap().extend(take(stream.unwrap()));
                }
            }
        });
        Self { endpoint, spans, ended, thread }
    }

    pub fn spans(&self) -> Vec<Received> {
        self.spans.lock().unwrap().clone()
    }

    /// Nobody listens there any more. Gives what was received.
    pub fn stop(self) -> Vec<Received> {
        self.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.endpoint.trim_start_matches("http://")));
        self.thread.join().unwrap();
        self.spans.lock().unwrap().clone()
    }
}

/// One request a connection.
fn take(stream: TcpStream) -> Vec<Received> {
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let head = head.to_lowercase();
    assert!(head.starts_with("post /v1/traces ") && head.contains("content-type: application/x-protobuf"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    (&stream).write_all(answer.as_bytes()).unwrap();
    let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
    request.resource_spans.into_iter().flat_map(of_service).collect()
}

fn of_service(told: ResourceSpans) -> impl Iterator<Item = Received> {
    let attributes = told.resource.unwrap_or_default().attributes;
    let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
    let Some(Value::StringValue(service)) = name.and_then(|name| name.value?.value) else { panic!("no name") };
    let spans = told.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(move |span| Received { service: service.clone(), span })
}

/// What a service's admin server answers, headers included; nothing while it does not listen.
pub fn get(port: u16, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let sent = write!(stream, "GET {path} HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
        drop(sent);
    }
    answer
}
