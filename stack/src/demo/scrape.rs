//! Asks a service's admin server: whether it is ready, and what its metrics say. One short HTTP/1.0 exchange a question,
//! bounded in time, so that a service that hangs cannot hang the demo.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(2);

/// A service's metrics at one moment, in Prometheus's text format.
#[derive(Default)]
pub struct Metrics(String);

impl Metrics {
    pub async fn of(address: SocketAddr) -> anyhow::Result<Self> {
        match get(address, "/metrics").await? {
            (200, text) => Ok(Self(text)),
            (status, _) => bail!("/metrics at {address} answered {status}"),
        }
    }

    /// The sum over all series called `name` whose labels contain `label` (`topic="…"`); `None` when there is none.
    pub fn sum(&self, name: &str, label: &str) -> Option<f64> {
        let values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            labels.contains(label).then(|| value.trim().parse::<f64>().ok()).flatten()
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }
}

/// `Ok` when the service is ready, else what it says is missing.
pub async fn ready(address: SocketAddr) -> Result<(), String> {
    match get(address, "/readyz").await {
        Ok((200, _)) => Ok(()),
        Ok((_, reasons)) => Err(reasons.trim().replace('\n', "; ")),
        Err(err) => Err(format!("{err:#}")),
    }
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("no answer from {address} within {PATIENCE:?}"))?
        .with_context(|| format!("no answer from {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("an answer without a status")?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn sums_series_by_name_and_label() {
        let metrics = Metrics(
            "# TYPE lag gauge\nlag{topic=\"a\",partition=\"0\"} 2\nlag{topic=\"a\",partition=\"1\"} 3\n\
             lag{topic=\"b\",partition=\"0\"} 40\nlag_total 7\nrows_total 1e3\n"
                .to_owned(),
        );
        let check = |name: &str, label: &str, expected: Option<f64>| assert_eq!(metrics.sum(name, label), expected);
        check("lag", "", Some(45.0));
        check("lag", "topic=\"a\"", Some(5.0));
        check("lag_total", "", Some(7.0));
        check("rows_total", "", Some(1000.0));
        check("rows", "", None);
        check("nothing", "", None);
    }
}
