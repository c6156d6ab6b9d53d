//! Which rules: those built in, and a folder's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use boreal::Scanner;
use boreal::compiler::{Compiler, CompilerParams};
use boreal::scanner::ScanParams;

/// Variables that rules may use.
pub(super) const FILENAME: &str = "filename";
pub(super) const ENTRIES: &str = "entries";

const BUILT_IN: [(&str, &str); 3] = [
    ("eicar.yar", include_str!("../../rules/eicar.yar")),
    ("deceptive_names.yar", include_str!("../../rules/deceptive_names.yar")),
    ("exploits.yar", include_str!("../../rules/exploits.yar")),
];
/// One object's scan, at most.
const SCAN_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_RULE_FILE_BYTES: u64 = 64 << 20;

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("the folder of virus rules {} cannot be read: {source}; check the path and its permissions", .path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the virus rules in {} cannot be read: {source}; they must be UTF-8 text of at most 64 MB", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// `description` begins with file, line and column.
    #[error("a virus rule is wrong: {description}; correct it or take the file out of the folder")]
    Rule { description: String },
}

pub(super) struct Rules {
    pub(super) scanner: Scanner,
    pub(super) version: String,
}

/// Compiles all rules; their version is a hash of their names and texts in order.
pub(super) fn load(folder: Option<&Path>) -> Result<Rules, RuleError> {
    let mut compiler = Compiler::new();
    compiler.set_params(CompilerParams::default().disable_includes(true));
    compiler.define_symbol(FILENAME, "");
    compiler.define_symbol(ENTRIES, "");
    let mut hasher = blake3::Hasher::new();
    for (name, text) in BUILT_IN {
        add(&mut compiler, &mut hasher, name, Path::new(name), text)?;
    }
    for path in folder.map(rule_files).transpose()?.unwrap_or_default() {
        let text = read(&path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        add(&mut compiler, &mut hasher, &name, &path, &text)?;
    }
    let mut scanner = compiler.finalize();
    scanner.set_scan_params(ScanParams::default().timeout_duration(Some(SCAN_TIMEOUT)));
    Ok(Rules { scanner, version: format!("rules/{}", &hasher.finalize().to_hex()[..16]) })
}

/// Each file is a namespace, so that two files may use one rule name.
fn add(
    compiler: &mut Compiler,
    hasher: &mut blake3::Hasher,
    name: &str,
    path: &Path,
    text: &str,
) -> Result<(), RuleError> {
    compiler.add_rules_str_in_namespace(text, name).map_err(|error| RuleError::Rule {
        description: boreal::compiler::generate_description(&error.to_diagnostic(), &path.display().to_string(), text),
    })?;
    for field in [name, text] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field.as_bytes());
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, RuleError> {
    let failed = |source| RuleError::File { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_RULE_FILE_BYTES {
        return Err(failed(std::io::Error::other("it is longer than 64 MB")));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// The folder's rule files by name, so that the version does not depend on the file system's order.
fn rule_files(folder: &Path) -> Result<Vec<PathBuf>, RuleError> {
    let failed = |source| RuleError::Folder { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_rule = path.extension().is_some_and(|kind| kind == "yar" || kind == "yara");
        if is_rule && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
