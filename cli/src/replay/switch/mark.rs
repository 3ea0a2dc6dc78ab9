//! The header by which a correction says which generation it is of: its name, its plan, and whether it was promoted or rolled
//! back. A name may be used again for another plan, so the plan's digest is in it.

use pipeline::records::Records;

/// On each record that a promotion or a rollback publishes.
pub const HEADER: &str = "tickstream-replay";
/// Digits of the plan's digest that are told.
const DIGITS: usize = 16;

/// What a correction was published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Promoted,
    RolledBack,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// One generation's.
#[derive(Clone, Debug)]
pub struct Mark {
    promoted: String,
    rolled_back: String,
}

impl Mark {
    pub fn new(name: &str, digest: &str) -> Self {
        let digits = digest.get(..DIGITS).unwrap_or(digest);
        let of = |step: Step| format!("{name}:{digits}:{}", step.as_str());
        Self { promoted: of(Step::Promoted), rolled_back: of(Step::RolledBack) }
    }

    pub fn value(&self, step: Step) -> &str {
        match step {
            Step::Promoted => &self.promoted,
            Step::RolledBack => &self.rolled_back,
        }
    }

    /// What this generation published the record for, where it did.
    pub fn of_record(&self, records: &Records, index: usize) -> Option<Step> {
        let headers = records.headers(index);
        let value = headers.iter().rev().find(|(key, _)| key == HEADER)?.1.as_deref()?;
        [Step::Promoted, Step::RolledBack].into_iter().find(|step| self.value(*step).as_bytes() == value)
    }
}

#[cfg(test)]
impl Mark {
    pub fn header(&self, step: Step) -> (String, Option<Vec<u8>>) {
        (HEADER.to_owned(), Some(self.value(step).as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use pipeline::records::{Record, RecordBuffer};

    use super::*;

    #[test]
    fn a_record_is_of_one_plan_s_generation() {
        let mark = Mark::new("fix", "0123456789abcdef and more");
        assert_eq!(mark.value(Step::Promoted), "fix:0123456789abcdef:promoted");
        let mut buffer = RecordBuffer::new();
        let written = [vec![mark.header(Step::Promoted)], vec![mark.header(Step::RolledBack)], Vec::new()];
        for (offset, headers) in (0..).zip(&written) {
            buffer.push_owned(Record { offset, timestamp_ms: 0, key: None, value: None }, headers);
        }
        let records = buffer.finish();
        let steps = [0, 1, 2].map(|index| mark.of_record(&records, index));
        assert_eq!(steps, [Some(Step::Promoted), Some(Step::RolledBack), None]);
        let later = Mark::new("fix", "another plan of that name");
        assert_eq!(later.of_record(&records, 0), None);
    }
}
