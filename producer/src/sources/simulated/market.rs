//! The market itself: what each asset is worth in dollars, moved a little by every trade. One factor moves all of them, each
//! as far as its share in it, so that they rise and fall together; turbulence comes in clusters, a few shocks are many times
//! the usual one, and more is traded in larger moves. A pair's price is the ratio of its assets' values, so BTC-BRL is never
//! far from BTC-USD times USD-BRL. Must never happen here: a draw that depends on the clock or on how trades are cut into
//! frames, or a float that reaches a price (moves are floats; a price is a whole number of steps, written as such).

use fastrand::Rng;

/// A shock of the common factor, as a share of the price: a hundred-thousandth.
const SHOCK: f64 = 1e-5;
/// How much of an asset's moves are its own, in shocks: a little more than the common ones of the meantime, which makes the
/// correlation of two coins about 0.6.
const OWN: f64 = 0.9;
/// One shock in so many is from the tail: 5 times the usual and up, seldom 250 times.
const TAIL: u32 = 4_096;
/// How fast turbulence fades, a trade.
const FADES: f64 = 0.98;
/// What pulls a value back to where it began, a trade: without it a market that runs for weeks wanders off.
const PULL: f64 = 2e-7;
/// The usual trade, in dollars.
const LOT_USD: f64 = 1_500.0;

/// An asset's value in dollars at the start, and its share in the common factor. One that is not here is worth 100.
const ASSETS: &[(&str, f64, f64)] = &[
    ("USD", 1.0, 0.0),
    ("USDT", 1.0, 0.0),
    ("USDC", 1.0, 0.0),
    ("BTC", 67_187.34, 1.0),
    ("ETH", 3_421.15, 1.3),
    ("SOL", 148.73, 1.6),
    ("DOGE", 0.123_45, 1.8),
    ("ADA", 0.451_2, 1.5),
    ("BRL", 1.0 / 5.449_3, 0.3),
    ("EUR", 1.083, 0.1),
    ("GBP", 1.271, 0.1),
];

/// The market at one moment of its walk.
#[derive(Debug)]
pub struct Market {
    rng: Rng,
    assets: Vec<Asset>,
    walks: Vec<Walk>,
    /// Where the common factor is.
    factor: f64,
    turbulence: f64,
    /// Names the run in every frame: trade ids are told apart by it.
    run: String,
}

#[derive(Debug)]
struct Asset {
    code: String,
    value: f64,
    start: f64,
    share: f64,
    own: f64,
    /// The factor when this asset was last traded.
    seen: f64,
}

/// One pair's trades.
#[derive(Debug)]
struct Walk {
    symbol: String,
    base: usize,
    quote: usize,
    /// Digits after the point of a price, and of a quantity.
    digits: u32,
    lot_digits: u32,
    /// The usual quantity, in its steps.
    lot: f64,
    last_trade: i64,
}

impl Market {
    /// A market of BASE-QUOTE `symbols`, at least one. `run` is the time of the start in micros UTC.
    #[must_use]
    pub fn new(seed: u64, symbols: &[String], run: i64) -> Self {
        let mut assets = Vec::new();
        // The more pairs, the more the factor moves between two trades of one: own moves keep up with it.
        let own = OWN * SHOCK * (symbols.len() as f64).sqrt();
        let walks = symbols.iter().map(|symbol| Walk::new(symbol, own, &mut assets)).collect();
        let rng = Rng::with_seed(seed);
        Self { rng, assets, walks, factor: 0.0, turbulence: 1.0, run: format!("{seed}-{run}") }
    }

    /// The next `count` trades as a frame, evenly over the time from `from` to `to`, micros UTC:
    /// `{"channel":"trades","run":"1-1772600767000000","trades":[["BTC-USD","67187.30","0.001500",1234,1772600767123456],…]}`.
    #[must_use]
    pub fn frame(&mut self, count: u32, from: i64, to: i64) -> String {
        let mut text = Vec::with_capacity(64 + 72 * count as usize);
        text.extend_from_slice(br#"{"channel":"trades","run":""#);
        text.extend_from_slice(self.run.as_bytes());
        text.extend_from_slice(br#"","trades":["#);
        for number in 1..=i64::from(count) {
            if number > 1 {
                text.push(b',');
            }
            self.trade(from + (to - from) * number / i64::from(count), &mut text);
        }
        text.extend_from_slice(b"]}");
        String::from_utf8(text).expect("symbols and digits are ASCII")
    }

    fn trade(&mut self, at: i64, text: &mut Vec<u8>) {
        if self.walks.is_empty() {
            return;
        }
        let chosen = self.rng.usize(..self.walks.len());
        let common = shock(&mut self.rng);
        self.turbulence = FADES * self.turbulence + (1.0 - FADES) * common.abs().min(20.0);
        let rough = 0.4 + 0.75 * self.turbulence;
        self.factor += SHOCK * rough * common;
        let Walk { base, quote, .. } = self.walks[chosen];
        let moved = self.touch(base, rough) - self.touch(quote, rough);
        let price = self.assets[base].value / self.assets[quote].value;

        let walk = &mut self.walks[chosen];
        walk.last_trade += 1;
        // Buyers pay a little more than sellers get.
        let side = if self.rng.bool() { 1.0 + SHOCK } else { 1.0 - SHOCK };
        let steps = (price * side * 10_f64.powi(walk.digits as i32)).round();
        let activity = 1.0 + (moved.abs() / (2.0 * SHOCK)).min(50.0);
        let lots = 0.02 + 2.0 * self.rng.f64() * self.rng.f64();
        let quantity = (walk.lot * lots * activity).round();
        text.extend_from_slice(b"[\"");
        text.extend_from_slice(walk.symbol.as_bytes());
        text.extend_from_slice(b"\",\"");
        // From float to integer saturates, so nothing wild can come of it.
        push_decimal(text, (steps as u64).max(1), walk.digits);
        text.extend_from_slice(b"\",\"");
        push_decimal(text, (quantity as u64).max(1), walk.lot_digits);
        text.extend_from_slice(b"\",");
        push_decimal(text, walk.last_trade as u64, 0);
        text.push(b',');
        push_decimal(text, at as u64, 0);
        text.push(b']');
    }

    /// Moves an asset by what the factor did since its last trade and by a shock of its own; gives how far, as a share.
    fn touch(&mut self, asset: usize, rough: f64) -> f64 {
        let Self { assets, rng, factor, .. } = self;
        let asset = &mut assets[asset];
        if asset.share == 0.0 {
            return 0.0;
        }
        let common = asset.share * (*factor - asset.seen);
        let moved = (common + asset.own * rough * shock(rng)).clamp(-0.2, 0.2);
        asset.seen = *factor;
        let pulled = asset.value * (1.0 + moved) + PULL * (asset.start - asset.value);
        asset.value = pulled.clamp(asset.start / 4.0, asset.start * 4.0);
        moved
    }

    /// A pair's price jumps by so many hundredths of a percent, for good; other pairs of the same asset go with it.
    pub fn jump(&mut self, symbol: &str, basis_points: i64) {
        let Some(walk) = self.walks.iter().find(|walk| walk.symbol == symbol) else { return };
        let times = 1.0 + basis_points as f64 / 10_000.0;
        // The dollar is what the others are told in, so it is they that jump.
        let (asset, times) =
            if self.assets[walk.base].share == 0.0 { (walk.quote, 1.0 / times) } else { (walk.base, times) };
        let asset = &mut self.assets[asset];
        asset.value *= times;
        asset.start *= times;
    }

    /// Trades of a symbol, or of the first, happen and are never told.
    pub fn skip(&mut self, symbol: Option<&str>, trades: u32) {
        let named = |walk: &&mut Walk| symbol.is_none_or(|symbol| walk.symbol == symbol);
        if let Some(walk) = self.walks.iter_mut().find(named) {
            walk.last_trade += i64::from(trades);
        }
    }

    /// At least so many trades, over all symbols, happen while nobody is connected.
    pub fn unseen(&mut self, trades: u64) {
        let each = trades / (self.walks.len() as u64).max(1) + 1;
        for walk in &mut self.walks {
            walk.last_trade = walk.last_trade.saturating_add_unsigned(each);
        }
    }
}

impl Walk {
    fn new(symbol: &str, own: f64, assets: &mut Vec<Asset>) -> Self {
        let (base, quote) = symbol.split_once('-').unwrap_or((symbol, "USD"));
        let mut asset = |code: &str| {
            assets.iter().position(|known: &Asset| known.code == code).unwrap_or_else(|| {
                let known = ASSETS.iter().find(|(known, ..)| *known == code);
                let (value, share) = known.map_or((100.0, 1.0), |(_, value, share)| (*value, *share));
                // A currency moves less than a coin.
                let own = own * share.min(1.0);
                assets.push(Asset { code: code.to_owned(), value, start: value, share, own, seen: 0.0 });
                assets.len() - 1
            })
        };
        let (base, quote) = (asset(base), asset(quote));
        let price = assets[base].value / assets[quote].value;
        let (digits, lot_digits) = match price {
            price if price >= 10_000.0 => (2, 6),
            price if price >= 100.0 => (2, 4),
            price if price >= 1.0 => (4, 2),
            price if price >= 0.01 => (5, 0),
            _ => (10, 0),
        };
        let lot = LOT_USD / assets[base].value * 10_f64.powi(lot_digits as i32);
        Self { symbol: symbol.to_owned(), base, quote, digits, lot_digits, lot, last_trade: 0 }
    }
}

/// About normal, with a tail that is not. Only sums and products, which every machine computes alike.
fn shock(rng: &mut Rng) -> f64 {
    let bits = rng.u64(..);
    let sum = (0..4).fold(0.0, |sum, lane| sum + f64::from((bits >> (16 * lane)) as u16));
    // Of four numbers below 2^16 the mean is 131070 and the deviation 37837.
    let usual = (sum - 131_070.0) / 37_837.0;
    if rng.u32(..TAIL) == 0 { usual * 5.0 / (0.02 + 0.98 * rng.f64()) } else { usual }
}

/// Writes `number / 10^digits`, with all its digits.
fn push_decimal(text: &mut Vec<u8>, mut number: u64, digits: u32) {
    let mut written = [b'0'; 32];
    let mut start = written.len();
    let mut place = 0;
    while place <= digits || number > 0 {
        if place == digits && digits > 0 {
            start -= 1;
            written[start] = b'.';
        }
        start -= 1;
        written[start] = b'0' + (number % 10) as u8;
        number /= 10;
        place += 1;
    }
    text.extend_from_slice(&written[start..]);
}

#[cfg(test)]
#[path = "market_tests.rs"]
mod tests;
