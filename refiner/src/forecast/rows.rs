//! Hourly closes in from SQL, forecasts out to `gold/forecasts`. Invariant: the columns here are the table's, in its
//! order, and rows stand by symbol, then horizon.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};

use super::{Close, Forecast, ForecastHour, Series};

const UTC: &str = "+00:00";

/// The columns of [`rows`].
pub fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    let columns = [
        ("symbol", DataType::Utf8),
        ("origin", time()),
        ("target_time", time()),
        ("horizon", DataType::Int32),
        ("model", DataType::Utf8),
        ("forecast", DataType::Float64),
        ("lo80", DataType::Float64),
        ("hi80", DataType::Float64),
        ("lo95", DataType::Float64),
        ("hi95", DataType::Float64),
        ("beats_naive", DataType::Boolean),
        ("mase", DataType::Float64),
        ("mase_naive", DataType::Float64),
        ("mase_drift", DataType::Float64),
        ("coverage80", DataType::Float64),
        ("coverage95", DataType::Float64),
        ("backtest_origins", DataType::Int32),
        ("history_hours", DataType::Int32),
        ("filled_hours", DataType::Int32),
    ];
    let fields: Vec<Field> = columns.into_iter().map(|(name, of)| Field::new(name, of, false)).collect();
    Arc::new(Schema::new(fields))
}

/// One row an hour that is forecast, by symbol, then horizon (1 is the first hour after the last that has ended).
pub fn rows(forecasts: &[Forecast]) -> RecordBatch {
    let mut by_symbol: Vec<&Forecast> = forecasts.iter().collect();
    by_symbol.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    let rows: Vec<(&Forecast, i32, &ForecastHour)> = by_symbol
        .into_iter()
        .flat_map(|forecast| (1..).zip(&forecast.hours).map(move |(horizon, hour)| (forecast, horizon, hour)))
        .collect();

    type Row<'a> = (&'a Forecast, i32, &'a ForecastHour);
    let text =
        |of: fn(&Row<'_>) -> String| -> ArrayRef { Arc::new(rows.iter().map(of).map(Some).collect::<StringArray>()) };
    let time = |of: fn(&Row<'_>) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(of)).with_timezone(UTC))
    };
    let float = |of: fn(&Row<'_>) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(of))) };
    let count = |of: fn(&Row<'_>) -> i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values(rows.iter().map(of))) };
    let columns: Vec<ArrayRef> = vec![
        text(|(forecast, ..)| forecast.symbol.clone()),
        time(|(forecast, ..)| forecast.origin_us),
        time(|(.., hour)| hour.target_us),
        count(|(_, horizon, _)| *horizon),
        text(|(forecast, ..)| forecast.model.name().to_owned()),
        float(|(.., hour)| hour.forecast),
        float(|(.., hour)| hour.lo80),
        float(|(.., hour)| hour.hi80),
        float(|(.., hour)| hour.lo95),
        float(|(.., hour)| hour.hi95),
        Arc::new(rows.iter().map(|(forecast, ..)| Some(forecast.beats_naive)).collect::<BooleanArray>()),
        float(|(forecast, ..)| forecast.mase),
        float(|(forecast, ..)| forecast.mase_naive),
        float(|(forecast, ..)| forecast.mase_drift),
        float(|(forecast, ..)| forecast.coverage80),
        float(|(forecast, ..)| forecast.coverage95),
        count(|(forecast, ..)| forecast.backtest_origins as i32),
        count(|(forecast, ..)| forecast.history_hours as i32),
        count(|(forecast, ..)| forecast.filled_hours as i32),
    ];
    RecordBatch::try_new(schema(), columns).expect("each column is made for its field")
}

/// The symbols of `gold/hourly_closes.sql` (symbol, bucket, close, complete), in order of symbol; a row without a close
/// is an hour without one.
///
/// # Errors
/// When a column is missing or of a type that does not convert.
pub fn series_from(batches: &[RecordBatch]) -> anyhow::Result<Vec<Series>> {
    let mut symbols: BTreeMap<String, Vec<Close>> = BTreeMap::new();
    for batch in batches {
        let column = |name: &str, to: &DataType| -> anyhow::Result<ArrayRef> {
            let column = batch.column_by_name(name).with_context(|| format!("hourly closes have no column {name}"))?;
            cast(column, to).with_context(|| format!("column {name} of the hourly closes, to {to}"))
        };
        let symbol = column("symbol", &DataType::Utf8)?;
        let bucket = column("bucket", &DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())))?;
        let close = column("close", &DataType::Float64)?;
        let complete = column("complete", &DataType::Boolean)?;
        let (symbol, bucket) = (symbol.as_string::<i32>(), bucket.as_primitive::<TimestampMicrosecondType>());
        let (close, complete) = (close.as_primitive::<Float64Type>(), complete.as_boolean());
        for row in 0..batch.num_rows() {
            if symbol.is_null(row) || bucket.is_null(row) || close.is_null(row) {
                continue;
            }
            let complete = !complete.is_null(row) && complete.value(row);
            let close = Close { bucket_us: bucket.value(row), close: close.value(row), complete };
            symbols.entry(symbol.value(row).to_owned()).or_default().push(close);
        }
    }
    Ok(symbols.into_iter().map(|(symbol, closes)| Series { symbol, closes }).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, StringViewArray};

    use super::super::simulated::{origin_after, walk};
    use super::super::{HORIZON, HOUR_US, forecast};
    use super::*;

    #[test]
    fn rows_stand_by_symbol_then_horizon() {
        let made = ["SOL-USD", "BTC-USD"].map(|symbol| {
            let series = Series { symbol: symbol.to_owned(), ..walk(1, 300) };
            forecast(&series, origin_after(300)).expect("300 hours")
        });
        let batch = rows(&made);
        assert_eq!(batch.schema(), schema());
        assert_eq!(batch.num_rows(), 2 * HORIZON);

        let symbols = batch["symbol"].as_string::<i32>();
        let horizons = batch["horizon"].as_primitive::<arrow::datatypes::Int32Type>();
        let targets = batch["target_time"].as_primitive::<TimestampMicrosecondType>();
        let forecasts = batch["forecast"].as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let (made, hour) = (&made[1 - row / HORIZON], row % HORIZON);
            assert_eq!((symbols.value(row), horizons.value(row)), (made.symbol.as_str(), hour as i32 + 1));
            assert_eq!(targets.value(row), origin_after(300) + hour as i64 * HOUR_US);
            assert_eq!(forecasts.value(row), made.hours[hour].forecast);
        }
        assert_eq!(rows(&[]).num_rows(), 0);
    }

    fn hourly_closes(symbol: ArrayRef, close: ArrayRef) -> RecordBatch {
        let buckets = TimestampMicrosecondArray::from_iter_values([HOUR_US, 0, 0]).with_timezone("UTC");
        let complete = BooleanArray::from(vec![Some(true), Some(false), None]);
        let columns: [(&str, ArrayRef); 4] =
            [("symbol", symbol), ("bucket", Arc::new(buckets)), ("close", close), ("complete", Arc::new(complete))];
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }

    #[test]
    fn series_are_read_from_decimals_and_doubles_and_any_text() {
        let decimals = Decimal128Array::from(vec![Some(1_500_000_000_000_000_000), Some(2), None])
            .with_precision_and_scale(38, 18)
            .expect("DECIMAL(38,18)");
        let doubles = Float64Array::from(vec![Some(1.5), Some(2e-18), None]);
        let text = ["B", "A", "A"];
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(text));
        let plain: ArrayRef = Arc::new(StringArray::from_iter_values(text));

        let at = |bucket_us, close, complete| vec![Close { bucket_us, close, complete }];
        let expected = [
            Series { symbol: "A".to_owned(), closes: at(0, 2e-18, false) },
            Series { symbol: "B".to_owned(), closes: at(HOUR_US, 1.5, true) },
        ];
        assert_eq!(series_from(&[hourly_closes(views, Arc::new(decimals))]).expect("readable"), expected);
        assert_eq!(series_from(&[hourly_closes(plain, Arc::new(doubles))]).expect("readable"), expected);
        assert_eq!(series_from(&[]).expect("nothing to read"), []);
    }

    #[test]
    fn a_missing_column_is_named() {
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(["A"]));
        let batch = RecordBatch::try_from_iter([("symbol", text)]).expect("one column");
        let error = series_from(&[batch]).expect_err("no bucket").to_string();
        assert_eq!(error, "hourly closes have no column bucket");
    }
}
