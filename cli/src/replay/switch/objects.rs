//! The lake's part of [`mod@super::exchange`]: live bronze that is not what the log says is made what the generation has, and put back.
//! Raw never changes. Silver and gold are the refiner's to make, as ever: it is told by the notes that whoever replaces bronze leaves
//! (`bronze/_notes/`), so that each of their objects is swapped by one program, under its own conditions, and out of what stands in
//! bronze, whatever else came meanwhile.
//!
//! For each live raw object that meets the plan's offsets, one after the other: what its bronze should be is found (`right`), and where
//! it is so already, it is left byte for byte. Else the object that stands there is kept below `generations/NAME/kept/` (`kept`), the
//! refiner's note is left, and the new one is put under the ETag that was read. A rollback puts back what was kept where what the
//! promotion made still stands, with a note that names the version of what comes back.
//!
//! **Invariants**
//! - What is put is what the generation has *and* what the live raw object comes to by today's decoder; where the two are not the
//!   same, the object is left alone and named. So the chain's own rule holds: bronze is the decoding of the raw object that stands.
//! - Records outside the plan keep the rows that they had, and objects that hold none of the plan's are not read. An object that
//!   cannot be read, lacks, or is an older decoder's is made whole, as whoever meets it would.
//! - A rollback may put back what an older decoder made, or what is wrong: that is what stood there, and the audit names it again. What
//!   was damaged, or cannot be read, is not put back.
//! - Nothing is replaced that was not kept before, nothing kept is overwritten, nothing live is deleted: an object that lacked stays.
//! - An object is switched by one PUT under If-Match or If-None-Match; each by itself.
//! - Before a PUT that comes more than a second after the last look, the record is written again: who was shut out of it writes no
//!   more.
//!
//! **Crash points** of an object, each followed by the same command again:
//! 1. Before it is kept: nothing happened.
//! 2. Kept, not yet replaced: the same object is found kept; another one that came meanwhile is kept beside it, and counts.
//! 3. The note is there, the new object is not: the refiner leaves the note open.
//! 4. The PUT sent and its answer lost: what stands there tells.
//! 5. Replaced: it is what it should be, and is passed over.
//! 6. Of a rollback the same: what was put back is not what the promotion made, and is passed over.
//!
//! A process that was stopped between its look at the record and its PUT, and goes on after another one came to its end, may still
//! replace that one object; the ETag forbids it only where the object is another one by then. Of a promotion that is what the raw
//! object comes to, and the same command finds it.
//!
//! **Must never happen here**: a PUT without a condition, a DELETE; bronze that its raw object does not come to.

mod kept;
mod right;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use lake::Encodings;
use lake::remake::{decoder_of, note_of_older};
use pipeline::lake::raw_key;
use pipeline::store::{Condition, Head, Object, Put, Store};
use pipeline::topics::TICKS;
use serde::Deserialize;

use super::lake_watch::{Pending, hour_of};
use crate::audit::refined;
use crate::output::Progress;
use crate::replay::generation::{inputs, lake as own_lake};
use crate::replay::plan::{Plan, Stretch};
use crate::replay::promote::SwitchArgs;
use crate::replay::record::{Fence, Records};
use kept::{Before, Kept, checksum};
use right::{Generation, Right};

const NOTES: &str = "bronze/_notes/ticks/";
const DAMAGED: &str = "what stood there before was damaged: what the promotion made of it stays";
/// How often an object may change under our hands before that counts as an outage.
const ROUNDS: usize = 8;
/// After so long without a look at the record another process may have taken over.
const TRUSTED: Duration = Duration::from_secs(1);

/// Both lakes, and what was kept.
pub struct Objects {
    live: Store,
    own: Store,
    epoch: u32,
    encodings: Encodings,
    kept: Kept,
    looked: Option<Instant>,
    progress: Progress,
}

/// What became of the objects.
#[derive(Debug, Default)]
pub struct Swapped {
    pub looked_at: u64,
    pub objects: u64,
    /// Rows that are other ones.
    pub rows: u64,
    /// Keys, and why.
    pub left_alone: Vec<(String, String)>,
}

/// A note for the refiner.
#[derive(Deserialize)]
struct Note {
    bronze: String,
    version: u32,
    replaces: Option<String>,
}

impl Objects {
    /// Asks everything that is needed. `promotion` is its number: what each promotion found is kept by itself.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] for what the user can mend.
    pub async fn begin(args: &SwitchArgs, plan: &Plan, promotion: u64) -> anyhow::Result<Self> {
        let live = Store::connect(&args.store).await?;
        let own = own_lake::of_plan(&args.store, plan).await?;
        let topic_id = plan.of_topic(TICKS).next().context("a plan without records")?.topic_id;
        let epoch = inputs::epoch_of(&live, TICKS, topic_id).await?;
        let encodings = Encodings::new(args.registry.registry()?);
        // Who was shut out of the record trusts its last look for so long, and may keep and put something yet.
        tokio::time::sleep(TRUSTED).await;
        let kept = Kept::read(own.clone(), promotion).await?;
        Ok(Self { live, own, epoch, encodings, kept, looked: None, progress: Progress::default() })
    }

    /// # Errors
    /// What failed; the same goes on from there.
    pub async fn promote(&mut self, plan: &Plan, records: &mut Records) -> anyhow::Result<Swapped> {
        let mut swapped = Swapped::default();
        for stretch in plan.of_topic(TICKS).filter(|stretch| stretch.from < stretch.to) {
            let mut generation = Generation::new(self.own.clone(), inputs::bronze(&self.own, 0, stretch).await?);
            for object in inputs::bronze(&self.live, self.epoch, stretch).await? {
                let Some(key) = object.key else { continue };
                let wanted = object.start.max(stretch.from)..object.end.min(stretch.to);
                if wanted.is_empty() {
                    continue;
                }
                let of_generation = generation.rows(&self.encodings, wanted).await?;
                let raw = raw_key(TICKS, self.epoch, stretch.partition, object.start);
                swapped.looked_at += 1;
                let made = self.settle(&raw, &key, stretch, &plan.symbols, of_generation, records).await;
                match made.with_context(|| key.clone())? {
                    Ok(None) => {}
                    Ok(Some(rows)) => {
                        swapped.objects += 1;
                        swapped.rows += rows;
                    }
                    Err(why) => swapped.left_alone.push((key, why)),
                }
                let looked_at = swapped.looked_at;
                self.progress.tell(|| format!("tickstream: {looked_at} bronze objects looked at"));
            }
        }
        Ok(swapped)
    }

    /// Makes one object what it should be. Gives how many of its rows are other ones, or why it is left alone.
    async fn settle(
        &mut self,
        raw: &str,
        key: &str,
        stretch: &Stretch,
        symbols: &[String],
        of_generation: right::Rows,
        records: &mut Records,
    ) -> anyhow::Result<Result<Option<u64>, String>> {
        let mut sent: Option<(String, u64)> = None;
        for _ in 0..ROUNDS {
            let stored = self.live.get(key).await?;
            let scope = right::Scope { from: stretch.from, to: stretch.to, symbols };
            let found = right::find(&self.live, &self.encodings, raw, stored.as_ref(), &of_generation, &scope).await?;
            let (new, note, rows) = match found {
                Right::Stands => {
                    let is_ours = |(sum, _): &(String, u64)| {
                        stored.as_ref().is_some_and(|stored| checksum(&stored.bytes) == *sum)
                    };
                    return Ok(Ok(sent.filter(is_ours).map(|(_, rows)| rows)));
                }
                Right::LeftAlone(why) => return Ok(Err(why)),
                Right::Made { bytes, metadata, note, rows } => ((bytes, metadata), note, rows),
            };
            self.kept.keep(key, stored.as_ref(), &new.0).await?;
            self.leave(note).await?;
            sent = Some((checksum(&new.0), rows));
            if self.put(key, new, stored.as_ref(), records).await? {
                return Ok(Ok(Some(rows)));
            }
        }
        Err(anyhow!("it keeps changing"))
    }

    /// # Errors
    /// As [`Self::promote`].
    pub async fn roll_back(&mut self, records: &mut Records) -> anyhow::Result<Swapped> {
        let mut swapped = Swapped::default();
        for key in self.kept.keys() {
            swapped.looked_at += 1;
            let back = self.put_back(&key, records).await;
            match back.with_context(|| key.clone())? {
                Ok(false) => {}
                Ok(true) => swapped.objects += 1,
                Err(why) => swapped.left_alone.push((key, why)),
            }
        }
        Ok(swapped)
    }

    /// Whether it was put back; or why it is left alone.
    async fn put_back(&mut self, key: &str, records: &mut Records) -> anyhow::Result<Result<bool, String>> {
        let mut sent = false;
        for _ in 0..ROUNDS {
            let Some(stored) = self.live.get(key).await? else {
                return Ok(Err("it is not there any more".to_owned()));
            };
            let Some(kept) = self.kept.before(key, &checksum(&stored.bytes)).await? else {
                if self.kept.is_known(key, &checksum(&stored.bytes)).await? {
                    return Ok(Ok(sent));
                }
                return Ok(Err("it is not what the promotion made of it any more".to_owned()));
            };
            let (bytes, metadata) = match kept {
                Before::Object(bytes, metadata) => (bytes, metadata),
                Before::Nothing => {
                    return Ok(Err("there was none before, and nothing is deleted from bronze".to_owned()));
                }
                Before::Damaged => return Ok(Err(DAMAGED.to_owned())),
            };
            // The refiner could not take it up, and would hold the note for ever.
            if self.encodings.read_bronze(bytes.clone()).await.is_err() {
                return Ok(Err(DAMAGED.to_owned()));
            }
            if stored.bytes == bytes && stored.head.metadata == metadata {
                return Ok(Ok(sent));
            }
            let was = Head { metadata: metadata.clone(), ..stored.head.clone() };
            let note = note_of_older(key, decoder_of(&was), &stored.head.etag).context("not a key of bronze")?;
            self.leave(note).await?;
            sent = true;
            if self.put(key, (bytes, metadata), Some(&stored), records).await? {
                return Ok(Ok(true));
            }
        }
        Err(anyhow!("it keeps changing"))
    }

    /// Leaves a note for the refiner, unless it is there.
    async fn leave(&self, (key, bytes): (String, Bytes)) -> anyhow::Result<()> {
        let put = self.live.put(&key, bytes, HashMap::new(), Condition::IfNoneMatch).await;
        ensure!(
            matches!(put, Ok(Put::Done { .. } | Put::Exists)) || self.live.head(&key).await?.is_some(),
            "the refiner's note {key} could not be written: {put:?}"
        );
        Ok(())
    }

    /// Whether the object stands there now; if not, what does is to be looked at again.
    async fn put(
        &mut self,
        key: &str,
        (bytes, metadata): (Bytes, HashMap<String, String>),
        over: Option<&Object>,
        records: &mut Records,
    ) -> anyhow::Result<bool> {
        if self.looked.is_none_or(|looked| looked.elapsed() > TRUSTED) {
            let record = records.current().cloned().context("a replay without a record")?;
            records.advance(record).await?;
            self.looked = Some(Instant::now());
        }
        let condition = over.map_or(Condition::IfNoneMatch, |object| Condition::IfMatch(&object.head.etag));
        match self.live.put(key, bytes, metadata, condition).await {
            Ok(Put::Done { .. }) => Ok(true),
            Ok(Put::Exists | Put::Racing) => Ok(false),
            Err(error) => {
                let now = self.live.head(key).await?.map(|head| head.etag);
                // Nothing happened, and the store said why.
                ensure!(now != over.map(|object| object.head.etag.clone()), error);
                Ok(false)
            }
        }
    }

    /// What the refiner has still to take up of what was replaced or put back.
    pub async fn refined_lacks(&self, plan: &Plan) -> anyhow::Result<Option<String>> {
        let keys: BTreeSet<String> = self.kept.keys().into_iter().collect();
        if keys.is_empty() {
            return Ok(None);
        }
        for note in own_lake::keys(&self.live, NOTES, ".json").await? {
            let Some(object) = self.live.get(&note).await? else { continue };
            let Ok(told) = serde_json::from_slice::<Note>(&object.bytes) else { continue };
            if !keys.contains(&told.bronze) {
                continue;
            }
            // As the refiner sees it: one that was left for a PUT that was taken back, or never came, says nothing.
            let is_there = |head: &Head| decoder_of(head) >= told.version && told.replaces.as_ref() != Some(&head.etag);
            if self.live.head(&told.bronze).await?.as_ref().is_some_and(is_there) {
                return Ok(Some(format!("{} is to be taken up yet", told.bronze)));
            }
        }
        let hours = own_lake::keys(&self.own, "silver/ticks/", ".parquet").await?;
        let hours = hours.iter().filter_map(|key| refined::hour_of(key)).map(hour_of).collect();
        let fence = |stretch: &Stretch| {
            let Stretch { topic, partition, from, to, records, .. } = stretch.clone();
            Fence { topic, partition, from, to, records }
        };
        Pending::new(plan.of_topic(TICKS).map(fence).collect(), &hours).lacks(&self.live).await
    }
}
