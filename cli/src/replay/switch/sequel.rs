//! What is published of one event so that it says what the generation says, or again what it said before. Pure. Invariant: a
//! revision that follows what stands, at the place where it stands; so every sink takes it, and nothing that somebody else
//! corrected since is touched. Must never happen here: a revision below one that stands.

use anyhow::Context;
use pipeline::events::PriceTick;

use super::mark::Step;
use super::standing::{By, Stood};

/// An event that the generation corrects: what it read, and what it makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `None` for an event that was never published.
    pub old: Option<PriceTick>,
    pub new: PriceTick,
}

/// What is to be done about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sequel {
    Publish(Box<PriceTick>),
    /// It is so already.
    Stands,
    /// Somebody else has corrected it since.
    Foreign {
        revision: i32,
    },
}

/// What makes `change` stand. `stood` is what stands, where the topic tells.
///
/// # Errors
/// For an event with 2^31 revisions.
pub fn promote(change: &Change, stood: Option<&Stood>) -> anyhow::Result<Sequel> {
    let base = change.old.as_ref().map(|old| old.revision);
    let Some(stood) = stood else { return Ok(Sequel::Publish(Box::new(change.new.clone()))) };
    match stood.by {
        By::Us(Step::Promoted) => Ok(Sequel::Stands),
        By::Us(Step::RolledBack) => follow(stood, change.new.clone()),
        // As it was when the generation was made, or what the topic still has of it is older than that.
        By::Others if base.is_some_and(|base| stood.revision <= base) => {
            Ok(Sequel::Publish(Box::new(change.new.clone())))
        }
        By::Others => Ok(Sequel::Foreign { revision: stood.revision }),
    }
}

/// What makes stand again what stood before `change`.
///
/// # Errors
/// For an event with 2^31 revisions.
pub fn roll_back(change: &Change, stood: Option<&Stood>) -> anyhow::Result<Sequel> {
    // What the topic does not tell of was not promoted by this generation.
    let Some(stood) = stood else { return Ok(Sequel::Stands) };
    match (stood.by, &change.old) {
        (By::Us(Step::RolledBack), _) => Ok(Sequel::Stands),
        (By::Us(Step::Promoted), Some(old)) => follow(stood, old.clone()),
        (By::Us(Step::Promoted), None) => {
            let retracted = PriceTick { retracted: true, ..change.new.clone() };
            follow(stood, retracted)
        }
        (By::Others, Some(old)) if stood.revision <= old.revision => Ok(Sequel::Stands),
        (By::Others, _) => Ok(Sequel::Foreign { revision: stood.revision }),
    }
}

/// `tick` as the revision after what stands.
fn follow(stood: &Stood, tick: PriceTick) -> anyhow::Result<Sequel> {
    let revision = stood.revision.checked_add(1).context("an event with 2^31 revisions")?;
    let (mut previous_event_time, mut previous_symbol) = (None, None);
    if let Some((_, event_time, symbol)) = &stood.taken {
        previous_event_time = (tick.event_time != *event_time).then_some(*event_time);
        previous_symbol = (tick.symbol != *symbol).then(|| symbol.clone());
    }
    let next = PriceTick { revision, previous_event_time, previous_symbol, ..tick };
    Ok(Sequel::Publish(Box::new(next)))
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    fn tick(revision: i32, price: &str) -> PriceTick {
        PriceTick { revision, price: price.parse().expect("a price"), ..example::tick() }
    }

    fn change() -> Change {
        Change { old: Some(tick(0, "10")), new: tick(1, "11") }
    }

    fn stood(revision: i32, by: By) -> Stood {
        let tick = example::tick();
        Stood::example(revision, by, Some((revision, tick.event_time, tick.symbol)))
    }

    fn published(sequel: anyhow::Result<Sequel>) -> PriceTick {
        match sequel.expect("a sequel") {
            Sequel::Publish(tick) => *tick,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn promoted_rolled_back_and_promoted_again_each_follows_the_one_before() {
        let (promoted, rolled_back) = (By::Us(Step::Promoted), By::Us(Step::RolledBack));
        assert_eq!(published(promote(&change(), Some(&stood(0, By::Others)))), tick(1, "11"));
        assert_eq!(published(promote(&change(), None)), tick(1, "11"));
        assert_eq!(published(roll_back(&change(), Some(&stood(1, promoted)))), tick(2, "10"));
        assert_eq!(published(promote(&change(), Some(&stood(2, rolled_back)))), tick(3, "11"));
        assert_eq!(promote(&change(), Some(&stood(1, promoted))).expect("a sequel"), Sequel::Stands);
        assert_eq!(roll_back(&change(), Some(&stood(2, rolled_back))).expect("a sequel"), Sequel::Stands);
    }

    #[test]
    fn what_somebody_else_corrected_since_is_left_alone() {
        let others = stood(1, By::Others);
        assert_eq!(promote(&change(), Some(&others)).expect("a sequel"), Sequel::Foreign { revision: 1 });
        assert_eq!(
            roll_back(&change(), Some(&stood(2, By::Others))).expect("a sequel"),
            Sequel::Foreign { revision: 2 }
        );
        assert_eq!(
            roll_back(&change(), Some(&stood(0, By::Others))).expect("a sequel"),
            Sequel::Stands,
            "was never promoted"
        );
        let new = Change { old: None, new: tick(0, "11") };
        assert_eq!(promote(&new, Some(&stood(0, By::Others))).expect("a sequel"), Sequel::Foreign { revision: 0 });
    }

    #[test]
    fn what_was_new_is_retracted_and_what_was_retracted_is_restored() {
        let new = Change { old: None, new: tick(0, "11") };
        let promoted = By::Us(Step::Promoted);
        let gone = published(roll_back(&new, Some(&stood(0, promoted))));
        assert!(gone.retracted && gone.revision == 1);
        let again = published(promote(&new, Some(&stood(1, By::Us(Step::RolledBack)))));
        assert!(!again.retracted && again.revision == 2);
        let retracted = Change { old: Some(tick(4, "10")), new: PriceTick { retracted: true, ..tick(5, "10") } };
        let restored = published(roll_back(&retracted, Some(&stood(5, promoted))));
        assert_eq!(restored, tick(6, "10"));
    }

    #[test]
    fn what_was_moved_is_moved_back() {
        let old = tick(0, "10");
        let later = old.event_time + 5;
        let new = PriceTick { event_time: later, previous_event_time: Some(old.event_time), ..tick(1, "10") };
        let change = Change { old: Some(old.clone()), new };
        let stood = Stood::example(1, By::Us(Step::Promoted), Some((1, later, old.symbol.clone())));
        let back = published(roll_back(&change, Some(&stood)));
        assert_eq!((back.event_time, back.previous_event_time), (old.event_time, Some(later)));
    }
}
