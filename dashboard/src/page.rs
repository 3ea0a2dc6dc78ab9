//! The page, inside the binary: what `web/page` holds and the one library that it draws the chart with. Nothing is fetched
//! from anywhere else, so it works without the internet.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::http::ApiError;
use crate::rest::answer::{accepts_gzip, compressed};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/page"]
struct Page;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/node_modules/lightweight-charts/dist"]
#[include = "lightweight-charts.standalone.production.mjs"]
struct ChartLibrary;

/// Where the page finds the chart library.
const LIBRARY_PATH: &str = "vendor/lightweight-charts.mjs";

pub async fn serve(uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let path = match uri.path().trim_start_matches('/') {
        "" | "replay" => "index.html",
        path => path,
    };
    let file = if path == LIBRARY_PATH {
        ChartLibrary::get("lightweight-charts.standalone.production.mjs")
    } else {
        Page::get(path)
    };
    file.map(|file| respond(file, path.ends_with(".js"), &headers))
        .ok_or_else(|| ApiError::NotFound("no such page".to_owned()))
}

/// A module of ours without its comments and its indents: a quarter of what the page weighs is written for those who read its source.
/// Its lines stay where they are, so that an error names the line of the source. No text of a module goes over several lines, which
/// a test sees to.
fn without_comments(source: &str) -> String {
    let mut lean = String::with_capacity(source.len());
    let mut within = false;
    for line in source.lines() {
        let text = line.trim();
        let end = text.find("*/").map(|at| at + 2);
        let begins = text.starts_with("/*");
        let is_comment = within || text.starts_with("//") || begins && end.is_none_or(|end| end == text.len());
        if !is_comment {
            lean.push_str(text);
        }
        within = (within || begins) && end.is_none();
        lean.push('\n');
    }
    lean
}

fn respond(file: EmbeddedFile, is_module: bool, headers: &HeaderMap) -> Response {
    let hash: String = file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // Weak: the compressed bytes are told by the same.
    let etag = format!("W/\"{hash}\"");
    // A new binary may bring a new page under the same name, so a browser asks each time and mostly hears "not modified".
    let cached = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    if cached {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    let kind = file.metadata.mimetype().to_owned();
    let content = || match std::str::from_utf8(&file.data) {
        Ok(source) if is_module => without_comments(source).into_bytes(),
        _ => file.data.to_vec(),
    };
    let about = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache".to_owned()), (ETAG, etag)];
    if accepts_gzip(headers) {
        let encoding = [(CONTENT_ENCODING, "gzip"), (VARY, "accept-encoding")];
        return (about, encoding, Body::from(smallest(hash, content))).into_response();
    }
    (about, Body::from(content())).into_response()
}

/// The file as small as gzip makes it, which is done once.
fn smallest(hash: String, content: impl FnOnce() -> Vec<u8>) -> Bytes {
    static KNOWN: Mutex<BTreeMap<String, Bytes>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(hash).or_insert_with(|| compressed(&content(), Compression::best())).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out_and_lines_stay_where_they_are() {
        let source = [
            "// One.",
            "/**",
            " * Two.",
            " */",
            "const a = /** @type {A} */ (b); // three",
            "  /** Four. */",
            "/* five */ c(); /* six */",
            "if (a) {",
            "  return b;",
        ];
        let expected = ["", "", "", "", source[4], "", source[6], "if (a) {", "return b;", ""];
        assert_eq!(without_comments(&source.join("\n")), expected.join("\n"));
    }

    #[test]
    fn no_text_of_a_module_goes_over_several_lines() {
        for path in Page::iter().filter(|path| path.ends_with(".js")) {
            let file = Page::get(&path).expect("it is listed");
            let lean = without_comments(std::str::from_utf8(&file.data).expect("text"));
            let mut is_open = false;
            for line in lean.lines() {
                is_open ^= line.matches('`').count() % 2 == 1;
                // Within `${}` stands code.
                assert!(!is_open || line.ends_with(['{', ',']), "{path}: {line}");
            }
        }
    }
}
