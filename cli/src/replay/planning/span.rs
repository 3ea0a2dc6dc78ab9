//! From what was asked for to offsets: of each partition the first and the last one. Must never happen here: a beginning that
//! retention has removed and that is moved without a word.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pipeline::misconfigured;

use super::bounds::{Begin, End};
use super::log::Log;
use super::raw_log::time;
use super::{World, by_topic, tell_margins};
use crate::groups::Place;
use crate::kafka::Ends;
use crate::replay::plan::{Source, Stretch};

/// What a generation reads.
pub async fn stretches(
    world: &World,
    source: Source,
    begin: &Begin,
    end: &End,
    places: &[Place],
) -> anyhow::Result<Vec<Stretch>> {
    let mut stretches = Vec::new();
    for (topic, partitions) in by_topic(places) {
        let ends = world.log.ends(topic, &partitions).await?;
        let from = match begin {
            Begin::At(at) => at_time(world, &world.log, topic, &ends, *at, "--source lake-raw").await?,
            Begin::Offsets(offsets) => within(topic, &ends, |place| offsets.get(place).copied(), "--source lake-raw")?,
            _ => ends.iter().map(|(partition, ends)| (*partition, ends.start)).collect(),
        };
        let to = match end {
            End::Now => ends.iter().map(|(partition, ends)| (*partition, ends.end)).collect(),
            End::At(at) => world.log.at(topic, &ends, *at).await?,
            End::Offsets(offsets) => last(topic, &ends, &from, |place| offsets.get(place).copied())?,
        };
        let spans = ends.iter().map(|(partition, ends)| {
            let first = from[partition];
            (*partition, *ends, first, to[partition].max(first))
        });
        stretches.extend(measured(world, &world.log, topic, spans.collect()).await?);
    }
    if let Log::Topic(_) = world.log {
        debug_assert!(matches!(source, Source::Topic | Source::Payloads));
        tell_margins(world, &mut stretches).await?;
    }
    Ok(stretches)
}

/// Where a time begins in each partition; what retention has removed of it is an error.
pub async fn at_time(
    world: &World,
    log: &Log,
    topic: &str,
    ends: &BTreeMap<i32, Ends>,
    at: Timestamp,
    instead: &str,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    let found = log.at(topic, ends, at).await?;
    let cut = |partition: &i32, offset: &i64| ends[partition].start > 0 && *offset == ends[partition].start;
    let suspects: Vec<(i32, i64, i64)> = found
        .iter()
        .filter(|(partition, offset)| cut(partition, offset))
        .map(|(partition, offset)| (*partition, *offset, ends[partition].end))
        .collect();
    let samples = log.sample(topic, &suspects).await?;
    for (partition, offset, end) in suspects {
        let first = time(samples.get(&partition).and_then(|sample| sample.first_time_ms));
        // A record of that very time has nothing before it that was asked for; a log without records had some.
        if first == Some(at) || at >= world.now {
            continue;
        }
        let left = match first {
            Some(first) => format!("what is left begins at {first}, offset {offset}"),
            None if offset == end => "nothing is left".to_owned(),
            None => format!("what is left begins at offset {offset}"),
        };
        return Err(gone(log, topic, partition, offset, &format!("{at} is asked for, and {left}"), instead));
    }
    Ok(found)
}

fn gone(log: &Log, topic: &str, partition: i32, start: i64, what: &str, instead: &str) -> anyhow::Error {
    let last = start - 1;
    match log {
        Log::Topic(_) => misconfigured(format!(
            "{topic}[{partition}] has lost offsets 0 to {last} to retention: {what}; {instead} reads them from the raw objects of \
             the lake, --from-earliest takes what is left"
        )),
        Log::Raw(_) => misconfigured(format!(
            "the raw objects of {topic}[{partition}] begin at offset {start}: {what}; --from-earliest takes what there is"
        )),
    }
}

/// Offsets as they were named, if the log has them.
pub fn within(
    topic: &str,
    ends: &BTreeMap<i32, Ends>,
    named: impl Fn(&Place) -> Option<i64>,
    instead: &str,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    let mut found = BTreeMap::new();
    for (&partition, Ends { start, end }) in ends {
        let Some(offset) = named(&(topic.to_owned(), partition)) else { continue };
        if offset < *start {
            return Err(misconfigured(format!(
                "{topic}[{partition}] begins at offset {start}, and {offset} is asked for: retention has removed what is before; \
                 {instead} reads it from the raw objects of the lake, --from-earliest takes what is left"
            )));
        }
        if offset > *end {
            return Err(misconfigured(format!("{topic}[{partition}] ends at offset {end}, and {offset} is asked for")));
        }
        found.insert(partition, offset);
    }
    Ok(found)
}

fn last(
    topic: &str,
    ends: &BTreeMap<i32, Ends>,
    from: &BTreeMap<i32, i64>,
    named: impl Fn(&Place) -> Option<i64>,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    let mut found = BTreeMap::new();
    for (&partition, ends) in ends {
        let to = named(&(topic.to_owned(), partition)).unwrap_or(ends.end);
        if to > ends.end {
            return Err(misconfigured(format!(
                "{topic}[{partition}] ends at offset {}, and {to} is asked for (--to-offset)",
                ends.end
            )));
        }
        if to < from[&partition] {
            return Err(misconfigured(format!(
                "the end, offset {to} of {topic}[{partition}] (--to-offset), is before its beginning, {}",
                from[&partition]
            )));
        }
        found.insert(partition, to);
    }
    Ok(found)
}

/// With times and sizes.
pub async fn measured(
    world: &World,
    log: &Log,
    topic: &str,
    spans: Vec<(i32, Ends, i64, i64)>,
) -> anyhow::Result<Vec<Stretch>> {
    let inside: Vec<_> = spans.iter().map(|(partition, _, from, to)| (*partition, *from, *to)).collect();
    let behind: Vec<_> = spans.iter().map(|(partition, ends, _, to)| (*partition, *to, ends.end)).collect();
    let (inside, behind) = (log.sample(topic, &inside).await?, log.sample(topic, &behind).await?);
    let stretch = |(partition, ends, from, to): (i32, Ends, i64, i64)| {
        let sample = inside.get(&partition).copied().unwrap_or_default();
        let records = (to - from).unsigned_abs();
        Stretch {
            topic: topic.to_owned(),
            topic_id: world.topic_ids[topic],
            partition,
            from,
            to,
            from_time: time(sample.first_time_ms),
            to_time: time(behind.get(&partition).and_then(|sample| sample.first_time_ms)),
            records,
            bytes: sample.bytes_of(records),
            log_start: ends.start,
            log_end: ends.end,
            margin_ms: None,
        }
    };
    Ok(spans.into_iter().map(stretch).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> BTreeMap<i32, Ends> {
        BTreeMap::from([(0, Ends { start: 10, end: 20 }), (1, Ends { start: 0, end: 5 })])
    }

    #[test]
    fn offsets_that_the_log_has_not_are_refused_in_words() {
        let of =
            |offset| within("t", &ends(), |(_, partition)| (*partition == 0).then_some(offset), "--source lake-raw");
        assert_eq!(of(10).expect("the first"), BTreeMap::from([(0, 10)]));
        assert_eq!(of(20).expect("the end"), BTreeMap::from([(0, 20)]));
        let error = of(9).expect_err("gone").to_string();
        assert!(error.starts_with("t[0] begins at offset 10, and 9 is asked for: retention"), "{error}");
        assert!(error.contains("--source lake-raw reads it"), "{error}");
        assert_eq!(of(21).expect_err("beyond").to_string(), "t[0] ends at offset 20, and 21 is asked for");
    }

    #[test]
    fn an_end_is_behind_its_beginning() {
        let from = BTreeMap::from([(0, 15), (1, 0)]);
        let to = |offset| last("t", &ends(), &from, |(_, partition)| (*partition == 0).then_some(offset));
        assert_eq!(to(15).expect("nothing of it"), BTreeMap::from([(0, 15), (1, 5)]));
        let error = to(14).expect_err("before").to_string();
        assert_eq!(error, "the end, offset 14 of t[0] (--to-offset), is before its beginning, 15");
        assert!(to(21).is_err_and(|error| error.to_string().contains("ends at offset 20")));
    }
}
