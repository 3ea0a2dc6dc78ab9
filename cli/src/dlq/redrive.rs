//! `tickstream dlq redrive`: the letters that are meant and open, checked, and sent again a batch at a time.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::anyhow;
use arrow::array::{Array, BinaryArray};
use clap::Args;
use jiff::Timestamp;
use pipeline::codec::{Encoder, RecordType};
use pipeline::kafka::KafkaArgs;
use pipeline::records::Records;
use pipeline::registry::RegistryArgs;

use super::check::{Checked, Checker};
use super::corrections::Corrections;
use super::letter::{Letter, Place};
use super::marks::{Marks, State, expect_topic};
use super::reading::{Known, Source};
use super::selection::{Coordinates, Named, Selection};
use super::tally::{Kind, Outcome, Tally, counted};
use super::writer::{Again, Writer};
use crate::output::{self, OutputArgs, Progress};

/// Records in a transaction.
const BATCH_RECORDS: usize = 200;
/// A batch ends when it has so many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// What a letter's reason begins with where Postgres itself refused the row.
const BY_POSTGRES: &str = "Postgres: ";

#[derive(Args, Debug)]
pub struct RedriveArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The records to send again, as TOPIC:PARTITION:OFFSET; one that was dropped is taken too. Default: all open letters that
    /// the filters leave.
    #[arg(env = "DLQ_COORDINATES", value_delimiter = ',', value_name = "COORDINATES")]
    coordinates: Vec<Coordinates>,
    #[command(flatten)]
    selection: Selection,
    /// So many letters at most.
    #[arg(long, env = "DLQ_LIMIT", value_name = "N")]
    limit: Option<u64>,
    /// Send corrected ticks in place of what was refused: the changes that `producer renormalize --dry-run` printed, or - for
    /// standard input. A letter whose event has no correction there is left.
    #[arg(long, env = "DLQ_RENORMALIZE", value_name = "FILE")]
    renormalize: Option<PathBuf>,
    /// How old a tick may be, in days: consumer-db's own setting, since it would refuse an older one again.
    #[arg(long, env = "DB_OLDEST_EVENT_DAYS", default_value = "400", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    oldest_event_days: u32,
    /// Do it. Without this, only what would be done is shown.
    #[arg(long, env = "DLQ_EXECUTE")]
    execute: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(args: RedriveArgs) -> anyhow::Result<()> {
    args.selection.check()?;
    let named = Named::new(&args.coordinates);
    let fix = match &args.renormalize {
        None => None,
        Some(path) => {
            Some(Fix { corrections: Corrections::read(path)?, encoder: Encoder::new(args.registry.framing()?).await? })
        }
    };
    let registry = args.registry.registry()?;
    let known = Known::ask(&args.kafka, &named.topics(&args.selection)).await?;
    let (writer, marks) = if args.execute {
        expect_topic(&known.metadata, &args.kafka.kafka_bootstrap_servers)?;
        // In this order: what is settled is known once nobody else can settle anything.
        (Some(Writer::open(&args.kafka).await?), known.marks_to_write().await?)
    } else {
        (None, known.marks().await?)
    };
    let mut redrive = Redrive {
        selection: args.selection,
        named,
        limit: args.limit.unwrap_or(u64::MAX),
        fix,
        marks,
        writer,
        batch: Batch::default(),
        sent: HashSet::new(),
        chosen: 0,
        by_postgres: 0,
        tally: Tally::default(),
        progress: Progress::default(),
    };
    let mut worked = Ok(());
    for source in &known.sources {
        let mut checker = Checker::new(source.record, registry.clone(), args.oldest_event_days);
        worked = redrive.source(&known.kafka, source, &mut checker).await;
        if worked.is_err() {
            break;
        }
    }
    redrive.conclude(&args.output, worked)
}

/// What takes the place of a refused tick.
struct Fix {
    corrections: Corrections,
    encoder: Encoder,
}

/// What one transaction writes, and whose letters that settles.
#[derive(Default)]
struct Batch {
    records: Vec<Again>,
    bytes: usize,
    places: HashSet<Place>,
    kinds: Vec<Kind>,
}

struct Redrive {
    selection: Selection,
    named: Named,
    limit: u64,
    fix: Option<Fix>,
    marks: Marks,
    /// `None` in a preview.
    writer: Option<Writer>,
    batch: Batch,
    /// Records that this run has sent again.
    sent: HashSet<Place>,
    chosen: u64,
    /// Of those chosen, the ones that Postgres itself refused.
    by_postgres: u64,
    tally: Tally,
    progress: Progress,
}

impl Redrive {
    async fn source(&mut self, kafka: &KafkaArgs, source: &Source, checker: &mut Checker) -> anyhow::Result<()> {
        let read = source.read(kafka, async |letters, records| self.take(source, checker, letters, records).await);
        let unreadable = read.await?;
        if let Some(line) = source.unreadable(unreadable) {
            output::note(&line);
        }
        self.flush().await
    }

    async fn take(
        &mut self,
        source: &Source,
        checker: &mut Checker,
        letters: Vec<Letter>,
        records: &Records,
    ) -> anyhow::Result<()> {
        let open: Vec<Letter> = letters.into_iter().filter(|letter| self.is_open(source, letter)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let values = records.values();
        let refused = open.iter().map(|letter| values.is_valid(letter.row).then(|| values.value(letter.row)));
        let now = Timestamp::now().as_microsecond();
        let checked = checker.check(&BinaryArray::from_iter(refused), now).await?;
        let records_again = self.records_again(source, checker, &open, checked, records, now).await?;
        for (letter, again) in open.iter().zip(records_again) {
            match again {
                _ if self.chosen >= self.limit => {}
                Err(why) => self.tally.add(Kind::new(&source.topic, letter, Outcome::Refused(why))),
                Ok(again) => self.choose(source, letter, again).await?,
            }
        }
        self.progress.tell(|| format!("{}: {} so far", source.topic, counted(self.chosen, "letter")));
        Ok(())
    }

    /// Whether it is meant and may be sent; one that is meant and may not be is counted.
    fn is_open(&mut self, source: &Source, letter: &Letter) -> bool {
        if !self.named.takes(source, letter) || !self.selection.takes(letter) || self.chosen >= self.limit {
            return false;
        }
        let of_earlier = || Outcome::Refused("it is of the topic as it was before it was made anew".to_owned());
        let outcome = match self.marks.state(letter, source.topic_id) {
            State::Open => return true,
            State::Dropped if self.named.is_empty() => Outcome::Skipped("dropped before"),
            State::Dropped if letter.place.topic_id == source.topic_id => return true,
            State::Dropped | State::Earlier => of_earlier(),
            State::Redriven => Outcome::Skipped("redriven before"),
        };
        self.tally.add(Kind::new(&source.topic, letter, outcome));
        false
    }

    /// What each letter's record would be sent as, or why it is not sent.
    async fn records_again(
        &self,
        source: &Source,
        checker: &mut Checker,
        open: &[Letter],
        checked: Vec<Checked>,
        records: &Records,
        now: i64,
    ) -> anyhow::Result<Vec<Result<Again, String>>> {
        let Some(fix) = &self.fix else {
            let as_they_were = open.iter().zip(checked).map(|(letter, checked)| match checked.refused {
                Some(why) => Err(why),
                None => Ok(as_it_was(source, letter, records)),
            });
            return Ok(as_they_were.collect());
        };
        let mut again: Vec<Result<Again, String>> = Vec::with_capacity(open.len());
        for (letter, checked) in open.iter().zip(checked) {
            again.push(fix.corrected(source, letter, &checked, records));
        }
        let values = again.iter().map(|again| again.as_ref().ok().map(|again| again.value.as_slice()));
        let checked = checker.check(&BinaryArray::from_iter(values), now).await?;
        for (again, checked) in again.iter_mut().zip(checked) {
            if let (Ok(_), Some(why)) = (&again, checked.refused) {
                *again = Err(format!("its correction: {why}"));
            }
        }
        Ok(again)
    }

    async fn choose(&mut self, source: &Source, letter: &Letter, again: Again) -> anyhow::Result<()> {
        self.chosen += 1;
        self.by_postgres += u64::from(letter.reason.starts_with(BY_POSTGRES));
        let kind = Kind::new(&source.topic, letter, Outcome::Done);
        if self.sent.contains(&letter.place) {
            // For another group, which refused the same record.
            self.tally.add(kind);
            return Ok(());
        }
        self.batch.kinds.push(kind);
        if self.batch.places.insert(letter.place) {
            self.batch.bytes += again.bytes();
            self.batch.records.push(again);
        }
        if self.batch.records.len() >= BATCH_RECORDS || self.batch.bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes the batch; a preview only counts it.
    async fn flush(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.records.is_empty() {
            return Ok(());
        }
        if let Some(writer) = &self.writer {
            writer.redrive(&batch.records).await?;
        }
        self.sent.extend(batch.places);
        batch.kinds.into_iter().for_each(|kind| self.tally.add(kind));
        Ok(())
    }

    fn conclude(self, output: &OutputArgs, worked: anyhow::Result<()>) -> anyhow::Result<()> {
        let Self { named, writer, sent, by_postgres, tally, .. } = self;
        let (done, refused, skipped) = (tally.done(), tally.refused(), tally.skipped());
        let is_preview = writer.is_none();
        tally.print(output.format, if is_preview { "would be redriven" } else { "redriven" })?;
        let verb = if is_preview { "would be redriven" } else { "redriven" };
        let mut summary = format!(
            "{} {verb} ({}), {refused} refused, {skipped} settled before",
            counted(done, "letter"),
            counted(sent.len() as u64, "record")
        );
        if is_preview {
            summary.push_str("; a preview: nothing was written, --execute does it");
        }
        output::note(&summary);
        if by_postgres > 0 {
            let of_these = counted(by_postgres, "letter");
            output::note(&format!(
                "{of_these} of them Postgres itself refused; what it says today is not known before it is tried"
            ));
        }
        worked?;
        named.expect_found()?;
        match refused {
            0 => Ok(()),
            1 => Err(anyhow!("1 letter is left: it would fail again, or may not be sent again")),
            refused => Err(anyhow!("{refused} letters are left: they would fail again, or may not be sent again")),
        }
    }
}

impl Fix {
    fn corrected(
        &self,
        source: &Source,
        letter: &Letter,
        checked: &Checked,
        records: &Records,
    ) -> Result<Again, String> {
        let unknown = || match source.record {
            RecordType::PriceTick => "it does not decode, so its event is not known".to_owned(),
            _ => format!("corrections are of ticks, and this is a record of {}", source.topic),
        };
        let event_id = checked.event.as_ref().and_then(|event| event.tick_id()).ok_or_else(unknown)?;
        let tick = self.corrections.of_event(event_id).ok_or("no correction of its event is given")?;
        let (key, value) = (Some(tick.symbol.clone().into_bytes()), self.encoder.tick(tick));
        Ok(Again { key, value, corrected: true, ..as_it_was(source, letter, records) })
    }
}

/// Of a letter that has a value: one without does not decode.
fn as_it_was(source: &Source, letter: &Letter, records: &Records) -> Again {
    let (keys, values, row) = (records.keys(), records.values(), letter.row);
    Again {
        place: letter.place,
        topic: source.topic.to_string(),
        key: keys.is_valid(row).then(|| keys.value(row).to_vec()),
        value: values.value(row).to_vec(),
        headers: letter.headers.clone(),
        corrected: false,
    }
}
