//! Promote and roll back what a generation makes of the records that the live rows are made of: nothing is published, since the
//! topic says it already. Where a live row is not what the log says, it is exchanged for what the generation has, in one
//! transaction of Postgres by consumer-db's own code ([`consumer_db::exchange`] has its invariants). Then live bronze that is not is
//! made so, an object after the other; [`super::objects`] has the invariants of that.
//!
//! **States**: executed, then prepared (the differences are found, and held against the log), switching, done; from switching or
//! done rolling_back, rolled_back. The note in the generation's schema, changed in the transaction that changes the rows, says
//! whether it stands live; the record in market.replays.v1 follows it. Each run begins with a revision of the record of its own,
//! which is its turn in Postgres: who was shut out of the record exchanges nothing any more. What the lake held is kept by the number
//! of the promotion, which a rollback that came to its end ends.
//!
//! **Crash points**, each followed by the same command again: at `prepared` or `switching` before Postgres commits, nothing live
//! has changed and the differences are found anew; after it the note says so, and only lake and record are brought to their end.
//!
//! **Must never happen here**: a row put live whose event the log corrects outside the plan's offsets; a row taken away whose
//! record the log has.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::anyhow;
use consumer_db::exchange::{Exchange, Exchanged, Found, Outcome, Scope, WrongCandle};
use jiff::Timestamp;
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Ticks, is_unknown_schema};
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::stretches::{self, Stretch};
use pipeline::topics::TICKS;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::mark::{Mark, Step};
use super::objects::{Objects, Swapped};
use super::rows;
use super::standing::Standing;
use super::wait;
use super::windows::Windows;
use crate::audit::derived::{self, DAY_US};
use crate::database::explain;
use crate::kafka::Cluster;
use crate::output;
use crate::replay::generation::{inputs, schema};
use crate::replay::plan::{self, Plan, Source, Target};
use crate::replay::promote::SwitchArgs;
use crate::replay::record::{Records, State, TargetState};

const DAYS: &str = include_str!("sql/days.sql");
/// In a record's counts: how often it was begun to be promoted, and each time was rolled back to the end before the next.
pub const PROMOTIONS: &str = "promotions";
/// Of events and objects that are left alone, so many are named.
const NAMED: usize = 20;

/// What a generation was made of, as statements are told it.
pub fn scope(plan: &Plan) -> Scope {
    let stretches: Vec<_> = plan.of_topic(TICKS).collect();
    Scope {
        schema: schema(&plan.name),
        partitions: stretches.iter().map(|stretch| stretch.partition).collect(),
        begins: stretches.iter().map(|stretch| stretch.from).collect(),
        ends: stretches.iter().map(|stretch| stretch.to).collect(),
        symbols: plan.symbols.clone(),
    }
}

/// From wherever the replay is to the end of `step`. The state of `records` allows it.
///
/// # Errors
/// [`pipeline::Misconfigured`] for what the user can mend; else what failed: the same command goes on from there.
pub async fn run(args: &SwitchArgs, step: Step, mut records: Records) -> anyhow::Result<()> {
    let record = records.current().cloned().ok_or_else(|| anyhow!("a replay without a record"))?;
    let plan = &record.plan;
    let database = if plan.has(&Target::Db) { Some(rows::database(&args.database).await?) } else { None };
    let promotion = record.counts.get(PROMOTIONS).copied().unwrap_or(1);
    let objects = if plan.has(&Target::Lake) { Some(Objects::begin(args, plan, promotion).await?) } else { None };
    // A revision of its own, whatever the state was.
    records.advance(record.clone()).await?;
    let (mut windows, mut next) = (Windows::default(), record.in_state(step.ended()));
    let mut note = |target, began_us, rows| {
        let (state, ended_us) = (step.ended().as_str().to_owned(), Some(Timestamp::now().as_microsecond()));
        next.targets.insert(target, TargetState { state, began_us: Some(began_us), ended_us, fence: Vec::new(), rows });
    };
    let began_us = Timestamp::now().as_microsecond();
    if let Some(database) = database {
        let turn = i64::try_from(records.current().map_or(0, |record| record.revision))?;
        let exchange = Exchange::begin(database, scope(plan), turn).await?;
        let outcome = match step {
            Step::Promoted => promote(args, &mut records, &exchange, plan).await?,
            Step::RolledBack => {
                records.advance(record.in_state(State::RollingBack)).await?;
                exchange.roll_back().await?
            }
        };
        tell(&outcome, step);
        let rows = outcome.exchanged.put.max(outcome.exchanged.taken);
        note(Target::Db, began_us, rows);
        windows.exchanged(rows);
    } else {
        records.advance(record.in_state(step.committed())).await?;
    }
    if let Some(mut objects) = objects {
        let committed_us = Timestamp::now().as_microsecond();
        let swapped = match step {
            Step::Promoted => objects.promote(plan, &mut records).await?,
            Step::RolledBack => objects.roll_back(&mut records).await?,
        };
        tell_objects(&swapped, step);
        windows.bronze(committed_us, matches!(step, Step::Promoted).then_some(swapped.rows));
        if args.no_wait {
            windows.print(args.output.format)?;
            output::note(
                "the refiner takes it from here, in its own time; the same command without --no-wait waits for it",
            );
            return Ok(());
        }
        wait("the refiner", Duration::from_secs(args.patience), async || objects.refined_lacks(plan).await).await?;
        windows.refined(committed_us);
        note(Target::Lake, committed_us, swapped.rows);
    }
    records.advance(next).await?;
    windows.print(args.output.format)
}

async fn promote(
    args: &SwitchArgs,
    records: &mut Records,
    exchange: &Exchange,
    plan: &Plan,
) -> anyhow::Result<Outcome> {
    let prepared = records.current().cloned().ok_or_else(|| anyhow!("a replay without a record"))?;
    let (mut wrong_candles, mut wrong_latest) = (Vec::new(), Vec::new());
    if let Some(found) = exchange.find().await? {
        let foreign = foreign(args, plan, &found).await?;
        exchange.leave_alone(&foreign).await?;
        name("which the log decides by a record outside the plan, or by another rule", &foreign);
        let mut connection = args.database.connect().await?;
        wrong_candles = candles(&mut connection, plan).await?;
        wrong_latest = derived::wrong_latest(&mut connection, i64::MAX).await?;
        connection.close().await?;
    }
    records.advance(prepared.in_state(State::Switching)).await?;
    let wrong_latest: Vec<(String, String)> =
        wrong_latest.into_iter().map(|latest| (latest.symbol, latest.source)).collect();
    exchange.promote(&wrong_candles, &wrong_latest).await
}

/// Candles that are not what their ticks come to, on the days that the generation has ticks of.
async fn candles(connection: &mut PgConnection, plan: &Plan) -> anyhow::Result<Vec<WrongCandle>> {
    let asking = DAYS.replace("$generation", &schema(&plan.name));
    let days: Vec<i64> =
        sqlx::query_scalar(AssertSqlSafe(asking)).fetch_all(&mut *connection).await.map_err(explain)?;
    let mut wrong = Vec::new();
    for day in days {
        for candle in derived::wrong_candles(connection, &(day..day + DAY_US), i64::MAX).await? {
            let derived::WrongCandle { symbol, source, price_basis, timeframe, bucket, .. } = candle;
            wrong.push(WrongCandle { symbol, source, price_basis, timeframe, bucket });
        }
    }
    Ok(wrong)
}

/// Events that are not the generation's to decide: those that are to stand and that a record outside the plan corrects, and those
/// that are to go and that the plan's records have all the same.
async fn foreign(args: &SwitchArgs, plan: &Plan, found: &Found) -> anyhow::Result<Vec<Uuid>> {
    let mut foreign = Vec::new();
    let registry = args.registry.registry()?;
    let mut decoder = Decoder::new(RecordType::PriceTick, registry);
    if !found.to_put.is_empty() {
        let mark = Mark::new(plan.name.as_str(), &plan.digest);
        let mut standing = Standing::of(found.to_put.iter().map(|(id, _)| *id), &mark, args.oldest_event_days);
        let (of_lake, of_topic) = outside(&args.kafka, plan).await?;
        let mut take = async |partition, records: pipeline::records::Records| {
            let decoded = decoder.decode(records.values()).await?;
            standing.take(partition, &records, &decoded);
            anyhow::Ok(())
        };
        if !of_lake.is_empty() {
            inputs::read(Source::LakeRaw, &args.kafka, &args.store, TICKS, &of_lake, &mut take).await?;
        }
        stretches::read(&args.kafka, TICKS, &of_topic, "run it again", &mut take).await?;
        let corrected = |id: Uuid| standing.of_event(id).and_then(|stood| Some(stood.taken.as_ref()?.0));
        foreign
            .extend(found.to_put.iter().filter(|(id, revision)| corrected(*id) > Some(*revision)).map(|(id, _)| *id));
    }
    if !found.unknown.is_empty() {
        let mut unknown: HashSet<Uuid> = found.unknown.iter().copied().collect();
        let planned: Vec<plan::Stretch> = plan.of_topic(TICKS).cloned().collect();
        let mut unread = 0;
        inputs::read(plan.source, &args.kafka, &args.store, TICKS, &planned, async |_, records| {
            let decoded = decoder.decode(records.values()).await?;
            unread += decoded.bad.iter().filter(|(_, why)| is_unknown_schema(why)).count();
            let ticks = Ticks::new(&decoded.batch);
            foreign.extend((0..decoded.rows.len()).map(|row| ticks.event_id(row)).filter(|id| unknown.remove(id)));
            Ok(())
        })
        .await?;
        if unread > 0 && !unknown.is_empty() {
            output::note(&format!(
                "{unread} records of the plan are of a schema that is not known here, so {} rows that may be theirs are left alone: is \
                 SCHEMA_REGISTRY_URL what consumer-db has?",
                unknown.len()
            ));
            foreign.extend(unknown);
        }
    }
    Ok(foreign)
}

/// What lies behind the plan's records, or in other partitions: in the raw lake as far as the topic no longer has it and the
/// plan is of the raw lake, and in the topic.
pub async fn outside(kafka: &KafkaArgs, plan: &Plan) -> anyhow::Result<(Vec<plan::Stretch>, Vec<Stretch>)> {
    let cluster = Cluster::new(kafka)?;
    let metadata = cluster.metadata().await?;
    let (mut of_lake, mut of_topic) = (Vec::new(), Vec::new());
    for &partition in metadata.topics.get(TICKS).map_or(&[][..], |found| &found.partitions) {
        let ends = cluster.ends(TICKS, partition).await?;
        let planned = plan.of_topic(TICKS).find(|stretch| stretch.partition == partition);
        let start = planned.map_or(ends.start, |stretch| stretch.to.max(ends.start));
        of_topic.push(Stretch { partition, start, end: ends.end.max(start) });
        if let Some(stretch) = planned.filter(|stretch| stretch.to < ends.start && plan.source == Source::LakeRaw) {
            of_lake.push(plan::Stretch { from: stretch.to, to: ends.start, ..stretch.clone() });
        }
    }
    Ok((of_lake, of_topic))
}

fn tell(outcome: &Outcome, step: Step) {
    let Outcome { exchanged, left_alone, was_so, held } = outcome;
    let Exchanged { taken, put, candles, latest } = exchanged;
    let held = output::age(held.as_secs_f64());
    output::note(&match (step, was_so) {
        (Step::Promoted, true) => format!("it stood in Postgres already: {put} rows for {taken}"),
        (Step::RolledBack, true) => "it does not stand in Postgres: nothing is taken back there".to_owned(),
        (Step::Promoted, false) => format!(
            "{put} rows stand in Postgres for {taken} that were not what the log says; {candles} candles and {latest} latest prices \
             are other ones; no other writer wrote for {held}"
        ),
        (Step::RolledBack, false) => {
            format!("what {put} rows stood for is back in Postgres: {taken} rows; no other writer wrote for {held}")
        }
    });
    name("which is not as it was found any more", left_alone);
}

fn tell_objects(swapped: &Swapped, step: Step) {
    let Swapped { looked_at, objects, rows, left_alone } = swapped;
    output::note(&match step {
        Step::Promoted => {
            format!("{objects} of {looked_at} bronze objects are made what the log says: {rows} rows are other ones")
        }
        Step::RolledBack => format!("{objects} of {looked_at} bronze objects are what they were"),
    });
    named(left_alone.iter().map(|(key, why)| format!("{key}: {why}")));
}

fn name(why: &str, events: &[Uuid]) {
    named(events.iter().map(|event_id| format!("{event_id}, {why}")));
}

fn named(left_alone: impl ExactSizeIterator<Item = String>) {
    let more = left_alone.len().saturating_sub(NAMED);
    for what in left_alone.take(NAMED) {
        output::note(&format!("left alone: {what}"));
    }
    if more > 0 {
        output::note(&format!("left alone: {more} more"));
    }
}

/// Whether what is live of this plan's records can be exchanged.
///
/// # Errors
/// [`pipeline::Misconfigured`], saying what to do instead.
pub fn check(plan: &Plan) -> anyhow::Result<()> {
    if plan.has(&Target::Db) || plan.has(&Target::Lake) {
        return Ok(());
    }
    Err(misconfigured(format!("{} has written nothing that takes the place of something live", plan.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_that_of_the_ticks() {
        let scope = scope(&Plan::example("fix_kraken"));
        assert_eq!((scope.schema.as_str(), scope.partitions.len()), ("gen_fix_kraken", 4));
        assert_eq!((scope.begins[0], scope.ends[0]), (10, 20));
    }
}
