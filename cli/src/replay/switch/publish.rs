//! What goes to the topic of ticks so that the generation's content stands, or again what stood before it. Must never happen
//! here: a record whose key or place differs from that of the tick that it corrects.

use pipeline::codec::Encoder;
use pipeline::topics::TICKS;
use uuid::Uuid;

use super::mark::{HEADER, Mark, Step};
use super::sequel::{Change, Sequel, promote, roll_back};
use super::standing::Standing;
use crate::replay::record::Outgoing;

/// Of those that are left alone, so many are named.
const NAMED: usize = 20;

/// What becomes of the generation's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub published: u64,
    /// Were so already.
    pub standing: u64,
    /// Corrected by somebody else since, and left alone.
    pub foreign: u64,
    /// The first of them: event and the revision that stands.
    pub named: Vec<(Uuid, i32)>,
}

pub struct Sequels<'a> {
    pub encoder: &'a Encoder,
    pub mark: &'a Mark,
    pub step: Step,
    pub standing: &'a Standing<'a>,
}

impl Sequels<'_> {
    /// What is to be published of these changes, in their order.
    ///
    /// # Errors
    /// For an event with 2^31 revisions.
    pub fn of(&self, changes: Vec<(Change, &[u8])>, tally: &mut Tally) -> anyhow::Result<Vec<Outgoing>> {
        let mut outgoing = Vec::with_capacity(changes.len());
        for (change, record) in changes {
            let event_id = change.new.event_id;
            let stood = self.standing.of_event(event_id);
            let sequel = match self.step {
                Step::Promoted => promote(&change, stood)?,
                Step::RolledBack => roll_back(&change, stood)?,
            };
            match sequel {
                Sequel::Publish(tick) => {
                    // As the generation has it, byte for byte, where it is that.
                    let value = if *tick == change.new { record.to_vec() } else { self.encoder.tick(&tick) };
                    tally.published += 1;
                    outgoing.push(Outgoing {
                        topic: TICKS.to_owned(),
                        partition: None,
                        key: Some(tick.symbol.into_bytes()),
                        value,
                        headers: vec![(HEADER.to_owned(), self.mark.value(self.step).as_bytes().to_vec())],
                    });
                }
                Sequel::Stands => tally.standing += 1,
                Sequel::Foreign { revision } => {
                    tally.foreign += 1;
                    if tally.named.len() < NAMED {
                        tally.named.push((event_id, revision));
                    }
                }
            }
        }
        Ok(outgoing)
    }
}
