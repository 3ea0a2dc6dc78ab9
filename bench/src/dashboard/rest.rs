//! Answers from the cache at a steady rate: requests are sent by the clock, so that one slow answer does not hide the next.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::percentile;
use crate::ticks::symbol;

const PER_SECOND: u32 = 1000;
const SECONDS: u32 = 10;

/// Median and 99th percentile of the answers' times in microseconds.
pub async fn measure(host: &str) -> anyhow::Result<(u32, u32)> {
    let http = reqwest::Client::new();
    let urls: Vec<String> = (0..10)
        .flat_map(|index| {
            let symbol = symbol(index);
            [
                format!("http://{host}/api/v1/candles?symbol={symbol}&tf=1m&limit=5"),
                format!("http://{host}/api/v1/statistics?symbol={symbol}&hours=1"),
            ]
        })
        .collect();
    for url in &urls {
        ask(&http, url).await?;
    }
    let begun = Instant::now();
    let mut answers = JoinSet::new();
    for number in 0..PER_SECOND * SECONDS {
        tokio::time::sleep_until((begun + Duration::from_secs(1) * number / PER_SECOND).into()).await;
        let (http, url) = (http.clone(), urls[number as usize % urls.len()].clone());
        answers.spawn(async move {
            let asked = Instant::now();
            ask(&http, &url).await?;
            anyhow::Ok(u32::try_from(asked.elapsed().as_micros())?)
        });
    }
    let mut times = Vec::new();
    while let Some(time) = answers.join_next().await {
        times.push(time??);
    }
    Ok((percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
}

async fn ask(http: &reqwest::Client, url: &str) -> anyhow::Result<()> {
    http.get(url).send().await?.error_for_status()?.bytes().await?;
    Ok(())
}
