//! `tickstream dlq`: what is in the dead-letter topics, and what becomes of it. `list` and `show` read only; `redrive` sends
//! records again; `drop` says of letters that a person has dealt with them.
//!
//! A redrive is exactly once by the coordinates of the record. The record goes back to its topic, and a mark with its
//! coordinates to market.redrives.v1, in one Kafka transaction; a record that has a mark is not sent again.
//!
//! Invariant: as many copies as marks, and at most one of each. Both are written together or not at all; and there is one
//! writer, who has read every mark: the transactional id is the same in each process, so whoever begins ends what another left
//! open and shuts that one out, and reads the marks only after that, to the high watermark.
//!
//! Crash points, each of a batch: before its commit is sent (the broker aborts it after ten seconds, or when the next writer
//! begins: nothing is done, and until then readers of the topic wait); after it (the coordinator finishes it: all is done); the
//! answer lost (one of the two, and the next run reads which). A process that slept through the next one's beginning cannot
//! commit: the broker refuses it.
//!
//! A letter is never removed, for the record's own offset is accounted for by it: topic = rows + letters holds before and after,
//! and the copy is a new record of the topic, with an offset, and perhaps a letter, of its own.
//!
//! Must never happen here: a record sent whose mark is not; a record sent that would become a letter again by a rule of ours.

mod check;
mod corrections;
mod letter;
mod list;
mod marks;
mod reading;
mod reason;
mod redrive;
mod selection;
mod settle;
mod show;
mod tally;
mod writer;

use clap::Subcommand;

pub use letter::{Letter, Place};
pub use marks::Marks;
pub use selection::Coordinates;

#[derive(Subcommand, Debug)]
pub enum DlqCommand {
    /// Show the dead letters by topic, group and reason, or one by one.
    List(list::ListArgs),
    /// Show all of one record's letters: headers, reason, bytes, and what today's code makes of them.
    Show(show::ShowArgs),
    /// Send records again that would be taken now, each once. Shows what it would do unless --execute is given.
    Redrive(redrive::RedriveArgs),
    /// Say of letters that they are dealt with. Shows what it would do unless --execute is given.
    Drop(settle::DropArgs),
}

pub async fn run(command: DlqCommand) -> anyhow::Result<()> {
    match command {
        DlqCommand::List(args) => list::run(args).await,
        DlqCommand::Show(args) => show::run(args).await,
        DlqCommand::Redrive(args) => redrive::run(args).await,
        DlqCommand::Drop(args) => settle::run(args).await,
    }
}
