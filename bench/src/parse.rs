//! What a source's parser does with its frames, beside serde_json's plain DOM of the same bytes: the work that any reader of
//! JSON would do before it knows a price.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use producer::config::SourceName;
use producer::parse::payload::Payload;
use producer::sources::corpus::{Sample, samples};
use producer::sources::{Source, reader};
use producer::symbols::Symbols;

/// One measurement of one side; many short ones, in turn, so that a noisy moment hits both.
const SLICE: Duration = Duration::from_millis(20);
const ROUNDS: usize = 25;
const RECEIVED_AT: i64 = 1_772_600_768_000_000;

/// Prints a line a source.
///
/// # Errors
/// When the corpus cannot be read.
pub fn print(out: &mut impl Write) -> anyhow::Result<()> {
    let symbols = Arc::new(Symbols::built_in());
    writeln!(out, "{:<16}{:>10}{:>10}{:>10}{:>22}", "parse", "frames/s", "MB/s", "ticks/s", "of serde_json's DOM")?;
    for name in SourceName::value_variants() {
        let Some(source) = reader(*name, &symbols) else { continue };
        let samples = samples(name.as_str()).with_context(|| format!("the corpus of {}", name.as_str()))?;
        // Refusals and errors are rare: what carries prices is what has to be fast.
        let samples: Vec<Sample> =
            samples.into_iter().filter(|sample| says_something(source.as_ref(), sample)).collect();
        let bytes: usize = samples.iter().map(|sample| sample.bytes.len()).sum();
        let ticks: usize = samples.iter().map(|sample| said(source.as_ref(), sample)).sum();
        let (mut ours, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let parsed = passes_a_second(|| {
                for sample in &samples {
                    black_box(source.parse(&payload(source.as_ref(), sample)));
                }
            });
            let dom = passes_a_second(|| {
                for sample in &samples {
                    black_box(serde_json::from_slice::<serde_json::Value>(&sample.bytes).ok());
                }
            });
            ours.push(parsed);
            ratios.push(parsed / dom);
        }
        let passes = median(&mut ours);
        writeln!(
            out,
            "{:<16}{:>10.0}{:>10.1}{:>10.0}{:>22.2}",
            name.as_str(),
            passes * samples.len() as f64,
            passes * bytes as f64 / 1e6,
            passes * ticks as f64,
            median(&mut ratios)
        )?;
    }
    Ok(())
}

fn payload<'a>(source: &dyn Source, sample: &'a Sample) -> Payload<'a> {
    Payload::new(source.name(), &sample.bytes, RECEIVED_AT, &sample.request)
}

fn said(source: &dyn Source, sample: &Sample) -> usize {
    let parsed = source.parse(&payload(source, sample));
    parsed.ticks.len() + parsed.weights.len()
}

fn says_something(source: &dyn Source, sample: &Sample) -> bool {
    said(source, sample) > 0
}

fn passes_a_second(mut pass: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut passes = 0_u32;
    while began.elapsed() < SLICE {
        pass();
        passes += 1;
    }
    f64::from(passes) / began.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
