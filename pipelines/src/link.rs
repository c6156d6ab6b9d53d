//! The stage functions as DataFusion's: their SQL names and types, and how a column of arguments is worked through.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, Int64Array, StringArray};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::cast::{as_binary_array, as_int64_array, as_string_array};
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};

use crate::functions::{Functions, Unavailable};

/// Calls of an asynchronous function under way at once, per batch.
const IN_FLIGHT: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    FetchBody,
    Summarise,
    Authenticate,
    ScanVirus,
    ScoreSpam,
    FirstSeen,
}

impl Name {
    const ALL: [Name; 6] =
        [Name::FetchBody, Name::Summarise, Name::Authenticate, Name::ScanVirus, Name::ScoreSpam, Name::FirstSeen];

    const fn sql(self) -> &'static str {
        match self {
            Name::FetchBody => "fetch_body",
            Name::Summarise => "summarise",
            Name::Authenticate => "authenticate",
            Name::ScanVirus => "scan_virus",
            Name::ScoreSpam => "score_spam",
            Name::FirstSeen => "first_seen",
        }
    }

    const fn is_async(self) -> bool {
        matches!(self, Name::FetchBody | Name::Authenticate | Name::FirstSeen)
    }

    fn arguments(self) -> Vec<DataType> {
        use DataType::{Binary, Int64, Utf8};
        match self {
            Name::FetchBody => vec![Utf8],
            Name::Summarise | Name::ScanVirus => vec![Binary],
            Name::Authenticate => vec![Binary, Utf8, Utf8, Utf8, Utf8],
            Name::ScoreSpam => vec![Binary, Utf8],
            Name::FirstSeen => vec![Utf8, Utf8, Utf8, Int64],
        }
    }

    fn result(self) -> DataType {
        if self == Name::FetchBody { DataType::Binary } else { DataType::Utf8 }
    }
}

/// The stage functions as SQL calls them.
#[cfg(test)]
pub(crate) fn names() -> Vec<&'static str> {
    Name::ALL.into_iter().map(Name::sql).collect()
}

/// Whether the stage function `name` is asynchronous.
pub(crate) fn is_async(name: &str) -> bool {
    Name::ALL.into_iter().any(|known| known.sql() == name && known.is_async())
}

/// All stage functions. Without `functions` they can be planned with, but not called.
pub(crate) fn scalar_functions(functions: Option<&Arc<dyn Functions>>) -> Vec<ScalarUDF> {
    let link = |name: Name| {
        let signature = Signature::exact(name.arguments(), Volatility::Immutable);
        let linked = Linked { name, signature, functions: functions.cloned() };
        if name.is_async() {
            AsyncScalarUDF::new(Arc::new(linked)).into_scalar_udf()
        } else {
            ScalarUDF::new_from_impl(linked)
        }
    };
    Name::ALL.into_iter().map(link).collect()
}

struct Linked {
    name: Name,
    signature: Signature,
    functions: Option<Arc<dyn Functions>>,
}

impl Linked {
    fn functions(&self) -> Result<&Arc<dyn Functions>> {
        match &self.functions {
            Some(functions) => Ok(functions),
            None => internal_err!("{} was planned without its implementation", self.name.sql()),
        }
    }
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Linked").field(&self.name).finish()
    }
}

impl PartialEq for Linked {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Linked {}

impl Hash for Linked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Linked {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name.sql()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.name.result())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = arrays(&args)?;
        let functions = self.functions()?;
        let raw = as_binary_array(&arrays[0])?;
        let result: StringArray = match self.name {
            Name::Summarise => raw.iter().map(|raw| raw.map(|raw| functions.summarise(raw))).collect(),
            Name::ScanVirus => raw.iter().map(|raw| raw.map(|raw| functions.scan_virus(raw))).collect(),
            Name::ScoreSpam => {
                let rows = raw.iter().zip(as_string_array(&arrays[1])?);
                rows.map(|(raw, auth)| Some(functions.score_spam(raw?, auth?))).collect()
            }
            _ => return exec_err!("{} is asynchronous", self.name.sql()),
        };
        Ok(ColumnarValue::Array(Arc::new(result)))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Linked {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = arrays(&args)?;
        let functions = self.functions()?.as_ref();
        let result: ArrayRef = match self.name {
            Name::FetchBody => Arc::new(fetch_bodies(functions, as_string_array(&arrays[0])?).await?),
            Name::Authenticate => Arc::new(authenticate(functions, &arrays).await?),
            Name::FirstSeen => Arc::new(first_seen(functions, &arrays).await?),
            _ => return exec_err!("{} is not asynchronous", self.name.sql()),
        };
        Ok(ColumnarValue::Array(result))
    }
}

fn arrays(args: &ScalarFunctionArgs) -> Result<Vec<ArrayRef>> {
    args.args.iter().map(|value| value.to_array(args.number_rows)).collect()
}

/// Awaits the calls of all rows, a bounded number at once; results in the order of the rows.
async fn gather<T>(calls: Vec<BoxFuture<'_, Result<T, Unavailable>>>) -> Result<Vec<T>> {
    let results = stream::iter(calls).buffered(IN_FLIGHT).try_collect().await;
    results.map_err(|unavailable| DataFusionError::External(Box::new(unavailable)))
}

async fn fetch_bodies(functions: &dyn Functions, bodies: &StringArray) -> Result<BinaryArray> {
    let calls: Vec<BoxFuture<'_, _>> = (bodies.iter())
        .map(|body| -> BoxFuture<'_, _> {
            Box::pin(async move {
                match body {
                    Some(body) => functions.fetch_body(body).await,
                    None => Ok(None),
                }
            })
        })
        .collect();
    let fetched = gather(calls).await?;
    let bytes = fetched.iter().flatten().map(bytes::Bytes::len).sum();
    let mut builder = BinaryBuilder::with_capacity(fetched.len(), bytes);
    for body in &fetched {
        builder.append_option(body.as_deref());
    }
    Ok(builder.finish())
}

async fn authenticate(functions: &dyn Functions, arrays: &[ArrayRef]) -> Result<StringArray> {
    let raw = as_binary_array(&arrays[0])?;
    let [ip, helo, path, server] = [1, 2, 3, 4].map(|column| as_string_array(&arrays[column]));
    let (ip, helo, path, server) = (ip?, helo?, path?, server?);
    let calls = (0..raw.len()).map(|row| -> BoxFuture<'_, _> {
        Box::pin(async move {
            if raw.is_null(row) || ip.is_null(row) || helo.is_null(row) || server.is_null(row) {
                return Ok(None);
            }
            let path = path.is_valid(row).then(|| path.value(row));
            let (raw, ip, helo, server) = (raw.value(row), ip.value(row), helo.value(row), server.value(row));
            Ok(Some(functions.authenticate(raw, ip, helo, path, server).await))
        })
    });
    Ok(gather(calls.collect()).await?.into_iter().collect())
}

async fn first_seen(functions: &dyn Functions, arrays: &[ArrayRef]) -> Result<StringArray> {
    let [recipient, digest, message] = [0, 1, 2].map(|column| as_string_array(&arrays[column]));
    let (recipient, digest, message) = (recipient?, digest?, message?);
    let at_us: &Int64Array = as_int64_array(&arrays[3])?;
    let calls = (0..recipient.len()).map(|row| -> BoxFuture<'_, _> {
        Box::pin(async move {
            if recipient.is_null(row) || digest.is_null(row) || message.is_null(row) || at_us.is_null(row) {
                return Ok(None);
            }
            let (recipient, digest, message) = (recipient.value(row), digest.value(row), message.value(row));
            functions.first_seen(recipient, digest, message, at_us.value(row)).await.map(Some)
        })
    });
    Ok(gather(calls.collect()).await?.into_iter().collect())
}
