//! The one table of canonical symbols and of what each source calls them. What is asked of a source is looked up here and
//! refused at the start when it is not there; what a source says is looked up here first, and split by its own rule only
//! when the table is without it. Must never happen here: a derivative under a spot symbol, or two spot symbols under one
//! name of a source.

use std::collections::HashMap;
use std::path::Path;

use pipeline::misconfigured;
use serde::Deserialize;

/// The table that comes with the program.
pub const BUILT_IN: &str = include_str!("symbols.toml");

/// Base and quote of a canonical symbol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    pub base: String,
    pub quote: String,
}

impl Pair {
    #[must_use]
    pub fn new(base: impl Into<String>, quote: impl Into<String>) -> Self {
        Self { base: base.into(), quote: quote.into() }
    }

    /// `BTC-USD`.
    #[must_use]
    pub fn symbol(&self) -> String {
        [self.base.as_str(), "-", self.quote.as_str()].concat()
    }
}

impl std::str::FromStr for Pair {
    type Err = String;

    /// `BTC-USD`: upper case letters and digits on both sides of one hyphen.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('-') {
            Some((base, quote)) if is_code(base) && is_code(quote) => Ok(Self::new(base, quote)),
            _ => Err(format!("{text:?} is not a symbol such as BTC-USD")),
        }
    }
}

/// Whether this is an asset's code: `BTC`, `1INCH`.
#[must_use]
pub fn is_code(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The table, read.
#[derive(Clone, Debug)]
pub struct Symbols {
    /// Assets that prices are told in, longest first.
    quotes: Vec<String>,
    /// A source to its names to their pairs.
    pairs: HashMap<String, HashMap<String, Pair>>,
    /// A source to the canonical symbols that it has, in the table's order, with its name for each.
    names: HashMap<String, Vec<(String, String)>>,
    /// A source to its ids, which stand before the slash of its names (`bitcoin/usd`), to their bases.
    bases: HashMap<String, HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    quotes: Vec<String>,
    symbols: toml::Table,
}

impl Symbols {
    /// The table that comes with the program.
    #[must_use]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("the table that is compiled in is read by a test")
    }

    /// The table of this file.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when it cannot be read, or says a thing twice.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let told = |why: String| {
            misconfigured(format!(
                "cannot use the table of symbols {}, set by --symbols-file (PRODUCER_SYMBOLS_FILE): {why}",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
        Self::parse(&text).map_err(told)
    }

    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let File { mut quotes, symbols } = toml::from_str(text).map_err(|error| error.to_string())?;
        if let Some(wrong) = quotes.iter().find(|quote| !is_code(quote)) {
            return Err(format!("the quote {wrong:?} is not an asset's code"));
        }
        quotes.sort_by_key(|quote| (std::cmp::Reverse(quote.len()), quote.clone()));
        let mut table = Self { quotes, pairs: HashMap::new(), names: HashMap::new(), bases: HashMap::new() };
        for (symbol, sources) in symbols {
            let pair: Pair = symbol.parse()?;
            let toml::Value::Table(sources) = sources else {
                return Err(format!("{symbol} must be a table of sources and their names for it"));
            };
            for (source, name) in sources {
                let toml::Value::String(name) = name else {
                    return Err(format!("the name of {symbol} at {source} must be a string"));
                };
                let known = table.pairs.entry(source.clone()).or_default();
                if let Some(other) = known.insert(name.clone(), pair.clone()) {
                    return Err(format!("{source} has the name {name:?} for both {} and {symbol}", other.symbol()));
                }
                if let Some((id, _)) = name.split_once('/') {
                    let bases = table.bases.entry(source.clone()).or_default();
                    let base = bases.entry(id.to_owned()).or_insert_with(|| pair.base.clone());
                    if *base != pair.base {
                        return Err(format!("{source} has the id {id:?} for both {base} and {}", pair.base));
                    }
                }
                table.names.entry(source).or_default().push((symbol.clone(), name));
            }
        }
        Ok(table)
    }

    /// What `source` means by `name`.
    #[must_use]
    pub fn pair(&self, source: &str, name: &str) -> Option<&Pair> {
        self.pairs.get(source)?.get(name)
    }

    /// The base that `source` means by an id, whatever the price is told in: BTC for the `bitcoin` of `bitcoin/usd`.
    #[must_use]
    pub fn base(&self, source: &str, id: &str) -> Option<&str> {
        self.bases.get(source)?.get(id).map(String::as_str)
    }

    /// The id of this base at `source`: another id that goes by the same letters there is another asset.
    #[must_use]
    pub fn id_of(&self, source: &str, base: &str) -> Option<&str> {
        self.bases.get(source)?.iter().find(|(_, known)| *known == base).map(|(id, _)| id.as_str())
    }

    /// What `source` calls `symbol`.
    ///
    /// # Errors
    /// A sentence with the nearest symbols that the source has.
    pub fn name(&self, source: &str, symbol: &str) -> Result<&str, String> {
        let known = self.names.get(source).map_or(&[][..], Vec::as_slice);
        if let Some((_, name)) = known.iter().find(|(known, _)| known == symbol) {
            return Ok(name);
        }
        let meant = symbol.to_ascii_uppercase();
        let mut near: Vec<(usize, &str)> =
            known.iter().map(|(known, _)| (strsim::damerau_levenshtein(known, &meant), known.as_str())).collect();
        near.sort_unstable();
        let near: Vec<&str> = near.iter().take(3).map(|(_, known)| *known).collect();
        Err(format!(
            "no symbol {symbol:?} is known at {source}; the nearest are {}. Another one is added in a table of symbols \
             (--symbols-file)",
            near.join(", ")
        ))
    }

    /// The symbols of one source, looked up; `flag` and `env` name where they were set.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for the first that is not in the table, or when none is asked for.
    pub fn asked<'a>(
        &'a self,
        source: &'static str,
        symbols: &'a [String],
        (flag, env): (&str, &str),
    ) -> anyhow::Result<Vec<(&'a str, &'a str)>> {
        if symbols.is_empty() {
            return Err(misconfigured(format!("{flag} ({env}) is empty: name at least one symbol, such as BTC-USD")));
        }
        symbols
            .iter()
            .map(|symbol| {
                let name = self.name(source, symbol).map_err(|why| misconfigured(format!("{flag} ({env}): {why}")))?;
                Ok((symbol.as_str(), name))
            })
            .collect()
    }

    /// Base and quote of a name that runs them together (`BTCUSDT`), by the longest known quote; `None` when it ends with
    /// none, or nothing is left for the base.
    #[must_use]
    pub fn split(&self, joined: &str) -> Option<Pair> {
        let joined = joined.to_ascii_uppercase();
        let mut split = self.quotes.iter().filter_map(|quote| Some((joined.strip_suffix(quote.as_str())?, quote)));
        split.find(|(base, _)| is_code(base)).map(|(base, quote)| Pair::new(base, quote))
    }

    /// Whether prices are told in this asset.
    #[must_use]
    pub fn is_quote(&self, code: &str) -> bool {
        self.quotes.iter().any(|quote| quote == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_read_and_names_are_found_both_ways() {
        let symbols = Symbols::built_in();
        assert_eq!(symbols.pair("kraken", "BTC/USD"), Some(&Pair::new("BTC", "USD")));
        assert_eq!(symbols.name("coingecko", "LINK-USD"), Ok("chainlink/usd"));
        assert_eq!(symbols.pair("coingecko", "link/usd"), None);
        assert_eq!((symbols.base("coingecko", "chainlink"), symbols.base("coingecko", "link")), (Some("LINK"), None));
        assert_eq!((symbols.id_of("coinmarketcap", "BTC"), symbols.id_of("coinmarketcap", "GST")), (Some("1"), None));
        assert_eq!(symbols.pair("binance", "BTCUSDT"), Some(&Pair::new("BTC", "USDT")));
    }

    #[test]
    fn an_unknown_symbol_is_refused_with_its_neighbours() {
        let symbols = Symbols::built_in();
        let why = symbols.name("coinbase", "BTC-UDS").expect_err("it is a slip");
        assert!(why.contains("BTC-USD"), "{why}");
        let wanted = ["BTC-USD".to_owned()];
        let asked = symbols.asked("binance", &wanted, ("--binance-symbols", "BINANCE_SYMBOLS"));
        let error = asked.expect_err("Binance has no dollars");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().contains("BINANCE_SYMBOLS") && error.to_string().contains("BTC-USDT"), "{error}");
    }

    #[test]
    fn joined_names_are_split_by_the_longest_quote() {
        let symbols = Symbols::built_in();
        for (joined, base, quote) in [
            ("BTCUSDT", "BTC", "USDT"),
            ("ELFBUSD", "ELF", "BUSD"),
            ("USDTBRL", "USDT", "BRL"),
            ("btcusd", "BTC", "USD"),
            ("ETHBTC", "ETH", "BTC"),
            ("1INCHUSDT", "1INCH", "USDT"),
        ] {
            assert_eq!(symbols.split(joined), Some(Pair::new(base, quote)), "{joined}");
        }
        for joined in ["USDT", "", "BTC", "BTCUSDT_241227", "BTC-USD"] {
            assert_eq!(symbols.split(joined), None, "{joined}");
        }
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        for (text, said) in [
            ("quotes = ['usd']\n[symbols]", "usd"),
            ("quotes = []\n[symbols]\nBTCUSD = {}", "BTCUSD"),
            ("quotes = []\n[symbols]\nBTC-USD = { okx = 'A' }\nETH-USD = { okx = 'A' }", "both"),
            ("quotes = []\n[symbols]\nBTC-USD = { coingecko = 'a/usd' }\nETH-BRL = { coingecko = 'a/brl' }", "both"),
            ("quotes = []\n[symbols]\nBTC-USD = { okx = 1 }", "string"),
        ] {
            let why = Symbols::parse(text).expect_err(text);
            assert!(why.contains(said), "{why}");
        }
    }
}
