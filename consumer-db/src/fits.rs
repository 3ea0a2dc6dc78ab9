//! What a table can hold: checked before anything is sent, since one value that Postgres refuses would cost the whole batch
//! a second try.

use crate::timestamptz::Timestamptz;

/// Symbols, sources and other names are index keys, and Postgres has no index entry above a third of a page.
pub const NAME_BYTES: usize = 256;

/// # Errors
/// Why the text has no place in a column.
pub fn text(name: &str, text: &str, most_bytes: usize) -> Result<(), String> {
    if text.len() > most_bytes {
        return Err(format!("{name} has {} bytes, more than {most_bytes}", text.len()));
    }
    if text.as_bytes().contains(&0) {
        return Err(format!("{name} contains a zero byte, which Postgres text cannot hold"));
    }
    Ok(())
}

/// # Errors
/// Why the time has no place in a column.
pub fn time(name: &str, time: Timestamptz) -> Result<(), String> {
    if time.is_held() { Ok(()) } else { Err(format!("{name} out of range: {time}")) }
}
