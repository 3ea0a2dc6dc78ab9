//! What is asked of CoinMarketCap, and what a recorded request asked for.

use crate::parse::query;

/// What was asked for. Lists that are empty are not known: whatever coin or currency is there is read then, and none can be
/// called missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) ids: Vec<String>,
    pub(super) symbols: Vec<String>,
    pub(super) currencies: Vec<String>,
}

impl Asked {
    /// Reads the query; what stands before it is passed over.
    #[must_use]
    pub(super) fn of(request: &str) -> Self {
        let query = request.split_once('?').map_or("", |(_, query)| query);
        Self { ids: list(query, "id"), symbols: list(query, "symbol"), currencies: list(query, "convert") }
    }
}

/// The entries of a comma-separated parameter, in upper case.
fn list(query: &str, name: &str) -> Vec<String> {
    query::list(query, name, str::to_ascii_uppercase)
}

/// The requests for all these names (`1/USD`): a currency each, since the free plan converts into one a call, and at most a
/// hundred coins each, since that is what one credit pays.
#[must_use]
pub fn quotes_requests(names: &[&str]) -> Vec<String> {
    const COINS_A_CREDIT: usize = 100;
    let mut by_currency: Vec<(&str, Vec<&str>)> = Vec::new();
    for (id, currency) in names.iter().filter_map(|name| name.split_once('/')) {
        match by_currency.iter_mut().find(|(known, _)| *known == currency) {
            Some((_, ids)) if ids.contains(&id) => {}
            Some((_, ids)) => ids.push(id),
            None => by_currency.push((currency, vec![id])),
        }
    }
    let mut requests = Vec::new();
    for (currency, ids) in &by_currency {
        for ids in ids.chunks(COINS_A_CREDIT) {
            requests.push(format!("/v2/cryptocurrency/quotes/latest?id={}&convert={currency}", ids.join(",")));
        }
    }
    requests
}
