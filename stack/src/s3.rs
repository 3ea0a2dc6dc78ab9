//! The object store of the local stack: an S3 API over HTTP in this process, objects as files under one folder. It listens
//! on its own thread and runtime, so that it outlives the runtime of the test that happened to start it.

mod locked;
mod names;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio_util::sync::CancellationToken;

use crate::S3Access;
use crate::data_folder::DataFolder;
pub use locked::LockedStore;

pub const REGION: &str = "us-east-1";
const ACCESS_KEY_ID: &str = "tickstream";

/// A running S3 server; it stops when dropped.
pub struct Server {
    access: S3Access,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(folder: &DataFolder, bucket: &str) -> anyhow::Result<Self> {
        let secret = folder.secret("s3")?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::serve(&folder.path().join("s3"), bucket, any_port, ACCESS_KEY_ID, &secret)
    }

    /// Serves the objects under `root` at `listen`, port 0 being any free one; `bucket` exists afterwards.
    pub fn serve(
        root: &Path,
        bucket: &str,
        listen: SocketAddr,
        access_key_id: &str,
        secret_access_key: &str,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root.join(bucket))?;
        let store = LockedStore::new(root)?;
        let service = {
            let mut builder = S3ServiceBuilder::new(store);
            builder.set_auth(SimpleAuth::from_single(access_key_id, secret_access_key));
            builder.build()
        };
        let listener = TcpListener::bind(listen).with_context(|| format!("the S3 server cannot listen at {listen}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("s3").enable_all().build()?;
        let stop = shutdown.clone();
        let thread = std::thread::Builder::new().name("s3-accept".to_owned()).spawn(move || {
            runtime.block_on(accept(listener, service, stop));
            // Connections that idle in a client's pool are cut: nobody waits for them.
            runtime.shutdown_timeout(Duration::from_millis(200));
        })?;
        Ok(Self {
            access: S3Access {
                endpoint_url: format!("http://{address}"),
                access_key_id: access_key_id.to_owned(),
                secret_access_key: secret_access_key.to_owned(),
                region: REGION.to_owned(),
                bucket: bucket.to_owned(),
            },
            shutdown,
            thread: Some(thread),
        })
    }

    pub fn access(&self) -> &S3Access {
        &self.access
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the S3 server panicked");
        }
    }
}

async fn accept(listener: TcpListener, service: S3Service, stop: CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(err) => {
            tracing::error!(error = %err, "the S3 server cannot listen");
            return;
        }
    };
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(err) => {
                    tracing::warn!(error = %err, "the S3 server could not take a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let service = service.clone();
        tokio::spawn(async move {
            // Small answers must not wait for the other side's delayed acknowledgement.
            drop(socket.set_nodelay(true));
            if let Err(err) = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await {
                tracing::debug!(error = %err, "S3 connection ended");
            }
        });
    }
}
