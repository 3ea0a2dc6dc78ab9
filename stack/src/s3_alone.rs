//! `stack s3`: the object store without the rest, for a container. Its address, folder and credentials are given, not
//! made up, since other containers are told the same.

use std::net::SocketAddr;
use std::path::PathBuf;

use stack::s3::Server;
use tokio_util::sync::CancellationToken;

#[derive(clap::Args)]
pub struct S3Args {
    /// Where the S3 API is served.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "HOST:PORT")]
    pub listen: SocketAddr,
    /// The folder that holds the objects; each folder in it is a bucket.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The bucket that is made at start, unless it is there already.
    #[arg(long, env = "S3_BUCKET", default_value = "lake")]
    pub bucket: String,
    /// The one key that may read and write.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID")]
    pub access_key_id: String,
    /// That key's secret.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true, value_name = "SECRET")]
    pub secret_access_key: String,
}

pub async fn run(args: S3Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server = Server::serve(&args.data, &args.bucket, args.listen, &args.access_key_id, &args.secret_access_key)
        .map_err(|err| pipeline::misconfigured(format!("stack s3: {err:#} (--listen, --data)")))?;
    let endpoint_url = &server.access().endpoint_url;
    tracing::info!(endpoint_url, bucket = args.bucket, "the S3 API is served at {endpoint_url}");
    shutdown.cancelled().await;
    Ok(())
}
