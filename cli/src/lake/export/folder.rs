//! The folder of a symbol. Symbols come from outside, so whatever is in one, its folder is one plain name below the folder of
//! the layer: lower case, so that it is the same on disks that do not tell the two apart. Must never happen here: a name that
//! leads elsewhere.

/// A longer name is cut, and told from others by a checksum of the symbol.
const MOST: usize = 80;

pub fn of(symbol: &str) -> String {
    let mut name = String::with_capacity(symbol.len());
    for byte in symbol.bytes() {
        match byte {
            b'.' if name.is_empty() => name.push_str("%2e"),
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(byte.into()),
            b'A'..=b'Z' => name.push(byte.to_ascii_lowercase().into()),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
        if name.len() > MOST {
            let checksum = crc32fast::hash(symbol.to_ascii_lowercase().as_bytes());
            name.truncate(MOST);
            return format!("{name}-{checksum:08x}");
        }
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_plain_name() {
        for (symbol, expected) in [
            ("BTC-USD", "btc-usd"),
            ("PETR4.SA", "petr4.sa"),
            ("BTC/USD", "btc%2fusd"),
            ("../../etc", "%2e.%2f..%2fetc"),
            ("..", "%2e."),
            ("C:\\x", "c%3a%5cx"),
            ("Ação", "a%c3%a7%c3%a3o"),
            ("", "_"),
        ] {
            assert_eq!(of(symbol), expected);
        }
        let (long, other) = (of(&"x".repeat(5000)), of(&"x".repeat(5001)));
        assert!(long.len() < 100 && long != other, "{long} {other}");
        assert_eq!(long, of(&"X".repeat(5000)));
    }
}
