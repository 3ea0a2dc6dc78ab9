//! The simulated market as a feed: frames when they are due, at the set rate, and what the script says in between. What could
//! not be made in time is not made up for later in one burst. Must never happen here: a trade that is made and not handed
//! over (the driver's numbers would call it a loss), but for those that the script wants lost.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::unfold;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use crate::drive::clock::now_micros;
use crate::drive::failure::Failure;
use crate::drive::feed::{Feed, Wire};
use crate::drive::one_way::OneWay;
use crate::sources::simulated::market::Market;
use crate::sources::simulated::script::{Happening, Moment};
use crate::sources::simulated::{Script, SimulatedArgs};

/// Trades of one frame at most.
const FRAME: u64 = 500;
/// Frames that are due within this are sent as one.
const TURN: Duration = Duration::from_millis(10);
/// A market that is further behind than this starts counting anew.
const MOST_BEHIND_MICROS: u128 = 1_000_000;
/// What is owed is counted in millionths of a trade.
const WHOLE: u128 = 1_000_000;
const INSTANT: Duration = Duration::from_nanos(1);

/// Connections to one market, which goes on between them.
pub struct SimulatedFeed(Arc<Mutex<Trading>>);

struct Trading {
    market: Market,
    script: Script,
    /// Trades a second; 0 is without a limit.
    rate: u64,
    /// Trades that are left to make.
    left: u64,
    began: Option<Instant>,
    /// How far the script has come since the beginning, and up to where its happenings have happened.
    at: Duration,
    happened: Duration,
    /// In millionths of a trade.
    owed: u128,
    /// The latest trade's time, micros UTC.
    latest: i64,
    ended: bool,
}

/// What comes next.
enum Next {
    Frame(String),
    WaitUntil(Instant),
    End,
}

impl SimulatedFeed {
    #[must_use]
    pub fn new(args: &SimulatedArgs) -> Self {
        let now = now_micros();
        Self(Arc::new(Mutex::new(Trading {
            market: Market::new(args.simulated_seed, &args.simulated_symbols, now),
            script: args.simulated_script.clone(),
            rate: args.simulated_rate,
            left: args.simulated_trades.unwrap_or(u64::MAX),
            began: None,
            at: Duration::ZERO,
            happened: Duration::ZERO,
            owed: 0,
            latest: now,
            ended: false,
        })))
    }
}

#[async_trait]
impl Feed for SimulatedFeed {
    /// A connection that the script has lost comes back when the script says so.
    async fn connect(&mut self) -> Result<Pin<Box<dyn Wire>>, Failure> {
        let back = lock(&self.0).back_at();
        sleep_until(back).await;
        let frames = unfold(self.0.clone(), |trading| async move {
            loop {
                let next = lock(&trading).next();
                match next {
                    Next::Frame(frame) => return Some((Message::text(frame), trading)),
                    Next::WaitUntil(until) => sleep_until(until).await,
                    Next::End => return None,
                }
            }
        });
        Ok(OneWay::wire(frames))
    }

    fn finished(&self) -> bool {
        lock(&self.0).ended
    }
}

impl Trading {
    /// When there is a connection again. What is traded until then is not told.
    fn back_at(&mut self) -> Instant {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        while let Moment { connected: false, until: Some(until), .. } = self.script.moment(self.at) {
            self.happen();
            self.market.unseen((u128::from(self.rate) * (until - self.at).as_micros() / WHOLE) as u64);
            self.at = until;
        }
        self.owed = 0;
        (began + self.at).max(now)
    }

    fn next(&mut self) -> Next {
        let began = *self.began.get_or_insert_with(Instant::now);
        let elapsed = began.elapsed();
        loop {
            if self.left == 0 {
                self.ended = true;
                return Next::End;
            }
            if self.owed >= WHOLE {
                return Next::Frame(self.frame());
            }
            self.happen();
            let Moment { connected, times, until } = self.script.moment(self.at);
            if !connected {
                return Next::End;
            }
            let to = until.map_or(elapsed, |until| until.min(elapsed));
            let (rate, passed) = (u128::from(self.rate) * u128::from(times), to.saturating_sub(self.at).as_micros());
            if self.rate == 0 && times > 0 && until.is_none_or(|until| elapsed < until) {
                self.at = elapsed;
                self.owed = u128::from(FRAME) * WHOLE;
                continue;
            }
            if passed == 0 && until.is_none_or(|until| elapsed < until) {
                // Rounded up: a wake-up a moment too soon would be one for nothing.
                let wait = (WHOLE - self.owed).checked_div(rate).map(|micros| Duration::from_micros(micros as u64 + 1));
                let due = [wait.map(|wait| self.at + wait.max(TURN)), until].into_iter().flatten().min();
                return Next::WaitUntil(began + due.unwrap_or(elapsed + TURN));
            }
            self.owed = (self.owed + rate * passed).min((rate * MOST_BEHIND_MICROS).max(WHOLE));
            // Whole micros are counted, so the rest of one stays to be counted; a boundary is met exactly.
            self.at = if until == Some(to) { to } else { self.at + Duration::from_micros(passed as u64) };
        }
    }

    fn frame(&mut self) -> String {
        let count = (self.owed / WHOLE).min(u128::from(FRAME)).min(u128::from(self.left)) as u64;
        self.owed -= u128::from(count) * WHOLE;
        self.left -= count;
        // The machine's clock may be set back; the market's is not.
        let now = now_micros().max(self.latest);
        let from = self.latest.max(now - TURN.as_micros() as i64);
        self.latest = now;
        self.market.frame(count as u32, from, now)
    }

    /// What the script has for this moment, once.
    fn happen(&mut self) {
        for happening in self.script.happenings(self.happened, self.at + INSTANT) {
            match happening {
                Happening::Jump { symbol, basis_points } => self.market.jump(symbol, *basis_points),
                Happening::Skip { symbol, trades } => self.market.skip(symbol.as_deref(), *trades),
            }
        }
        self.happened = self.at + INSTANT;
    }
}

fn lock(trading: &Mutex<Trading>) -> MutexGuard<'_, Trading> {
    trading.lock().unwrap_or_else(PoisonError::into_inner)
}
