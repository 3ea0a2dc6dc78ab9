//! What several reasons have in common. A reason tells of its own record (a time, an id, a length); so that a thousand letters
//! of one fault are one line, every word with a digit in it stands for any other.

const ANY: &str = "…";

/// The reason with `…` for each word that has a digit.
pub fn shape(reason: &str) -> String {
    let mut shape = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(first) = rest.chars().next() {
        let is_word = in_word(first);
        let length = rest.find(|letter| in_word(letter) != is_word).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(length);
        if is_word && piece.contains(|letter: char| letter.is_ascii_digit()) {
            // What ends a sentence is no part of the word.
            let word = piece.trim_end_matches(['.', ':']);
            shape.push_str(ANY);
            shape.push_str(&piece[word.len()..]);
        } else {
            shape.push_str(piece);
        }
        rest = behind;
    }
    shape
}

/// What times, ids, numbers and keys are written with.
fn in_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '.' | ':' | '-' | '_' | '+' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_one_fault_have_one_shape() {
        for (reason, expected) in [
            ("no value", "no value"),
            ("symbol has 257 bytes, more than 256", "symbol has … bytes, more than …"),
            ("no Avro framing: starts with 00 67", "no Avro framing: starts with … …"),
            (
                "event_time out of range: 2031-01-01T00:00:00.5Z is before 2009-01-03T00:00:00Z",
                "event_time out of range: … is before …",
            ),
            (
                "Postgres: check (SQLSTATE 23514, constraint positive): BTC-USD",
                "Postgres: check (SQLSTATE …, constraint positive): BTC-USD",
            ),
            ("ends at byte 12.", "ends at byte …."),
            ("Preço é 1", "Preço é …"),
            ("", ""),
        ] {
            assert_eq!(shape(reason), expected);
        }
    }
}
