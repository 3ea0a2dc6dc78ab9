//! When an object was last written, for people who ask. Must never happen here: a writer's decision by a store's clock.

use jiff::Timestamp;

use super::{Store, StoreError, failed, missing};

impl Store {
    /// When the object was last written, by the store's clock, which tells whole seconds; `None` when there is no such object,
    /// or the store does not say.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn modified_at(&self, key: &str) -> Result<Option<Timestamp>, StoreError> {
        match self.client.head_object().bucket(&self.bucket).key(self.full(key)).send().await {
            Ok(output) => Ok(output.last_modified.and_then(|time| Timestamp::from_second(time.secs()).ok())),
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(failed("HEAD", key, error)),
        }
    }
}
