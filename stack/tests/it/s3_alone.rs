//! `stack s3`, the store of the container images: at the address and with the credentials it was given, over a folder that
//! outlives it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack::S3Access;

use crate::s3::{client, status};

/// Starts the store and waits until it answers.
async fn start(access: &S3Access, data: &Path) -> Child {
    let listen = access.endpoint_url.strip_prefix("http://").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_stack"))
        .args(["s3", "--listen", listen, "--data", data.to_str().unwrap()])
        .env("S3_BUCKET", &access.bucket)
        .env("AWS_ACCESS_KEY_ID", &access.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &access.secret_access_key)
        .spawn()
        .unwrap();
    let client = client(access);
    let mut tries = 0;
    while client.list_objects_v2().bucket(&access.bucket).send().await.is_err() {
        tries += 1;
        assert!(tries < 200, "the store does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child
}

fn stop(mut child: Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_where_it_is_told_to_whom_it_is_told_and_keeps_what_it_holds() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let data = tempfile::tempdir().unwrap();
    let access = S3Access {
        endpoint_url: format!("http://{address}"),
        access_key_id: "somebody".to_owned(),
        secret_access_key: "a secret".to_owned(),
        region: stack::s3::REGION.to_owned(),
        bucket: "market".to_owned(),
    };
    let create = || {
        let body = ByteStream::from_static(b"once");
        client(&access).put_object().bucket(&access.bucket).key("a").if_none_match("*").body(body).send()
    };
    let store = start(&access, data.path()).await;
    create().await.unwrap();
    let stranger = S3Access { secret_access_key: "another".to_owned(), ..access.clone() };
    let refused = client(&stranger).get_object().bucket(&access.bucket).key("a").send().await.unwrap_err();
    assert_eq!(status(&refused), Some(403));
    stop(store);

    let store = start(&access, data.path()).await;
    assert_eq!(status(&create().await.unwrap_err()), Some(412));
    stop(store);
}
