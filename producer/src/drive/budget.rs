//! What a source's plan allows, in calls or in credits, and what has been spent of it: for the last sixty seconds, the UTC
//! day and the UTC month. A call is counted, on disk, before it is made, so that neither a crash nor a lost answer is a free
//! one. What is left of a day is spread over the rest of it. Must never happen here: a call that the plan does not allow.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

const MINUTE: i64 = 60_000_000;

/// The most that may be spent. What is not set is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub minute: Option<u32>,
    pub day: Option<u32>,
    pub month: Option<u32>,
}

impl Plan {
    /// The shortest time from one poll of this cost to the next that the plan bears every day of every month.
    #[must_use]
    pub fn shortest_interval(&self, cost: u32) -> Duration {
        const DAY_SECONDS: f64 = 86_400.0;
        let periods = [(self.minute, 60.0), (self.day, DAY_SECONDS), (self.month, 31.0 * DAY_SECONDS)];
        let seconds =
            periods.into_iter().filter_map(|(most, seconds)| Some(seconds * f64::from(cost) / f64::from(most?)));
        Duration::from_secs(seconds.fold(0.0, f64::max).ceil() as u64)
    }
}

impl FromStr for Plan {
    type Err = String;

    /// `minute=30,month=10000`, or `unlimited`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut plan = Self::default();
        if text == "unlimited" {
            return Ok(plan);
        }
        for part in text.split(',') {
            let wrong = || format!("{part:?} is no limit such as minute=30, day=333 or month=10000");
            let (period, most) = part.trim().split_once('=').ok_or_else(wrong)?;
            let most: u32 = most.trim().parse().ok().filter(|most| *most > 0).ok_or_else(wrong)?;
            let limit = match period.trim() {
                "minute" => &mut plan.minute,
                "day" => &mut plan.day,
                "month" => &mut plan.month,
                _ => return Err(wrong()),
            };
            if limit.replace(most).is_some() {
                return Err(format!("{:?} stands there twice", period.trim()));
            }
        }
        Ok(plan)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [("minute", self.minute), ("day", self.day), ("month", self.month)];
        let set: Vec<String> =
            limits.iter().filter_map(|(period, most)| Some(format!("{period}={}", (*most)?))).collect();
        f.write_str(if set.is_empty() { "unlimited" } else { "" })?;
        f.write_str(&set.join(","))
    }
}

/// A call, as the plan sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub cost: u32,
    /// What the poll costs that begins with it. `None` for a further call or page of a poll that has begun: limits hold for
    /// it and the pace does not, since half a poll that waits for its other half is late and no cheaper.
    pub begins: Option<u32>,
}

/// What has been spent. The day and the month are those of `day`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spent {
    day: Date,
    today: u64,
    this_month: u64,
    /// When and how much, micros UTC, oldest first; not older than a minute.
    recently: VecDeque<(i64, u32)>,
    last_at: Option<i64>,
}

/// What is left, for metrics, `/sources` and health records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    pub minute: Option<u64>,
    pub day: Option<u64>,
    pub month: Option<u64>,
    pub used_today: u64,
    pub used_this_month: u64,
}

impl Left {
    /// The least of all limits.
    #[must_use]
    pub fn least(&self) -> Option<u64> {
        [self.minute, self.day, self.month].into_iter().flatten().min()
    }
}

/// One source's account.
#[derive(Debug)]
pub struct Budget {
    plan: Plan,
    spent: Spent,
    file: Option<PathBuf>,
}

impl Budget {
    /// An account that forgets with the process.
    #[must_use]
    pub fn in_memory(plan: Plan, now: i64) -> Self {
        let spent = Spent { day: utc_day(now), today: 0, this_month: 0, recently: VecDeque::new(), last_at: None };
        Self { plan, spent, file: None }
    }

    /// The account that is kept in `dir`. One that cannot be read is set aside: what was spent is then not known, and the
    /// log says so.
    #[must_use]
    pub fn open(plan: Plan, dir: &Path, source: &str, now: i64) -> Self {
        let file = dir.join(format!("budget-{source}.json"));
        let mut budget = Self::in_memory(plan, now);
        match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            read => match read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
                Ok(spent) => budget.spent = spent,
                Err(error) => tracing::warn!(
                    source,
                    path = %file.display(),
                    %error,
                    "what was spent before cannot be read; it is counted from nothing"
                ),
            },
        }
        budget.file = Some(file);
        budget.roll(now);
        budget
    }

    /// Another producer has spent this much of the day and month that `at` is in.
    pub fn spent_elsewhere(&mut self, today: u64, this_month: u64, at: i64, now: i64) {
        self.roll(now);
        let (then, today_date) = (utc_day(at), self.spent.day);
        if (then.year(), then.month()) == (today_date.year(), today_date.month()) {
            self.spent.this_month = self.spent.this_month.max(this_month);
            if then == today_date {
                self.spent.today = self.spent.today.max(today);
            }
        }
    }

    /// The first moment from `now` on (micros UTC) at which a poll that costs `cost` may begin.
    #[must_use]
    pub fn next_at(&self, cost: u32, now: i64) -> i64 {
        self.call_at(Call { cost, begins: Some(cost) }, now)
    }

    /// The first moment from `now` on (micros UTC) at which a call may be made.
    #[must_use]
    pub fn call_at(&self, Call { cost, begins }: Call, now: i64) -> i64 {
        let mut spent = self.spent.clone();
        roll(&mut spent, now);
        let cost64 = u64::from(cost);
        let mut at = now;
        if let Some(most) = self.plan.minute {
            at = at.max(room_in_minute(&spent.recently, most, cost, now));
        }
        let (tomorrow, next_month) = (next_day(now), next_month(now));
        if self.plan.month.is_some_and(|most| spent.this_month + cost64 > u64::from(most)) {
            return at.max(next_month);
        }
        if self.plan.day.is_some_and(|most| spent.today + cost64 > u64::from(most)) {
            return at.max(tomorrow);
        }
        let Some(whole) = begins else { return at };
        let Some(left_today) = self.share_of_today(&spent, now) else { return at };
        if left_today < cost64 {
            return at.max(tomorrow);
        }
        let pace = (tomorrow - now) / left_today.max(1) as i64 * i64::from(whole.max(cost));
        // The rest of a day may be less than one pace: what the day is allowed is spent, not lost to rounding.
        let paced = spent.last_at.map_or(now, |last| last.saturating_add(pace));
        at.max(paced.min(tomorrow))
    }

    /// Counts a poll of one call that is about to be made: see [`Budget::spend_call`].
    #[must_use]
    pub fn spend(&mut self, cost: u32, now: i64) -> bool {
        self.spend_call(Call { cost, begins: Some(cost) }, now)
    }

    /// Counts a call that is about to be made. Returns whether the plan allows it: a caller that waited for
    /// [`Budget::call_at`] is never refused.
    #[must_use]
    pub fn spend_call(&mut self, call: Call, now: i64) -> bool {
        self.roll(now);
        if self.call_at(call, now) > now {
            return false;
        }
        let cost = call.cost;
        self.add(i64::from(cost), now);
        self.spent.last_at = Some(now);
        self.spent.recently.push_back((now, cost));
        self.keep();
        true
    }

    /// The source says what the call really cost.
    pub fn correct(&mut self, counted: u32, said: u32, now: i64) {
        if counted == said {
            return;
        }
        self.roll(now);
        self.add(i64::from(said) - i64::from(counted), now);
        if let Some((_, cost)) = self.spent.recently.back_mut() {
            *cost = said;
        }
        self.keep();
    }

    /// The source says that the day's or the month's quota is used up: it is believed.
    pub fn exhausted(&mut self, until_next_month: bool, now: i64) {
        self.roll(now);
        if let Some(most) = self.plan.day {
            self.spent.today = self.spent.today.max(u64::from(most));
        }
        if let (true, Some(most)) = (until_next_month, self.plan.month) {
            self.spent.this_month = self.spent.this_month.max(u64::from(most));
        }
        self.keep();
    }

    #[must_use]
    pub fn left(&self, now: i64) -> Left {
        let mut spent = self.spent.clone();
        roll(&mut spent, now);
        let recently: u64 = spent.recently.iter().map(|(_, cost)| u64::from(*cost)).sum();
        let left = |most: Option<u32>, used: u64| most.map(|most| u64::from(most).saturating_sub(used));
        Left {
            minute: left(self.plan.minute, recently),
            day: left(self.plan.day, spent.today),
            month: left(self.plan.month, spent.this_month),
            used_today: spent.today,
            used_this_month: spent.this_month,
        }
    }

    /// What may still be spent today: the rest of the day's limit, and the month's rest shared out over its days.
    fn share_of_today(&self, spent: &Spent, now: i64) -> Option<u64> {
        let day = self.plan.day.map(|most| u64::from(most).saturating_sub(spent.today));
        let month = self.plan.month.map(|most| {
            let date = utc_day(now);
            let days_left = (date.days_in_month() - date.day() + 1) as u64;
            let before_today = spent.this_month.saturating_sub(spent.today);
            let today = u64::from(most).saturating_sub(before_today) / days_left;
            today.saturating_sub(spent.today)
        });
        match (day, month) {
            (Some(day), Some(month)) => Some(day.min(month)),
            (day, month) => day.or(month),
        }
    }

    fn add(&mut self, cost: i64, now: i64) {
        debug_assert_eq!(self.spent.day, utc_day(now));
        self.spent.today = self.spent.today.saturating_add_signed(cost);
        self.spent.this_month = self.spent.this_month.saturating_add_signed(cost);
    }

    fn roll(&mut self, now: i64) {
        roll(&mut self.spent, now);
    }

    fn keep(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = replace(file, &self.spent) {
            tracing::warn!(path = %file.display(), %error, "what was spent cannot be kept on disk; a restart will count anew");
        }
    }
}

/// Forgets what belongs to an earlier minute, day or month. A clock that was set back forgets nothing, and what it says was
/// spent in the time to come was spent now.
fn roll(spent: &mut Spent, now: i64) {
    for (at, _) in &mut spent.recently {
        *at = now.min(*at);
    }
    spent.last_at = spent.last_at.map(|at| at.min(now));
    while spent.recently.front().is_some_and(|(at, _)| *at <= now - MINUTE) {
        spent.recently.pop_front();
    }
    let today = utc_day(now);
    if today <= spent.day {
        return;
    }
    if (today.year(), today.month()) != (spent.day.year(), spent.day.month()) {
        spent.this_month = 0;
    }
    (spent.day, spent.today) = (today, 0);
}

/// When enough of the last minute's calls are a minute old.
fn room_in_minute(recently: &VecDeque<(i64, u32)>, most: u32, cost: u32, now: i64) -> i64 {
    let mut used: u64 = recently.iter().map(|(_, cost)| u64::from(*cost)).sum();
    let mut at = now;
    for (spent_at, spent) in recently {
        if used + u64::from(cost) <= u64::from(most) {
            break;
        }
        used -= u64::from(*spent);
        at = at.max(spent_at + MINUTE);
    }
    at
}

fn utc(now: i64) -> jiff::Zoned {
    Timestamp::from_microsecond(now).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC)
}

fn utc_day(now: i64) -> Date {
    utc(now).date()
}

/// Midnight after `now`, UTC, micros.
#[must_use]
pub fn next_day(now: i64) -> i64 {
    start_of(utc_day(now).saturating_add(1.day()))
}

/// The first midnight of the month after `now`, UTC, micros.
#[must_use]
pub fn next_month(now: i64) -> i64 {
    start_of(utc_day(now).first_of_month().saturating_add(1.month()))
}

fn start_of(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC).map_or(i64::MAX, |zoned| zoned.timestamp().as_microsecond())
}

/// All of the file or none of it, whenever the process or the machine stops.
fn replace(path: &Path, spent: &Spent) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(spent)?)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
