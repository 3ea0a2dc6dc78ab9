//! What is asked of CoinGecko, and what a recorded request asked for. Must never happen here: a space in a request, or a coin
//! or currency that a request does not name taken for one that it does.

use crate::parse::problem::Problem;
use crate::parse::query;

/// Which answer a request calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// There is no request: a payload found somewhere.
    Unknown,
    SimplePrice,
    Markets,
    /// Of the one coin that stands in `ids`.
    MarketChart,
    Other,
}

/// What was asked for. A list that is empty is not known: whatever coin or currency is there is read then, and none can be
/// called missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) ids: Vec<String>,
    /// In lower case, as the source writes them.
    pub(super) currencies: Vec<String>,
}

impl Asked {
    /// Reads path and query; a host before them is passed over.
    #[must_use]
    pub(super) fn of(request: &str) -> Self {
        let (path, query) = request.split_once('?').unwrap_or((request, ""));
        let mut ids = list(query, "ids");
        let mut currencies = list(query, "vs_currencies");
        currencies.extend(list(query, "vs_currency"));
        currencies.retain(|currency| is_currency(currency));
        let segments: Vec<&str> = path.trim().split('/').filter(|segment| !segment.is_empty()).collect();
        let endpoint = match segments[..] {
            [] => Endpoint::Unknown,
            // Asked by symbol, it answers with symbols in the place of ids, and several coins share a symbol.
            [.., "simple", "price"] if ids.is_empty() && by_symbol(query) => Endpoint::Other,
            [.., "simple", "price"] => Endpoint::SimplePrice,
            [.., "coins", "markets"] => Endpoint::Markets,
            [.., "coins", id, "market_chart"] | [.., "coins", id, "market_chart", "range"] => {
                ids = list(&format!("ids={id}"), "ids");
                Endpoint::MarketChart
            }
            _ => Endpoint::Other,
        };
        Self { endpoint, ids, currencies }
    }

    /// The currency, where the answer does not say it and the request names one.
    #[must_use]
    pub(super) fn one_currency(&self) -> Option<&str> {
        match &self.currencies[..] {
            [currency] => Some(currency),
            _ => None,
        }
    }

    /// Whether this coin may be in the answer.
    #[must_use]
    pub(super) fn has(&self, id: &str) -> bool {
        self.ids.is_empty() || self.ids.iter().any(|asked| asked == id)
    }

    /// Names each coin that was asked for and is not in the answer.
    pub(super) fn name_missing(&self, is_there: impl Fn(&str) -> bool, problems: &mut Vec<Problem>) {
        for id in self.ids.iter().filter(|id| !is_there(id)) {
            let detail = format!("asked for {id:?}, and the answer is without it");
            problems.push(Problem::rejected("not_answered", id.as_str(), detail));
        }
    }
}

/// The entries of a comma-separated parameter, in lower case.
fn list(query: &str, name: &str) -> Vec<String> {
    query::list(query, name, str::to_ascii_lowercase)
}

fn by_symbol(query: &str) -> bool {
    !list(query, "symbols").is_empty() || !list(query, "names").is_empty()
}

/// Whether this is a currency as the source writes it: `usd`, `sats`.
#[must_use]
pub(super) fn is_currency(name: &str) -> bool {
    let length = (2..=6).contains(&name.len());
    length && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The requests for exactly these names (`bitcoin/usd`): one call where every coin is wanted in every currency, and one more
/// for each other list of coins.
#[must_use]
pub fn simple_price_requests(names: &[&str]) -> Vec<String> {
    let mut calls: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (currency, ids) in by_currency(names) {
        match calls.iter_mut().find(|(of, _)| of.len() == ids.len() && ids.iter().all(|id| of.contains(id))) {
            Some((_, currencies)) => currencies.push(currency),
            None => calls.push((ids, vec![currency])),
        }
    }
    let request = |(ids, currencies): &(Vec<&str>, Vec<&str>)| {
        format!(
            "/api/v3/simple/price?ids={}&vs_currencies={}&include_market_cap=true&include_24hr_vol=true\
             &include_24hr_change=true&include_last_updated_at=true&precision=full",
            ids.join(","),
            currencies.join(",")
        )
    };
    calls.iter().map(request).collect()
}

/// The requests for exactly these names: a currency each, and a page of coins.
#[must_use]
pub fn markets_requests(names: &[&str]) -> Vec<String> {
    const PAGE: usize = 250;
    let mut requests = Vec::new();
    for (currency, ids) in by_currency(names) {
        for ids in ids.chunks(PAGE) {
            requests.push(format!(
                "/api/v3/coins/markets?vs_currency={currency}&ids={}&per_page={PAGE}&precision=full",
                ids.join(",")
            ));
        }
    }
    requests
}

/// The history of one name from one time to another, micros UTC; `None` for a name that is not `id/currency`.
#[must_use]
pub fn market_chart_request(name: &str, from: i64, to: i64) -> Option<String> {
    let (id, currency) = name.split_once('/')?;
    // Whole seconds, outwards: a point at either end belongs to the gap.
    let (from, to) = (from.div_euclid(1_000_000), to.div_euclid(1_000_000) + 1);
    Some(format!("/api/v3/coins/{id}/market_chart/range?vs_currency={currency}&from={from}&to={to}&precision=full"))
}

/// Each currency once with the coins that are wanted in it, all in the order of their first appearance.
fn by_currency<'a>(names: &[&'a str]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for (id, currency) in names.iter().filter_map(|name| name.split_once('/')) {
        match found.iter_mut().find(|(known, _)| *known == currency) {
            Some((_, ids)) if ids.contains(&id) => {}
            Some((_, ids)) => ids.push(id),
            None => found.push((currency, vec![id])),
        }
    }
    found
}
