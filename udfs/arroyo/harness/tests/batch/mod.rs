//! A plain function, called on a batch.

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::ffi::from_ffi;
use arroyo_udf_common::{FfiArraySchema, FfiArrays, RunResult};

use super::host::library;

type Run = unsafe extern "C-unwind" fn(FfiArrays) -> RunResult;

/// Calls a function on columns, as a worker does for a batch.
pub fn run(name: &str, columns: &[ArrayRef]) -> StringArray {
    let library = library(name);
    let arguments = FfiArrays::from_vec(columns.iter().map(|column| column.to_data()).collect());
    // SAFETY: the symbol has this type in every library that `#[udf]` makes of a plain function.
    let result = unsafe { library.get::<Run>(b"__run").unwrap()(arguments) };
    let RunResult::Ok(FfiArraySchema(array, schema)) = result else { panic!("{name} let a panic out") };
    // SAFETY: the structures come from the library as Arrow's C interface wants them.
    StringArray::from(unsafe { from_ffi(array, &schema) }.unwrap())
}

pub fn binaries(values: &[Option<&[u8]>]) -> ArrayRef {
    std::sync::Arc::new(BinaryArray::from(values.to_vec()))
}
