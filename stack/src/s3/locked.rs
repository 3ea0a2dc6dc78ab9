//! s3s-fs behind one lock a key. Left alone it compares If-None-Match and If-Match before it writes, and publishes an
//! object before its metadata and ETag files, so two conditional writers could both win and a reader could see a winner
//! without metadata. Here every operation on a key holds that key's lock from its first look to its last write.
//!
//! Invariant: a write, once begun, runs to its end although its client hangs up; a body is whole and verified before the
//! lock is taken. Answers that s3s-fs gives differently from S3 (a PUT into a bucket that is not there, a HEAD of a folder,
//! If-Match without an object, listings) are corrected here. A SIGKILL between two files of one object is not covered:
//! this is a store for development, not for keeping.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::names::url_encoded;

const LOCKS: usize = 1024;
const PAGE: i32 = 1000;
/// What a file system takes as a name.
const MAX_NAME_BYTES: usize = 255;

/// The S3 operations that the lake needs, atomic a key.
#[derive(Clone)]
pub struct LockedStore {
    files: Arc<FileSystem>,
    root: Arc<Path>,
    locks: Arc<[Arc<Mutex<()>>]>,
    // S3 lists ETags, s3s-fs does not: what was written or read once need not be looked up for each listing.
    etags: Arc<StdMutex<HashMap<(String, String), ETag>>>,
}

impl LockedStore {
    /// A store over the files under `root`; each folder in it is a bucket.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        let files = FileSystem::new(root).map_err(|err| anyhow::anyhow!("cannot open {}: {err:?}", root.display()))?;
        Ok(Self {
            files: Arc::new(files),
            root: root.into(),
            locks: (0..LOCKS).map(|_| Arc::default()).collect(),
            etags: Arc::default(),
        })
    }

    async fn lock(&self, bucket: &str, key: &str) -> OwnedMutexGuard<()> {
        Arc::clone(&self.locks[slot(bucket, key)]).lock_owned().await
    }

    /// The locks of several keys, taken in one order by everybody.
    async fn lock_all<'a>(&self, names: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<OwnedMutexGuard<()>> {
        let slots: BTreeSet<usize> = names.map(|(bucket, key)| slot(bucket, key)).collect();
        let mut held = Vec::with_capacity(slots.len());
        for slot in slots {
            held.push(Arc::clone(&self.locks[slot]).lock_owned().await);
        }
        held
    }

    fn check_bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        let path = self.root.join(bucket);
        if path.is_dir() { Ok(path) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// The object must be a file: a folder on the way to objects is not one, though s3s-fs would describe it.
    fn check_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        let path = self.check_bucket(bucket)?.join(key);
        if path.is_file() { Ok(()) } else { Err(s3_error!(NoSuchKey)) }
    }

    fn remember(&self, bucket: &str, key: &str, etag: Option<&ETag>) {
        let mut etags = self.etags.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (bucket.to_owned(), key.to_owned());
        match etag {
            Some(etag) => drop(etags.insert(name, etag.clone())),
            None => drop(etags.remove(&name)),
        }
    }

    fn remembered(&self, bucket: &str, key: &str) -> Option<ETag> {
        let etags = self.etags.lock().unwrap_or_else(PoisonError::into_inner);
        etags.get(&(bucket.to_owned(), key.to_owned())).cloned()
    }

    /// The ETag of a listed object; `None` when it was deleted since.
    async fn etag(&self, bucket: &str, key: &str) -> Option<ETag> {
        if let Some(etag) = self.remembered(bucket, key) {
            return Some(etag);
        }
        let input = HeadObjectInput::builder().bucket(bucket.to_owned()).key(key.to_owned()).build().ok()?;
        self.head_object(request(input)).await.ok()?.output.e_tag
    }
}

/// Runs a write to its end even when its client has gone and this future is dropped.
async fn to_the_end<T: Send + 'static>(write: impl Future<Output = S3Result<T>> + Send + 'static) -> S3Result<T> {
    tokio::spawn(write).await.map_err(|_| s3_error!(InternalError, "the write panicked"))?
}

fn slot(bucket: &str, key: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    (bucket, key).hash(&mut hasher);
    hasher.finish() as usize % LOCKS
}

/// s3s-fs keeps an object's metadata in one file named after the bucket and the whole key in base64.
fn check_length(bucket: &str, key: &str, extension: &str) -> S3Result<()> {
    let base64 = |text: &str| (text.len() * 4).div_ceil(3);
    let name = ".bucket-.object-.metadata.json".len() + base64(bucket) + base64(key) + extension.len();
    if name > MAX_NAME_BYTES {
        return Err(s3_error!(KeyTooLongError, "this store takes keys of up to about 150 bytes"));
    }
    Ok(())
}

fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: Default::default(),
        uri: Default::default(),
        headers: Default::default(),
        extensions: Default::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

async fn whole(body: StreamingBlob) -> S3Result<Bytes> {
    body.try_fold(BytesMut::new(), |mut all, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    })
    .await
    .map(BytesMut::freeze)
    .map_err(|err| s3_error!(IncompleteBody, "the body broke off: {err}"))
}

fn blob(bytes: Bytes) -> StreamingBlob {
    StreamingBlob::from(s3s::Body::from(bytes))
}

#[async_trait::async_trait]
impl S3 for LockedStore {
    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        self.check_bucket(&bucket)?;
        check_length(&bucket, &key, "")?;
        let body = match req.input.body.take() {
            Some(body) => whole(body).await?,
            None => Bytes::new(),
        };
        req.input.body = Some(blob(body));
        let store = self.clone();
        to_the_end(async move {
            let _held = store.lock(&bucket, &key).await;
            if req.input.if_match.is_some() {
                store.check_object(&bucket, &key)?;
            }
            let response = store.files.put_object(req).await?;
            store.remember(&bucket, &key, response.output.e_tag.as_ref());
            Ok(response)
        })
        .await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let _held = self.lock(&bucket, &key).await;
        self.check_object(&bucket, &key)?;
        let response = self.files.head_object(req).await?;
        self.remember(&bucket, &key, response.output.e_tag.as_ref());
        Ok(response)
    }

    // The answer's body is an open file: a later PUT puts another one in its place and does not change this one.
    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let _held = self.lock(&bucket, &key).await;
        self.check_object(&bucket, &key)?;
        self.files.get_object(req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let store = self.clone();
        to_the_end(async move {
            let _held = store.lock(&bucket, &key).await;
            store.remember(&bucket, &key, None);
            store.files.delete_object(req).await
        })
        .await
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let store = self.clone();
        to_the_end(async move {
            let bucket = req.input.bucket.clone();
            let keys: Vec<String> = req.input.delete.objects.iter().map(|object| object.key.clone()).collect();
            let _held = store.lock_all(keys.iter().map(|key| (&*bucket, &**key))).await;
            for key in &keys {
                store.remember(&bucket, key, None);
            }
            store.files.delete_objects(req).await
        })
        .await
    }

    async fn list_objects_v2(
        &self,
        mut req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = req.input.bucket.clone();
        req.input.max_keys = Some(req.input.max_keys.map_or(PAGE, |keys| keys.clamp(0, PAGE)));
        let encode = req.input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
        let mut response = self.files.list_objects_v2(req).await?;
        let page = &mut response.output;
        for object in page.contents.iter_mut().flatten() {
            if let Some(key) = &mut object.key {
                object.e_tag = self.etag(&bucket, key).await;
                if encode {
                    *key = url_encoded(key);
                }
            }
        }
        if encode {
            let prefixes = page.common_prefixes.iter_mut().flatten().map(|common| &mut common.prefix);
            for name in prefixes.chain([&mut page.prefix, &mut page.delimiter, &mut page.start_after]).flatten() {
                *name = url_encoded(name);
            }
        }
        Ok(response)
    }

    async fn list_objects(&self, mut req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        req.input.max_keys = Some(req.input.max_keys.map_or(PAGE, |keys| keys.clamp(0, PAGE)));
        // The old listing is answered from names alone; who wants ETags or encoded names uses the new one.
        req.input.encoding_type = None;
        self.files.list_objects(req).await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let CopySource::Bucket { bucket: from_bucket, key: from_key, .. } = &req.input.copy_source else {
            return Err(s3_error!(NotImplemented, "copies come from a bucket"));
        };
        let (from_bucket, from_key) = (from_bucket.to_string(), from_key.to_string());
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        check_length(&bucket, &key, "")?;
        let store = self.clone();
        to_the_end(async move {
            let _held = store.lock_all([(&*from_bucket, &*from_key), (&*bucket, &*key)].into_iter()).await;
            store.check_object(&from_bucket, &from_key)?;
            store.remember(&bucket, &key, None);
            store.files.copy_object(req).await
        })
        .await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.check_bucket(&req.input.bucket)?;
        check_length(&req.input.bucket, &req.input.key, ".upload-00000000-0000-0000-0000-000000000000")?;
        self.files.create_multipart_upload(req).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.files.upload_part(req).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.files.list_parts(req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        // s3s-fs would ignore the conditions, and a conditional write that is none loses data.
        if req.input.if_match.is_some() || req.input.if_none_match.is_some() {
            return Err(s3_error!(NotImplemented, "conditions are for PutObject"));
        }
        let (bucket, key) = (req.input.bucket.clone(), req.input.key.clone());
        let store = self.clone();
        to_the_end(async move {
            let _held = store.lock(&bucket, &key).await;
            store.remember(&bucket, &key, None);
            store.files.complete_multipart_upload(req).await
        })
        .await
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(req).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(req).await
    }

    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(req).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(req).await
    }
}
