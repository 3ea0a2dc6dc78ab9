//! The coins of an answer, and which of those that share a symbol is meant. Must never happen here: a coin of unknown number
//! under the symbol of one that the table of symbols knows.

use std::collections::{HashMap, HashSet};

use super::SOURCE;
use super::asked::Asked;
use crate::parse::json::{Field, Object, Value, elements};
use crate::parse::problem::{Problem, excerpt};
use crate::parse::row::Row;
use crate::symbols::{Symbols, is_code};

/// A longer answer is none of this source's: its longest list has 5,000 coins.
const MOST_COINS: usize = 10_000;

/// A coin as it stands in an answer.
pub(super) struct Coin<'a> {
    pub(super) path: String,
    /// The source's number for it.
    pub(super) id: String,
    pub(super) object: Object<'a>,
    symbol: String,
    /// Place by market cap, of coins that are traded.
    rank: Option<i64>,
    text: &'a str,
}

/// Reads the coins of one answer.
pub(super) struct Reader<'a, 'asked> {
    asked: &'asked Asked,
    coins: Vec<Coin<'a>>,
    problems: Vec<Problem>,
    /// Keys, ids and symbols that the answer has, be they well or not.
    met: HashSet<String>,
    rows: usize,
}

impl<'a, 'asked> Reader<'a, 'asked> {
    pub(super) fn new(asked: &'asked Asked) -> Self {
        Self { asked, coins: Vec::new(), problems: Vec::new(), met: HashSet::new(), rows: 0 }
    }

    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// `{"1":{…}}` or `{"BTC":{…}}`, or in v2 `{"BTC":[{…},…]}`.
    pub(super) fn by_key(&mut self, data: &Object<'a>) {
        if data.len() > MOST_COINS {
            let detail = format!("{} keys are more than there are coins", data.len());
            self.rows += 1;
            return self.problems.push(Problem::rejected("too_long", "data", detail));
        }
        for key in data.names() {
            let path = format!("data.{key}");
            match data.get(key) {
                // No coin goes by this symbol.
                Field::One(Value::Array(list)) if elements(list) == (Vec::new(), None) => continue,
                Field::One(Value::Array(list)) => self.rows_of(Some(key), &path, &elements(list).0),
                Field::One(value) => self.row(Some(key), path, &value),
                Field::Ambiguous | Field::Missing => {
                    self.rows += 1;
                    let detail = "the key stands there twice with different coins";
                    self.problems.push(Problem::rejected("duplicate_key", path, detail));
                }
            }
            self.met.insert(key.to_ascii_uppercase());
        }
    }

    /// `[{…},…]`.
    pub(super) fn list(&mut self, path: &str, rows: &[Value<'a>]) {
        self.rows_of(None, path, rows);
    }

    fn rows_of(&mut self, key: Option<&str>, path: &str, rows: &[Value<'a>]) {
        for (index, row) in rows.iter().enumerate() {
            if self.rows >= MOST_COINS {
                let detail = format!("{} rows; the first {MOST_COINS} coins are read", rows.len());
                return self.problems.push(Problem::rejected("too_long", path, detail));
            }
            self.row(key, format!("{path}[{index}]"), row);
        }
    }

    fn row(&mut self, key: Option<&str>, path: String, value: &Value<'a>) {
        self.rows += 1;
        let Value::Object(text) = value else {
            let code = if *value == Value::Null { "null_field" } else { "wrong_type" };
            return self.problems.push(Problem::rejected(code, path, format!("{} instead of a coin", value.kind())));
        };
        let object = Object::parse(text);
        let mut row = Row { object: &object, path: &path, problems: &mut self.problems };
        let (id, symbol) = (row.whole_number("id"), row.text("symbol"));
        let (Some((_, id)), Some(symbol)) = (id, symbol) else { return };
        let rank = row.optional(|row| if row.is_absent("cmc_rank") { None } else { row.whole_number("cmc_rank") });
        self.met.extend([id.to_string(), symbol.to_ascii_uppercase()]);
        let asked = self.asked;
        if let Some(key) = key.filter(|key| !is_of(key, &id, &symbol, &object, asked)) {
            let detail =
                format!("the answer for {} is the coin {id}, which is called {}", excerpt(key), excerpt(&symbol));
            return self.problems.push(Problem::rejected("other_coin", path, detail));
        }
        let wanted =
            |list: &[String], it: &str| list.is_empty() || list.iter().any(|asked| asked.eq_ignore_ascii_case(it));
        if !wanted(&asked.ids, &id) || !wanted(&asked.symbols, &symbol) {
            let detail = format!("the coin {id}, which is called {}, was not asked for", excerpt(&symbol));
            return self.problems.push(Problem::rejected("unknown_id", path, detail));
        }
        let inactive = matches!(object.get("is_active"), Field::One(Value::Number("0") | Value::Bool(false)));
        let rank = rank.map(|(rank, _)| rank).filter(|rank| *rank > 0 && !inactive);
        self.coins.push(Coin { path, id: id.into_owned(), symbol: symbol.into_owned(), rank, text, object });
    }

    /// The coins that are meant, in the answer's order, each with its base; what became of the others is told.
    pub(super) fn choose(self, symbols: &Symbols, problems: &mut Vec<Problem>) -> Vec<(Coin<'a>, String)> {
        let Self { asked, coins, problems: mut told, met, .. } = self;
        let coins = each_once(coins, &mut told);
        let mut known_symbols: HashSet<&str> = HashSet::new();
        let mut bases: Vec<Option<String>> = Vec::new();
        for coin in &coins {
            let base = symbols.base(SOURCE, &coin.id).map(str::to_owned);
            if base.is_some() {
                known_symbols.insert(&coin.symbol);
            }
            bases.push(base);
        }
        let mut namesakes: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, coin) in coins.iter().enumerate().filter(|(index, _)| bases[*index].is_none()) {
            let other = symbols.id_of(SOURCE, &coin.symbol.to_ascii_uppercase());
            if let Some(other) = other {
                // Asked by symbol, the coin that is meant comes with its namesakes: they are no news.
                if !asked.ids.is_empty() || !known_symbols.contains(coin.symbol.as_str()) {
                    let detail =
                        format!("the coin {} goes by {}, which is coin {other}", coin.id, excerpt(&coin.symbol));
                    told.push(Problem::rejected("unknown_id", coin.path.as_str(), detail));
                }
            } else if known_symbols.contains(coin.symbol.as_str()) {
                // Likewise, where our symbol for the coin is not the source's.
            } else if is_code(&coin.symbol) {
                namesakes.entry(&coin.symbol).or_default().push(index);
            } else {
                let detail = format!("{} is no code that a symbol can be made of", excerpt(&coin.symbol));
                told.push(Problem::rejected("unknown_id", coin.path.as_str(), detail));
            }
        }
        let mut groups: Vec<Vec<usize>> = namesakes.into_values().collect();
        groups.sort_unstable();
        for group in groups {
            if let Some(index) = best_of(&group, &coins, asked, &mut told) {
                bases[index] = Some(coins[index].symbol.clone());
            }
        }
        for asked in asked.ids.iter().chain(&asked.symbols).filter(|asked| !met.contains(*asked)) {
            let detail = format!("asked for {asked}, and the answer is without it");
            told.push(Problem::rejected("not_answered", asked.as_str(), detail));
        }
        problems.append(&mut told);
        coins.into_iter().zip(bases).filter_map(|(coin, base)| Some((coin, base?))).collect()
    }
}

/// Whether a coin is the one that its key is for.
fn is_of(key: &str, id: &str, symbol: &str, object: &Object<'_>, asked: &Asked) -> bool {
    if !asked.ids.is_empty() {
        return key == id;
    }
    let slug = || object.text("slug").is_some_and(|slug| slug == key);
    let is_symbol = key.eq_ignore_ascii_case(symbol);
    if asked.symbols.is_empty() { key == id || is_symbol || slug() } else { is_symbol }
}

/// Without the coins that stand there more than once: the same row again is no news, and of two that differ none is believed.
fn each_once<'a>(coins: Vec<Coin<'a>>, problems: &mut Vec<Problem>) -> Vec<Coin<'a>> {
    let mut texts: HashMap<String, (usize, &'a str)> = HashMap::new();
    let mut wrong: HashSet<String> = HashSet::new();
    for (index, coin) in coins.iter().enumerate() {
        let (_, first) = *texts.entry(coin.id.clone()).or_insert((index, coin.text));
        if first != coin.text && wrong.insert(coin.id.clone()) {
            let detail = format!("the coin {} stands there twice with different rows", coin.id);
            problems.push(Problem::rejected("duplicate_key", coin.path.as_str(), detail));
        }
    }
    let is_first = |index: usize, coin: &Coin<'_>| texts.get(&coin.id).is_some_and(|(first, _)| *first == index);
    let kept = coins.into_iter().enumerate();
    kept.filter(|(index, coin)| is_first(*index, coin) && !wrong.contains(&coin.id)).map(|(_, coin)| coin).collect()
}

/// Which of several coins with one symbol, none of them in the table, is meant: the best ranked. Never simply the first.
fn best_of(group: &[usize], coins: &[Coin<'_>], asked: &Asked, problems: &mut Vec<Problem>) -> Option<usize> {
    const NAMED: usize = 10;
    if let [only] = group {
        return Some(*only);
    }
    let ranked = || group.iter().filter_map(|index| Some((coins[*index].rank?, *index)));
    let best = ranked().min();
    let others: Vec<&str> = group
        .iter()
        .filter(|index| best.is_none_or(|(_, best)| best != **index))
        .map(|index| coins[*index].id.as_str())
        .collect();
    let named = others[..others.len().min(NAMED)].join(", ");
    let symbol = &coins[group[0]].symbol;
    let Some((rank, best)) = best else {
        let detail = format!("{} coins go by {symbol}, and none has a rank: {named}", group.len());
        problems.push(Problem::rejected("ambiguous_symbol", coins[group[0]].path.as_str(), detail));
        return None;
    };
    // Where no other one is ranked and active there was nothing to choose.
    if ranked().count() > 1 || !asked.ids.is_empty() {
        let detail = format!(
            "{} coins go by {symbol}: coin {} of rank {rank} is taken, and not {named}",
            group.len(),
            coins[best].id
        );
        let path = coins[best].path.as_str();
        problems.push(if asked.ids.is_empty() {
            Problem::noted("ambiguous_symbol", path, detail)
        } else {
            Problem::rejected("ambiguous_symbol", path, detail)
        });
    }
    Some(best)
}
