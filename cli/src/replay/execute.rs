//! `tickstream replay execute`: a plan is read, held against what there is now, and carried out: a rewind when it is told to, a
//! generation at once. Interrupted, the same command goes on. Must never happen here: a plan that is carried out twice, or
//! though the topic, the log or a group is not what it was.

use std::path::PathBuf;

use clap::Args;
use pipeline::kafka::KafkaArgs;
use pipeline::topic_id::{TopicIdError, TopicIds};

use super::generation::{self, GenerationArgs};
use super::plan::{Mode, Plan, Source, Stretch, Target};
use super::planning::shown;
use super::record::{Record, Records, State};
use super::rewind::{self, stale};
use crate::kafka::{Cluster, Ends};
use crate::output;

#[derive(Args, Debug)]
pub struct ExecuteArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    /// The plan, as `tickstream replay plan` wrote it.
    #[arg(env = "REPLAY_PLAN", value_name = "PLAN")]
    plan: PathBuf,
    /// Set the offsets of a rewind. Without this, only what would be done is shown.
    #[arg(long, env = "REPLAY_EXECUTE")]
    execute: bool,
}

pub async fn run(args: ExecuteArgs) -> anyhow::Result<()> {
    let plan = Plan::read(&args.plan)?;
    still_fits(&plan, &args.kafka).await?;
    match plan.mode {
        Mode::Rewind if args.execute => set_offsets(&plan, &args.kafka).await,
        Mode::Rewind => {
            rewind::left(&plan, &args.kafka).await?;
            output::print(&shown::groups(&plan))?;
            output::note("a preview: nothing was written, --execute does it");
            Ok(())
        }
        Mode::SideBySide => {
            generation::check(&plan)?;
            write_generation(&plan, &args).await
        }
    }
}

/// Whether what the plan was made of is still there.
async fn still_fits(plan: &Plan, kafka: &KafkaArgs) -> anyhow::Result<()> {
    let (cluster, ids) = (Cluster::new(kafka)?, TopicIds::new(kafka)?);
    cluster.metadata().await?;
    let cluster_id = ids.cluster_id().await?;
    if cluster_id != plan.cluster_id {
        return Err(stale(&format!("it was made of cluster {}, and this is {cluster_id}", plan.cluster_id)));
    }
    for stretch in &plan.partitions {
        let Stretch { topic, topic_id, partition, .. } = stretch;
        match ids.topic_id(topic, *partition).await {
            Ok(now) if now == *topic_id => {}
            Ok(now) => {
                return Err(stale(&format!("{topic} was made anew since: it had id {topic_id}, and has {now}")));
            }
            Err(TopicIdError::UnknownTopic(_)) => return Err(stale(&format!("{topic} does not exist any more"))),
            Err(error) => return Err(error.into()),
        }
        if let Some(why) = moved(plan, stretch, cluster.ends(topic, *partition).await?) {
            return Err(stale(&why));
        }
    }
    Ok(())
}

/// What has happened to the records of a stretch.
fn moved(plan: &Plan, stretch: &Stretch, now: Ends) -> Option<String> {
    let Stretch { topic, partition, from, to, log_end, .. } = stretch;
    let reads_topic = match plan.source {
        Source::Topic | Source::Payloads => true,
        Source::LakeRaw | Source::PayloadsLake => false,
    };
    if !reads_topic {
        return None;
    }
    if now.start > *from && from < to {
        let last = now.start.min(*to) - 1;
        return Some(format!("retention has removed offsets {from} to {last} of {topic}[{partition}] since"));
    }
    if now.end < *log_end {
        return Some(format!(
            "{topic}[{partition}] ended at offset {log_end} when it was made, and ends at {} now: the broker lost records",
            now.end
        ));
    }
    None
}

async fn set_offsets(plan: &Plan, kafka: &KafkaArgs) -> anyhow::Result<()> {
    let mut records = Records::open(kafka, &plan.name).await?;
    let mut record = records.of_plan(plan)?;
    if record.state != State::Executing {
        return carried_out(&record);
    }
    let left = rewind::left(plan, kafka).await?;
    for group in left {
        // Who was shut out meanwhile learns it here, and sets nothing.
        records.advance(record.clone()).await?;
        rewind::set(group, kafka).await?;
    }
    let offsets = plan.groups.iter().map(|group| group.offsets.len() as u64).sum();
    record.counts.insert("offsets".to_owned(), offsets);
    records.advance(record.in_state(State::Executed)).await?;
    output::print(&shown::groups(plan))?;
    output::note(&format!("the offsets are set; {} tells of it: start the services", plan.name));
    Ok(())
}

async fn write_generation(plan: &Plan, args: &ExecuteArgs) -> anyhow::Result<()> {
    let mut records = Records::open(&args.kafka, &plan.name).await?;
    let mut record = records.of_plan(plan)?;
    if record.state != State::Executing {
        return carried_out(&record);
    }
    records.advance(record.clone()).await?;
    let written = generation::write(plan, &args.kafka, &args.generation).await?;
    for (what, count) in [
        ("corrections", written.corrections),
        ("rows", written.rows),
        ("objects", written.objects),
        ("copied", written.copied),
    ] {
        record.counts.insert(what.to_owned(), count);
    }
    records.advance(record.in_state(State::Executed)).await?;
    if plan.copies().next().is_some() {
        let into: Vec<&str> = plan.copies().collect();
        output::print(&format!("{} records of {} are copied into {}\n", written.copied, plan.name, into.join(", ")))?;
    }
    if plan.is_copy() {
        return Ok(());
    }
    let objects = if plan.has(&Target::Lake) { format!(", {} objects", written.objects) } else { String::new() };
    output::print(&format!(
        "the generation {} is written: {} rows, {} corrections{objects}\n",
        plan.name, written.rows, written.corrections
    ))?;
    output::note(&format!("`tickstream replay diff {}` compares it with what is live", plan.name));
    Ok(())
}

/// Once is enough.
fn carried_out(record: &Record) -> anyhow::Result<()> {
    output::print(&format!("{} is executed already: it is {}\n", record.plan.name, record.state.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_stale_when_its_records_are_gone() {
        let plan = Plan::example("one");
        let why = |start, end| moved(&plan, &plan.partitions[0], Ends { start, end });
        assert_eq!([why(0, 100), why(10, 100), why(5, 500)], [None, None, None], "more has come since");
        let gone = "retention has removed offsets 10 to 14 of market.ticks.v1[0] since";
        assert_eq!(why(15, 100).as_deref(), Some(gone));
        assert!(why(60, 100).is_some_and(|why| why.contains("offsets 10 to 19 ")));
        assert!(why(0, 99).is_some_and(|why| why.contains("ended at offset 100 when it was made, and ends at 99")));
        let from_lake = Plan { source: Source::LakeRaw, ..plan.clone() };
        assert_eq!(moved(&from_lake, &plan.partitions[0], Ends { start: 60, end: 100 }), None);
    }
}
