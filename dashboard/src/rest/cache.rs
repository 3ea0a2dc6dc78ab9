//! Answers that are given again: each kind of query has a time to live of its own, and of many who ask the same at once one
//! makes the answer and the others wait for it. Hits and misses are counted for each kind. A failure is told to all who wait
//! and is not kept. Must never happen here: memory that grows with what is asked.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use jiff::SignedDuration;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Answer;
use crate::http::ApiError;

/// What an answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Symbols,
    Ticks,
    /// Candles that may still change.
    Candles,
    /// Candles and ticks of a time that is over.
    History,
    Sparklines,
    Statistics,
    Sources,
    Gaps,
    Alerts,
    Forecasts,
    Bitcoin,
    /// What is polled.
    Latest,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Symbols,
        Self::Ticks,
        Self::Candles,
        Self::History,
        Self::Sparklines,
        Self::Statistics,
        Self::Sources,
        Self::Gaps,
        Self::Alerts,
        Self::Forecasts,
        Self::Bitcoin,
        Self::Latest,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Symbols => "symbols",
            Self::Ticks => "ticks",
            Self::Candles => "candles",
            Self::History => "history",
            Self::Sparklines => "sparklines",
            Self::Statistics => "statistics",
            Self::Sources => "sources",
            Self::Gaps => "gaps",
            Self::Alerts => "alerts",
            Self::Forecasts => "forecasts",
            Self::Bitcoin => "bitcoin",
            Self::Latest => "latest",
        }
    }

    fn default_ttl(self) -> Duration {
        match self {
            Self::Ticks | Self::Candles | Self::Sources | Self::Gaps | Self::Alerts | Self::Bitcoin => {
                Duration::from_secs(1)
            }
            Self::Latest => Duration::from_millis(250),
            Self::Symbols | Self::Statistics => Duration::from_secs(5),
            Self::Sparklines => Duration::from_secs(15),
            Self::History => Duration::from_secs(60),
            Self::Forecasts => Duration::from_secs(300),
        }
    }
}

/// `candles=2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    kind: Kind,
    ttl: Duration,
}

impl std::fmt::Display for Ttl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}ms", self.kind.name(), self.ttl.as_millis())
    }
}

impl FromStr for Ttl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Kind::ALL.map(Kind::name).join(", ");
        let (name, ttl) = text.split_once('=').ok_or("expected KIND=DURATION, such as candles=2s")?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim());
        let kind = kind.ok_or_else(|| format!("{name} is none of {}", names()))?;
        let ttl: SignedDuration =
            ttl.trim().parse().map_err(|_| "expected a duration such as 500ms, 2s or 1m".to_owned())?;
        match Duration::try_from(ttl) {
            Ok(ttl) if ttl <= Duration::from_secs(3600) => Ok(Self { kind, ttl }),
            _ => Err("expected between 0s and 1h".to_owned()),
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct CacheArgs {
    /// How long an answer of a kind is given again, `KIND=DURATION` separated by commas, such as candles=2s,history=5m; 0s
    /// makes each anew. Kinds: symbols, ticks, candles, history, sparklines, statistics, sources, gaps, alerts, forecasts, bitcoin,
    /// latest.
    #[arg(long, env = "DASHBOARD_CACHE_TTL", value_delimiter = ',', value_name = "KIND=DURATION")]
    pub cache_ttl: Vec<Ttl>,
    /// What the kept answers may take of memory, in MiB.
    #[arg(long, env = "DASHBOARD_CACHE_MB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cache_mb: u32,
}

struct Counts {
    ttl: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
    hits_total: metrics::Counter,
    misses_total: metrics::Counter,
}

pub struct Cache {
    answers: moka::future::Cache<(Kind, String), Arc<Answer>>,
    /// In the order of [`Kind::ALL`].
    counts: [Counts; Kind::ALL.len()],
}

/// As long as the answer says, whether its place was empty or not.
struct ItsOwn;

impl moka::Expiry<(Kind, String), Arc<Answer>> for ItsOwn {
    fn expire_after_create(&self, _: &(Kind, String), answer: &Arc<Answer>, _: Instant) -> Option<Duration> {
        Some(answer.ttl)
    }

    fn expire_after_update(
        &self,
        _: &(Kind, String),
        answer: &Arc<Answer>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(answer.ttl)
    }
}

impl Cache {
    pub fn new(args: &CacheArgs) -> Self {
        let weight = |(_, key): &(Kind, String), answer: &Arc<Answer>| {
            u32::try_from(key.len() + answer.bytes()).unwrap_or(u32::MAX)
        };
        let answers = moka::future::Cache::builder()
            .max_capacity(u64::from(args.cache_mb) * 1024 * 1024)
            .weigher(weight)
            .expire_after(ItsOwn)
            .build();
        let counts = Kind::ALL.map(|kind| Counts {
            ttl: args.cache_ttl.iter().rfind(|set| set.kind == kind).map_or(kind.default_ttl(), |set| set.ttl),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            hits_total: metrics::counter!("tickstream_dashboard_cache_hits_total", "kind" => kind.name()),
            misses_total: metrics::counter!("tickstream_dashboard_cache_misses_total", "kind" => kind.name()),
        });
        Self { answers, counts }
    }

    pub fn ttl(&self, kind: Kind) -> Duration {
        self.counts[kind as usize].ttl
    }

    /// The answer under `key`, made by `make` where there is none. Waiting for somebody else who makes it is a hit.
    ///
    /// # Errors
    /// What `make` says.
    pub async fn get(
        &self,
        kind: Kind,
        key: String,
        make: impl Future<Output = Result<Answer, ApiError>>,
    ) -> Result<Arc<Answer>, ApiError> {
        let mut is_made = false;
        let made = self.answers.try_get_with((kind, key), async {
            is_made = true;
            make.await.map(Arc::new)
        });
        let answer = made.await.map_err(|error: Arc<ApiError>| (*error).clone());
        let counts = &self.counts[kind as usize];
        if is_made {
            counts.misses.fetch_add(1, Ordering::Relaxed);
            counts.misses_total.increment(1);
        } else {
            counts.hits.fetch_add(1, Ordering::Relaxed);
            counts.hits_total.increment(1);
        }
        answer
    }

    pub fn stats(&self) -> CacheStats {
        let by_kind: Vec<KindStats> = Kind::ALL
            .iter()
            .zip(&self.counts)
            .map(|(kind, counts)| {
                let (hits, misses) = (counts.hits.load(Ordering::Relaxed), counts.misses.load(Ordering::Relaxed));
                let ttl_ms = u64::try_from(counts.ttl.as_millis()).unwrap_or(u64::MAX);
                KindStats { kind: kind.name(), ttl_ms, hits, misses, hit_rate: hit_rate(hits, misses) }
            })
            .collect();
        let (hits, misses) = by_kind.iter().fold((0, 0), |sum, kind| (sum.0 + kind.hits, sum.1 + kind.misses));
        CacheStats {
            hits,
            misses,
            hit_rate: hit_rate(hits, misses),
            entries: self.answers.entry_count(),
            bytes: self.answers.weighted_size(),
            by_kind,
        }
    }
}

fn hit_rate(hits: u64, misses: u64) -> f64 {
    let asked = hits + misses;
    if asked == 0 { 0.0 } else { (hits as f64 / asked as f64 * 10_000.0).round() / 10_000.0 }
}

/// How often an answer was there already.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CacheStats {
    pub hits: u64,
    pub misses: u64,
    /// `hits / (hits + misses)`, 0 to 1; 0 where nothing was asked yet.
    pub hit_rate: f64,
    /// Answers that are kept, about.
    pub entries: u64,
    /// What they take, about.
    pub bytes: u64,
    pub by_kind: Vec<KindStats>,
}

/// [`CacheStats`] of one kind of query.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KindStats {
    pub kind: &'static str,
    /// How long an answer is given again.
    pub ttl_ms: u64,
    pub hits: u64,
    pub misses: u64,
    pub hit_rate: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(settings: &[&str]) -> Cache {
        let cache_ttl = settings.iter().map(|text| text.parse().expect("a setting")).collect();
        Cache::new(&CacheArgs { cache_ttl, cache_mb: 1 })
    }

    fn key() -> String {
        "BTC-USD".to_owned()
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_answer() {
        let cache = cache(&["candles=1m"]);
        let made = AtomicU64::new(0);
        let ask = || {
            cache.get(Kind::Candles, key(), async {
                made.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(Answer::of(&1, cache.ttl(Kind::Candles)))
            })
        };
        let answers = futures::future::join_all((0..50).map(|_| ask())).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.hit_rate), (49, 1, 0.98));
        let of_candles = stats.by_kind.iter().find(|kind| kind.kind == "candles").expect("it is there");
        assert_eq!((of_candles.hits, of_candles.ttl_ms), (49, 60_000));
    }

    #[tokio::test]
    async fn an_answer_lives_as_long_as_its_kind_and_a_failure_does_not() {
        let cache = &cache(&["gaps=30ms", "alerts=0s"]);
        let ask = |kind: Kind| cache.get(kind, key(), async move { Ok(Answer::of(&1, cache.ttl(kind))) });
        let failure = cache.get(Kind::Gaps, key(), async { Err(ApiError::Unavailable("not now".to_owned())) }).await;
        assert_eq!(failure.map(drop).expect_err("told").to_string(), "not now");
        for kind in [Kind::Gaps, Kind::Alerts, Kind::Sources] {
            ask(kind).await.expect("made");
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        for kind in [Kind::Gaps, Kind::Alerts, Kind::Sources] {
            ask(kind).await.expect("made");
        }
        let misses: Vec<u64> =
            cache.stats().by_kind.iter().map(|kind| kind.misses).filter(|misses| *misses > 0).collect();
        assert_eq!(misses, [1, 3, 2], "sources, gaps and the failure, alerts");
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let cache = cache(&["history=1h"]);
        let long = "x".repeat(10_000);
        for i in 0..1000 {
            let answer = async { Ok(Answer::of(&format!("{i}{long}"), cache.ttl(Kind::History))) };
            cache.get(Kind::History, i.to_string(), answer).await.expect("made");
        }
        cache.answers.run_pending_tasks().await;
        assert!(cache.stats().bytes <= 1024 * 1024, "{}", cache.stats().bytes);
    }

    #[test]
    fn a_setting_names_a_kind_and_a_time() {
        let set: Ttl = "candles=1500ms".parse().expect("a setting");
        assert_eq!(
            (set.kind, set.ttl, set.to_string().as_str()),
            (Kind::Candles, Duration::from_millis(1500), "candles=1500ms")
        );
        for bad in ["candles", "weather=1s", "candles=1", "candles=-1s", "candles=2h"] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad}");
        }
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
