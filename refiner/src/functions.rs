//! The two functions of time that Spark has and DataFusion does not, so that the same SQL runs in both: `unix_micros` and
//! `timestamp_micros`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::SessionContext;

/// Makes the functions known.
pub fn register(session: &SessionContext) {
    for kind in [Kind::UnixMicros, Kind::TimestampMicros] {
        session.register_udf(ScalarUDF::new_from_impl(Function {
            kind,
            signature: Signature::any(1, Volatility::Immutable),
        }));
    }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Timestamp to microseconds since 1970.
    UnixMicros,
    /// And back.
    TimestampMicros,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.kind {
            Kind::UnixMicros => "unix_micros",
            Kind::TimestampMicros => "timestamp_micros",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::UnixMicros => DataType::Int64,
            Kind::TimestampMicros => timestamp(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(args.number_rows)?;
        let made: ArrayRef = match self.kind {
            Kind::UnixMicros => {
                let times = cast(&array, &timestamp())?;
                let times = times.as_primitive::<TimestampMicrosecondType>();
                Arc::new(Int64Array::new(times.values().clone(), times.nulls().cloned()))
            }
            Kind::TimestampMicros => {
                let micros = cast(&array, &DataType::Int64)?;
                let micros = micros.as_primitive::<Int64Type>();
                let times = TimestampMicrosecondArray::new(micros.values().clone(), micros.nulls().cloned());
                Arc::new(times.with_timezone("UTC"))
            }
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&made, 0)?));
        }
        Ok(ColumnarValue::Array(made))
    }
}
