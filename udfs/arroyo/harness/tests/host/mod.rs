//! Arroyo's side of the interface: loads a function's library and hands it Arrow arrays through C structures.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayData, ArrayRef, BinaryArray, Int64Array, StringArray, UInt64Array, make_array};
use arroyo_udf_common::FfiArrays;
use arroyo_udf_common::async_udf::{DrainResult, SendableFfiAsyncUdfHandle};
use async_ffi::FfiFuture;
use libloading::Library;
use millrace_arroyo_harness::{build, functions, stage_folder};

type Start = unsafe extern "C-unwind" fn(bool, u64, u32) -> SendableFfiAsyncUdfHandle;
type Send = unsafe extern "C-unwind" fn(SendableFfiAsyncUdfHandle, u64, FfiArrays) -> FfiFuture<bool>;
type Drain = unsafe extern "C-unwind" fn(SendableFfiAsyncUdfHandle) -> DrainResult;
type Stop = unsafe extern "C-unwind" fn(SendableFfiAsyncUdfHandle);

/// The library of a function, built with all others at the first call, and never unloaded.
pub fn library(name: &str) -> &'static Library {
    static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let mut all = functions(&stage_folder()).unwrap();
        for stage in &mut all {
            // As the deployer does it: without this, a machine with other sources would build other functions.
            let version = millrace_udfs::hosted::VERSION;
            stage.definition += &format!("\nconst _: () = millrace_udfs::hosted::built_from(\"{version}\");\n");
        }
        all.extend(functions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("poison")).unwrap());
        build(&all).unwrap()
    });
    // SAFETY: the library is ours and runs nothing when it is loaded.
    let library = unsafe { Library::new(folder.join(format!("lib{name}.so"))) };
    Box::leak(Box::new(library.unwrap()))
}

/// A running asynchronous function.
pub struct Running {
    library: &'static Library,
    handle: SendableFfiAsyncUdfHandle,
}

impl Running {
    /// Starts `name` with the options that its attribute says.
    pub fn start(name: &str, allowed_in_flight: u32, timeout: Duration) -> Self {
        let library = library(name);
        // SAFETY: this symbol and those below have these types in every library of an asynchronous function.
        let start = unsafe { library.get::<Start>(b"__start") }.unwrap();
        Self { library, handle: unsafe { start(false, timeout.as_micros() as u64, allowed_in_flight) } }
    }

    /// Sends one row: each column has one item.
    pub async fn send(&self, id: u64, row: Vec<ArrayRef>) {
        let row = row.iter().map(|column| column.to_data()).collect();
        let sent = unsafe { self.library.get::<Send>(b"__send").unwrap()(self.handle, id, FfiArrays::from_vec(row)) };
        assert!(sent.await, "the function's thread has ended");
    }

    /// Waits until `count` results are there: by id, ascending.
    pub async fn results(&self, count: usize, within: Duration) -> Vec<(u64, ArrayRef)> {
        let deadline = Instant::now() + within;
        let mut results: Vec<(u64, ArrayRef)> = Vec::new();
        while results.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} results after {within:?}", results.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
            match unsafe { self.library.get::<Drain>(b"__drain_results").unwrap()(self.handle) } {
                DrainResult::Data(data) => results.extend(rows(data.into_vec())),
                DrainResult::None => {}
                DrainResult::Error => panic!("the function let a panic out"),
            }
        }
        results.sort_by_key(|(id, _)| *id);
        results
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        unsafe { self.library.get::<Stop>(b"__stop_runtime").unwrap()(self.handle) };
    }
}

fn rows(drained: Vec<ArrayData>) -> Vec<(u64, ArrayRef)> {
    let [ids, results]: [ArrayData; 2] = drained.try_into().unwrap();
    let results = make_array(results);
    let ids = UInt64Array::from(ids);
    (0..ids.len()).map(|row| (ids.value(row), results.slice(row, 1))).collect()
}

pub fn texts(values: &[Option<&str>]) -> ArrayRef {
    std::sync::Arc::new(StringArray::from(values.to_vec()))
}

pub fn long(value: Option<i64>) -> ArrayRef {
    std::sync::Arc::new(Int64Array::from(vec![value]))
}

/// The one text of a result.
pub fn text(result: &ArrayRef) -> Option<String> {
    let result = result.as_any().downcast_ref::<StringArray>().unwrap();
    result.is_valid(0).then(|| result.value(0).to_owned())
}

/// The one body of a result.
pub fn bytes(result: &ArrayRef) -> Option<Vec<u8>> {
    let result = result.as_any().downcast_ref::<BinaryArray>().unwrap();
    result.is_valid(0).then(|| result.value(0).to_vec())
}
