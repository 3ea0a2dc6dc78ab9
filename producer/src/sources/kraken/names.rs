//! What Kraken calls its markets. The v2 feed says `BTC/USD`; REST says `XXBTZUSD`, `XBTUSDT` or `SOLUSD`, with the v1 codes
//! XBT and XDG for BTC and DOGE. A REST name is only ever taken for the v2 name of the same market, so that a trade has one
//! identity on both. Must never happen here: a future (`PI_XBTUSD`), a perpetual or a tokenised stock (`AAPLx/USD`) that
//! passes as spot, or a name cut at a guess.

use std::borrow::Cow;

use super::SOURCE;
use crate::parse::problem::excerpt;
use crate::symbols::{Pair, Symbols, is_code};

/// A problem's code and detail.
type Wrong = (&'static str, String);

/// Assets with a four-letter name in REST: X before a coin, Z before a currency. Only they stand with each other.
const PREFIXED: [&str; 17] = [
    "XXBT", "XETH", "XETC", "XLTC", "XMLN", "XREP", "XXDG", "XXLM", "XXMR", "XXRP", "XZEC", "ZUSD", "ZEUR", "ZGBP",
    "ZJPY", "ZCAD", "ZAUD",
];
/// What Kraken's prices are told in, by REST's names. The table's longer list would cut DOT/USD into DO and TUSD.
const QUOTES: [&str; 12] = ["USDT", "USDC", "USD", "EUR", "GBP", "CAD", "AUD", "JPY", "CHF", "XBT", "ETH", "DAI"];

/// Base and quote of `BTC/USD`.
pub(super) fn pair<'s>(symbols: &'s Symbols, name: &str) -> Result<Cow<'s, Pair>, Wrong> {
    if let Some(pair) = symbols.pair(SOURCE, name) {
        return Ok(Cow::Borrowed(pair));
    }
    refuse_derivative(name)?;
    match name.split_once('/') {
        Some((base, quote)) if is_code(base) && is_code(quote) => Ok(Cow::Owned(Pair::new(today(base), today(quote)))),
        _ => Err(("unknown_product", format!("{} is not a market such as \"BTC/USD\"", excerpt(name)))),
    }
}

/// What REST calls an asset.
pub(super) fn in_rest(code: &str) -> &str {
    match code {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// The v2 name of a market that REST calls `name`.
pub(super) fn of_rest<'n>(symbols: &Symbols, name: &'n str) -> Result<Cow<'n, str>, Wrong> {
    if name.contains('/') {
        return Ok(Cow::Borrowed(name));
    }
    refuse_derivative(name)?;
    let mut cuts = PREFIXED.iter().filter_map(|quote| {
        let base = name.strip_suffix(quote)?;
        (PREFIXED.contains(&base) || base == "USDT").then(|| (today(base), today(quote)))
    });
    let plain = QUOTES.iter().filter_map(|quote| {
        let base = name.strip_suffix(quote)?;
        is_code(base).then(|| (today(base), today(quote)))
    });
    if let Some((base, quote)) = cuts.next() {
        return Ok(Cow::Owned(format!("{base}/{quote}")));
    }
    // The longest quote, but a market of the table before one that is not.
    let names: Vec<String> = plain.map(|(base, quote)| format!("{base}/{quote}")).collect();
    let known = names.iter().find(|name| symbols.pair(SOURCE, name).is_some());
    known
        .or(names.first())
        .map(|name| Cow::Owned(name.clone()))
        .ok_or_else(|| ("unknown_product", format!("{} ends with no quote that is known at Kraken", excerpt(name))))
}

/// Futures have an underscore, tokenised stocks a small x at the end of their base.
fn refuse_derivative(name: &str) -> Result<(), Wrong> {
    let stock = |base: &str| base.strip_suffix('x').is_some_and(is_code);
    let tokenised = match name.split_once('/') {
        Some((base, _)) => stock(base),
        None => QUOTES.iter().any(|quote| name.strip_suffix(quote).is_some_and(stock)),
    };
    if !tokenised && !name.contains('_') && !name.contains("PERP") {
        return Ok(());
    }
    let what = if tokenised { "a tokenised stock" } else { "a derivative" };
    Err(("derivative", format!("{} is {what} and has no place among spot prices", excerpt(name))))
}

/// What v2 calls an asset of v1 or REST.
fn today(code: &str) -> &str {
    match code {
        "XBT" | "XXBT" => "BTC",
        "XDG" | "XXDG" => "DOGE",
        prefixed if PREFIXED.contains(&prefixed) => &prefixed[1..],
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_names_are_base_and_quote() {
        let symbols = Symbols::built_in();
        for (name, symbol) in [
            ("BTC/USD", "BTC-USD"),
            ("USDT/USD", "USDT-USD"),
            ("NOVEL/EUR", "NOVEL-EUR"),
            ("1INCH/USD", "1INCH-USD"),
            ("XBT/USD", "BTC-USD"),
            ("XDG/EUR", "DOGE-EUR"),
        ] {
            assert_eq!(pair(&symbols, name).map(|pair| pair.symbol()), Ok(symbol.to_owned()), "{name}");
        }
        for (name, code) in [
            ("AAPLx/USD", "derivative"),
            ("PI_XBTUSD", "derivative"),
            ("FI_XBTUSD_241227", "derivative"),
            ("PF_XBTUSD", "derivative"),
            ("BTC-PERP/USD", "derivative"),
            ("BTCUSD", "unknown_product"),
            ("BTC-USD", "unknown_product"),
            ("btc/usd", "unknown_product"),
            ("/USD", "unknown_product"),
            ("BTC/USD/EUR", "unknown_product"),
            ("", "unknown_product"),
        ] {
            assert_eq!(pair(&symbols, name).map_err(|(code, _)| code), Err(code), "{name}");
        }
    }

    #[test]
    fn rest_names_become_those_of_v2() {
        let symbols = Symbols::built_in();
        for (rest, v2) in [
            ("XXBTZUSD", "BTC/USD"),
            ("XBTUSD", "BTC/USD"),
            ("XBTUSDT", "BTC/USDT"),
            ("XXBTZEUR", "BTC/EUR"),
            ("XETHXXBT", "ETH/BTC"),
            ("XXDGXXBT", "DOGE/BTC"),
            ("XDGUSD", "DOGE/USD"),
            ("XDGUSDT", "DOGE/USDT"),
            ("USDTZUSD", "USDT/USD"),
            ("USDCUSD", "USDC/USD"),
            ("USDCUSDT", "USDC/USDT"),
            ("USDCAD", "USD/CAD"),
            ("ZEURZUSD", "EUR/USD"),
            ("ZUSDZJPY", "USD/JPY"),
            ("SOLUSD", "SOL/USD"),
            // Bases that end, or quotes that begin, as some other name does.
            ("DOTUSD", "DOT/USD"),
            ("BNBUSD", "BNB/USD"),
            ("XTZUSD", "XTZ/USD"),
            ("ZRXXBT", "ZRX/BTC"),
            ("TRXETH", "TRX/ETH"),
            ("WBTCXBT", "WBTC/BTC"),
            ("PYUSDUSD", "PYUSD/USD"),
            ("BTC/USD", "BTC/USD"),
        ] {
            assert_eq!(of_rest(&symbols, rest), Ok(v2.into()), "{rest}");
        }
        for (rest, code) in [
            ("AAPLxUSD", "derivative"),
            ("PF_XBTUSD", "derivative"),
            ("XXBTZUSD.d", "unknown_product"),
            ("USD", "unknown_product"),
            ("XBTEURQ", "unknown_product"),
            ("", "unknown_product"),
        ] {
            assert_eq!(of_rest(&symbols, rest).map_err(|(code, _)| code), Err(code), "{rest}");
        }
    }
}
