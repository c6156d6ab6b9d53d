//! A cluster of real services and processes, from `compose/native/cluster`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use crate::flow::Target;
use crate::peer::{ACCOUNTS, add_account};

/// Until a process is there.
const START_PATIENCE: Duration = Duration::from_secs(30);

pub const ROLES: [&str; 4] = ["reception", "pipelines", "lander", "api"];

/// Ended when dropped, and when this process ends, however it does.
pub struct Cluster {
    control: PathBuf,
    program: PathBuf,
    dir: TempDir,
    pub target: Target,
}

impl Cluster {
    /// With as many processes of each role.
    pub fn up(millrace: &Path, processes: usize) -> anyhow::Result<Self> {
        let control = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/native/cluster");
        let dir = tempfile::Builder::new().prefix("millrace-bench").tempdir_in(".")?;
        let target = Target { smtp: Vec::new(), http: Vec::new() };
        let mut cluster = Self { control: control.canonicalize()?, program: millrace.to_owned(), dir, target };
        let (processes, ours) = (processes.to_string(), std::process::id().to_string());
        let program = millrace.to_string_lossy();
        let said = cluster.ask(&["up", "--processes", &processes, "--tied-to", &ours, "--millrace", &program])?;
        for line in said.lines() {
            match line.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')) {
                Some(("smtp", address)) => cluster.target.smtp.push(address.parse()?),
                Some(("http", address)) => cluster.target.http.push(address.parse()?),
                _ => {}
            }
        }
        let added = cluster.millrace()?.args(["domain", "add", "millrace.test"]).output()?;
        anyhow::ensure!(added.status.success(), "the domain: {}", String::from_utf8_lossy(&added.stderr));
        for address in ACCOUNTS {
            cluster.add_account(address)?;
        }
        Ok(cluster)
    }

    pub fn add_account(&self, address: &str) -> anyhow::Result<()> {
        add_account(self.millrace()?, address)
    }

    fn millrace(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.dir.path().canonicalize()?.join("millrace.toml")).env("MILLRACE_LOG", "warn");
        Ok(command)
    }

    /// Starts a process and does not wait until it is ready, which a lander is when it has caught up.
    pub fn begin(&self, name: &str) -> anyhow::Result<()> {
        let mut command = self.command(&["start", name]);
        let mut starting = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let begun = Instant::now();
        while !self.processes()?.contains_key(name) {
            anyhow::ensure!(begun.elapsed() < START_PATIENCE, "{name} does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        // What it would go on waiting for; nothing else may be started meanwhile.
        starting.kill()?;
        starting.wait()?;
        Ok(())
    }

    pub fn stop(&self, name: &str) -> anyhow::Result<()> {
        self.ask(&["stop", name]).map(|_| ())
    }

    /// Process ids by name.
    pub fn processes(&self) -> anyhow::Result<BTreeMap<String, u32>> {
        let mut processes = BTreeMap::new();
        for (name, service) in self.services()? {
            if let Some(id) = service["pid"].as_u64() {
                processes.insert(name, u32::try_from(id)?);
            }
        }
        Ok(processes)
    }

    /// Where a process of Millrace serves HTTP, its metrics too.
    pub fn http(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let services = self.services()?;
        let addresses = services.get(name).and_then(|service| service["address"].as_str());
        let last = addresses.and_then(|addresses| addresses.split_whitespace().last());
        Ok(last.with_context(|| format!("{name} has no address"))?.parse()?)
    }

    fn services(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let services: Vec<Value> = serde_json::from_str(&self.ask(&["status", "--json"])?)?;
        Ok(services.into_iter().map(|it| (it["name"].as_str().unwrap_or_default().to_owned(), it)).collect())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.control);
        command.args(arguments).arg("--dir").arg(self.dir.path()).env("MILLRACE_SCREENING_DNS", "off");
        command
    }

    fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments).output().with_context(|| self.control.display().to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "cluster {}: {errors}", arguments.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.ask(&["down"]) {
            eprintln!("{error:#}");
        }
    }
}
