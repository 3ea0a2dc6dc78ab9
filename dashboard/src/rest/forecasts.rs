//! Forecasts from the lake: `gold/forecasts` of today, and of the day before where today's are not made yet. The lake is opened
//! when the first forecast is asked for: one that is away is no reason not to start.

use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use clap::Args;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::store::{Store, StoreArgs};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use utoipa::{IntoParams, ToSchema};

use super::answer::Answer;
use super::asked::{Asked, name};
use super::cache::Kind;
use crate::http::{ApiError, App, ErrorBody};

/// A forecast object is of some hundred kilobytes; one much larger is none.
const MAX_OBJECT_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Args, Clone, Debug)]
pub struct LakeArgs {
    /// The lake's bucket, for the band of forecasts in the chart; without it there is none.
    #[arg(long, env = "S3_BUCKET", value_name = "BUCKET")]
    pub s3_bucket: Option<String>,
    /// An S3-compatible store other than AWS, such as `http://127.0.0.1:9000`; addressed by path.
    #[arg(long, env = "S3_ENDPOINT_URL", value_name = "URL")]
    pub s3_endpoint_url: Option<String>,
    /// What stands before every key of the lake.
    #[arg(long, env = "S3_PREFIX", default_value = "", value_name = "PREFIX")]
    pub s3_prefix: String,
    /// The bucket's region. Credentials come from where AWS tools look.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1", value_name = "REGION")]
    pub aws_region: String,
    /// Where gold begins.
    #[arg(long, env = "REFINER_GOLD_PREFIX", default_value = "gold", value_name = "PREFIX")]
    pub gold_prefix: String,
}

/// The lake, where one is named.
#[derive(Clone)]
pub struct Lake(Option<Arc<Named>>);

struct Named {
    args: StoreArgs,
    gold_prefix: String,
    store: OnceCell<Store>,
}

/// One hour that is forecast.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ForecastRow {
    /// The start of the hour whose closing price it is, microseconds UTC.
    pub at_us: i64,
    /// Statistics, not prices: doubles.
    pub value: f64,
    pub lo80: f64,
    pub hi80: f64,
    pub lo95: f64,
    pub hi95: f64,
    pub model: String,
    /// Whether the model was better than "as it is now" over the days before.
    pub beats_naive: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Forecasts {
    pub symbol: String,
    /// The last moment that the forecast knows of, microseconds UTC; null where there is none.
    #[schema(required)]
    pub origin_us: Option<i64>,
    /// In order of time.
    pub forecasts: Vec<ForecastRow>,
    /// Why there is none; null where there is one.
    #[schema(required)]
    pub reason: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ForecastQuery {
    /// A symbol such as BTC-USD.
    #[param(min_length = 1, max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    symbol: String,
}

/// The next hours of a symbol, as the lake's gold/forecasts has them.
#[utoipa::path(
    get,
    path = "/api/v1/forecasts",
    tag = "history",
    params(ForecastQuery),
    responses(
        (status = 200, description = "The newest forecast, or none and why", body = Forecasts),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 503, description = "The lake does not answer", body = ErrorBody),
    )
)]
pub async fn forecasts(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<ForecastQuery>,
) -> Result<Response, ApiError> {
    let symbol = name("symbol", &asked.symbol)?;
    let ttl = app.cache.ttl(Kind::Forecasts);
    // The store's client is a large future.
    let make = async { Ok(Answer::of(&Box::pin(app.lake.newest(symbol)).await?, ttl)) };
    Ok(app.cache.get(Kind::Forecasts, symbol.to_owned(), make).await?.respond(&headers))
}

impl Forecasts {
    fn none(symbol: &str, why: String) -> Self {
        Self { symbol: symbol.to_owned(), origin_us: None, forecasts: Vec::new(), reason: Some(why) }
    }
}

impl Lake {
    pub fn new(args: &LakeArgs) -> Self {
        let bucket = args.s3_bucket.clone().filter(|bucket| !bucket.is_empty());
        Self(bucket.map(|s3_bucket| {
            let store = StoreArgs {
                s3_bucket,
                s3_endpoint_url: args.s3_endpoint_url.clone(),
                s3_prefix: args.s3_prefix.clone(),
                aws_region: args.aws_region.clone(),
            };
            Arc::new(Named { args: store, gold_prefix: args.gold_prefix.clone(), store: OnceCell::new() })
        }))
    }

    async fn newest(&self, symbol: &str) -> Result<Forecasts, ApiError> {
        let Some(named) = &self.0 else {
            return Ok(Forecasts::none(symbol, "this dashboard reads no lake: set S3_BUCKET (--s3-bucket)".to_owned()));
        };
        let unavailable =
            |error: &dyn std::fmt::Display| ApiError::Unavailable(format!("the lake does not answer: {error}"));
        let store = named.store.get_or_try_init(|| Store::connect(&named.args)).await;
        let store = store.map_err(|error| unavailable(&format!("{error:#}")))?;
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        for day in [today, today.saturating_sub(1.day())] {
            let key = format!("{}/forecasts/dt={day}/part.parquet", named.gold_prefix);
            let Some(head) = store.head(&key).await.map_err(|error| unavailable(&error))? else { continue };
            if head.size > MAX_OBJECT_BYTES {
                return Err(ApiError::Unavailable(format!("{key} has {} bytes: that is no forecast", head.size)));
            }
            let Some(object) = store.get(&key).await.map_err(|error| unavailable(&error))? else { continue };
            let wanted = symbol.to_owned();
            let read = tokio::task::spawn_blocking(move || read(object.bytes, &wanted)).await;
            let read = read.map_err(|error| unavailable(&error))?;
            let found = read.map_err(|error| ApiError::Unavailable(format!("{key} cannot be read: {error:#}")))?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        let why = format!("the lake has no forecast of {symbol} for {today}: it is made from days of hourly candles");
        Ok(Forecasts::none(symbol, why))
    }
}

/// The rows of one symbol, in order of time.
fn read(bytes: Bytes, symbol: &str) -> anyhow::Result<Option<Forecasts>> {
    let mut found = Forecasts { symbol: symbol.to_owned(), origin_us: None, forecasts: Vec::new(), reason: None };
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        let batch = batch?;
        let columns = Columns::of(&batch)?;
        for row in (0..batch.num_rows()).filter(|row| columns.symbol.value(*row) == symbol) {
            found.origin_us = Some(columns.origin.value(row));
            found.forecasts.push(columns.row(row));
        }
    }
    found.forecasts.sort_by_key(|row| row.at_us);
    Ok((!found.forecasts.is_empty()).then_some(found))
}

struct Columns {
    symbol: StringArray,
    model: StringArray,
    origin: Int64Array,
    target_time: Int64Array,
    /// forecast, lo80, hi80, lo95, hi95.
    values: [Float64Array; 5],
    beats_naive: BooleanArray,
}

impl Columns {
    fn of(batch: &RecordBatch) -> anyhow::Result<Self> {
        let column = |name: &str, to: &DataType| {
            let column = batch.column_by_name(name).with_context(|| format!("it has no column {name}"))?;
            anyhow::ensure!(column.null_count() == 0, "column {name} has nulls");
            cast(column, to).with_context(|| format!("column {name}"))
        };
        let text = |name: &str| anyhow::Ok(column(name, &DataType::Utf8)?.as_string::<i32>().clone());
        let time = |name: &str| anyhow::Ok(column(name, &DataType::Int64)?.as_primitive().clone());
        let value = |name: &str| anyhow::Ok(column(name, &DataType::Float64)?.as_primitive().clone());
        Ok(Self {
            symbol: text("symbol")?,
            model: text("model")?,
            origin: time("origin")?,
            target_time: time("target_time")?,
            values: [value("forecast")?, value("lo80")?, value("hi80")?, value("lo95")?, value("hi95")?],
            beats_naive: column("beats_naive", &DataType::Boolean)?.as_boolean().clone(),
        })
    }

    fn row(&self, row: usize) -> ForecastRow {
        let [value, lo80, hi80, lo95, hi95] = self.values.each_ref().map(|values| values.value(row));
        ForecastRow {
            at_us: self.target_time.value(row),
            value,
            lo80,
            hi80,
            lo95,
            hi95,
            model: self.model.value(row).to_owned(),
            beats_naive: self.beats_naive.value(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, TimestampMicrosecondArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn object(columns: Vec<(&str, ArrayRef)>) -> Bytes {
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        bytes.into()
    }

    #[test]
    fn the_rows_of_a_symbol_are_read_in_order_of_time() {
        let time = |values: [i64; 3]| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("+00:00"))
        };
        let value = |by: f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values([1.0, 2.0, 3.0].map(|v| v + by))) };
        let bytes = object(vec![
            ("symbol", Arc::new(StringArray::from_iter_values(["BTC-USD", "BTC-USD", "ETH-USD"]))),
            ("origin", time([10, 10, 10])),
            ("target_time", time([30, 20, 20])),
            ("model", Arc::new(StringArray::from_iter_values(["ets"; 3]))),
            ("forecast", value(0.0)),
            ("lo80", value(-1.0)),
            ("hi80", value(1.0)),
            ("lo95", value(-2.0)),
            ("hi95", value(2.0)),
            ("beats_naive", Arc::new(BooleanArray::from(vec![true; 3]))),
        ]);
        let found = read(bytes.clone(), "BTC-USD").expect("read").expect("rows");
        assert_eq!((found.origin_us, found.forecasts.len()), (Some(10), 2));
        let first = ForecastRow {
            at_us: 20,
            value: 2.0,
            lo80: 1.0,
            hi80: 3.0,
            lo95: 0.0,
            hi95: 4.0,
            model: "ets".to_owned(),
            beats_naive: true,
        };
        assert_eq!(found.forecasts[0], first);
        assert_eq!(read(bytes, "DOGE-USD").expect("read"), None);
        let short = object(vec![("symbol", Arc::new(StringArray::from_iter_values(["BTC-USD"])))]);
        assert!(read(short, "BTC-USD").is_err_and(|error| error.to_string().contains("no column")));
        assert!(read(Bytes::from_static(b"nonsense"), "BTC-USD").is_err());
    }
}
