//! Offsets and times put together: what each group has committed, where the logs end, and the broker's times of the first record
//! that is not committed and of the last one. Times are looked up once a place, however many groups stand there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use serde::Serialize;

use super::members::{Group, Groups, Place};
use super::times::{End, Stretch, Times};
use crate::kafka::{Cluster, Ends};

/// How far back the last record of a partition is looked for, behind markers and what was aborted; further with each try.
const BACK: [i64; 3] = [2, 64, 4096];

/// What to look at; everything where nothing is named.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub groups: Vec<String>,
    pub topics: Vec<String>,
}

/// How far one group is with one partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lag {
    pub group: String,
    /// Kafka's word: Stable, Empty and so on.
    pub state: String,
    pub topic: String,
    pub partition: i32,
    /// The first offset that is not done; null where the group has committed nothing of the partition.
    pub committed: Option<i64>,
    /// First offset of the log, and the last stable one.
    pub start: i64,
    pub end: i64,
    /// Offsets from `committed` to `end`.
    pub lag: Option<i64>,
    /// By the broker's clock, from the first record that is not committed to the last one; 0 when all is committed.
    pub behind_seconds: Option<f64>,
    /// How long ago the broker took that first record.
    pub waits_seconds: Option<f64>,
    /// Who reads the partition: client id and address.
    pub client: Option<String>,
    /// What is wrong with the committed offset.
    pub remark: Option<String>,
}

/// One group on one topic: lags added up, the longest time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Total {
    pub group: String,
    pub state: String,
    pub topic: String,
    pub partitions: usize,
    pub lag: Option<i64>,
    pub behind_seconds: Option<f64>,
    pub waits_seconds: Option<f64>,
}

#[derive(Clone, Debug)]
pub struct Found {
    /// The groups that there are, asked for or not.
    pub groups: Vec<String>,
    pub lags: Vec<Lag>,
}

pub struct Asker {
    cluster: Cluster,
    groups: Groups,
    times: Times,
}

impl Asker {
    pub fn new(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        Ok(Self { cluster: Cluster::new(kafka)?, groups: Groups::new(kafka)?, times: Times::new(kafka)? })
    }

    /// By group, topic and partition.
    pub async fn ask(&mut self, wanted: &Wanted) -> anyhow::Result<Found> {
        let metadata = self.cluster.metadata().await?;
        let is_wanted = |topic: &str| {
            if wanted.topics.is_empty() {
                !topic.starts_with("__")
            } else {
                wanted.topics.iter().any(|name| name == topic)
            }
        };
        let topics = metadata.topics.iter().filter(|(topic, _)| is_wanted(topic));
        let places: Vec<Place> = topics
            .flat_map(|(topic, found)| found.partitions.iter().map(|&partition| (topic.clone(), partition)))
            .collect();

        let all = self.groups.list().await?;
        let names: Vec<String> = all.iter().map(|group| group.name.clone()).collect();
        self.groups.forget_all_but(&names);
        let mut ends: HashMap<Place, Ends> = HashMap::new();
        let mut lags = Vec::new();
        for group in all.iter().filter(|group| wanted.groups.is_empty() || wanted.groups.contains(&group.name)) {
            let committed = self.groups.committed(&group.name, &places).await?;
            let assigned = places.iter().filter(|place| group.assigned.contains_key(*place));
            let concerned: BTreeSet<&Place> = committed.keys().chain(assigned).collect();
            for place in concerned {
                let ends = match ends.get(place) {
                    Some(ends) => *ends,
                    None => *ends.entry(place.clone()).or_insert(self.cluster.ends(&place.0, place.1).await?),
                };
                lags.push(lag(group, place, committed.get(place).copied(), ends));
            }
        }
        self.tell_times(&mut lags).await?;
        Ok(Found { groups: names, lags })
    }

    async fn tell_times(&self, lags: &mut [Lag]) -> anyhow::Result<()> {
        let mut late: BTreeMap<String, Vec<(i32, i64, i64, i64)>> = BTreeMap::new();
        for lag in lags.iter().filter(|lag| lag.lag.is_some_and(|lag| lag > 0)) {
            let first = lag.first_unread();
            late.entry(lag.topic.clone()).or_default().push((lag.partition, first, lag.start, lag.end));
        }
        let mut times: HashMap<(String, i32, i64), Option<(i64, i64)>> = HashMap::new();
        for (topic, mut questions) in late {
            questions.sort_unstable();
            questions.dedup();
            let mut firsts: HashMap<(i32, i64), i64> = HashMap::new();
            // A partition can be read from one place at a time.
            let mut waiting: Vec<Stretch> =
                questions.iter().map(|&(partition, from, _, until)| Stretch { partition, from, until }).collect();
            while !waiting.is_empty() {
                let mut taken = BTreeSet::new();
                let (round, later): (Vec<Stretch>, Vec<Stretch>) =
                    waiting.into_iter().partition(|stretch| taken.insert(stretch.partition));
                let answers = self.times.ask(&topic, round.clone(), End::First).await?;
                let first =
                    |stretch: &Stretch| Some(((stretch.partition, stretch.from), *answers.get(&stretch.partition)?));
                firsts.extend(round.iter().filter_map(first));
                waiting = later;
            }
            let lasts = self.last_times(&topic, &questions).await?;
            for (partition, from, ..) in questions {
                let both = firsts.get(&(partition, from)).copied().zip(lasts.get(&partition).copied());
                times.insert((topic.clone(), partition, from), both);
            }
        }
        let now = Timestamp::now().as_millisecond();
        for lag in lags {
            let key = (lag.topic.clone(), lag.partition, lag.first_unread());
            match (lag.lag, times.get(&key)) {
                (Some(0), _) => (lag.behind_seconds, lag.waits_seconds) = (Some(0.0), Some(0.0)),
                (Some(_), Some(Some((first, last)))) => {
                    lag.behind_seconds = Some(seconds(last - first));
                    lag.waits_seconds = Some(seconds(now - first));
                }
                // Behind the committed offset there is nothing that a reader is given.
                (Some(_), Some(None)) => (lag.behind_seconds, lag.waits_seconds) = (Some(0.0), Some(0.0)),
                (None, _) | (Some(_), None) => {}
            }
        }
        Ok(())
    }

    async fn last_times(&self, topic: &str, questions: &[(i32, i64, i64, i64)]) -> anyhow::Result<HashMap<i32, i64>> {
        let mut found: HashMap<i32, i64> = HashMap::new();
        for back in BACK {
            let mut stretches: Vec<Stretch> = questions
                .iter()
                .filter(|(partition, ..)| !found.contains_key(partition))
                .map(|&(partition, _, start, until)| Stretch { partition, from: start.max(until - back), until })
                .collect();
            stretches.sort_unstable_by_key(|stretch| (stretch.partition, stretch.until));
            stretches.dedup_by_key(|stretch| stretch.partition);
            found.extend(self.times.ask(topic, stretches, End::Last).await?);
        }
        Ok(found)
    }
}

impl Lag {
    /// Where the group would go on.
    fn first_unread(&self) -> i64 {
        self.committed.unwrap_or(self.start).max(self.start)
    }
}

fn lag(group: &Group, place: &Place, committed: Option<i64>, ends: Ends) -> Lag {
    let Ends { start, end } = ends;
    let remark = match committed {
        Some(committed) if committed < start => {
            Some(format!("retention removed offsets {committed} to {} unread", start - 1))
        }
        Some(committed) if committed > end => {
            Some("committed beyond the end: the log is another than it was".to_owned())
        }
        Some(_) => None,
        None => Some("nothing committed yet".to_owned()),
    };
    Lag {
        group: group.name.clone(),
        state: group.state.clone(),
        topic: place.0.clone(),
        partition: place.1,
        committed,
        start,
        end,
        lag: committed.map(|committed| (end - committed).max(0)),
        behind_seconds: None,
        waits_seconds: None,
        client: group.assigned.get(place).cloned(),
        remark,
    }
}

/// Broker times may go back, when the leader changes or a clock is set: nobody is behind less than not at all.
fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1000.0
}

/// By group and topic, as the lags are.
pub fn totals(lags: &[Lag]) -> Vec<Total> {
    let mut totals: Vec<Total> = Vec::new();
    for lag in lags {
        let total = match totals.last_mut().filter(|total| total.group == lag.group && total.topic == lag.topic) {
            Some(total) => total,
            None => {
                totals.push(Total {
                    group: lag.group.clone(),
                    state: lag.state.clone(),
                    topic: lag.topic.clone(),
                    partitions: 0,
                    lag: None,
                    behind_seconds: None,
                    waits_seconds: None,
                });
                totals.last_mut().expect("it was just pushed")
            }
        };
        total.partitions += 1;
        let longest = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        total.lag = match (total.lag, lag.lag) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        total.behind_seconds = longest(total.behind_seconds, lag.behind_seconds);
        total.waits_seconds = longest(total.waits_seconds, lag.waits_seconds);
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let assigned = HashMap::from([(("t".to_owned(), 0), "client 127.0.0.1".to_owned())]);
        Group { name: "g".to_owned(), state: "Stable".to_owned(), members: 1, assigned }
    }

    #[test]
    fn a_committed_offset_that_is_not_in_the_log_is_remarked() {
        let at =
            |partition, committed| lag(&group(), &("t".to_owned(), partition), committed, Ends { start: 5, end: 9 });
        let fine = at(0, Some(7));
        assert_eq!((fine.lag, fine.remark, fine.client.as_deref()), (Some(2), None, Some("client 127.0.0.1")));
        let cut = at(1, Some(2));
        assert_eq!((cut.lag, cut.first_unread(), cut.client.as_deref()), (Some(7), 5, None));
        assert_eq!(cut.remark.as_deref(), Some("retention removed offsets 2 to 4 unread"));
        let beyond = at(1, Some(10));
        assert_eq!(beyond.lag, Some(0));
        assert!(beyond.remark.is_some_and(|remark| remark.starts_with("committed beyond the end")));
        assert_eq!(at(1, None).lag, None, "nothing is known of it, which is not no lag");
    }

    #[test]
    fn totals_add_up_and_keep_the_longest_time() {
        let at = |topic: &str, partition, behind| {
            let mut lag = lag(&group(), &(topic.to_owned(), partition), Some(7), Ends { start: 0, end: 9 });
            lag.behind_seconds = behind;
            lag
        };
        let totals = totals(&[at("a", 0, Some(3.0)), at("a", 1, None), at("a", 2, Some(2.0)), at("b", 0, None)]);
        let told: Vec<_> = totals
            .iter()
            .map(|total| (total.topic.as_str(), total.partitions, total.lag, total.behind_seconds))
            .collect();
        assert_eq!(told, [("a", 3, Some(6), Some(3.0)), ("b", 1, Some(2), None)]);
    }
}
