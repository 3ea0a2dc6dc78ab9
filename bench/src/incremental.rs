//! What `refiner once` takes for one new day, in a lake of one day, of ten, of thirty and of a hundred: it must grow with what is
//! new, not with the lake. Up to 28 days it grows with the history that the new day's forecasts are made and tested on. The new
//! day is the newest: an older one is also history to the forecasts of the 28 days after it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use stack::Stack;

use crate::ticks::Past;
use crate::{lake, now_us};

const PREFIX: &str = "growing";
/// Ticks of a day, over all its hours.
const TICKS_A_DAY: usize = 20_000;
const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
const SCALES: [usize; 4] = [1, 10, 30, 100];

/// Prints a line for each size.
///
/// # Errors
/// When a service or the refiner fails.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub async fn measure(stack: &Stack, kafka: &KafkaArgs, binaries: &Path) -> anyhow::Result<()> {
    let all_days = i64::try_from(SCALES.len() + SCALES.iter().max().unwrap_or(&0))?;
    let oldest = now_us() / DAY_US * DAY_US - all_days * DAY_US;
    let mut days = 0;
    println!("{:<10}{:>14}{:>16}{:>18}", "days", "ticks", "all new, s", "one day new, s");
    for scale in SCALES {
        let grown = scale - days;
        publish(kafka, oldest, days, grown).await?;
        days += grown;
        let all = refine(stack, binaries, grown * TICKS_A_DAY).await?;
        // The day that is measured counts for the next size, too.
        publish(kafka, oldest, days, 1).await?;
        days += 1;
        let one = refine(stack, binaries, TICKS_A_DAY).await?;
        println!("{scale:<10}{:>14}{all:>16.1}{one:>18.1}", scale * TICKS_A_DAY);
    }
    Ok(())
}

/// So many further days.
async fn publish(kafka: &KafkaArgs, oldest: i64, after: usize, count: usize) -> anyhow::Result<()> {
    for day in after..after + count {
        let begin_us = oldest + i64::try_from(day)? * DAY_US;
        let step_us = DAY_US / i64::try_from(TICKS_A_DAY)?;
        Past { first_number: day * TICKS_A_DAY, count: TICKS_A_DAY, begin_us, step_us }
            .publish(kafka, topics::TICKS)
            .await?;
    }
    Ok(())
}

/// Seconds that the refiner took, once all records are in the lake.
async fn refine(stack: &Stack, binaries: &Path, new: usize) -> anyhow::Result<f64> {
    lake::archive(stack, binaries, PREFIX, new).await?;
    let mut refiner = Command::new(binaries.join("refiner"));
    refiner.arg("once").envs(stack.env()).env("S3_PREFIX", PREFIX).env("RUST_LOG", "warn");
    let begun = Instant::now();
    let status = crate::blocking(move || Ok(refiner.status()?)).await?;
    anyhow::ensure!(status.success(), "refiner once: {status}");
    Ok(begun.elapsed().as_secs_f64())
}
