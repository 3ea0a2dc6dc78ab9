//! Whether a rule may fire: the step from one reading to the next. A rule fires when it is armed and the reading is beyond
//! its limit, and is armed again when the reading has come back. In a cooldown it stays armed: what is still beyond when
//! that is over is told then, and what went back in it is not told at all.

use std::cmp::Ordering;

use uuid::Uuid;

use super::state::{Phase, State};
use crate::rules::{Direction, Percent};

/// One rule's state about one subject, as the engine holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arm {
    pub phase: Phase,
    pub quiet_until: i64,
    pub alert_id: Option<Uuid>,
    /// Its group is silent until then, as far as this rule has asked; not part of the state, for the group has its own.
    pub held_until: i64,
}

impl Arm {
    pub fn restored(state: State) -> Self {
        let State { phase, quiet_until, alert_id, severity: _ } = state;
        Self { phase, quiet_until, alert_id, held_until: i64::MIN }
    }

    pub fn state(&self) -> State {
        State { phase: self.phase, quiet_until: self.quiet_until, alert_id: self.alert_id, severity: None }
    }

    pub fn is_silent(&self, at: i64) -> bool {
        at < self.quiet_until || at < self.held_until
    }
}

/// What a rule sees at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Beyond the limit, on this side.
    pub beyond: Option<Phase>,
    /// Back on the near side of the level at which it is armed again, for a rule that fired above.
    pub back_from_up: bool,
    pub back_from_down: bool,
    /// On the side from which a price that was never seen there can cross.
    pub near: bool,
}

/// A share as a fraction, in whole numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio {
    parts: i128,
    of: i128,
}

impl Ratio {
    pub fn new(percent: Percent) -> Self {
        let (parts, of) = percent.ratio();
        Self { parts, of }
    }

    /// How the size of `part / whole` compares with the share; `whole` is above zero.
    #[expect(clippy::cast_precision_loss, reason = "only where 128 bits do not hold the products, 10^20 times a price")]
    fn compare(self, part: i128, whole: i128) -> Ordering {
        let size = part.unsigned_abs().cast_signed();
        match (size.checked_mul(self.of), whole.checked_mul(self.parts)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (None, _) | (_, None) => (size as f64 * self.of as f64).total_cmp(&(whole as f64 * self.parts as f64)),
        }
    }
}

/// The limits of a rule about how far a price is off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub share: Ratio,
    pub rearm: Ratio,
    pub direction: Direction,
}

impl Limits {
    pub fn new(share: Percent, rearm: Percent, direction: Direction) -> Self {
        Self { share: Ratio::new(share), rearm: Ratio::new(rearm), direction }
    }

    /// What `part / whole` is to a rule in this phase.
    pub fn read(&self, part: i128, whole: i128, phase: Phase) -> Reading {
        let wanted = match self.direction {
            Direction::Both => part != 0,
            Direction::Up => part > 0,
            Direction::Down => part < 0,
        };
        let side = if part > 0 { Phase::Up } else { Phase::Down };
        let beyond = (wanted && self.share.compare(part, whole).is_gt()).then_some(side);
        let near = match phase {
            Phase::Up | Phase::Down => self.rearm.compare(part, whole).is_lt(),
            Phase::Unknown | Phase::Armed => false,
        };
        Reading { beyond, back_from_up: part <= 0 || near, back_from_down: part >= 0 || near, near: true }
    }
}
