//! `tickstream replay promote` and `rollback`: what a generation made of the payloads takes the place of what is live, and what
//! was live before takes its place back. One that is made of the log itself publishes nothing: see [`super::switch`]'s `exchange`.
//!
//! The topic is the truth and every sink a function of it. So to promote is to publish the generation's corrections to
//! market.ticks.v1, each one revision above what stands, and to roll back is to publish what stood before them, one revision
//! above those. All of it is **one Kafka transaction**, and the replay's record in market.replays.v1 changes its state in the
//! same one. That commit is the single moment at which anything is promoted or rolled back.
//!
//! **Invariants**
//! - Before the commit nothing live has changed; after it every sink comes to the new state by itself, whoever dies.
//! - A reader of the topic (committed records) sees all of the corrections or none.
//! - Postgres goes from one state to the other in one transaction: the lock of consumer-db's correcting batches is held from
//!   before the commit until all corrections are written by consumer-db's own writer, so the running consumer, which would take
//!   them a batch at a time, finds rows that it knows.
//! - Each object of the lake is swapped by the service that owns it, under its own conditions. Services share no transaction
//!   and none is claimed: how long after the commit each target had switched is measured and printed.
//! - An event that somebody else has corrected since the generation was made is left alone, and named.
//! - Nothing else is written: rows, objects and records outside the corrections keep their bytes.
//!
//! **States**: executed, then prepared, switching (the commit), done; from switching or done rolling_back (the other commit),
//! rolled_back; from either of these prepared again. What follows a commit is watched only, so the other direction may begin
//! before every target was seen to have switched. A state is read by the one writer that the broker lets write
//! (`tickstream-replay-NAME`), after whoever wrote before was shut out and what it had open ended.
//!
//! **Crash points**, each followed by the same command again:
//! 1. Before `prepared`: nothing happened.
//! 2. At `prepared`, or with the transaction open: the broker aborts it, at its time-out or when the next one begins; nothing
//!    happened. Until then readers of the topic wait for it.
//! 3. The commit sent and its answer lost: the coordinator finishes it. Who comes next reads `switching` or `prepared`, and
//!    knows which.
//! 4. After the commit, before Postgres: the lock ends with the connection, and consumer-db takes the corrections batch by
//!    batch if it comes first. Who comes next writes what is lacking.
//! 5. After Postgres: the same again changes nothing.
//! 6. Before `done`: the targets are asked again.
//!
//! **Must never happen here**: a correction published outside the transaction that changes the state; a state told as done of
//! which a target was not asked.

use clap::Args;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::store::StoreArgs;

use super::plan::{Mode, Name, Plan};
use super::record::{Record, Records, State};
use super::switch::{PROMOTIONS, Step, Switch, check_exchange, exchange};
use crate::database::DatabaseArgs;
use crate::output::{self, OutputArgs};

#[derive(Args, Debug)]
pub struct SwitchArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The generation: the name of its plan.
    #[arg(env = "REPLAY_NAME", value_name = "NAME")]
    pub name: Name,
    /// End once topic and database have switched. The lake follows by itself; the same command again waits for it.
    #[arg(long, env = "REPLAY_NO_WAIT")]
    pub no_wait: bool,
    /// How long each of consumer-lake and the refiner is waited for.
    #[arg(long, env = "REPLAY_PATIENCE_SECONDS", default_value_t = 900, value_name = "SECONDS")]
    pub patience: u64,
    /// How old a tick may be, in days: consumer-db's own setting.
    #[arg(long, env = "DB_OLDEST_EVENT_DAYS", default_value = "400", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub oldest_event_days: u32,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// # Errors
/// [`pipeline::Misconfigured`] for a generation that cannot be promoted; what failed, where the same command goes on.
pub async fn promote(args: SwitchArgs) -> anyhow::Result<()> {
    let (mut records, record) = open(&args).await?;
    match record.state {
        State::Executed | State::RolledBack => {
            let mut prepared = record.in_state(State::Prepared);
            *prepared.counts.entry(PROMOTIONS.to_owned()).or_default() += 1;
            records.advance(prepared).await?;
        }
        State::RollingBack if record.plan.source.is_payloads() => {
            records.advance(record.in_state(State::Prepared)).await?;
        }
        // Of what the log says a part may be promoted still: until it is all so, nothing of it may be dropped.
        State::RollingBack | State::Prepared | State::Switching => {}
        State::Done => {
            output::note(&format!("{} is promoted already: nothing to do", args.name));
            return Ok(());
        }
        State::Executing => {
            return Err(refused(&args.name, "is not executed to its end: `tickstream replay execute` goes on"));
        }
        State::Dropped => return Err(refused(&args.name, "was dropped: execute a new plan")),
    }
    switch(&args, Step::Promoted, records).await
}

/// # Errors
/// As [`promote`].
pub async fn roll_back(args: SwitchArgs) -> anyhow::Result<()> {
    let (records, record) = open(&args).await?;
    match record.state {
        State::Switching | State::Done | State::RollingBack => {}
        State::RolledBack => {
            output::note(&format!("{} is rolled back already: nothing to do", args.name));
            return Ok(());
        }
        State::Executing | State::Executed | State::Prepared => {
            return Err(refused(&args.name, "is not promoted: there is nothing to roll back"));
        }
        State::Dropped => {
            return Err(refused(&args.name, "was dropped, and with it what was there before"));
        }
    }
    switch(&args, Step::RolledBack, records).await
}

async fn switch(args: &SwitchArgs, step: Step, records: Records) -> anyhow::Result<()> {
    let record = records.current().cloned().expect("it was there when it was opened");
    if !record.plan.source.is_payloads() {
        return Box::pin(exchange(args, step, records)).await;
    }
    let switch = Box::pin(Switch::begin(args, step, records, &record)).await?;
    Box::pin(switch.run()).await
}

/// Nobody else changes the record from now on.
async fn open(args: &SwitchArgs) -> anyhow::Result<(Records, Record)> {
    let records = Records::open(&args.kafka, &args.name).await?;
    let Some(record) = records.current().cloned() else {
        return Err(refused(&args.name, "is no replay: `tickstream replay list` shows them"));
    };
    check(&record.plan)?;
    Ok((records, record))
}

fn check(plan: &Plan) -> anyhow::Result<()> {
    if plan.mode == Mode::Rewind {
        return Err(refused(
            &plan.name,
            "is a rewind: what was read again is live already, and there is nothing to promote",
        ));
    }
    if plan.source.is_payloads() {
        return Ok(());
    }
    check_exchange(plan)
}

fn refused(name: &Name, why: &str) -> anyhow::Error {
    misconfigured(format!("{name} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::plan::{Source, Target};

    #[test]
    fn what_cannot_be_promoted_says_why() {
        let payloads = Plan { source: Source::Payloads, ..Plan::example("fix") };
        assert!(check(&payloads).is_ok());
        let why = |plan: &Plan| check(plan).expect_err("refused").to_string();
        for target in [Target::Db, Target::Lake] {
            assert!(check(&Plan { targets: vec![target], ..Plan::example("fix") }).is_ok());
        }
        let copy = Plan { targets: vec![Target::Topic("t".to_owned())], ..Plan::example("fix") };
        assert!(why(&copy).starts_with("fix has written nothing that takes the place of something live"));
        let rewind = Plan { mode: Mode::Rewind, ..payloads };
        assert!(why(&rewind).starts_with("fix is a rewind"));
    }
}
