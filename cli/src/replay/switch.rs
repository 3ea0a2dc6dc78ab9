//! How a generation and what is live change places: what stands of its events is read (`standing`), what follows it is made
//! (`sequel`, `publish`), Postgres is held and written (`rows`), the lake is watched (`lake_watch`). The order, the states and
//! the crash points are those of [`super::promote`]. What is made of the log itself publishes nothing (`exchange`).

mod changes;
mod exchange;
mod lake_watch;
mod mark;
mod objects;
mod publish;
mod rows;
mod sequel;
mod standing;
mod windows;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use consumer_db::Database;
use futures::stream;
use jiff::Timestamp;
use pipeline::codec::{Encoder, RecordType};
use pipeline::decode::Decoder;
use pipeline::misconfigured;
use pipeline::registry::Registry;
use pipeline::store::Store;
use pipeline::stretches::{self, Stretch};
use pipeline::topic_id::TopicIds;
use pipeline::topics::TICKS;
use uuid::Uuid;

use super::plan::Target;
use super::promote::SwitchArgs;
use super::record::{Fence, Outgoing, Record, Records, State, TargetState};
use crate::kafka::Cluster;
use crate::output::{self, Progress};
pub use exchange::{PROMOTIONS, check as check_exchange, outside, run as exchange, scope};
use lake_watch::{LakeWatch, hour_of};
pub use mark::{Mark, Step};
use publish::{Sequels, Tally};
use rows::Held;
pub use standing::Standing;
use windows::Windows;

/// Corrections on their way to the broker.
const UNDER_WAY: usize = 1_000;
/// Between two looks at the lake.
const LOOK: Duration = Duration::from_millis(500);

impl Step {
    /// The state in which what was published is published.
    fn committed(self) -> State {
        match self {
            Self::Promoted => State::Switching,
            Self::RolledBack => State::RollingBack,
        }
    }

    fn ended(self) -> State {
        match self {
            Self::Promoted => State::Done,
            Self::RolledBack => State::RolledBack,
        }
    }
}

/// One switch: of a generation, in one direction.
pub struct Switch<'a> {
    args: &'a SwitchArgs,
    step: Step,
    records: Records,
    mark: Mark,
    registry: Option<Registry>,
    /// `None` where the database is none of the plan's targets.
    database: Option<Database>,
    /// `None` where nobody waits for the lake.
    lake: Option<LakeWatch>,
    windows: Windows,
}

/// The events that the generation corrects.
#[derive(Default)]
struct Events {
    ids: HashSet<Uuid>,
    /// Hours in which their ticks stand or stood.
    hours: BTreeSet<i64>,
}

impl<'a> Switch<'a> {
    /// Asks everything that is needed, so that what lacks is told before anything is written. `records` are those of a
    /// generation from payloads that was executed.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what the user can mend.
    pub async fn begin(args: &'a SwitchArgs, step: Step, records: Records, record: &Record) -> anyhow::Result<Self> {
        let plan = &record.plan;
        let ids = TopicIds::new(&args.kafka)?;
        let topic_id = ids.topic_id(TICKS, 0).await?;
        if let Some(stretch) = plan.of_topic(TICKS).find(|stretch| stretch.topic_id != topic_id) {
            return Err(misconfigured(format!(
                "{TICKS} was made anew since the plan (topic id {} then, {topic_id} now): the generation is of the earlier one",
                stretch.topic_id
            )));
        }
        let lake = if plan.has(&Target::Lake) && !args.no_wait {
            Some(LakeWatch::new(Store::connect(&args.store).await?, topic_id).await?)
        } else {
            None
        };
        let registry = args.registry.registry()?;
        let database = if plan.has(&Target::Db) { Some(rows::database(&args.database).await?) } else { None };
        let mark = Mark::new(plan.name.as_str(), &plan.digest);
        Ok(Self { args, step, records, mark, registry, database, lake, windows: Windows::default() })
    }

    /// From wherever it is to its end.
    ///
    /// # Errors
    /// What failed; the same command goes on from there.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let events = self.events().await?;
        let is_committed = self.current()?.state == self.step.committed();
        let held = if is_committed { self.hold().await? } else { self.publish(&events).await? };
        let topic = Target::Topic(TICKS.to_owned());
        let published = self.current()?.targets.get(&topic).cloned().unwrap_or_default();
        let committed_us = published.ended_us.unwrap_or_default();
        self.windows.topic(&published);
        if let Some(mut held) = held {
            let applied = held.apply(&self.args.kafka, &self.mark, self.step, &published.fence).await?;
            // Lets the consumer go on.
            drop(held);
            self.windows.rows(committed_us, applied);
        }
        if self.args.no_wait {
            self.windows.print(self.args.output.format)?;
            output::note(
                "consumer-lake and the refiner take it from here, in their own time; the same command without --no-wait waits for them",
            );
            return Ok(());
        }
        self.wait_for_the_lake(&published.fence, &events.hours, committed_us).await?;
        let mut next = self.current()?.in_state(self.step.ended());
        self.windows.note(&mut next);
        self.records.advance(next).await?;
        self.windows.print(self.args.output.format)
    }

    fn current(&self) -> anyhow::Result<Record> {
        self.records.current().cloned().context("a replay without a record")
    }

    async fn events(&self) -> anyhow::Result<Events> {
        let record = self.current()?;
        let mut events = Events::default();
        changes::read(&self.args.kafka, self.registry.clone(), &record.plan.name, async |changes| {
            for (change, _) in changes {
                events.ids.insert(change.new.event_id);
                events.hours.insert(hour_of(change.new.event_time));
                events.hours.extend(change.old.map(|old| hour_of(old.event_time)));
            }
            Ok(())
        })
        .await?;
        Ok(events)
    }

    /// No other writer of the database goes on until what this gives is gone.
    async fn hold(&self) -> anyhow::Result<Option<Held>> {
        let Some(database) = self.database.clone() else { return Ok(None) };
        Held::begin(database, self.registry.clone(), self.args.oldest_event_days).await.map(Some)
    }

    /// One transaction: the corrections, and the record that says so. Gives the database, held since before.
    async fn publish(&mut self, events: &Events) -> anyhow::Result<Option<Held>> {
        let record = self.current()?;
        let mark = self.mark.clone();
        let standing = self.standing(events, &mark, &record).await?;
        let encoder = Encoder::new(self.args.registry.framing()?).await?;
        let sequels = Sequels { encoder: &encoder, mark: &mark, step: self.step, standing: &standing };
        let tally = Mutex::new(Tally::default());
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<anyhow::Result<Outgoing>>(UNDER_WAY);
        let (args, registry, step) = (self.args, self.registry.clone(), self.step);
        let name = &record.plan.name;
        let reading = async {
            let read = changes::read(&args.kafka, registry, name, async |changes| {
                let outgoing = sequels.of(changes, &mut tally.lock().unwrap_or_else(PoisonError::into_inner))?;
                for outgoing in outgoing {
                    sender.send(Ok(outgoing)).await.map_err(|_| anyhow!("nobody publishes any more"))?;
                }
                Ok(())
            });
            if let Err(error) = read.await {
                drop(sender.send(Err(error)).await);
            }
            drop(sender);
        };
        let held = self.hold().await?;
        let began_us = Timestamp::now().as_microsecond();
        let outgoing = stream::poll_fn(move |context| receiver.poll_recv(context));
        let publishing = self.records.publish(outgoing, |fences| {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            committed(&record, step, fences, &tally, began_us)
        });
        let ((), published) = tokio::join!(reading, publishing);
        published?;
        let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tell(&tally, step);
        Ok(held)
    }

    async fn standing<'m>(&self, events: &Events, mark: &'m Mark, record: &Record) -> anyhow::Result<Standing<'m>> {
        let cluster = Cluster::new(&self.args.kafka)?;
        let metadata = cluster.metadata().await?;
        let partitions = metadata.topics.get(TICKS).map_or(&[][..], |found| &found.partitions);
        let mut stretches = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            let ends = cluster.ends(TICKS, partition).await?;
            let planned = record.plan.of_topic(TICKS).find(|stretch| stretch.partition == partition);
            let start = planned.map_or(ends.start, |stretch| stretch.from.max(ends.start));
            stretches.push(Stretch { partition, start, end: ends.end });
        }
        let mut standing = Standing::of(events.ids.iter().copied(), mark, self.args.oldest_event_days);
        let mut decoder = Decoder::new(RecordType::PriceTick, self.registry.clone());
        stretches::read(&self.args.kafka, TICKS, &stretches, "run it again", async |partition, records| {
            let decoded = decoder.decode(records.values()).await?;
            standing.take(partition, &records, &decoded);
            Ok(())
        })
        .await?;
        Ok(standing)
    }

    async fn wait_for_the_lake(
        &mut self,
        fences: &[Fence],
        hours: &BTreeSet<i64>,
        committed_us: i64,
    ) -> anyhow::Result<()> {
        let Some(mut lake) = self.lake.take() else { return Ok(()) };
        lake.expect(fences, hours);
        let patience = Duration::from_secs(self.args.patience);
        wait("consumer-lake", patience, async || lake.raw_lacks().await).await?;
        self.windows.raw(committed_us);
        wait("the refiner", patience, async || lake.refined_lacks().await).await?;
        self.windows.refined(committed_us);
        Ok(())
    }
}

fn committed(record: &Record, step: Step, fences: &[Fence], tally: &Tally, began_us: i64) -> Record {
    let mut next = record.in_state(step.committed());
    for (name, count) in [("published", tally.published), ("standing", tally.standing), ("left_alone", tally.foreign)] {
        next.counts.insert(name.to_owned(), count);
    }
    let topic = TargetState {
        state: step.committed().as_str().to_owned(),
        began_us: Some(began_us),
        ended_us: Some(Timestamp::now().as_microsecond()),
        fence: fences.to_vec(),
        rows: tally.published,
    };
    next.targets.insert(Target::Topic(TICKS.to_owned()), topic);
    next
}

fn tell(tally: &Tally, step: Step) {
    let Tally { published, standing, foreign, named } = tally;
    let done = match step {
        Step::Promoted => "corrections are published",
        Step::RolledBack => "corrections are taken back",
    };
    output::note(&format!("{published} {done}, {standing} stood so already, {foreign} were corrected by others since"));
    for (event_id, revision) in named {
        output::note(&format!("left alone: {event_id}, which somebody has corrected since (revision {revision})"));
    }
    let unnamed = foreign.saturating_sub(named.len() as u64);
    if unnamed > 0 {
        output::note(&format!("left alone: {unnamed} more"));
    }
}

/// Asks until nothing lacks; says now and then what does.
async fn wait(
    service: &str,
    patience: Duration,
    mut lacks: impl AsyncFnMut() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    let (begun, mut progress) = (std::time::Instant::now(), Progress::default());
    while let Some(lack) = lacks().await? {
        if begun.elapsed() >= patience {
            return Err(anyhow!(
                "{service} has not come to it within {} s: {lack}; it does so by itself as soon as it runs, and the \
                 same command goes on here",
                patience.as_secs()
            ));
        }
        progress.tell(|| format!("waiting for {service}: {lack}; is it running?"));
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
