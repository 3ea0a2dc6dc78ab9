use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use stack::S3Access;

pub fn client(access: &S3Access) -> Client {
    let credentials = Credentials::new(&access.access_key_id, &access.secret_access_key, None, None, "stack");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&access.endpoint_url)
        .force_path_style(true)
        .region(Region::new(access.region.clone()))
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

async fn shared() -> (Client, String) {
    let access = &stack::shared().await.s3;
    (client(access), access.bucket.clone())
}

pub fn status<E>(err: &SdkError<E>) -> Option<u16> {
    err.raw_response().map(|response| response.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_conditional_puts_one_wins_and_its_metadata_is_always_seen() {
    let (client, bucket) = shared().await;
    let mut heads = 0;
    for round in 0..30 {
        let key = format!("race/{round:02}");
        let reader = tokio::spawn({
            let (client, bucket, key) = (client.clone(), bucket.clone(), key.clone());
            async move {
                // Looks on from before the object is there until it has been seen ten times.
                let mut seen = Vec::new();
                while seen.len() < 10 {
                    match client.head_object().bucket(&bucket).key(&key).send().await {
                        Ok(head) => seen.push(head.metadata().and_then(|all| all.get("writer").cloned())),
                        Err(err) => assert_eq!(status(&err), Some(404), "{err:?}"),
                    }
                }
                seen
            }
        });
        let writers: Vec<_> = (0..8)
            .map(|writer: usize| {
                let (client, bucket, key) = (client.clone(), bucket.clone(), key.clone());
                tokio::spawn(async move {
                    let put = client.put_object().bucket(&bucket).key(&key).if_none_match("*");
                    let put = put.metadata("writer", writer.to_string());
                    let body = ByteStream::from(vec![b'0' + writer as u8; 20_000 + writer]);
                    match put.body(body).send().await {
                        Ok(_) => Some(writer),
                        Err(err) => {
                            assert_eq!(status(&err), Some(412), "{err:?}");
                            assert_eq!(err.code(), Some("PreconditionFailed"));
                            None
                        }
                    }
                })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            winners.extend(writer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}: winners {winners:?}");
        let winner = winners[0];
        for seen in reader.await.unwrap() {
            assert_eq!(
                seen,
                Some(winner.to_string()),
                "round {round}: a reader saw another writer's metadata, or none"
            );
            heads += 1;
        }
        let object = client.get_object().bucket(&bucket).key(&key).send().await.unwrap();
        assert_eq!(object.metadata().unwrap()["writer"], winner.to_string());
        let body = object.body.collect().await.unwrap().into_bytes();
        assert_eq!(body, vec![b'0' + winner as u8; 20_000 + winner]);
    }
    println!("30 rounds, 8 writers each, 30 winners, {heads} reads, all with the winner's metadata");
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_swaps_once_an_etag() {
    let (client, bucket) = shared().await;
    let key = "swap/object";
    let put = |text: String| client.put_object().bucket(&bucket).key(key).body(ByteStream::from(text.into_bytes()));

    let err = put("early".to_owned()).if_match("\"00000000000000000000000000000000\"").send().await.unwrap_err();
    assert_eq!(status(&err), Some(404), "If-Match without an object: {err:?}");

    let mut etag = put("0".to_owned()).send().await.unwrap().e_tag.unwrap();
    for round in 1..=20 {
        let attempts = (0..4).map(|writer| put(format!("{round} by {writer}")).if_match(&etag).send());
        let mut won = Vec::new();
        for outcome in futures::future::join_all(attempts).await {
            match outcome {
                Ok(done) => won.extend(done.e_tag),
                Err(err) => assert_eq!(status(&err), Some(412), "{err:?}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        let head = client.head_object().bucket(&bucket).key(key).send().await.unwrap();
        assert_eq!(head.e_tag.as_ref(), won.first(), "the ETag on HEAD is the one that PUT answered");
        etag = won.remove(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_sorted_paged_and_resumable() {
    let (client, bucket) = shared().await;
    // Deep folders, and the characters that sort around '/' or that URLs change.
    let mut keys: Vec<String> =
        (0..2_500).map(|n| format!("list/dt=2026-01-{:02}/t.v1+{:04}+x/{n:06}.parquet", n % 28 + 1, n % 3)).collect();
    keys.extend(["list/a-b", "list/a.b", "list/a/b", "list/a0b", "list/sp ace+plus=eq", "list/é"].map(str::to_owned));
    let puts = keys.iter().map(|key| {
        let put = client.put_object().bucket(&bucket).key(key);
        async move { put.body(ByteStream::from_static(b"x")).send().await.map(|done| done.e_tag) }
    });
    let puts: Vec<_> =
        futures::StreamExt::collect(futures::StreamExt::buffer_unordered(futures::stream::iter(puts), 16)).await;
    let etag = puts.into_iter().map(Result::unwrap).next().unwrap();
    keys.sort();

    let mut pages = client.list_objects_v2().bucket(&bucket).prefix("list/").into_paginator().send();
    let (mut listed, mut sizes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        sizes.push(page.contents().len());
        for object in page.contents() {
            assert_eq!(object.e_tag, etag, "a listing names the ETag, as S3 does");
            listed.push(object.key().unwrap().to_owned());
        }
    }
    assert_eq!(sizes, [1000, 1000, 506]);
    assert_eq!(listed, keys);

    // start-after is exclusive and need not exist; a page is no longer than asked for.
    let after = |marker: &str| client.list_objects_v2().bucket(&bucket).prefix("list/").start_after(marker).max_keys(3);
    for at in [0, 1, 1200, keys.len() - 2] {
        let page = after(&keys[at]).send().await.unwrap();
        let found: Vec<&str> = page.contents().iter().filter_map(|object| object.key()).collect();
        let expected: Vec<&String> = keys[at + 1..].iter().take(3).collect();
        assert_eq!(found, expected);
        assert_eq!(page.is_truncated(), Some(at + 4 < keys.len()));
    }
    assert_eq!(after("list/zzz-but-é-sorts-later").send().await.unwrap().contents().len(), 1);
    assert!(after("list/ü").send().await.unwrap().contents().is_empty());

    let folders = client.list_objects_v2().bucket(&bucket).prefix("list/").delimiter("/").send().await.unwrap();
    let names: Vec<&str> = folders.common_prefixes().iter().filter_map(|common| common.prefix()).collect();
    assert_eq!(names.len(), 29);
    assert_eq!(&names[..2], ["list/a/", "list/dt=2026-01-01/"]);

    let encoded = client.list_objects_v2().bucket(&bucket).prefix("list/sp ace+");
    let encoded = encoded.encoding_type(aws_sdk_s3::types::EncodingType::Url).send().await.unwrap();
    assert_eq!(encoded.contents()[0].key(), Some("list/sp%20ace%2Bplus%3Deq"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_as_s3_does_where_there_is_nothing() {
    let (client, bucket) = shared().await;
    let head = async |bucket: &str, key: &str| {
        client.head_object().bucket(bucket).key(key).send().await.map_err(|err| status(&err))
    };
    client.put_object().bucket(&bucket).key("nothing/folder/object").send().await.unwrap();
    assert_eq!(head(&bucket, "nothing/folder/object").await.unwrap().content_length, Some(0));
    assert_eq!(head(&bucket, "nothing/folder").await.unwrap_err(), Some(404));
    assert_eq!(head(&bucket, "nothing/else").await.unwrap_err(), Some(404));
    let err = client.put_object().bucket("no-such-bucket").key("k").send().await.unwrap_err();
    assert_eq!(err.code(), Some("NoSuchBucket"));
    let err = client.get_object().bucket("no-such-bucket").key("k").send().await.unwrap_err();
    assert_eq!(err.code(), Some("NoSuchBucket"));
    let err = client.put_object().bucket(&bucket).key("k".repeat(300)).send().await.unwrap_err();
    assert_eq!(err.code(), Some("KeyTooLongError"));

    client.delete_object().bucket(&bucket).key("nothing/folder/object").send().await.unwrap();
    assert_eq!(head(&bucket, "nothing/folder/object").await.unwrap_err(), Some(404));
    let listed = client.list_objects_v2().bucket(&bucket).prefix("nothing/").send().await.unwrap();
    assert!(listed.contents().is_empty());
    client.put_object().bucket(&bucket).key("nothing/folder/object").if_none_match("*").send().await.unwrap();
    let head = head(&bucket, "nothing/folder/object").await.unwrap();
    assert!(head.metadata().is_none_or(|metadata| metadata.is_empty()), "a deleted object's metadata came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused() {
    let access = S3Access { secret_access_key: "wrong".to_owned(), ..stack::shared().await.s3.clone() };
    let put = client(&access).put_object().bucket(&access.bucket).key("intruder").send().await.unwrap_err();
    assert_eq!(status(&put), Some(403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_whole_objects() {
    let (client, bucket) = shared().await;
    let mut finished = 0;
    for round in 0..60 {
        let key = format!("hang-up/{round:02}");
        let put = client.put_object().bucket(&bucket).key(&key).metadata("writer", "w").if_none_match("*");
        let put = put.body(ByteStream::from(vec![7; 300_000])).send();
        // Each round hangs up a little later: before the request, in the body, during the write, after the answer.
        drop(tokio::time::timeout(std::time::Duration::from_micros(round * 100), put).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        match client.get_object().bucket(&bucket).key(&key).send().await {
            Ok(object) => {
                assert_eq!(object.metadata().unwrap()["writer"], "w", "round {round}: an object without its metadata");
                assert_eq!(object.body.collect().await.unwrap().into_bytes().len(), 300_000);
                finished += 1;
            }
            Err(err) => assert_eq!(status(&err), Some(404), "{err:?}"),
        }
    }
    println!("60 writers hung up; {finished} objects are there, all whole");
}
