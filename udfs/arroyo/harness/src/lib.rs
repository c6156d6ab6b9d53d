//! Builds the one-file functions of `..` into dynamic libraries, as Arroyo's compiler service does: the text is
//! `src/lib.rs` of a crate whose dependencies are those of the leading comment and `arroyo-udf-plugin`. Here all are one
//! workspace, so that what they share is built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What Arroyo adds to the dependencies of each function.
const PLUGIN: &str = "arroyo-udf-plugin = \"^0.2.0\"\n";
/// The comment that a function begins with.
const OPENING: &str = "/*\n[dependencies]\n";

/// A one-file function.
pub struct Function {
    pub name: String,
    pub definition: String,
}

/// The functions of a folder, by their files' names.
pub fn functions(folder: &Path) -> io::Result<Vec<Function>> {
    let mut functions = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "rs") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            functions.push(Function { name, definition: fs::read_to_string(&path)? });
        }
    }
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(functions)
}

/// The folder of the stage functions.
pub fn stage_folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The root of the sources, that `{{MILLRACE_SOURCE}}` stands for.
pub fn source_root() -> PathBuf {
    let folder = stage_folder();
    folder.ancestors().nth(2).unwrap_or(&folder).to_owned()
}

/// Where everything that is built goes.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from)
}

/// Builds `functions` in one go and returns the folder of their libraries.
///
/// # Errors
/// A file does not begin as Arroyo wants it, or does not compile: cargo has said why.
pub fn build(functions: &[Function]) -> io::Result<PathBuf> {
    let workspace = target().join("arroyo-udfs");
    let mut members = String::new();
    for function in functions {
        write_crate(&workspace.join(&function.name), function)?;
        members += &format!("\"{}\", ", function.name);
    }
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n\n[profile.dev]\ndebug = false\n");
    write(&workspace.join("Cargo.toml"), &manifest)?;
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), workspace.join("Cargo.lock"))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.arg("build").current_dir(&workspace);
    // What Cargo tells a test of the test's own package would count as a change to crates that look at it, ring among them:
    // they, and all that depends on them, would be built again here, and again by whoever builds next.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            build.env_remove(&name);
        }
    }
    let status = build.env("CARGO_TARGET_DIR", target()).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("the functions in {} do not build", workspace.display())));
    }
    Ok(target().join("debug"))
}

/// The crate that Arroyo makes of a function. Its library is named after the function, since all share a folder.
fn write_crate(folder: &Path, function: &Function) -> io::Result<()> {
    let Function { name, definition } = function;
    let dependencies = dependencies(definition)
        .ok_or_else(|| io::Error::other(format!("{name}.rs does not begin with {OPENING:?}, TOML, and a line */")))?;
    let manifest = format!(
        "[package]\nname = \"udf-{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n\
         [lib]\nname = \"{name}\"\ncrate-type = [\"cdylib\"]\n\n[dependencies]\n{dependencies}{PLUGIN}"
    );
    write(&folder.join("Cargo.toml"), &manifest)?;
    write(&folder.join("src/lib.rs"), definition)
}

/// The TOML of the leading comment, with what `{{…}}` stands for.
fn dependencies(definition: &str) -> Option<String> {
    let (toml, _) = definition.strip_prefix(OPENING)?.split_once("*/")?;
    Some(toml.replace("{{MILLRACE_SOURCE}}", &source_root().to_string_lossy()))
}

/// Leaves a file alone that is as it should be: cargo goes by its time.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, text)
}
