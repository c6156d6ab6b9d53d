//! Folders of messages, one a file, and single files.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{Found, Messages};

/// Extensions that are taken for messages in a folder.
const EXTENSIONS: [&str; 3] = ["eml", "msg", "txt"];

/// All messages below a folder, in the order of their names.
pub fn open_folder(folder: &Path) -> anyhow::Result<(u64, Messages)> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    ensure!(!files.is_empty(), "{} has no .eml files", folder.display());
    files.sort();
    Ok((files.len() as u64, Box::new(files.into_iter().map(read))))
}

pub fn open_file(file: &Path) -> anyhow::Result<(u64, Messages)> {
    Ok((1, Box::new(std::iter::once(read(file.to_owned())))))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e)) {
            files.push(path);
        }
    }
    Ok(())
}

fn read(file: PathBuf) -> anyhow::Result<Found> {
    let raw = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Found { name: file.display().to_string(), raw, received_at_us: None, keywords: Vec::new() })
}
