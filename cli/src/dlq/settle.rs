//! `tickstream dlq drop`: says of letters that a person has dealt with them. The letters stay where they are, since a log loses
//! nothing; they are told apart from then on.

use clap::Args;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;

use super::letter::Letter;
use super::marks::{Marks, State, expect_topic};
use super::reading::{Known, Source};
use super::selection::{Coordinates, Named, Selection};
use super::tally::{Kind, Outcome, Tally, counted};
use super::writer::{Dealt, Writer};
use crate::output::{self, OutputArgs};

/// Letters in a transaction.
const BATCH: usize = 5_000;
/// It stands in a record of each letter.
const LONGEST_WHY: usize = 500;

#[derive(Args, Debug)]
pub struct DropArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The letters of these records, as TOPIC:PARTITION:OFFSET. Default: all that the filters leave.
    #[arg(env = "DLQ_COORDINATES", value_delimiter = ',', value_name = "COORDINATES")]
    coordinates: Vec<Coordinates>,
    #[command(flatten)]
    selection: Selection,
    /// So many letters at most.
    #[arg(long, env = "DLQ_LIMIT", value_name = "N")]
    limit: Option<u64>,
    /// Why they are dealt with: a sentence for whoever asks later.
    #[arg(long, env = "DLQ_WHY", value_name = "TEXT")]
    why: String,
    /// Do it. Without this, only what would be done is shown.
    #[arg(long, env = "DLQ_EXECUTE")]
    execute: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(args: DropArgs) -> anyhow::Result<()> {
    args.selection.check()?;
    let why = args.why.trim();
    if why.is_empty() || why.len() > LONGEST_WHY {
        return Err(misconfigured(format!(
            "--why (DLQ_WHY) has {} bytes: a reason of 1 to {LONGEST_WHY} is kept with each letter",
            why.len()
        )));
    }
    let named = Named::new(&args.coordinates);
    let known = Known::ask(&args.kafka, &named.topics(&args.selection)).await?;
    let (writer, marks) = if args.execute {
        expect_topic(&known.metadata, &args.kafka.kafka_bootstrap_servers)?;
        (Some(Writer::open(&args.kafka).await?), known.marks_to_write().await?)
    } else {
        (None, known.marks().await?)
    };
    let mut dropping = Dropping {
        why: why.to_owned(),
        selection: args.selection,
        named,
        limit: args.limit.unwrap_or(u64::MAX),
        chosen: 0,
        marks,
        writer,
        batch: Vec::new(),
        tally: Tally::default(),
    };
    let mut worked = Ok(());
    for source in &known.sources {
        worked = dropping.source(&known.kafka, source).await;
        if worked.is_err() {
            break;
        }
    }
    dropping.conclude(&args.output, worked)
}

struct Dropping {
    why: String,
    selection: Selection,
    named: Named,
    limit: u64,
    chosen: u64,
    marks: Marks,
    /// `None` in a preview.
    writer: Option<Writer>,
    batch: Vec<(Dealt, Kind)>,
    tally: Tally,
}

impl Dropping {
    async fn source(&mut self, kafka: &KafkaArgs, source: &Source) -> anyhow::Result<()> {
        let read = source.read(kafka, async |letters, _| {
            for letter in &letters {
                self.take(source, letter);
                if self.batch.len() >= BATCH {
                    self.flush().await?;
                }
            }
            Ok(())
        });
        let unreadable = read.await?;
        if let Some(line) = source.unreadable(unreadable) {
            output::note(&line);
        }
        self.flush().await
    }

    fn take(&mut self, source: &Source, letter: &Letter) {
        if !self.named.takes(source, letter) || !self.selection.takes(letter) || self.chosen >= self.limit {
            return;
        }
        let outcome = match self.marks.state(letter, source.topic_id) {
            State::Redriven => Outcome::Skipped("redriven before"),
            State::Dropped => Outcome::Skipped("dropped before"),
            State::Open | State::Earlier => Outcome::Done,
        };
        let is_done = outcome == Outcome::Done;
        let kind = Kind::new(&source.topic, letter, outcome);
        if is_done {
            self.chosen += 1;
            let (topic, group, why) = (source.topic.to_string(), letter.group.clone(), self.why.clone());
            self.batch.push((Dealt { place: letter.place, topic, group, why }, kind));
        } else {
            self.tally.add(kind);
        }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let (letters, kinds): (Vec<Dealt>, Vec<Kind>) = std::mem::take(&mut self.batch).into_iter().unzip();
        if letters.is_empty() {
            return Ok(());
        }
        if let Some(writer) = &self.writer {
            writer.drop(&letters).await?;
        }
        kinds.into_iter().for_each(|kind| self.tally.add(kind));
        Ok(())
    }

    fn conclude(self, output: &OutputArgs, worked: anyhow::Result<()>) -> anyhow::Result<()> {
        let Self { named, writer, tally, .. } = self;
        let verb = if writer.is_none() { "would be dropped" } else { "dropped" };
        let (done, skipped) = (tally.done(), tally.skipped());
        tally.print(output.format, verb)?;
        let mut summary = format!("{} {verb}, {skipped} settled before", counted(done, "letter"));
        if writer.is_none() {
            summary.push_str("; a preview: nothing was written, --execute does it");
        }
        output::note(&summary);
        worked?;
        named.expect_found()
    }
}
