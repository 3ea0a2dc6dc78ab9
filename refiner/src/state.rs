//! How far the refiner is: one small object, swapped by If-Match. Invariant: a cursor stands no further than the bronze
//! objects whose silver and gold have been written or are listed as pending; so a crash before the swap only repeats work
//! that then changes nothing. Two refiners may both be ahead of the stored state: what they did is the same, and the states
//! join to the further one. Must never happen here: a cursor that moves before the work is done.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use anyhow::Context;
use jiff::civil::Date;
use pipeline::store::{Object, Store};
use serde::{Deserialize, Serialize};

use crate::engine::DAY_US;
use crate::objects::{New, Objects};
use crate::refused::Refused;
use crate::tables::Group;

/// A gap that is open reaches on without end.
pub const OPEN: Date = Date::MAX;

/// How far ahead of this machine's clock a broker's may be.
fn latest_us() -> i64 {
    jiff::Timestamp::now().as_microsecond().saturating_add(DAY_US)
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// By chain, `topic/epoch/partition`: the raw offset below which all bronze has been taken up.
    pub cursors: BTreeMap<String, i64>,
    /// Groups that are still to be made, and the bronze objects that touch them.
    pub pending: BTreeMap<Group, BTreeSet<String>>,
    /// By the day that gaps began on: the last day that one of them reaches, where that is a later day.
    pub reach: BTreeMap<Date, Date>,
    /// Events that were moved to impossible times, by their id.
    pub refused: BTreeMap<String, Refused>,
    /// Notes of rewritten bronze for which all of silver was looked through.
    pub noted: BTreeSet<String>,
    /// The newest broker time that was met, micros UTC: the lake's own clock.
    pub newest_us: i64,
    /// The last day that was begun: forecasts are made for each day as it begins.
    pub last_day: Option<Date>,
}

impl State {
    /// The stored state with its ETag; an empty one when there is none.
    ///
    /// # Errors
    /// When the store does not answer, or the object is not a state.
    pub async fn read(store: &Store, key: &str) -> anyhow::Result<(Self, Option<String>)> {
        let Some(object) = store.get(key).await? else { return Ok((Self::default(), None)) };
        Ok((Self::of(key, &object)?, Some(object.head.etag)))
    }

    fn of(key: &str, object: &Object) -> anyhow::Result<Self> {
        let mut state: Self = serde_json::from_slice(&object.bytes).with_context(|| {
            format!("{key} is not a state of the refiner's; delete it, and the whole lake is looked through")
        })?;
        state.disbelieve_beyond(latest_us());
        Ok(state)
    }

    /// Stores the state, joined with what another refiner has stored since `etag` was read; `etag` is then what stands there.
    ///
    /// # Errors
    /// When the store does not answer, or others are faster again and again.
    pub async fn write(&mut self, objects: &Objects, key: &str, etag: &mut Option<String>) -> anyhow::Result<()> {
        let put = objects.update(key, |stored| ready(self.over(stored, key, etag))).await?;
        *etag = put.or(etag.take());
        Ok(())
    }

    /// What is to stand where `stored` does; `etag` is then what `self` knows of.
    fn over(&mut self, stored: Option<Object>, key: &str, etag: &mut Option<String>) -> anyhow::Result<Option<New>> {
        let now = stored.as_ref().map(|object| object.head.etag.clone());
        if now != *etag {
            *etag = now;
            let other = stored.map(|object| Self::of(key, &object)).transpose()?.unwrap_or_default();
            if other == *self {
                return Ok(None);
            }
            self.join(other);
        }
        New::json(self).map(Some)
    }

    /// Takes note of a broker time. One that is far ahead of this machine's clock is a broker's with a wrong clock: it would
    /// begin every day until then, and no hour would be open again.
    pub fn meet(&mut self, broker_us: Option<i64>) {
        let time = broker_us.filter(|time| *time <= latest_us());
        self.newest_us = self.newest_us.max(time.unwrap_or(0));
    }

    /// What a state says that was stored before such times were passed over.
    fn disbelieve_beyond(&mut self, latest_us: i64) {
        if self.newest_us > latest_us {
            self.newest_us = 0;
            self.last_day = None;
        }
    }

    /// What another has found out about refused corrections.
    pub(crate) fn learn(&mut self, refused: BTreeMap<String, Refused>) {
        for (id, known) in refused {
            self.refused.entry(id).or_default().join(known);
        }
    }

    fn join(&mut self, other: Self) {
        for (chain, offset) in other.cursors {
            let mine = self.cursors.entry(chain).or_insert(offset);
            *mine = offset.max(*mine);
        }
        for (group, keys) in other.pending {
            self.pending.entry(group).or_default().extend(keys);
        }
        for (day, reach) in other.reach {
            let mine = self.reach.entry(day).or_insert(reach);
            *mine = reach.max(*mine);
        }
        self.learn(other.refused);
        self.noted.extend(other.noted);
        self.newest_us = self.newest_us.max(other.newest_us);
        self.last_day = self.last_day.max(other.last_day);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_with_a_wrong_clock_does_not_set_the_lakes() {
        let now = jiff::Timestamp::now().as_microsecond();
        let mut state = State::default();
        state.meet(Some(now - DAY_US));
        state.meet(Some(now + 400 * DAY_US));
        state.meet(None);
        assert_eq!(state.newest_us, now - DAY_US);
        let mut stored = State { newest_us: now + 400 * DAY_US, last_day: Some(OPEN), ..State::default() };
        stored.disbelieve_beyond(latest_us());
        assert_eq!((stored.newest_us, stored.last_day), (0, None));
    }
}
