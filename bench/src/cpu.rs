//! What processes take of the machine's cores, and how much they are let take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

/// Ticks a second of the times in /proc.
const TICKS: u64 = 100;
const PERIOD_US: u64 = 100_000;

/// CPU time that a process has had, its threads' together.
pub fn used(process_id: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat"))?;
    // The name may have spaces; what follows its bracket does not.
    let rest = stat.rsplit_once(") ").context("an odd stat file")?.1;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| -> anyhow::Result<u64> { Ok(fields.get(at).context("a short stat file")?.parse()?) };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / TICKS))
}

/// Groups of processes that have a part of a core each; removed when dropped.
pub struct Limits {
    root: PathBuf,
    is_unified: bool,
    made: Vec<PathBuf>,
}

impl Limits {
    /// `None` where this user may make no such groups.
    pub fn open() -> Option<Self> {
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers");
        let is_unified = std::fs::read_to_string(unified).is_ok_and(|controllers| controllers.contains("cpu"));
        let root = PathBuf::from(if is_unified { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/cpu" });
        let mut limits = Self { root, is_unified, made: Vec::new() };
        let process = std::process::Command::new("sleep").arg("1").spawn();
        let mut process = process.ok()?;
        let can = limits.set("trial", process.id(), 0.5).is_ok();
        let _ = process.wait();
        can.then_some(limits)
    }

    /// From now on the process has at most this part of a core.
    pub fn set(&mut self, name: &str, process_id: u32, cores: f64) -> anyhow::Result<()> {
        let group = self.root.join(format!("millrace-bench-{name}"));
        std::fs::create_dir_all(&group)?;
        self.made.push(group.clone());
        let quota = (PERIOD_US as f64 * cores) as u64;
        if self.is_unified {
            std::fs::write(group.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
        } else {
            std::fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            std::fs::write(group.join("cpu.cfs_quota_us"), quota.to_string())?;
        }
        std::fs::write(group.join("cgroup.procs"), process_id.to_string())?;
        Ok(())
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for group in &self.made {
            // Its processes go on without a limit.
            let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for process_id in members.lines() {
                let _ = std::fs::write(self.root.join("cgroup.procs"), process_id);
            }
            let _ = std::fs::remove_dir(group);
        }
    }
}
