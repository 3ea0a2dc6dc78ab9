//! One object of silver or gold: its footer, and its bytes where they are looked at.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use pipeline::store::Store;

/// `[["key", "etag"], …]` in the footer.
const INPUTS: &str = "tickstream-inputs";
const TAIL: u64 = 64 * 1024;

/// What an object says that it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Keys and ETags.
    pub inputs: BTreeMap<String, String>,
    pub rows: u64,
}

/// What the object says, or what is wrong with it; `None` when it is not there.
///
/// # Errors
/// When the store does not answer.
pub async fn read(store: &Store, key: &str, whole: bool) -> anyhow::Result<Option<Result<Made, String>>> {
    if whole || key.starts_with("bronze/") {
        let Some(object) = store.get(key).await? else { return Ok(None) };
        let size = object.bytes.len();
        return Ok(Some(match object.is_as_written() {
            Some(false) => Err(format!("its {size} bytes are not those that were written")),
            None => {
                Err("it has not the checksum that its writer puts beside it: somebody else put it there".to_owned())
            }
            Some(true) if key.starts_with("bronze/") => Ok(Made { inputs: BTreeMap::new(), rows: 0 }),
            Some(true) => of_whole(&object.bytes).map_err(|error| format!("it cannot be read: {error:#}")),
        }));
    }
    let mut bytes = TAIL;
    loop {
        let Some((tail, size)) = store.get_tail(key, bytes).await? else { return Ok(None) };
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&tail, size) {
            Ok(()) => {
                let made = reader.finish().map_err(anyhow::Error::from).and_then(|metadata| of(&metadata));
                return Ok(Some(made.map_err(|error| format!("it cannot be read: {error:#}"))));
            }
            Err(ParquetError::NeedMoreData(needed)) if bytes < size => bytes = (needed as u64).max(bytes + 1).min(size),
            Err(error) => return Ok(Some(Err(format!("it cannot be read: {error}")))),
        }
    }
}

pub fn of_whole(bytes: &Bytes) -> anyhow::Result<Made> {
    of(&ParquetMetaDataReader::new().parse_and_finish(bytes)?)
}

fn of(metadata: &ParquetMetaData) -> anyhow::Result<Made> {
    let file = metadata.file_metadata();
    let pairs = file.key_value_metadata().into_iter().flatten();
    let pairs: HashMap<&str, &str> =
        pairs.filter_map(|pair| Some((pair.key.as_str(), pair.value.as_deref()?))).collect();
    let inputs: Vec<(String, String)> =
        serde_json::from_str(pairs.get(INPUTS).context("its footer does not say what it was made of")?)?;
    Ok(Made { inputs: inputs.into_iter().collect(), rows: file.num_rows().unsigned_abs() })
}
