//! The audit measured: how long all of it takes over a market that is the same everywhere (topic, lake, Postgres, silver,
//! gold), and how long the one of each minute takes when a minute's ticks are new.

use std::path::Path;

use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use stack::Stack;

use crate::service::run;
use crate::ticks::Past;
use crate::{database, lake, now_us};

const PREFIX: &str = "audited";
const HOUR_US: i64 = 3_600_000_000;
/// The past that the ticks are of.
const HOURS: i64 = 24;
/// New before each of the incremental audits: some 170 a second.
const A_MINUTE: usize = 10_000;
const TIMES: usize = 5;

/// Prints the seconds.
///
/// # Errors
/// When a service or the refiner fails, or the audit finds something.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub async fn measure(stack: &Stack, kafka: &KafkaArgs, binaries: &Path, ticks: usize) -> anyhow::Result<()> {
    let hour = now_us() / HOUR_US * HOUR_US;
    let step_us = (HOURS * HOUR_US / i64::try_from(ticks)?).max(1);
    let begin_us = hour - HOURS * HOUR_US;
    Past { first_number: 0, count: ticks, begin_us, step_us }.publish(kafka, topics::TICKS).await?;
    lake::archive(stack, binaries, PREFIX, ticks).await?;
    database::write(stack, binaries, "audited", ticks).await?;
    run(stack, binaries, "refiner", &["once"], PREFIX).await?;

    let full = run(stack, binaries, "tickstream", &AUDIT, PREFIX).await?;
    println!("{:<44}{full:>8.1} s", format!("audit of {ticks} records"));
    let first = run(stack, binaries, "tickstream", &[&AUDIT[..], &["--incremental"]].concat(), PREFIX).await?;
    println!("{:<44}{first:>8.1} s", "the first incremental one, of all of them");
    let mut each = Vec::new();
    for time in 0..TIMES {
        let first_number = ticks + time * A_MINUTE;
        let begin_us = hour + i64::try_from(time)? * 60_000_000;
        let step_us = 60_000_000 / i64::try_from(A_MINUTE)?;
        Past { first_number, count: A_MINUTE, begin_us, step_us }.publish(kafka, topics::TICKS).await?;
        lake::archive(stack, binaries, PREFIX, A_MINUTE).await?;
        database::write(stack, binaries, "audited", A_MINUTE).await?;
        run(stack, binaries, "refiner", &["once"], PREFIX).await?;
        each.push(run(stack, binaries, "tickstream", &[&AUDIT[..], &["--incremental"]].concat(), PREFIX).await?);
    }
    each.sort_by(f64::total_cmp);
    println!("{:<44}{:>8.2} s", format!("incremental, {A_MINUTE} new (median of {TIMES})"), each[TIMES / 2]);
    println!("{:<44}{:>8.2} s", "the slowest of them", each[TIMES - 1]);
    Ok(())
}

const AUDIT: [&str; 7] =
    ["audit", "--topic", topics::TICKS, "--lake-group", "bench-audited", "--db-group", "bench-audited"];
