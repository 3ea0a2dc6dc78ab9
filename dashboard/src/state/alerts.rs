//! The newest alerts, each once, in the order of their records.

use std::collections::VecDeque;

use pipeline::events::Alert;
use uuid::Uuid;

use super::row::AlertRow;
use super::tick::Position;
use crate::protocol::{Json, MAX_NAME_CHARS};

const MAX: usize = 1000;
const MAX_TEXT_CHARS: usize = 500;

#[derive(Clone, Debug)]
pub struct KnownAlert {
    pub alert_id: Uuid,
    pub symbol: Option<String>,
    pub json: Json,
    pub at: Position,
}

#[derive(Debug, Default)]
pub struct Alerts {
    newest: VecDeque<KnownAlert>,
    /// Records up to here may be missing here.
    pub forgotten: Vec<Position>,
    pub refused: u64,
}

impl Alerts {
    /// Gives it when it is news.
    pub fn put(&mut self, alert: &Alert, at: Position) -> Option<&KnownAlert> {
        if self.newest.iter().any(|known| known.alert_id == alert.alert_id) {
            return None;
        }
        let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > MAX_NAME_CHARS);
        if is_long(&alert.symbol) || is_long(&alert.source) {
            self.refused += 1;
            return None;
        }
        let short = |text: &str| text.chars().take(MAX_TEXT_CHARS).collect();
        let row = AlertRow {
            alert_id: alert.alert_id,
            rule: short(&alert.rule),
            kind: alert.kind,
            state: alert.state,
            severity: alert.severity,
            symbol: alert.symbol.clone(),
            source: alert.source.clone(),
            price: alert.price,
            reference: alert.reference,
            change_pct: alert.change_pct,
            event_time_us: alert.event_time,
            fired_at_us: alert.fired_at,
            message: short(&alert.message),
        };
        let (alert_id, symbol) = (alert.alert_id, alert.symbol.clone());
        self.newest.push_back(KnownAlert { alert_id, symbol, json: Json::of(&row), at });
        if self.newest.len() > MAX
            && let Some(oldest) = self.newest.pop_front()
        {
            oldest.at.raise(&mut self.forgotten);
        }
        self.newest.back()
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &KnownAlert> {
        self.newest.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_each_once() {
        let mut alerts = Alerts::default();
        for i in 0..1500_u32 {
            let alert = Alert { alert_id: Uuid::from_u128(u128::from(i)), ..pipeline::example::alert() };
            assert!(alerts.put(&alert, Position { partition: 0, offset: i64::from(i) }).is_some());
            assert!(alerts.put(&alert, Position { partition: 0, offset: 9999 }).is_none());
        }
        assert_eq!(alerts.newest().count(), MAX);
        assert_eq!(alerts.forgotten, [Position { partition: 0, offset: 499 }]);
        assert_eq!(alerts.newest().next().map(|alert| alert.alert_id), Some(Uuid::from_u128(1499)));
    }
}
