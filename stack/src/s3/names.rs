//! Names as S3 writes them in a listing when the client asked for `encoding-type=url`.

/// Percent-encodes all but letters, digits, `-_.~` and `/`.
pub(super) fn url_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::url_encoded;

    #[test]
    fn encodes_what_a_client_would_decode_otherwise() {
        let check = |name: &str, expected: &str| assert_eq!(url_encoded(name), expected);
        check("bronze/dt=2026-01-02/a+0001.parquet", "bronze/dt%3D2026-01-02/a%2B0001.parquet");
        check("a b%/é", "a%20b%25/%C3%A9");
    }
}
