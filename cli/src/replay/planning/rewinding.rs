//! The plan of a rewind: of each group and partition the offset that it is to have. For the same input it is the one that
//! Kafka's own tool sets, but for offsets that the log has not: those are refused here, and moved in silence there. Must never
//! happen here: records that are passed over, and a plan that says nothing of it.

use std::collections::BTreeMap;

use clap::Args;
use pipeline::misconfigured;

use super::bounds::{Begin, Offsets};
use super::log::{Log, TopicLog};
use super::span::{at_time, measured, within};
use super::{World, by_topic, tell_margins};
use crate::groups::{Group, Groups, Place};
use crate::kafka::Ends;
use crate::nearest::not_known;
use crate::replay::plan::{GroupOffset, GroupOffsets, Plan, Target};

const INSTEAD: &str = "--mode side-by-side --source lake-raw";

#[derive(Args, Debug)]
pub struct GroupArgs {
    /// The groups that are set, separated by commas; unset, those of the targets.
    #[arg(long = "group", env = "REPLAY_GROUPS", value_delimiter = ',', value_name = "GROUP")]
    groups: Vec<String>,
    /// The group of consumer-lake, as it has it.
    #[arg(long, env = "LAKE_GROUP", default_value = "consumer-lake", value_name = "GROUP")]
    lake_group: String,
    /// The group of consumer-db, as it has it.
    #[arg(long, env = "DB_GROUP", default_value = "consumer-db", value_name = "GROUP")]
    db_group: String,
    /// The group of consumer-alerts, as it has it.
    #[arg(long, env = "ALERT_GROUP", default_value = "consumer-alerts", value_name = "GROUP")]
    alert_group: String,
}

impl GroupArgs {
    pub fn are_named(&self) -> bool {
        !self.groups.is_empty()
    }

    fn of(&self, targets: &[Target], begin: &Begin) -> anyhow::Result<Vec<String>> {
        let mut groups = self.groups.clone();
        if let (true, Begin::OfGroups(of)) = (groups.is_empty(), begin) {
            groups = of.keys().cloned().collect();
        }
        if groups.is_empty() {
            for target in targets {
                groups.push(match target {
                    Target::Lake => self.lake_group.clone(),
                    Target::Db => self.db_group.clone(),
                    Target::Alerts => self.alert_group.clone(),
                    Target::Topic(_) => {
                        return Err(misconfigured(format!("{target} has no group that could be rewound")));
                    }
                });
            }
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// What the service of a group does when it starts at another offset.
    fn what_it_does(&self, group: &str) -> &'static str {
        if group == self.lake_group {
            "raw goes on where each chain ends, whatever is committed; bronze is looked at again from there, and what lacks is made"
        } else if group == self.db_group {
            "rows that stand are left as they are, what lacks is written"
        } else if group == self.alert_group {
            "the records are judged again; what fires has the id that it had, and is told to nobody twice"
        } else {
            "what its consumer makes of records that come again is its own business"
        }
    }
}

pub async fn plan(
    world: &World,
    args: &GroupArgs,
    begin: &Begin,
    places: &[Place],
    draft: Plan,
) -> anyhow::Result<(Plan, Vec<String>)> {
    let mut asker = Groups::new(&world.kafka)?;
    let all = asker.list().await?;
    let log = Log::Topic(TopicLog::new(&world.kafka)?);
    let mut ends: BTreeMap<Place, Ends> = BTreeMap::new();
    let mut at: Offsets = BTreeMap::new();
    for (topic, partitions) in by_topic(places) {
        let of_topic = log.ends(topic, &partitions).await?;
        if let Begin::At(time) = begin {
            let found = at_time(world, &log, topic, &of_topic, *time, INSTEAD).await?;
            at.extend(found.into_iter().map(|(partition, offset)| ((topic.to_owned(), partition), offset)));
        }
        ends.extend(of_topic.into_iter().map(|(partition, ends)| ((topic.to_owned(), partition), ends)));
    }
    let (mut groups, mut remarks) = (Vec::new(), Vec::new());
    for name in args.of(&draft.targets, begin)? {
        let Some(group) = all.iter().find(|group| group.name == name) else {
            return Err(misconfigured(not_known("group", &name, all.iter().map(|group| group.name.as_str()))));
        };
        let committed = asker.committed(&name, places).await?;
        let mut offsets = Vec::new();
        for place in places {
            let known = committed.get(place).copied();
            let Some(new) = offset(begin, &name, place, ends[place], known, at.get(place).copied())? else { continue };
            offsets.push(GroupOffset { topic: place.0.clone(), partition: place.1, committed: known, new });
        }
        remarks.extend(remarks_on(group, &offsets, &ends, args.what_it_does(&name)));
        groups.push(GroupOffsets { group: name, offsets });
    }
    let mut partitions = Vec::new();
    for (topic, numbers) in by_topic(places) {
        let mut spans = Vec::new();
        for partition in numbers {
            let ends = ends[&(topic.to_owned(), partition)];
            let of_it = |offset: &&GroupOffset| offset.topic == topic && offset.partition == partition;
            let new = groups.iter().flat_map(|group| group.offsets.iter().filter(of_it)).map(|offset| offset.new).min();
            let from = new.unwrap_or(ends.end).clamp(ends.start, ends.end);
            spans.push((partition, ends, from, ends.end));
        }
        partitions.extend(measured(world, &log, topic, spans).await?);
    }
    tell_margins(world, &mut partitions).await?;
    Ok((Plan { groups, partitions, ..draft }, remarks))
}

/// Where a group is set to; nothing where a file does not say.
fn offset(
    begin: &Begin,
    group: &str,
    place: &Place,
    ends: Ends,
    committed: Option<i64>,
    at: Option<i64>,
) -> anyhow::Result<Option<i64>> {
    let (topic, partition) = (&place.0, place.1);
    let named = |offsets: &Offsets| {
        let one = BTreeMap::from([(partition, ends)]);
        within(topic, &one, |place| offsets.get(place).copied(), INSTEAD).map(|found| found.get(&partition).copied())
    };
    Ok(match begin {
        Begin::At(_) => at,
        Begin::Earliest => Some(ends.start),
        Begin::Latest => Some(ends.end),
        Begin::Current => Some(committed.unwrap_or(ends.end)),
        Begin::Shift(by) => {
            let committed = committed.ok_or_else(|| {
                misconfigured(format!("--shift-by: {group} has committed nothing of {topic}[{partition}]"))
            })?;
            Some(committed.saturating_add(*by).clamp(ends.start, ends.end))
        }
        Begin::Offsets(offsets) => named(offsets)?,
        Begin::OfGroups(groups) => groups.get(group).map(named).transpose()?.flatten(),
    })
}

fn remarks_on(group: &Group, offsets: &[GroupOffset], ends: &BTreeMap<Place, Ends>, does: &str) -> Vec<String> {
    let name = &group.name;
    let (mut again, mut over) = (0, 0);
    for GroupOffset { topic, partition, committed, new } in offsets {
        let ends = ends[&(topic.clone(), *partition)];
        let stands = committed.unwrap_or(ends.start).max(ends.start);
        again += (stands - new).max(0);
        over += (new - stands).max(0);
    }
    let mut remarks = Vec::new();
    if again > 0 {
        remarks.push(format!("{name} reads {again} offsets again: {does}"));
    }
    if over > 0 {
        remarks
            .push(format!("{name} passes over {over} offsets that it has not read: what is in them it will not have"));
    }
    if again == 0 && over == 0 {
        remarks.push(format!("{name} stays where it is"));
    }
    if let Some(who) = group.is_live() {
        remarks.push(format!("{name} has {who}: stop it before the plan is carried out"));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const ENDS: Ends = Ends { start: 10, end: 100 };

    fn place() -> Place {
        ("t".to_owned(), 0)
    }

    fn set(begin: &Begin, committed: Option<i64>) -> Result<Option<i64>, String> {
        offset(begin, "g", &place(), ENDS, committed, Some(42)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_beginning_gives_the_offset_that_kafka_s_tool_gives() {
        use Begin::{At, Current, Earliest, Latest, OfGroups, Offsets, Shift};
        let named = |offset| BTreeMap::from([(place(), offset)]);
        for (begin, committed, expected) in [
            (At("2026-11-22T13:00:00Z".parse().expect("a time")), None, Some(42)),
            (Earliest, Some(50), Some(10)),
            (Latest, Some(50), Some(100)),
            (Current, Some(50), Some(50)),
            (Current, Some(5), Some(5)),
            (Current, None, Some(100)),
            (Shift(-7), Some(50), Some(43)),
            (Shift(-70), Some(50), Some(10)),
            (Shift(i64::MAX), Some(50), Some(100)),
            (Offsets(named(10)), Some(50), Some(10)),
            (Offsets(BTreeMap::new()), Some(50), None),
            (OfGroups(BTreeMap::from([("g".to_owned(), named(11))])), None, Some(11)),
            (OfGroups(BTreeMap::from([("other".to_owned(), named(11))])), None, None),
        ] {
            assert_eq!(set(&begin, committed), Ok(expected), "{begin:?}");
        }
        assert_eq!(set(&Shift(1), None), Err("--shift-by: g has committed nothing of t[0]".to_owned()));
        let error = set(&Offsets(named(9)), None).expect_err("gone");
        assert!(error.contains("--mode side-by-side --source lake-raw reads it"), "{error}");
    }

    #[test]
    fn what_is_read_again_and_what_is_passed_over_is_said() {
        let group = |assigned| Group { name: "g".to_owned(), state: "Empty".to_owned(), members: 0, assigned };
        let ends = BTreeMap::from([(place(), ENDS), (("t".to_owned(), 1), ENDS)]);
        let to = |partition, committed, new| GroupOffset { topic: "t".to_owned(), partition, committed, new };
        let remarks = remarks_on(&group(HashMap::new()), &[to(0, Some(50), 20), to(1, None, 60)], &ends, "rows stay");
        assert_eq!(
            remarks,
            [
                "g reads 30 offsets again: rows stay",
                "g passes over 50 offsets that it has not read: what is in them it will not have"
            ]
        );
        let live = Group { members: 1, ..group(HashMap::from([(place(), "client 127.0.0.1".to_owned())])) };
        let remarks = remarks_on(&live, &[to(0, Some(50), 50)], &ends, "");
        assert_eq!(
            remarks,
            ["g stays where it is", "g has 1 live member (client 127.0.0.1): stop it before the plan is carried out"]
        );
    }
}
