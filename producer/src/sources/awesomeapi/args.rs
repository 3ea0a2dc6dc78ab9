//! What is asked of AwesomeAPI, and how often.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{Timestamp, ToSpan};
use secrecy::{ExposeSecret, SecretString};

use super::{Awesomeapi, SOURCE};
use crate::config::{HTTP, address, seconds};
use crate::drive::backoff::Backoff;
use crate::drive::budget::Plan;
use crate::drive::fetch::Server;
use crate::drive::poll::{Ask, History, Polled, Schedule};
use crate::symbols::Symbols;

#[derive(Args, Clone, Debug)]
pub struct AwesomeapiArgs {
    /// AwesomeAPI's symbols, separated by commas: currencies, some coins, and the tourism dollar as USD-BRLT.
    #[arg(
        long,
        env = "AWESOMEAPI_SYMBOLS",
        value_delimiter = ',',
        default_value = "USD-BRL,EUR-BRL,BTC-BRL",
        value_name = "BASE-QUOTE"
    )]
    pub awesomeapi_symbols: Vec<String>,
    /// Where AwesomeAPI is, without /json.
    #[arg(long, env = "AWESOMEAPI_BASE_URL", default_value = "https://economia.awesomeapi.com.br", value_name = "URL")]
    pub awesomeapi_base_url: String,
    /// AwesomeAPI's key, if there is one: without it answers are up to a minute old. Sent as a header and shown nowhere.
    #[arg(long, env = "AWESOMEAPI_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub awesomeapi_api_key: Option<SecretString>,
    /// Seconds from one poll of AwesomeAPI to the next.
    #[arg(long, env = "AWESOMEAPI_POLL_SECONDS", default_value = "60", value_parser = seconds, value_name = "SECONDS")]
    pub awesomeapi_poll_seconds: Duration,
    /// The calls that AwesomeAPI allows, such as minute=30,month=100000, or unlimited. The free plan has 100,000 a month; no
    /// limit is documented without a key, so that the same is kept.
    #[arg(long, env = "AWESOMEAPI_BUDGET", default_value = "month=100000", value_name = "LIMITS")]
    pub awesomeapi_budget: Plan,
}

impl AwesomeapiArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] for an address that is none, or a symbol that the source does not have.
    pub fn polled(&self, symbols: &Arc<Symbols>) -> anyhow::Result<Polled> {
        let flags = ("--awesomeapi-base-url", "AWESOMEAPI_BASE_URL");
        let base_url = address(&self.awesomeapi_base_url, HTTP, flags)?.trim_end_matches("/json").to_owned();
        let asked = symbols.asked(SOURCE, &self.awesomeapi_symbols, ("--awesomeapi-symbols", "AWESOMEAPI_SYMBOLS"))?;
        let names: Vec<&str> = asked.iter().map(|(_, name)| *name).collect();
        let key = self.awesomeapi_api_key.clone().filter(|key| !key.expose_secret().is_empty());
        let interval = self.awesomeapi_poll_seconds;
        let table = symbols.clone();
        let history = move |symbol: &str, from: i64, to: i64| -> Vec<Ask> {
            let request = table.name(SOURCE, symbol).ok().and_then(|name| daily(name, from, to));
            request.into_iter().map(|path| Ask { path, cost: 1 }).collect()
        };
        Ok(Polled {
            source: Arc::new(Awesomeapi { symbols: symbols.clone() }),
            server: Server {
                source: SOURCE,
                base_url,
                key: key.map(|key| ("x-api-key", key)),
                timeout: Duration::from_secs(20),
            },
            requests: vec![Ask { path: format!("/json/last/{}", names.join(",")), cost: 1 }],
            asked: asked.iter().map(|(symbol, _)| (*symbol).to_owned()).collect(),
            schedule: Schedule::Every(interval),
            backoff: Backoff::new(Duration::from_secs(1).min(interval), Duration::from_secs(60).min(interval)),
            stale_after: (interval * 5).max(Duration::from_secs(1800)),
            budget: self.awesomeapi_budget,
            backfill: Some(History { requests: Arc::new(history) }),
        })
    }
}

/// The request for a pair's days between two moments (micros UTC); `None` when they are none.
fn daily(name: &str, from: i64, to: i64) -> Option<String> {
    const MOST_DAYS: i64 = 360;
    // The source's days end three hours after UTC's.
    let day = |micros: i64| Timestamp::from_microsecond(micros).ok()?.checked_sub(3.hours()).ok();
    let (first, last) = (day(from)?, day(to)?);
    let days = last.duration_since(first).as_secs() / 86_400 + 2;
    if !(1..=MOST_DAYS).contains(&days) {
        return None;
    }
    let (first, last) = (first.strftime("%Y%m%d"), last.strftime("%Y%m%d"));
    Some(format!("/json/daily/{name}/{days}?start_date={first}&end_date={last}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: AwesomeapiArgs,
    }

    fn polled(args: &[&str]) -> anyhow::Result<Polled> {
        let args = Cli::parse_from(["x"].iter().chain(args)).args;
        args.polled(&Arc::new(Symbols::built_in()))
    }

    #[test]
    fn all_pairs_are_asked_for_in_one_call() {
        let polled = polled(&["--awesomeapi-symbols", "USD-BRL,USD-BRLT,BTC-BRL"]).expect("right");
        assert_eq!(polled.requests, [Ask { path: "/json/last/USD-BRL,USD-BRLT,BTC-BRL".to_owned(), cost: 1 }]);
        assert_eq!(polled.asked, ["USD-BRL", "USD-BRLT", "BTC-BRL"]);
        assert_eq!(polled.budget.month, Some(100_000));
    }

    #[test]
    fn a_symbol_that_the_source_does_not_have_is_refused() {
        let error = polled(&["--awesomeapi-symbols", "USDT-BRL"]).err().expect("refused");
        assert!(error.to_string().contains("AWESOMEAPI_SYMBOLS"), "{error}");
        assert!(polled(&["--awesomeapi-base-url", "economia"]).is_err());
    }

    #[test]
    fn a_gap_is_filled_from_the_days_that_it_touches() {
        let micros = |text: &str| text.parse::<Timestamp>().expect("a time").as_microsecond();
        let request = daily("USD-BRL", micros("2025-07-03T01:00:00Z"), micros("2025-07-04T12:00:00Z"));
        assert_eq!(request.as_deref(), Some("/json/daily/USD-BRL/3?start_date=20250702&end_date=20250704"));
        assert_eq!(daily("USD-BRL", 0, i64::MAX), None);
        assert_eq!(daily("USD-BRL", micros("2025-07-04T12:00:00Z"), 0), None);
    }
}
