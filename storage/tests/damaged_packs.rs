//! Packs that were cut off, changed or left by a crash; and disks that fail.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_storage::embedded::packs::{Disk, LocalDisk, PackFile};
use millrace_storage::embedded::{EmbeddedPacks, PackOptions};
use millrace_storage::{BlobError, BlobStore, BodyRef};

fn open(dir: &Path) -> EmbeddedPacks {
    EmbeddedPacks::open(dir, PackOptions::default()).unwrap()
}

fn body(n: u32) -> Bytes {
    format!("Subject: {n}\r\n\r\n{}", format!("line {n}\r\n").repeat(100)).into()
}

async fn three_bodies(dir: &Path) -> Vec<BodyRef> {
    let packs = open(dir);
    let mut references = Vec::new();
    for n in 0..3 {
        references.push(packs.put(body(n)).await.unwrap());
    }
    references
}

#[tokio::test]
async fn a_changed_byte_is_reported_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let references = three_bodies(dir.path()).await;
    let path = dir.path().join(&references[1].pack);
    let sound = fs::read(&path).unwrap();
    let begin = references[1].offset as usize;
    for at in (begin..begin + references[1].length as usize).step_by(7) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x20;
        fs::write(&path, &damaged).unwrap();
        let packs = open(dir.path());
        let got = packs.get(&references[1]).await;
        assert!(matches!(got, Err(BlobError::Damaged { .. })), "byte {at}: {got:?}");
        assert_eq!(packs.get(&references[0]).await.unwrap(), body(0));
        assert_eq!(packs.get(&references[2]).await.unwrap(), body(2));
        let report = packs.verify(&references[1].pack).unwrap();
        assert_eq!(report.entries, 2, "the walk goes on behind the damage");
        assert_eq!(report.damage.len(), 1);
        assert_eq!(report.damage[0].offset, references[1].offset);
    }
}

#[tokio::test]
async fn a_cut_off_tail_is_reported_and_a_new_pack_begun() {
    let dir = tempfile::tempdir().unwrap();
    let references = three_bodies(dir.path()).await;
    let path = dir.path().join(&references[2].pack);
    let len = fs::metadata(&path).unwrap().len();
    for cut in [len - 1, references[2].offset + 30, references[2].offset + 1] {
        fs::File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let packs = open(dir.path());
        assert!(matches!(packs.get(&references[2]).await, Err(BlobError::Damaged { .. })));
        assert_eq!(packs.get(&references[1]).await.unwrap(), body(1));
        let report = packs.verify(&references[2].pack).unwrap();
        assert_eq!((report.entries, report.damage[0].offset), (2, references[2].offset));
        let new = packs.put(body(9)).await.unwrap();
        assert_ne!(new.pack, references[2].pack);
        assert_eq!(packs.get(&new).await.unwrap(), body(9));
        assert_eq!(fs::metadata(&path).unwrap().len(), cut, "nothing is appended behind the cut");
    }
}

#[tokio::test]
async fn a_sound_pack_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let references = three_bodies(dir.path()).await;
    let packs = open(dir.path());
    assert_eq!(packs.packs().unwrap(), [references[0].pack.clone()]);
    let report = packs.verify(&references[0].pack).unwrap();
    assert_eq!((report.entries, report.damage.len()), (3, 0));
    assert_eq!(report.body_bytes, (0..3).map(|n| body(n).len() as u64).sum::<u64>());
}

#[tokio::test]
async fn a_full_pack_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let options = PackOptions { max_pack_bytes: 1000, ..PackOptions::default() };
    let packs = EmbeddedPacks::open(dir.path(), options).unwrap();
    let mut references = Vec::new();
    for n in 0..20 {
        references.push((n, packs.put(body(n)).await.unwrap()));
    }
    assert!(packs.packs().unwrap().len() > 1);
    for (n, reference) in references {
        assert_eq!(packs.get(&reference).await.unwrap(), body(n));
    }
}

#[tokio::test]
async fn format_1_reads_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let pack = "2026-11-23/01ARZ3NDEKTSV4RRFFQ69G5FAV.pack";
    fs::create_dir(dir.path().join("2026-11-23")).unwrap();
    fs::write(dir.path().join(pack), include_bytes!("../fixtures/pack-v1.pack")).unwrap();
    let packs = open(dir.path());
    let at = |offset, length| BodyRef { pack: pack.to_owned(), offset, length };
    assert_eq!(packs.get(&at(16, 48 + 5)).await.unwrap(), "short");
    let report = packs.verify(pack).unwrap();
    assert_eq!((report.entries, report.damage.len()), (2, 0));
    let compressed = fs::metadata(dir.path().join(pack)).unwrap().len() - 69;
    assert_eq!(packs.get(&at(69, compressed)).await.unwrap(), "a line that repeats\r\n".repeat(50));
}

/// How the disk of a test fails.
#[derive(Default)]
struct Fault {
    write: AtomicBool,
    sync: AtomicBool,
    hang: AtomicBool,
}

struct FaultyDisk(Arc<Fault>);

struct FaultyFile(Box<dyn PackFile>, Arc<Fault>);

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn PackFile>> {
        Ok(Box::new(FaultyFile(LocalDisk.create(path)?, self.0.clone())))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }
}

impl PackFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.1.write.load(Ordering::SeqCst) {
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        while self.1.hang.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.1.sync.load(Ordering::SeqCst) {
            self.0.sync()?;
            return Err(io::Error::other("the disk lost it"));
        }
        self.0.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

async fn put_until_taken(packs: &EmbeddedPacks, n: u32) -> BodyRef {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match packs.put(body(n)).await {
            Ok(reference) => return reference,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_unavailable_until_it_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let fault = Arc::new(Fault::default());
    let packs =
        EmbeddedPacks::open_on(dir.path(), PackOptions::default(), Box::new(FaultyDisk(fault.clone()))).unwrap();
    let mut kept = vec![(0, packs.put(body(0)).await.unwrap())];
    for (n, switch) in [(1, &fault.write), (2, &fault.sync)] {
        switch.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(matches!(packs.put(body(n)).await, Err(BlobError::Unavailable(_))));
        }
        assert_eq!(packs.get(&kept[0].1).await.unwrap(), body(0), "reading goes on");
        switch.store(false, Ordering::SeqCst);
        kept.push((n, put_until_taken(&packs, n).await));
    }
    for (n, reference) in kept {
        assert_eq!(packs.get(&reference).await.unwrap(), body(n));
    }
    for pack in packs.packs().unwrap() {
        assert_eq!(packs.verify(&pack).unwrap().damage, [], "no half entry is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_sync_failed_leaves_nothing_in_its_pack() {
    for bodies_before in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let fault = Arc::new(Fault::default());
        let disk = Box::new(FaultyDisk(fault.clone()));
        let packs = Arc::new(EmbeddedPacks::open_on(dir.path(), PackOptions::default(), disk).unwrap());
        let mut kept = Vec::new();
        for n in 0..bodies_before {
            kept.push((n, packs.put(body(n)).await.unwrap()));
        }
        let sizes = |packs: &EmbeddedPacks| -> Vec<u64> {
            let packs = packs.packs().unwrap().into_iter();
            packs.map(|pack| fs::metadata(dir.path().join(pack)).unwrap().len()).collect()
        };
        let before = sizes(&packs);
        fault.sync.store(true, Ordering::SeqCst);
        let puts: Vec<_> = (10..20)
            .map(|n| {
                let packs = packs.clone();
                tokio::spawn(async move { packs.put(body(n)).await })
            })
            .collect();
        for put in puts {
            assert!(matches!(put.await.unwrap(), Err(BlobError::Unavailable(_))));
        }
        assert_eq!(sizes(&packs), before, "neither bodies nor an empty pack are left");
        fault.sync.store(false, Ordering::SeqCst);
        let after = put_until_taken(&packs, 30).await;
        assert!(kept.iter().all(|(_, reference)| reference.pack != after.pack), "that pack is not written to again");
        kept.push((30, after));
        drop(packs);
        let packs = open(dir.path());
        for (n, reference) in &kept {
            assert_eq!(packs.get(reference).await.unwrap(), body(*n));
        }
        let reports = packs.packs().unwrap().into_iter().map(|pack| packs.verify(&pack).unwrap());
        let (entries, damage) =
            reports.fold((0, 0), |(entries, damage), report| (entries + report.entries, damage + report.damage.len()));
        assert_eq!((entries, damage), (kept.len() as u64, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_unavailable_after_the_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let fault = Arc::new(Fault::default());
    let options = PackOptions { stall_timeout: Duration::from_millis(200), ..PackOptions::default() };
    let packs = EmbeddedPacks::open_on(dir.path(), options, Box::new(FaultyDisk(fault.clone()))).unwrap();
    fault.hang.store(true, Ordering::SeqCst);
    let started = Instant::now();
    for _ in 0..5 {
        assert!(matches!(packs.put(body(1)).await, Err(BlobError::Unavailable(_))));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "once it is known to hang, the answer comes at once");
    fault.hang.store(false, Ordering::SeqCst);
    put_until_taken(&packs, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let fault = Arc::new(Fault::default());
    let options = PackOptions {
        stall_timeout: Duration::from_millis(300),
        max_waiting_bytes: 10 * 1024,
        ..PackOptions::default()
    };
    let packs = Arc::new(EmbeddedPacks::open_on(dir.path(), options, Box::new(FaultyDisk(fault.clone()))).unwrap());
    fault.hang.store(true, Ordering::SeqCst);
    let puts: Vec<_> = (0..50)
        .map(|n| {
            let packs = packs.clone();
            tokio::spawn(async move { packs.put(body(n)).await })
        })
        .collect();
    for put in puts {
        assert!(matches!(put.await.unwrap(), Err(BlobError::Unavailable(_))));
    }
    fault.hang.store(false, Ordering::SeqCst);
    put_until_taken(&packs, 1).await;
}

#[tokio::test]
async fn too_little_free_space_is_unavailable_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = PackOptions { min_free_bytes: u64::MAX, ..PackOptions::default() };
    let packs = EmbeddedPacks::open(dir.path(), options).unwrap();
    let refused = packs.put(body(1)).await.unwrap_err();
    assert!(refused.to_string().contains("the disk is full"), "{refused}");
}
