//! What the engines have said and no transaction is known to hold. A transaction takes all that is here when it begins; while
//! it is not known how it ended, more may come, and when it turns out to have committed, only what it held is done with.
//! Must never happen here: an alert that counts as told because one before it was.

use pipeline::events::Alert;
use rdkafka::TopicPartitionList;
use uuid::Uuid;

use crate::engine::Outcome;

#[derive(Debug, Default)]
pub struct Pending {
    outcome: Outcome,
    unsure: Option<Sent>,
}

/// What went into one transaction: the offsets, and how much of what was pending, from its beginning.
#[derive(Clone, Debug)]
pub struct Sent {
    /// By which its offsets are known again.
    pub mark: Uuid,
    pub offsets: TopicPartitionList,
    alerts: usize,
    states: usize,
}

impl Pending {
    /// What is not committed, as far as is known.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Where the engines add what they say.
    pub fn more(&mut self) -> &mut Outcome {
        &mut self.outcome
    }

    pub fn is_empty(&self) -> bool {
        self.outcome.is_empty()
    }

    /// All that is pending goes into a transaction.
    pub fn send(&self, mark: Uuid, offsets: TopicPartitionList) -> Sent {
        let Outcome { alerts, states } = &self.outcome;
        Sent { mark, offsets, alerts: alerts.len(), states: states.len() }
    }

    /// The transaction that ended without an answer, until it is known how.
    pub fn unsure(&self) -> Option<&Sent> {
        self.unsure.as_ref()
    }

    /// It may have committed, or not.
    pub fn lost_sight_of(&mut self, sent: Sent) {
        self.unsure = Some(sent);
    }

    /// Nothing of it is there.
    pub fn aborted(&mut self) {
        self.unsure = None;
    }

    /// It has committed. Gives the alerts that it told.
    pub fn committed(&mut self, sent: &Sent) -> Vec<Alert> {
        self.unsure = None;
        self.outcome.states.drain(..sent.states);
        self.outcome.alerts.drain(..sent.alerts).collect()
    }

    /// Whatever became of it, somebody begins anew.
    pub fn clear(&mut self) {
        self.outcome.clear();
        self.unsure = None;
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;
    use crate::engine::{Phase, State, StateKey};

    fn alert(n: u128) -> Alert {
        Alert { alert_id: Uuid::from_u128(n), ..example::alert() }
    }

    fn state(n: i64) -> (StateKey, Option<State>) {
        let rule = "00000000000000ff".parse().expect("a hash");
        let key = StateKey { rule, symbol: None, source: None, part: None };
        (key, Some(State { phase: Phase::Up, quiet_until: n, alert_id: None, severity: None }))
    }

    #[test]
    fn what_came_after_a_transaction_without_an_answer_is_still_to_be_told_when_that_has_committed() {
        let mut pending = Pending::default();
        pending.more().alerts.extend([alert(1), alert(2)]);
        pending.more().states.push(state(1));
        let sent = pending.send(Uuid::from_u128(7), TopicPartitionList::new());
        pending.lost_sight_of(sent.clone());
        assert_eq!(pending.unsure().map(|sent| sent.mark), Some(Uuid::from_u128(7)));
        // A timer meanwhile.
        pending.more().alerts.push(alert(3));
        pending.more().states.push(state(2));
        assert_eq!(pending.committed(&sent), [alert(1), alert(2)]);
        assert!(pending.unsure().is_none());
        assert_eq!(*pending.outcome(), Outcome { alerts: vec![alert(3)], states: vec![state(2)] });
    }

    #[test]
    fn what_was_in_a_transaction_that_came_to_nothing_goes_into_the_next() {
        let mut pending = Pending::default();
        pending.more().alerts.push(alert(1));
        let sent = pending.send(Uuid::from_u128(7), TopicPartitionList::new());
        pending.lost_sight_of(sent);
        pending.more().alerts.push(alert(2));
        pending.aborted();
        let sent = pending.send(Uuid::from_u128(8), TopicPartitionList::new());
        assert_eq!(pending.committed(&sent), [alert(1), alert(2)]);
        assert!(pending.is_empty());
    }
}
