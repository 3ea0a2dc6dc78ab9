//! Payloads in each source's shape, written by hand, with what they answer: what the fuzzing mutates and what the parse
//! benchmark measures.

use std::path::Path;
use std::{fs, io};

/// One body or frame of a source.
#[derive(Clone, Debug)]
pub struct Sample {
    pub file: String,
    pub bytes: Vec<u8>,
    /// The path and query that it answers; empty for frames.
    pub request: String,
}

/// The samples of `source`: each line of a .jsonl file, each .json file, with the request from the .request file beside it.
///
/// # Errors
/// When the folder cannot be read.
pub fn samples(source: &str) -> io::Result<Vec<Sample>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(source);
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    let mut samples = Vec::new();
    for path in paths {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let request = fs::read_to_string(path.with_extension("request")).unwrap_or_default().trim().to_owned();
        let sample = |bytes: &[u8]| Sample { file: file.clone(), bytes: bytes.to_vec(), request: request.clone() };
        let bytes = fs::read(&path)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => samples.push(sample(&bytes)),
            Some("jsonl") => {
                samples.extend(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(sample))
            }
            _ => {}
        }
    }
    Ok(samples)
}
