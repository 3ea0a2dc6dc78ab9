//! What a failed try means: why it failed, and when the source may be tried again. Every way that a source refuses has its
//! own answer here. Must never happen here: a ban that is answered with more tries, or a wrong key that is retried for ever.

use std::time::Duration;

use pipeline::events::GapReason;

use crate::drive::budget::{next_day, next_month};
use crate::parse::problem::excerpt;
use crate::sources::{Parsed, Refusal, Until};

/// When the next try is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After a back-off.
    Soon,
    /// After this long and a back-off.
    After(Duration),
    /// After the source's own interval: sooner tries feed its limit.
    Interval,
    /// Not before then, micros UTC.
    At(i64),
    /// Not before a person changes the configuration.
    Never,
}

impl Next {
    /// Greater for what waits longer: of several failures the most patient decides.
    #[must_use]
    pub fn patience(self) -> (u8, i64) {
        match self {
            Self::Soon => (0, 0),
            Self::Interval => (1, 0),
            Self::After(pause) => (2, i64::try_from(pause.as_micros()).unwrap_or(i64::MAX)),
            Self::At(at) => (3, at),
            Self::Never => (4, 0),
        }
    }
}

/// A try that gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: GapReason,
    pub detail: String,
    pub next: Next,
}

/// No source's pause is believed beyond this.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// A ban that says nothing of its length.
const BANNED: Duration = Duration::from_secs(5 * 60);

impl Failure {
    /// The poll failed and says nothing of the source's will.
    #[must_use]
    pub fn poll(detail: impl Into<String>) -> Self {
        Self { reason: GapReason::PollFailed, detail: detail.into(), next: Next::Soon }
    }

    /// The connection is lost.
    #[must_use]
    pub fn disconnected(detail: impl Into<String>) -> Self {
        Self { reason: GapReason::Disconnected, detail: detail.into(), next: Next::Soon }
    }

    /// Why an answer is none: what its status or its body says, or that there is no good row in it. `None` for a good one.
    #[must_use]
    pub fn of_answer(
        parsed: &Parsed,
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        now: i64,
    ) -> Option<Self> {
        let served = (200..300).contains(&status);
        if served && parsed.answered {
            return None;
        }
        let refusal = match (&parsed.refusal, served) {
            (Some(refusal), _) => refusal.clone(),
            (None, true) => {
                let first = parsed.problems.first().map_or("no price in it", |problem| problem.detail.as_str());
                Refusal::Retry(format!("no good answer: {first}"))
            }
            (None, false) => Refusal::Retry(excerpt(&String::from_utf8_lossy(&body[..body.len().min(400)]))),
        };
        Some(Self::refused(&refusal, status, retry_after, GapReason::PollFailed, now))
    }

    /// The source said no, with this HTTP status. `otherwise` is the reason for what is not a limit.
    #[must_use]
    pub fn refused(
        refusal: &Refusal,
        status: u16,
        retry_after: Option<Duration>,
        otherwise: GapReason,
        now: i64,
    ) -> Self {
        let pause = retry_after.map(|after| after.min(LONGEST));
        let (reason, next) = match refusal {
            Refusal::Banned(until, _) => (GapReason::RateLimited, ban_ends(*until, pause, now)),
            _ if status == 418 => (GapReason::RateLimited, ban_ends(None, pause, now)),
            Refusal::Exhausted(Until::NextDay, _) => (GapReason::RateLimited, Next::At(next_day(now))),
            Refusal::Exhausted(Until::NextMonth, _) => (GapReason::RateLimited, Next::At(next_month(now))),
            Refusal::RateLimited(_) => (GapReason::RateLimited, pause.map_or(Next::Interval, Next::After)),
            _ if status == 429 => (GapReason::RateLimited, pause.map_or(Next::Interval, Next::After)),
            Refusal::Configuration(_) => (otherwise, Next::Never),
            Refusal::Retry(_) if matches!(status, 401 | 402 | 451) => (otherwise, Next::Never),
            Refusal::Retry(_) => (otherwise, pause.map_or(Next::Soon, Next::After)),
        };
        let detail =
            if status == 0 { refusal.detail().to_owned() } else { format!("HTTP {status}: {}", refusal.detail()) };
        Self { reason, detail, next }
    }
}

fn ban_ends(until: Option<i64>, pause: Option<Duration>, now: i64) -> Next {
    match (until, pause) {
        (Some(until), _) => Next::At(until.clamp(now, now + LONGEST.as_micros() as i64)),
        (None, pause) => Next::At(now + pause.unwrap_or(BANNED).as_micros() as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_774_998_000_000_000;
    const SECOND: i64 = 1_000_000;

    #[test]
    fn each_refusal_has_its_own_answer() {
        let text = String::new;
        let minute = Some(Duration::from_secs(60));
        for (refusal, status, pause, next) in [
            (Refusal::Retry(text()), 503, None, Next::Soon),
            (Refusal::Retry(text()), 503, minute, Next::After(Duration::from_secs(60))),
            (Refusal::Retry(text()), 401, None, Next::Never),
            (Refusal::Retry(text()), 403, None, Next::Soon),
            (Refusal::Retry(text()), 429, None, Next::Interval),
            (Refusal::Retry(text()), 418, minute, Next::At(NOW + 60 * SECOND)),
            (Refusal::Retry(text()), 418, None, Next::At(NOW + 300 * SECOND)),
            (Refusal::RateLimited(text()), 200, None, Next::Interval),
            (Refusal::RateLimited(text()), 429, minute, Next::After(Duration::from_secs(60))),
            (Refusal::RateLimited(text()), 429, Some(Duration::from_secs(1 << 40)), Next::After(LONGEST)),
            (Refusal::Exhausted(Until::NextDay, text()), 429, minute, Next::At(NOW + 3600 * SECOND)),
            (Refusal::Configuration(text()), 400, None, Next::Never),
            (Refusal::Banned(Some(NOW + 7), text()), 418, minute, Next::At(NOW + 7)),
            (Refusal::Banned(Some(i64::MAX), text()), 418, None, Next::At(NOW + 86_400 * SECOND)),
        ] {
            let failure = Failure::refused(&refusal, status, pause, GapReason::PollFailed, NOW);
            assert_eq!(failure.next, next, "{refusal:?} {status}");
        }
    }
}
