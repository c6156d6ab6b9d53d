//! Real mail to send: a folder of files, each as often as wanted.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// All messages below a folder, `repeat` times, each time with a header field that makes them others.
pub fn read(folder: &Path, repeat: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    collect(folder, &mut files)
        .with_context(|| format!("{}: fetch the corpus first: just corpus", folder.display()))?;
    files.sort();
    let messages: Vec<Vec<u8>> =
        files.iter().map(|file| Ok(without_from_line(std::fs::read(file)?))).collect::<anyhow::Result<_>>()?;
    let run = now();
    let pass = |number: usize| {
        let field = format!("X-Pass: {run} {number}\n");
        messages.iter().map(move |raw| [field.as_bytes(), raw].concat())
    };
    Ok((0..repeat).flat_map(pass).collect())
}

/// Another with every run, so that nothing is taken for what an earlier one sent.
fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// Files of the corpus begin with the line that an mbox has before each message.
fn without_from_line(raw: Vec<u8>) -> Vec<u8> {
    match raw.iter().position(|byte| *byte == b'\n') {
        Some(end) if raw.starts_with(b"From ") => raw[end + 1..].to_vec(),
        _ => raw,
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "txt" || extension == "eml") {
            files.push(path);
        }
    }
    Ok(())
}
