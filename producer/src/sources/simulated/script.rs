//! What is to happen to the simulated market, and when: `gap@30s+10s,burst@60s+5s*20,jump@90s:BTC-USD:-8%,skip@100s:5`.
//! Times are since the source's start. A command that cannot be meant is refused with what would be right.

use std::str::FromStr;
use std::time::Duration;

/// The commands in the order of their times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Command {
    at: Duration,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Lasting(Duration, State),
    At(Happening),
}

/// What lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Disconnected,
    Silent,
    /// This many times the rate.
    Burst(u32),
}

/// What happens at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// In hundredths of a percent.
    Jump {
        symbol: String,
        basis_points: i64,
    },
    Skip {
        symbol: Option<String>,
        trades: u32,
    },
}

/// How the market is at one moment, up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub connected: bool,
    /// The rate is times this; 0 is silence.
    pub times: u32,
    /// The next moment at which anything changes.
    pub until: Option<Duration>,
}

const EXPECTED: &str = "expected gap@30s+10s, silence@120s+15s, burst@60s+5s*20, jump@90s:BTC-USD:-8%, skip@100s:5 or \
                        skip@100s:BTC-USD:5";

impl Script {
    /// Refuses what this market cannot do.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self, symbols: &[String], rate: u64) -> Result<(), String> {
        for command in &self.commands {
            let symbol = match &command.what {
                What::At(Happening::Jump { symbol, .. } | Happening::Skip { symbol: Some(symbol), .. }) => symbol,
                What::Lasting(_, State::Burst(_)) if rate == 0 => {
                    return Err("a burst needs a rate to be times of: set --simulated-rate (SIMULATED_RATE)".to_owned());
                }
                _ => continue,
            };
            if !symbols.contains(symbol) {
                return Err(format!("{symbol} is not simulated; these are: {}", symbols.join(", ")));
            }
        }
        Ok(())
    }

    /// How things are at `at`.
    #[must_use]
    pub fn moment(&self, at: Duration) -> Moment {
        let mut moment = Moment { connected: true, times: 1, until: None };
        for command in &self.commands {
            let mut end = command.at;
            if let What::Lasting(length, state) = &command.what {
                end += *length;
                if (command.at..end).contains(&at) {
                    match state {
                        State::Disconnected => moment.connected = false,
                        State::Silent => moment.times = 0,
                        State::Burst(times) => moment.times = moment.times.saturating_mul(*times),
                    }
                }
            }
            let changes = [command.at, end].into_iter().filter(|change| *change > at);
            moment.until = changes.chain(moment.until).min();
        }
        moment
    }

    /// What happens from `from` on, before `to`.
    pub fn happenings(&self, from: Duration, to: Duration) -> impl Iterator<Item = &Happening> {
        self.commands.iter().filter(move |command| (from..to).contains(&command.at)).filter_map(
            |command| match &command.what {
                What::At(happening) => Some(happening),
                What::Lasting(..) => None,
            },
        )
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let mut commands = parts
            .map(|part| command(part).ok_or_else(|| format!("{part:?} is no command: {EXPECTED}")))
            .collect::<Result<Vec<Command>, String>>()?;
        commands.sort_by_key(|command| command.at);
        Ok(Self { commands })
    }
}

fn command(text: &str) -> Option<Command> {
    let (name, rest) = text.split_once('@')?;
    let (at, what) = match name {
        "gap" => lasting(rest, State::Disconnected)?,
        "silence" => lasting(rest, State::Silent)?,
        "burst" => {
            let (rest, times) = rest.split_once('*')?;
            let times = times.parse().ok().filter(|times| (2..=10_000).contains(times))?;
            lasting(rest, State::Burst(times))?
        }
        "jump" => {
            let (at, jump) = rest.split_once(':')?;
            let (symbol, share) = jump.split_once(':')?;
            let happening = Happening::Jump { symbol: symbol.to_owned(), basis_points: basis_points(share)? };
            (duration(at)?, What::At(happening))
        }
        "skip" => {
            let (at, skip) = rest.split_once(':')?;
            let (symbol, trades) = match skip.split_once(':') {
                Some((symbol, trades)) => (Some(symbol.to_owned()), trades),
                None => (None, skip),
            };
            let trades = trades.parse().ok().filter(|trades| *trades > 0)?;
            (duration(at)?, What::At(Happening::Skip { symbol, trades }))
        }
        _ => return None,
    };
    Some(Command { at, what })
}

/// `30s+10s`.
fn lasting(text: &str, state: State) -> Option<(Duration, What)> {
    let (at, length) = text.split_once('+')?;
    let length = duration(length)?;
    (length > Duration::ZERO).then_some((duration(at)?, What::Lasting(length, state)))
}

/// A whole number of ms, s, m or h, up to a year.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_lowercase());
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(millis).filter(|millis| *millis <= 366 * 86_400_000).map(Duration::from_millis)
}

/// `-8%`, `+0.25%`: more than -100 %, and up to ten times the price.
fn basis_points(text: &str) -> Option<i64> {
    let number = text.strip_suffix('%')?;
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.is_empty()
        || fraction.is_empty()
        || fraction.len() > 2
        || !format!("{whole}{fraction}").bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let size = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(format!("{fraction:0<2}").parse().ok()?)?;
    let basis_points = if negative { -size } else { size };
    (basis_points != 0 && (-9_999..=90_000).contains(&basis_points)).then_some(basis_points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_script_is_what_it_says() {
        let script: Script =
            "burst@60s+5s*20, gap@30s+1m,jump@90s:BTC-USD:-8%,skip@100s:5,silence@120s+1500ms,skip@2m:ETH-USD:1"
                .parse()
                .expect("a script");
        let state = |at| {
            let Moment { connected, times, until } = script.moment(seconds(at));
            (connected, times, until.map(|until| until.as_millis()))
        };
        assert_eq!(state(0), (true, 1, Some(30_000)));
        assert_eq!(state(30), (false, 1, Some(60_000)));
        assert_eq!(state(64), (false, 20, Some(65_000)));
        assert_eq!(state(65), (false, 1, Some(90_000)));
        assert_eq!(state(90), (true, 1, Some(100_000)));
        assert_eq!(state(121), (true, 0, Some(121_500)));
        assert_eq!(state(122), (true, 1, None));
        let happens = |from, to| script.happenings(seconds(from), seconds(to)).cloned().collect::<Vec<_>>();
        assert_eq!(happens(0, 90), []);
        let jump = Happening::Jump { symbol: "BTC-USD".to_owned(), basis_points: -800 };
        let skips = [
            Happening::Skip { symbol: None, trades: 5 },
            Happening::Skip { symbol: Some("ETH-USD".to_owned()), trades: 1 },
        ];
        assert_eq!(happens(90, 121), [&[jump][..], &skips[..]].concat());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_would_be_right() {
        for text in [
            "gap",
            "gap@30s",
            "gap@30+10s",
            "gap@30s+0s",
            "gap@-1s+1s",
            "silence@1s",
            "burst@1s+1s",
            "burst@1s+1s*1",
            "burst@1s+1s*x",
            "jump@1s:BTC-USD",
            "jump@1s:BTC-USD:8",
            "jump@1s:BTC-USD:-100%",
            "jump@1s:BTC-USD:1.234%",
            "jump@1s:BTC-USD:0%",
            "skip@1s",
            "skip@1s:0",
            "skip@1s:BTC-USD:-1",
            "pause@1s+1s",
            "gap@99999999999999999999s+1s",
        ] {
            let why = format!("gap@1s+1s,{text}").parse::<Script>().expect_err(text);
            assert!(why.contains(text) && why.contains("gap@30s+10s"), "{why}");
        }
        assert_eq!("".parse(), Ok(Script::default()));
        let symbols = ["BTC-USD".to_owned()];
        let check = |text: &str, rate| text.parse::<Script>().expect("a script").check(&symbols, rate);
        assert_eq!(check("jump@1s:BTC-USD:+0.25%,burst@1s+1s*2", 1), Ok(()));
        assert!(check("jump@1s:ETH-USD:1%", 1).expect_err("not traded").contains("ETH-USD is not simulated"));
        assert!(check("skip@1s:ETH-USD:1", 1).is_err());
        assert!(check("burst@1s+1s*2", 0).expect_err("no rate").contains("SIMULATED_RATE"));
    }
}
