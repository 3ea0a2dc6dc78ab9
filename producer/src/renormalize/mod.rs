//! `producer renormalize`: today's parsers over what was received, and only what differs from what was published goes out,
//! as corrections of the same events. The way: what was published is gathered (`published`), every payload is read as the
//! live drivers read it (`reread`), the two are compared (`compare`), the corrections are sent (`send`). Invariant: run
//! twice, the second time changes nothing. Must never happen here: a tick taken back whose payload was not read.

mod args;
mod compare;
mod kafka_log;
mod published;
mod raw_lake;
mod reread;
mod send;

use std::io::{self, Write};

use anyhow::{anyhow, bail};
use pipeline::codec::{Encoder, RecordType};
use pipeline::decode::{Decoder, Payloads};
use pipeline::misconfigured;
use pipeline::payload::Joiner;
use pipeline::records::Records;
use pipeline::registry::Registry;
use pipeline::store::Store;
use pipeline::topics;
use tokio_util::sync::CancellationToken;

pub use args::RenormalizeArgs;
pub use compare::{Change, Comparison, Counted, Kind};
use kafka_log::Log;
use published::Published;
use reread::Reader;

/// Micros UTC, the end exclusive.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub from: i64,
    pub to: i64,
}

impl Range {
    #[must_use]
    pub fn contains(self, at: i64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// How far before the range polls are read, to know what a source that repeats itself had told last.
const LEAD: i64 = 60 * 60 * 1_000_000;
/// How far the broker's clock may be behind a producer's.
const SKEW: i64 = 10 * 60 * 1_000_000;

/// What was found, for the last lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub payloads: u64,
    pub unreadable: u64,
}

/// Reads, compares, and publishes the corrections; a dry run prints them instead.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a mistake that the user can mend; anything else when it was interrupted, or when not every
/// correction was acknowledged.
pub async fn renormalize(args: RenormalizeArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let compared = shutdown.run_until_cancelled(Box::pin(read_and_compare(&args))).await;
    let Some(compared) = compared else { bail!("interrupted; nothing was published") };
    let (found, mut comparison) = compared?;
    let Counted { same, changed, new, retracted, left_alone } = comparison.counts();
    let summary = format!(
        "{} payloads read, {} could not be read\n\
         {same} ticks the same, {changed} changed, {new} new, {retracted} retracted; \
         {left_alone} left alone, since their payloads were not read\n",
        found.payloads, found.unreadable
    );
    if args.dry_run {
        while let Some(changes) = comparison.next_changes().await? {
            print_changes(&changes)?;
        }
        // The changes alone are the output: they go on to a program.
        drop(io::stderr().write_all(format!("{summary}a dry run: nothing was published\n").as_bytes()));
        return Ok(());
    }
    print(&summary)?;
    let corrections = changed + new + retracted;
    if corrections == 0 {
        return print("nothing to publish\n");
    }
    let sending = send::Sending::start(&args.kafka, Encoder::new(args.registry.framing()?).await?).await?;
    while let Some(changes) = comparison.next_changes().await? {
        if shutdown.is_cancelled() {
            break;
        }
        sending.send(changes.into_iter().map(|change| change.new).collect()).await?;
    }
    let acknowledged = sending.finish().await?;
    print(&format!("{acknowledged} of {corrections} published ticks were acknowledged\n"))?;
    if acknowledged < corrections {
        return Err(anyhow!("{} ticks were not acknowledged; run it again", corrections - acknowledged));
    }
    Ok(())
}

/// Reads the payloads and what was published of them, and compares the two. Publishes nothing.
///
/// # Errors
/// As [`renormalize`].
pub async fn read_and_compare(args: &RenormalizeArgs) -> anyhow::Result<(Found, Comparison)> {
    let range = args.range()?;
    let mut reader = Reader::new(args)?;
    let registry = args.registry.registry()?;
    let log = Log::connect(&args.kafka).await?;
    // The payloads' end first: the ticks of a payload follow it, and are then before the ticks' end.
    let payloads = log.since(topics::PAYLOADS, range.from - LEAD - SKEW).await?;
    let ticks = log.since(topics::TICKS, range.from - SKEW).await?;
    let store = if args.lake { Some(Store::connect(&args.store).await?) } else { None };

    let mut published = Published::new(range, reader.names(), args.max_ticks, registry.clone()).await?;
    if let Some(store) = &store {
        let take = async |place, records: Records| published.take(place, &records).await;
        raw_lake::read(store, topics::TICKS, range.from - SKEW, take).await?;
    }
    log.read(topics::TICKS, &ticks, async |place, records| published.take(place, &records).await).await?;

    let mut found = Found::default();
    let mut comparison = Comparison::new(published, args.max_ticks);
    let mut payload_reader = PayloadReader::new(range, registry);
    let mut take = async |records: Records| {
        let whole = payload_reader.whole(&records, &reader).await?;
        found.unreadable = payload_reader.unreadable();
        for payload in whole {
            found.payloads += u64::from(range.contains(payload.received_at));
            reader.read(&payload, range, &mut comparison)?;
        }
        anyhow::Ok(())
    };
    match &store {
        Some(store) => {
            let objects = raw_lake::read(store, topics::PAYLOADS, range.from - LEAD - SKEW, async |_, records| {
                take(records).await
            })
            .await?;
            if objects == 0 {
                return Err(misconfigured(format!(
                    "the lake has no raw objects of {} under prefix {:?} of bucket {}: name the lake with --s3-bucket (S3_BUCKET) \
                     and --s3-prefix (S3_PREFIX), or leave --lake out",
                    topics::PAYLOADS,
                    args.store.s3_prefix,
                    args.store.s3_bucket
                )));
            }
        }
        None => log.read(topics::PAYLOADS, &payloads, async |_, records| take(records).await).await?,
    }
    found.unreadable += payload_reader.unfinished();
    Ok((found, comparison))
}

/// Records to whole payloads of the sources and the time that matter.
struct PayloadReader {
    range: Range,
    decoder: Decoder,
    joiner: Joiner,
    unreadable: u64,
}

impl PayloadReader {
    fn new(range: Range, registry: Option<Registry>) -> Self {
        let decoder = Decoder::new(RecordType::Payload, registry);
        Self { range, decoder, joiner: Joiner::new(), unreadable: 0 }
    }

    async fn whole(&mut self, records: &Records, reader: &Reader) -> anyhow::Result<Vec<pipeline::payload::Payload>> {
        let decoded = self.decoder.decode(records.values()).await?;
        self.unreadable += decoded.bad.len() as u64;
        let columns = Payloads::new(&decoded.batch);
        let mut whole = Vec::new();
        for row in 0..columns.len() {
            let received_at = columns.received_ats.value(row);
            let wanted = (self.range.from - LEAD..self.range.to).contains(&received_at);
            if !wanted || !reader.reads(columns.sources.value(row)) {
                continue;
            }
            match self.joiner.push(columns.get(row)) {
                Ok(payload) => whole.extend(payload),
                Err(error) => {
                    self.unreadable += 1;
                    tracing::warn!(%error, "a payload cannot be read");
                }
            }
        }
        Ok(whole)
    }

    fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Payloads of which parts are missing.
    fn unfinished(&self) -> u64 {
        self.joiner.given_up() + self.joiner.unfinished() as u64
    }
}

fn print_changes(changes: &[Change]) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for change in changes {
        serde_json::to_writer(&mut lines, change)?;
        lines.push(b'\n');
    }
    write_out(&lines)
}

fn print(text: &str) -> anyhow::Result<()> {
    write_out(text.as_bytes())
}

/// Whoever reads our output may have enough of it (`| head`).
fn write_out(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
