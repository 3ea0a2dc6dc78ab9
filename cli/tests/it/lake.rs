//! A lake made by hand: real Parquet objects under real keys, each as the test wants it.

use std::collections::HashMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use pipeline::lake::{Epoch, Link, LinkKind, LinkRows, Origin, bronze_key, epoch_key, origin_key, raw_key};
use pipeline::records::Records;
use pipeline::topics::TICKS;
use stack::{S3Access, Stack};
use uuid::Uuid;

use crate::market::{Sent, records};

pub struct Lake {
    client: Client,
    bucket: String,
    pub prefix: String,
    topic_id: Uuid,
}

/// An object taken away, to be put back.
#[derive(Clone)]
pub struct Taken {
    pub key: String,
    pub bytes: Vec<u8>,
    pub metadata: HashMap<String, String>,
}

impl Lake {
    /// With the first epoch of market.ticks.v1.
    pub async fn new(stack: &Stack, prefix: &str, cluster_id: String, topic_id: Uuid) -> Self {
        let lake = Self::empty(stack, prefix, topic_id);
        let epoch = serde_json::to_vec(&Epoch { cluster_id, topic_id }).expect("JSON");
        lake.put(&epoch_key(TICKS, 0), epoch, HashMap::new()).await;
        lake
    }

    pub fn empty(stack: &Stack, prefix: &str, topic_id: Uuid) -> Self {
        let S3Access { endpoint_url, access_key_id, secret_access_key, region, bucket } = stack.s3.clone();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint_url)
            .force_path_style(true)
            .region(Region::new(region))
            .credentials_provider(Credentials::new(access_key_id, secret_access_key, None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Self { client: Client::from_conf(config), bucket, prefix: prefix.to_owned(), topic_id }
    }

    /// As our writers put it: with the checksum of its bytes.
    pub async fn write(&self, key: &str, bytes: &[u8], mut metadata: HashMap<String, String>) {
        metadata.insert("tickstream-crc32".to_owned(), format!("{:08x}", crc32fast::hash(bytes)));
        self.put(key, bytes.to_vec(), metadata).await;
    }

    pub async fn put(&self, key: &str, bytes: Vec<u8>, metadata: HashMap<String, String>) {
        let put = self.client.put_object().bucket(&self.bucket).key(format!("{}/{key}", self.prefix));
        put.body(ByteStream::from(bytes)).set_metadata(Some(metadata)).send().await.expect("PUT");
    }

    pub async fn origin(&self, partition: i32, offset: i64) {
        let origin = serde_json::to_vec(&Origin { offset }).expect("JSON");
        self.put(&origin_key(TICKS, 0, partition), origin, HashMap::new()).await;
    }

    /// A raw object for `start..next_offset`, and its bronze without the records that are no ticks. Gives both keys.
    pub async fn object(&self, partition: i32, start: i64, next_offset: i64, sent: &[Sent]) -> [String; 2] {
        let held = records(sent);
        let (first, last) = (held.first_offset().expect("a record"), held.last_offset().expect("a record"));
        let first_time_ms = held.timestamps_ms().value(0);
        let rows = Some(LinkRows { first, last, count: held.len() as u64, first_time_ms });
        let link = Link { kind: LinkKind::Data, topic_id: self.topic_id, start, next_offset, rows };
        let raw = raw_key(TICKS, 0, partition, start);
        let metadata = link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.put(&raw, parquet(&held, &link), metadata).await;
        let bronze = bronze_key("ticks", first_time_ms, TICKS, 0, partition, start);
        let good = sent.iter().filter(|record| record.event_id.is_some()).count();
        self.bronze(&bronze, good).await;
        [raw, bronze]
    }

    /// A bronze object that says it has so many rows.
    pub async fn bronze(&self, key: &str, rows: usize) {
        self.put(key, b"rows".to_vec(), HashMap::from([("tickstream-rows".to_owned(), rows.to_string())])).await;
    }

    pub async fn take(&self, key: &str) -> Taken {
        let full = format!("{}/{key}", self.prefix);
        let object = self.client.get_object().bucket(&self.bucket).key(&full).send().await.expect("GET");
        let metadata = object.metadata().cloned().unwrap_or_default();
        let bytes = object.body.collect().await.expect("a body").to_vec();
        self.client.delete_object().bucket(&self.bucket).key(&full).send().await.expect("DELETE");
        Taken { key: key.to_owned(), bytes, metadata }
    }

    /// In order.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let full = format!("{}/{prefix}", self.prefix);
        let listed = self.client.list_objects_v2().bucket(&self.bucket).prefix(full).send().await.expect("LIST");
        let own = format!("{}/", self.prefix);
        listed.contents().iter().filter_map(|object| Some(object.key()?.strip_prefix(&own)?.to_owned())).collect()
    }

    pub async fn bytes(&self, key: &str) -> Vec<u8> {
        let full = format!("{}/{key}", self.prefix);
        let object = self.client.get_object().bucket(&self.bucket).key(&full).send().await.expect("GET");
        object.body.collect().await.expect("a body").to_vec()
    }

    pub async fn put_back(&self, taken: &Taken) {
        self.put(&taken.key, taken.bytes.clone(), taken.metadata.clone()).await;
    }

    /// As a tool that copies without metadata would.
    pub async fn put_back_bare(&self, taken: &Taken) {
        self.put(&taken.key, taken.bytes.clone(), HashMap::new()).await;
    }
}

fn parquet(held: &Records, link: &Link) -> Vec<u8> {
    let pairs = link.pairs().into_iter().map(|(name, value)| KeyValue::new(name.to_owned(), value)).collect();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, Records::schema(), Some(properties)).expect("writer");
    writer.write(held.batch()).expect("write");
    writer.close().expect("close");
    bytes
}
