//! The lake of a generation: a lake of its own under `generations/NAME/` of the same bucket and prefix. Raw and bronze are written
//! by the chain's own writer ([`lake::chain`]), whose log are the plan's records; silver and gold are made of them by the refiner's
//! own binary, which is told that prefix and knows no other. Gaps are copied from the live lake once, so that candles are judged by
//! them.
//!
//! | what | where, below `generations/NAME/` |
//! |---|---|
//! | whose it is | `_generation.json`: the plan's name and digest; an object of another plan is refused |
//! | the plan's records | `raw/market.ticks.v1/epoch=0000/partition=P/…`, from the plan's first offset to its last |
//! | its corrections, where payloads are the source | the same, partition [`CORRECTIONS`], by their offsets in the generation's topic |
//! | what they come to | `bronze/…`, `silver/…`, `gold/…`, as in the live lake |
//! | what a promotion replaced in the live one | `kept/PROMOTION/NUMBER/` and its own key |
//!
//! Invariant: every key that is written begins with the generation's prefix, since no client here knows another one; the live lake
//! is read.
//!
//! Crash points: those of [`lake::chain`] and of the refiner, each of which goes on where it was; between the two; with the copies of
//! gaps under way (they are create-only, and what is there is passed over). A refiner that outlives the command ends by itself, and
//! writes under the prefix alone.
//!
//! Must never happen here: a client without the generation's prefix that writes.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use lake::chain::{Batch, Chain, Given};
use pipeline::codec::RecordType;
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{SPAN, table, topic_prefix};
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::store::{Condition, Store, StoreArgs};
use pipeline::topics::{GAPS, TICKS};
use serde::{Deserialize, Serialize};

use super::database::ended;
use super::shelf::Shelf;
use super::{GenerationArgs, corrections, inputs};
use crate::output::{self, Progress, age};
use crate::replay::plan::{Name, Plan, Stretch};

/// The partition under which a generation's lake has its corrections.
pub const CORRECTIONS: i32 = 99_999;
const MARK: &str = "_generation.json";
const REFINER: &str = "refiner";
/// Of what the refiner says when it fails.
const LAST_LINES: usize = 5;

/// Whose prefix it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    name: Name,
    digest: String,
}

/// The store as the generation sees it: nothing outside its prefix is within reach.
pub fn own(args: &StoreArgs, name: &Name) -> StoreArgs {
    let prefix = match args.s3_prefix.trim_matches('/') {
        "" => format!("generations/{name}"),
        prefix => format!("{prefix}/generations/{name}"),
    };
    StoreArgs { s3_prefix: prefix, ..args.clone() }
}

/// Writes the generation's lake, or what an earlier execution left of it to be written. Gives how many objects it has.
///
/// # Errors
/// [`pipeline::Misconfigured`] for what the user can mend; else what failed.
pub async fn write(plan: &Plan, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<u64> {
    let refiner = refiner()?;
    let own = own(&args.store, &plan.name);
    let store = Store::connect(&own).await?;
    claim(&store, plan).await?;
    Writing::new(plan, store.clone(), args, kafka).await?.all(plan, kafka, args).await?;
    copy_gaps(&Store::connect(&args.store).await?, &store).await?;
    output::note("the refiner makes silver and gold of it");
    refine(&refiner, &own).await?;
    let mut objects = 0;
    for layer in ["raw/", "bronze/", "silver/", "gold/"] {
        each(&store, layer, async |key| {
            objects += u64::from(key.ends_with(".parquet"));
            Ok(())
        })
        .await?;
    }
    Ok(objects)
}

/// The generation's own store, once it is clear that it was made of this plan.
///
/// # Errors
/// [`pipeline::Misconfigured`] where it is not there, or was made of another plan.
pub async fn of_plan(args: &StoreArgs, plan: &Plan) -> anyhow::Result<Store> {
    let own = Store::connect(&own(args, &plan.name)).await?;
    let wanted = Mark { name: plan.name.clone(), digest: plan.digest.clone() };
    let stands = own.get(MARK).await?.and_then(|object| serde_json::from_slice::<Mark>(&object.bytes).ok());
    ensure!(
        stands == Some(wanted),
        misconfigured(format!(
            "generations/{} has not the generation's lake: is it the right S3_BUCKET and S3_PREFIX?",
            plan.name
        ))
    );
    Ok(own)
}

/// Removes everything under the generation's prefix. Gives how many objects that was; none where no replay made it.
///
/// # Errors
/// [`pipeline::Misconfigured`] where the prefix holds what no replay wrote; else what the store said.
pub async fn delete(args: &StoreArgs, name: &Name) -> anyhow::Result<u64> {
    let own = own(args, name);
    let store = Store::connect(&own).await?;
    let Some(mark) = store.get(MARK).await? else {
        ensure!(
            store.list("", None).await?.is_empty(),
            misconfigured(format!("{} holds objects that no replay wrote: they are not deleted", own.s3_prefix))
        );
        return Ok(0);
    };
    let mark: Mark = serde_json::from_slice(&mark.bytes).with_context(|| format!("{}/{MARK}", own.s3_prefix))?;
    ensure!(
        mark.name == *name,
        misconfigured(format!("{} is the generation {}: it is not deleted", own.s3_prefix, mark.name))
    );
    let mut deleted = 0;
    // A refiner whose command was killed may still be at work: until a listing shows nothing.
    loop {
        let before = deleted;
        each(&store, "", async |key| {
            if key != MARK {
                store.delete(key).await?;
                deleted += 1;
            }
            Ok(())
        })
        .await?;
        if deleted == before {
            break;
        }
    }
    store.delete(MARK).await?;
    Ok(deleted + 1)
}

async fn claim(store: &Store, plan: &Plan) -> anyhow::Result<()> {
    let mark = Mark { name: plan.name.clone(), digest: plan.digest.clone() };
    let bytes = Bytes::from(serde_json::to_vec(&mark)?);
    if store.head(MARK).await?.is_none() && !store.list("", None).await?.is_empty() {
        return Err(misconfigured(format!(
            "generations/{} holds objects that no replay wrote: make a plan with another name",
            plan.name
        )));
    }
    store.put(MARK, bytes, HashMap::new(), Condition::IfNoneMatch).await?;
    let stands = store.get(MARK).await?.context("the generation's mark was written and is not there")?;
    let stands: Mark = serde_json::from_slice(&stands.bytes).context(MARK)?;
    if stands == mark {
        return Ok(());
    }
    Err(misconfigured(format!(
        "generations/{0} is there and was not made of this plan: `tickstream replay drop {0}` removes a generation; or make a plan with \
         another name",
        plan.name
    )))
}

/// The keys below `prefix` that end so.
///
/// # Errors
/// When the store does not answer.
pub async fn keys(store: &Store, prefix: &str, ending: &str) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    each(store, prefix, async |key| {
        keys.extend(key.ends_with(ending).then(|| key.to_owned()));
        Ok(())
    })
    .await?;
    Ok(keys)
}

/// Every key below `prefix`.
async fn each(
    store: &Store,
    prefix: &str,
    mut take: impl AsyncFnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after: Option<String> = None;
    loop {
        let listed = store.list(prefix, after.as_deref()).await?;
        let Some(last) = listed.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for object in &listed {
            take(&object.key).await?;
        }
    }
}

/// Raw objects first: one whose bronze is not there yet ends what a refiner takes up of its chain.
async fn copy_gaps(live: &Store, own: &Store) -> anyhow::Result<()> {
    for prefix in [topic_prefix(GAPS), format!("bronze/{}/", table(RecordType::Gap))] {
        each(live, &prefix, async |key| {
            if own.head(key).await?.is_some() {
                return Ok(());
            }
            // A bronze object may be made again meanwhile; whichever it is, it is whole.
            let Some(object) = live.get(key).await? else { return Ok(()) };
            own.put(key, object.bytes, object.head.metadata, Condition::IfNoneMatch).await?;
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn refiner() -> anyhow::Result<std::path::PathBuf> {
    let beside = std::env::current_exe().context("asking where this program is")?.with_file_name(REFINER);
    if beside.exists() {
        return Ok(beside);
    }
    Err(misconfigured(format!(
        "silver and gold of a generation are made by {REFINER}, and there is none beside this program ({})",
        beside.display()
    )))
}

async fn refine(refiner: &std::path::Path, own: &StoreArgs) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(refiner);
    command.arg("once").stdin(Stdio::null()).kill_on_drop(true);
    command.env_remove("REFINER_SILVER_PREFIX").env_remove("REFINER_GOLD_PREFIX");
    command.env("S3_BUCKET", &own.s3_bucket).env("S3_PREFIX", &own.s3_prefix).env("AWS_REGION", &own.aws_region);
    if let Some(url) = &own.s3_endpoint_url {
        command.env("S3_ENDPOINT_URL", url);
    }
    let ended = command.output().await.with_context(|| format!("starting {}", refiner.display()))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    Err(anyhow!("{REFINER} ended with {}: {last}", ended.status).context("not finished; execute the plan again"))
}

/// The chains of a generation.
struct Writing {
    shelf: Arc<Shelf>,
    chains: HashMap<i32, Chain<Shelf>>,
    all: i64,
    done: i64,
    begun: Instant,
    progress: Progress,
}

impl Writing {
    async fn new(plan: &Plan, store: Store, args: &GenerationArgs, kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let stretches: Vec<&Stretch> = plan.of_topic(TICKS).filter(|stretch| stretch.from < stretch.to).collect();
        let topic_id = stretches.first().map(|stretch| stretch.topic_id).context("a plan without records")?;
        let mut ranges: HashMap<i32, (i64, i64)> =
            stretches.iter().map(|stretch| (stretch.partition, (stretch.from, stretch.to))).collect();
        if plan.source.is_payloads() {
            let mut end = 0;
            corrections::read(kafka, &plan.name, async |records| {
                end = records.last_offset().map_or(end, |last| last + 1);
                Ok(())
            })
            .await?;
            ranges.insert(CORRECTIONS, (0, end));
        }
        let all = ranges.values().map(|(from, to)| to - from).sum();
        let shelf = Arc::new(Shelf::new(store, &plan.cluster_id, topic_id, ranges.clone(), args.registry.registry()?));
        let mut this =
            Self { shelf, chains: HashMap::new(), all, done: 0, begun: Instant::now(), progress: Progress::default() };
        for (partition, (log_start, log_end)) in ranges {
            let given = Given {
                topic: Arc::from(TICKS),
                partition,
                table: Some(table(RecordType::PriceTick)),
                committed: None,
                log_start,
                log_end,
            };
            let chain = Chain::open(this.shelf.clone(), &given).await.map_err(ended)?;
            this.done += chain.tail() - log_start;
            this.chains.insert(partition, chain);
        }
        Ok(this)
    }

    async fn all(mut self, plan: &Plan, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<()> {
        let planned = plan.of_topic(TICKS).filter(|stretch| stretch.from < stretch.to);
        let left: Vec<Stretch> =
            planned.map(|stretch| Stretch { from: self.tail(stretch.partition), ..stretch.clone() }).collect();
        inputs::read(plan.source, kafka, &args.store, TICKS, &left, async |partition, records| {
            let next_offset = records.last_offset().map_or(0, |last| last + 1);
            self.write(partition, next_offset, inputs::of_symbols(&records, &plan.symbols)?).await
        })
        .await?;
        for stretch in &left {
            self.write(stretch.partition, stretch.to, Records::empty()).await?;
        }
        if !plan.source.is_payloads() {
            return Ok(());
        }
        corrections::read(kafka, &plan.name, async |records| {
            let tail = self.tail(CORRECTIONS);
            let first = records.offsets().values().partition_point(|offset| *offset < tail);
            let new = records.slice(first, records.len() - first);
            let next_offset = new.last_offset().map_or(tail, |last| last + 1);
            self.write(CORRECTIONS, next_offset, new).await
        })
        .await
    }

    fn tail(&self, partition: i32) -> i64 {
        self.chains.get(&partition).map_or(0, Chain::tail)
    }

    /// Brings a chain to `next_offset`; `records` are those from its tail on.
    async fn write(&mut self, partition: i32, next_offset: i64, records: Records) -> anyhow::Result<()> {
        let Some(chain) = self.chains.get_mut(&partition) else { return Ok(()) };
        while chain.tail() < next_offset {
            let start = chain.tail();
            // What was not delivered, or is of another symbol, is more than one object spans.
            let is_far = next_offset - start > SPAN;
            let first = records.first_offset().unwrap_or(next_offset);
            let batch = if is_far && first - start >= SPAN {
                Batch { start, next_offset: start + SPAN, records: Records::empty() }
            } else if is_far && first > start {
                Batch { start, next_offset: first, records: Records::empty() }
            } else {
                ensure!(
                    !is_far,
                    "records from {start} to {next_offset} of partition {partition} are more than an object spans"
                );
                let from = records.offsets().values().partition_point(|offset| *offset < start);
                Batch { start, next_offset, records: records.slice(from, records.len() - from) }
            };
            let step = chain.write(&batch).await.map_err(ended)?;
            self.done += step.resume_at - start;
        }
        let (done, all) = (self.done.max(1), self.all.max(self.done));
        let left = self.begun.elapsed().as_secs_f64() * (all - done) as f64 / done as f64;
        self.progress.tell(|| {
            format!("tickstream: {done} of {all} offsets are in the generation's lake, about {} left", age(left))
        });
        Ok(())
    }
}
