//! Maildir: `new` and `cur`, flags in the file name after `:2,`, subfolders as `.Name`.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context;

use super::{Found, Messages};

pub fn open(maildir: &Path) -> anyhow::Result<(u64, Messages)> {
    let mut files = Vec::new();
    list(maildir, &mut files)?;
    for entry in std::fs::read_dir(maildir).with_context(|| format!("{} cannot be read", maildir.display()))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") && entry.file_type()?.is_dir() {
            list(&entry.path(), &mut files)?;
        }
    }
    files.sort();
    Ok((files.len() as u64, Box::new(files.into_iter().map(read))))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for part in ["new", "cur"] {
        let part = folder.join(part);
        if !part.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&part).with_context(|| format!("{} cannot be read", part.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(())
}

fn read(file: PathBuf) -> anyhow::Result<Found> {
    let raw = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let modified = std::fs::metadata(&file)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let keywords = name.rsplit_once(":2,").map(|(_, flags)| keywords(flags)).unwrap_or_default();
    Ok(Found { name, raw, received_at_us: Some(modified.as_micros() as i64), keywords })
}

fn keywords(flags: &str) -> Vec<&'static str> {
    let keyword = |flag| match flag {
        'S' => Some("$seen"),
        'R' => Some("$answered"),
        'F' => Some("$flagged"),
        'D' => Some("$draft"),
        'P' => Some("$forwarded"),
        _ => None,
    };
    flags.chars().filter_map(keyword).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_become_keywords_and_subfolders_are_read() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["new", "cur", ".Work/cur"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("new/1.host"), "Subject: a\n\n").unwrap();
        std::fs::write(dir.path().join("cur/2.host:2,FS"), "Subject: b\n\n").unwrap();
        std::fs::write(dir.path().join(".Work/cur/3.host:2,"), "Subject: c\n\n").unwrap();
        let (total, messages) = open(dir.path()).unwrap();
        assert_eq!(total, 3);
        let mut keywords: Vec<_> = messages.map(|found| found.unwrap().keywords).collect();
        keywords.sort();
        assert_eq!(keywords, [vec![], vec![], vec!["$flagged", "$seen"]]);
    }
}
