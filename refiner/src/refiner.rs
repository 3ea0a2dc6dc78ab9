//! Makes one group of objects again, whole, and swaps each by one conditional PUT.
//!
//! **Invariant.** What stands under a key was made of all the inputs that it lists, as they were when it was made or later,
//! and never of older ones than its predecessor was.
//!
//! **How.** (1) The objects that stand there are read first: their ETags, and what they list. (2) Then the inputs: those
//! listed, and new ones. So an input is at least as new as what the present object was made of. (3) The SELECT runs over all
//! of them. (4) PUT with If-Match on the ETag of step 1, or If-None-Match where there was nothing. Whoever was first in
//! between makes the PUT fail, and everything begins again at (1).
//!
//! **Crash points.** Before (4): nothing happened. During (4): it lands or never does; a late one meets another ETag. After
//! (4), before the cursor moves: the next run finds the same inputs listed and writes nothing. Between two objects of one
//! group: each is whole; the next run makes the others.
//!
//! **Must never happen here**: a PUT without a condition, an input read before the object that is to be replaced, or a result
//! that differs when nothing it is made of does.

mod hours;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use twox_hash::XxHash3_128;

use crate::disk;
use crate::engine::{Engine, Partitions, Source};
use crate::object::{Inputs, Made};
use crate::objects::Objects;
use crate::run::{again, later};
use crate::spool::Spool;
use crate::tables::{Group, Layer, Prefixes, Table, View, partition_value};

/// How often others may be first before that counts as an outage.
const ROUNDS: usize = 8;
/// Objects read at once for one group.
const READS: usize = 8;

pub struct Refiner {
    pub objects: Objects,
    pub prefixes: Prefixes,
    pub spool: Spool,
    pub engine: Engine,
}

/// An object that stands.
struct Base {
    etag: String,
    hash: u128,
    made: Made,
}

/// How a group is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only where an input is new, or the version is.
    WhereTouched,
    /// In any case; what is damaged is replaced.
    Again,
}

/// What became of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Keys that hold other bytes now.
    pub written: Vec<String>,
    pub unchanged: usize,
    /// What the group was made of, as it was read.
    pub inputs: Inputs,
}

impl Done {
    /// Adds up what was written.
    pub fn add(&mut self, other: Self) {
        self.written.extend(other.written);
        self.unchanged += other.unchanged;
    }
}

/// An input that is wanted, and the ETag that it is known to have.
pub type Wanted = BTreeMap<String, Option<String>>;

impl Refiner {
    /// Makes `group` of what its objects list and of `new`.
    ///
    /// # Errors
    /// When the store does not answer, an input is gone or damaged, or the disk is full.
    pub async fn refresh(&self, group: &Group, new: &Wanted, mode: Mode) -> anyhow::Result<Done> {
        for round in 0..ROUNDS {
            if round > 0 {
                let pause = std::time::Duration::from_millis(50 << round.min(6));
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            }
            let done = self.attempt(group, new, mode).await.map_err(|error| disk::told(error, self.spool.folder()));
            if let Some(done) = done.with_context(|| group.to_string())? {
                count(group, &done);
                return Ok(done);
            }
            metrics::counter!("tickstream_refiner_conflicts_total", "table" => group.table.name()).increment(1);
        }
        Err(anyhow!("{group} keeps changing under our hands: are many refiners at work on one lake?"))
    }

    /// `None`: somebody was first.
    async fn attempt(&self, group: &Group, new: &Wanted, mode: Mode) -> anyhow::Result<Option<Done>> {
        let bases = self.bases(group, mode).await?;
        is_ours(group, &bases)?;
        let wanted = self.wanted(group, &bases, new).await?;
        if wanted.is_empty() || bases.is_empty() && self.is_of_no_day(group, &wanted) {
            return Ok(Some(Done::default()));
        }
        let folder = self.spool.query_folder()?;
        let inputs = self.fetch(&wanted, folder.path(), mode).await?;
        if mode == Mode::WhereTouched && is_up_to_date(group, &bases, &inputs) {
            return Ok(Some(Done { written: Vec::new(), unchanged: bases.len(), inputs }));
        }
        let made = self.engine.run(group, &sources(group, folder.path())?).await?;
        let objects = self.objects_of(group, made, &bases, &inputs)?;
        let done = self.swap(&bases, objects).await?;
        Ok(done.map(|done| Done { inputs, ..done }))
    }

    fn objects_of(
        &self,
        group: &Group,
        made: Partitions,
        bases: &HashMap<String, Base>,
        inputs: &Inputs,
    ) -> anyhow::Result<BTreeMap<String, Bytes>> {
        let (table, expected) = (group.table, group.partitions());
        let mut objects: BTreeMap<String, Bytes> = BTreeMap::new();
        for (values, writer) in made {
            let known = expected.as_ref().is_none_or(|partitions| partitions.contains(&values));
            anyhow::ensure!(known, "{}.sql gives rows of {values:?} for {group}", table.name());
            objects.insert(self.prefixes.key(table, &values), writer.finish(inputs, table)?);
        }
        // Silver always remembers what it was made from; an empty partition of gold matters only where rows were before.
        let empty = expected.into_iter().flatten().map(|values| self.prefixes.key(table, &values));
        let empty = empty.filter(|key| table.layer() == Layer::Silver || bases.contains_key(key));
        for key in empty.chain(bases.keys().cloned()) {
            if let Entry::Vacant(place) = objects.entry(key) {
                place.insert(self.engine.empty(table)?.finish(inputs, table)?);
            }
        }
        Ok(objects)
    }

    async fn swap(
        &self,
        bases: &HashMap<String, Base>,
        objects: BTreeMap<String, Bytes>,
    ) -> anyhow::Result<Option<Done>> {
        let mut done = Done::default();
        for (key, bytes) in objects {
            let base = bases.get(&key);
            if base.is_some_and(|base| base.hash == XxHash3_128::oneshot(&bytes)) {
                done.unchanged += 1;
                continue;
            }
            let base = base.map(|base| base.etag.as_str());
            let put = self.objects.put_surely(&key, &bytes, &HashMap::new(), base).await?;
            let Some(etag) = put else { return Ok(None) };
            self.spool.keep(&key, &etag, &bytes);
            done.written.push(key);
        }
        Ok(Some(done))
    }

    async fn bases(&self, group: &Group, mode: Mode) -> anyhow::Result<HashMap<String, Base>> {
        let keys = match group.partitions() {
            Some(partitions) => partitions.iter().map(|values| self.prefixes.key(group.table, values)).collect(),
            None => {
                let listed = self.objects.list(&self.prefixes.first(group.table, &group.day.to_string()), None).await?;
                listed.into_iter().map(|listed| listed.key).collect::<Vec<_>>()
            }
        };
        let read = async |key: String| {
            let Some(object) = self.objects.get(&key).await? else { return anyhow::Ok(None) };
            let sound = match object.is_as_written() {
                Some(false) => Err(anyhow!("its bytes are not those that were written")),
                Some(true) | None => Made::of(&object.bytes),
            };
            let made = match sound {
                Ok(made) => made,
                Err(error) if mode == Mode::Again => {
                    tracing::warn!(key, "{key} is damaged ({error:#}) and is made again");
                    Made { version: 0, inputs: Inputs::new() }
                }
                Err(error) => {
                    let day = group.day;
                    return Err(error).with_context(|| {
                        format!("{key} is damaged; `refiner rebuild --from {day} --to {day}` makes it again")
                    });
                }
            };
            Ok(Some((key, Base { etag: object.head.etag, hash: XxHash3_128::oneshot(&object.bytes), made })))
        };
        let read = stream::iter(keys).map(read).buffered(READS).try_collect::<Vec<_>>().await?;
        Ok(read.into_iter().flatten().collect())
    }

    /// The inputs of the group now: asked for after its objects were read.
    async fn wanted(&self, group: &Group, bases: &HashMap<String, Base>, new: &Wanted) -> anyhow::Result<Wanted> {
        let mut wanted = Wanted::new();
        let listed = bases.values().flat_map(|base| &base.made.inputs);
        match group.table.layer() {
            Layer::Silver => {
                for (key, etag) in listed {
                    want(&mut wanted, key, &Some(etag.clone()));
                }
                for (key, etag) in new {
                    want(&mut wanted, key, etag);
                }
            }
            Layer::Gold => {
                let keys: BTreeSet<&String> = listed.map(|(key, _)| key).chain(new.keys()).collect();
                for prefix in self.of_the_day(group) {
                    let found = self.objects.list(&prefix, None).await?;
                    wanted.extend(found.into_iter().map(|listed| (listed.key, Some(listed.etag))));
                }
                for key in keys {
                    if !wanted.contains_key(key)
                        && let Some(head) = self.objects.head(key).await?
                    {
                        wanted.insert(key.clone(), Some(head.etag));
                    }
                }
            }
        }
        Ok(wanted)
    }

    /// Whether nothing of the group's own day is among the inputs: gaps alone, or the day before, give no row of gold.
    fn is_of_no_day(&self, group: &Group, wanted: &Wanted) -> bool {
        let day = group.day.to_string();
        let own = |key: &String| {
            matches!(self.prefixes.view(key), Some(View::SilverTicks | View::GoldCandles))
                && partition_value(key, "dt") == Some(&day)
        };
        group.table.layer() == Layer::Gold && group.table != Table::Forecasts && !wanted.keys().any(own)
    }

    /// Where the inputs of a group of gold stand that belong to its own day, or to the day before.
    fn of_the_day(&self, group: &Group) -> Vec<String> {
        let day = group.day.to_string();
        let candles = |timeframes: &[&str], day: &str| -> Vec<String> {
            let key = |timeframe: &&str| self.prefixes.key(Table::Candles, &[(*timeframe).to_owned(), day.to_owned()]);
            timeframes.iter().map(key).collect()
        };
        let (ticks, gaps) = (self.prefixes.first(Table::Ticks, &day), self.prefixes.first(Table::Gaps, &day));
        match group.table {
            Table::Candles => vec![ticks, gaps],
            Table::DailyStats => candles(&["1m", "1d"], &day),
            Table::CrossRates => {
                let before = later(group.day, -1).map(|day| day.to_string()).unwrap_or_default();
                let gaps_before = self.prefixes.first(Table::Gaps, &before);
                [candles(&["1h"], &before), candles(&["1h"], &day), vec![gaps_before, gaps]].concat()
            }
            Table::DataQuality => [vec![ticks, gaps], candles(&["1m"], &day)].concat(),
            // Only the days before: they come with what is new.
            Table::Forecasts | Table::Ticks | Table::QuarantinedTicks | Table::Gaps | Table::IndexWeights => Vec::new(),
        }
    }

    /// Brings the inputs into the folders of their views below `folder`, and says which they were.
    async fn fetch(&self, wanted: &Wanted, folder: &Path, mode: Mode) -> anyhow::Result<Inputs> {
        let fetch = async |(number, (key, etag)): (usize, (&String, &Option<String>))| {
            let place = self.place(key, folder)?;
            std::fs::create_dir_all(&place).with_context(|| format!("a folder {}", place.display()))?;
            let place = place.join(file_name(number));
            let found = self.spool.fetch(&self.objects, key, etag.as_deref(), &place).await?;
            match found {
                Some(etag) => Ok(Some((key.clone(), etag))),
                None if mode == Mode::Again => {
                    tracing::warn!(key, "{key} was there and is gone: what was made of it is made without it");
                    Ok(None)
                }
                None => {
                    let layer = match self.prefixes.view(key) {
                        Some(View::SilverTicks | View::SilverGaps) => "silver",
                        Some(View::GoldCandles) => "gold",
                        _ => "bronze",
                    };
                    Err(anyhow!("{key} was there and is gone: {} makes it again", again(key, layer)))
                }
            }
        };
        let fetched = stream::iter(wanted.iter().enumerate()).map(fetch).buffered(READS);
        let fetched: Vec<Option<(String, String)>> = fetched.try_collect().await?;
        Ok(fetched.into_iter().flatten().collect())
    }

    fn place(&self, key: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        let view = self.prefixes.view(key).with_context(|| format!("{key} is an input of nothing"))?;
        let mut place = folder.join(view.name());
        for column in view.partition_columns() {
            let value = partition_value(key, column).with_context(|| format!("{key} has no {column}"))?;
            place.push(format!("{column}={value}"));
        }
        Ok(place)
    }
}

/// Of two ETags nobody can tell which is the newer: what is there now is.
fn want(wanted: &mut Wanted, key: &str, etag: &Option<String>) {
    match wanted.entry(key.to_owned()) {
        Entry::Vacant(place) => drop(place.insert(etag.clone())),
        Entry::Occupied(mut known) if known.get() != etag => drop(known.insert(None)),
        Entry::Occupied(_) => {}
    }
}

/// What a newer refiner made is left to it. That is no success: the group stays pending, with all that touched it, since an
/// upgrade or a step back runs old and new over one state.
fn is_ours(group: &Group, bases: &HashMap<String, Base>) -> anyhow::Result<()> {
    let (newest, ours) = (bases.values().map(|base| base.made.version).max(), group.table.version());
    match newest.filter(|version| *version > ours) {
        None => Ok(()),
        Some(newer) => Err(anyhow!(
            "a newer refiner made it (version {newer} of {}, this one's is {ours}) and it is left to that one: end this older one",
            group.table.name()
        )),
    }
}

/// Which partitions there should be is not always known: some that stand may be all that a killed run wrote.
fn is_up_to_date(group: &Group, bases: &HashMap<String, Base>, inputs: &Inputs) -> bool {
    let complete = group.partitions().is_some_and(|partitions| partitions.len() == bases.len());
    complete && bases.values().all(|base| base.made.version == group.table.version() && base.made.inputs == *inputs)
}

fn file_name(number: usize) -> String {
    format!("{number:06}.parquet")
}

fn owned((key, etag): (&String, &String)) -> (String, String) {
    (key.clone(), etag.clone())
}

fn count(group: &Group, done: &Done) {
    let table = group.table.name();
    metrics::counter!("tickstream_refiner_groups_total", "table" => table).increment(1);
    metrics::counter!("tickstream_refiner_objects_total", "table" => table).increment(done.written.len() as u64);
}

fn sources(group: &Group, folder: &Path) -> anyhow::Result<Vec<Source>> {
    let source = |view: &View| {
        let folder = folder.join(view.name());
        std::fs::create_dir_all(&folder).with_context(|| format!("a folder {}", folder.display()))?;
        Ok(Source { view: *view, folder })
    };
    group.table.reads().iter().map(source).collect()
}
