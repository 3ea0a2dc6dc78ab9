//! What a request's query asks for, as far as both polled aggregators write it alike. Must never happen here: a placeholder
//! (`<id>`, `{id}`) that passes for something that was asked.

use std::borrow::Cow;

/// The entries of a comma-separated parameter, each once and as `spelled` has it: one source writes lower case, one upper.
#[must_use]
pub fn list(query: &str, name: &str, spelled: fn(&str) -> String) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for (_, value) in query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name) {
        let value = if value.contains(['%', '+']) {
            Cow::Owned(value.replace("%2C", ",").replace("%2c", ",").replace("%20", " ").replace('+', " "))
        } else {
            Cow::Borrowed(value)
        };
        for entry in value.split(',') {
            let entry = spelled(entry.trim());
            if !entry.is_empty() && !entry.contains(['<', '{', '%']) && !entries.contains(&entry) {
                entries.push(entry);
            }
        }
    }
    entries
}
