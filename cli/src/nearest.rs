//! What is said of a name that nobody knows: the known ones that are nearest to it.

use std::collections::BTreeSet;

/// Names offered for one that is not known.
const OFFERED: usize = 3;

/// `no price of BTC-USDX is known; the nearest names are …`.
pub fn not_known<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // Each once: the same symbol has a row a source.
    let mut nearest: Vec<(usize, &str)> =
        known.into_iter().collect::<BTreeSet<_>>().into_iter().map(|other| (distance(name, other), other)).collect();
    if nearest.is_empty() {
        return format!("no {what} {name} is known: there are none yet");
    }
    nearest.sort_unstable();
    let offered: Vec<&str> = nearest.iter().take(OFFERED).map(|(_, other)| *other).collect();
    format!("no {what} {name} is known; the nearest names are {}", offered.join(", "))
}

/// Levenshtein: the least number of letters to add, drop or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_offered() {
        assert_eq!(distance("BTC-USDT", "BTC-USD"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(
            not_known("price of", "BTC-USDX", ["ADA-USD", "BTC-USD", "BTC-EUR", "BTC-USD", "DOGE-BRL"]),
            "no price of BTC-USDX is known; the nearest names are BTC-USD, ADA-USD, BTC-EUR"
        );
        assert_eq!(not_known("price of", "BTC-USD", []), "no price of BTC-USD is known: there are none yet");
    }
}
