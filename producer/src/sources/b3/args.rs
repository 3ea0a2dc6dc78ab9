//! What is asked of B3, and when.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::civil::Time;
use pipeline::misconfigured;

use super::calendar::next_poll_micros;
use super::request::{Language, portfolio_day};
use super::{B3, SOURCE};
use crate::config::{HTTP, address};
use crate::drive::backoff::Backoff;
use crate::drive::budget::Plan;
use crate::drive::fetch::Server;
use crate::drive::poll::{Ask, Polled, Schedule};

#[derive(Args, Clone, Debug)]
pub struct B3Args {
    /// The indexes whose portfolios are read from B3, separated by commas.
    #[arg(long, env = "B3_INDEXES", value_delimiter = ',', default_value = "IBOV", value_name = "INDEX")]
    pub b3_indexes: Vec<String>,
    /// Where B3's lists are, without /indexProxy.
    #[arg(long, env = "B3_BASE_URL", default_value = "https://sistemaswebb3-listados.b3.com.br", value_name = "URL")]
    pub b3_base_url: String,
    /// In which language B3 is asked: pt-br or en-us. It changes how numbers and dates are written, not what goes out.
    #[arg(long, env = "B3_LANGUAGE", default_value = "pt-br", value_name = "LANGUAGE")]
    pub b3_language: Language,
    /// When B3 is read on each trading day, São Paulo time, HH:MM: after the session.
    #[arg(long, env = "B3_AT", default_value = "19:00", value_parser = time_of_day, value_name = "HH:MM")]
    pub b3_at: Time,
    /// The calls that B3 is sent at most, such as minute=30,day=200, or unlimited.
    #[arg(long, env = "B3_BUDGET", default_value = "minute=30,day=500", value_name = "LIMITS")]
    pub b3_budget: Plan,
}

fn time_of_day(text: &str) -> Result<Time, String> {
    let wrong = || "expected a time of day such as 19:00".to_owned();
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let (hour, minute) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

impl B3Args {
    /// # Errors
    /// [`pipeline::Misconfigured`] for an address or an index that is none.
    pub fn polled(&self) -> anyhow::Result<Polled> {
        let base_url = address(&self.b3_base_url, HTTP, ("--b3-base-url", "B3_BASE_URL"))?;
        let is_index = |index: &String| {
            (4..=6).contains(&index.len())
                && index.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        };
        if let Some(wrong) = self.b3_indexes.iter().find(|index| !is_index(index)) {
            return Err(misconfigured(format!(
                "--b3-indexes (B3_INDEXES): {wrong:?} is no index such as IBOV or SMLL"
            )));
        }
        let paths = self.b3_indexes.iter().map(|index| portfolio_day(index, self.b3_language));
        Ok(Polled {
            source: Arc::new(B3),
            server: Server { source: SOURCE, base_url, key: None, timeout: Duration::from_secs(60) },
            requests: paths.map(|path| Ask { path, cost: 1 }).collect(),
            asked: self.b3_indexes.clone(),
            schedule: Schedule::At { next: next_poll_micros, at: self.b3_at },
            backoff: Backoff::new(Duration::from_secs(5), Duration::from_secs(900)),
            // Weights are of a day, and have no time of their own.
            stale_after: Duration::MAX,
            budget: self.b3_budget,
            backfill: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: B3Args,
    }

    fn args(args: &[&str]) -> Result<B3Args, clap::Error> {
        Cli::try_parse_from(["x"].iter().chain(args)).map(|cli| cli.args)
    }

    #[test]
    fn an_index_is_a_request() {
        let polled = args(&["--b3-indexes", "IBOV,SMLL", "--b3-at", "18:45"]).expect("right").polled().expect("right");
        let paths: Vec<&str> = polled.requests.iter().map(|ask| ask.path.as_str()).collect();
        assert_eq!(paths, [portfolio_day("IBOV", Language::Portuguese), portfolio_day("SMLL", Language::Portuguese)]);
        let Schedule::At { next, at } = polled.schedule else { panic!("at a time of day") };
        let moment = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_microsecond();
        assert_eq!(next(moment("2026-03-10T12:00:00Z"), at), moment("2026-03-10T21:45:00Z"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [["--b3-at", "25:00"], ["--b3-at", "evening"], ["--b3-language", "fr"], ["--b3-budget", "x"]] {
            assert!(args(&wrong).is_err(), "{wrong:?}");
        }
        for wrong in [["--b3-indexes", "ibov"], ["--b3-indexes", "../x"], ["--b3-base-url", "b3"]] {
            assert!(args(&wrong).expect("read").polled().is_err(), "{wrong:?}");
        }
    }
}
