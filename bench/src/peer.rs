//! The servers that are measured: each started on a free port of this machine, and ended when dropped.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::flow::Target;

pub const PASSWORD: &str = "bench";
pub const ACCOUNTS: [&str; 2] = ["user@millrace.test", "probe@millrace.test"];

/// A server that takes mail for user@millrace.test.
pub struct Peer {
    pub name: &'static str,
    pub smtp: SocketAddr,
    pub http: Option<SocketAddr>,
    pub data: TempDir,
    child: Option<Child>,
    stop: Option<Command>,
}

impl Peer {
    /// Millrace with everything running: screening and landing go on behind the reception that is measured.
    pub fn millrace(binary: &Path) -> anyhow::Result<Self> {
        Self::millrace_with(binary, &["up"])
    }

    /// Millrace with some roles only.
    pub fn millrace_with(binary: &Path, roles: &[&str]) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new().prefix("millrace-bench").tempdir_in(".")?;
        let mut child = millrace(binary, data.path())
            .args(roles)
            .args(["--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let (mut smtp, mut http) = (None, None);
        for line in lines {
            let line = line?;
            match line.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')) {
                Some(("smtp", address)) => smtp = Some(address.parse()?),
                Some(("http", address)) => http = Some(address.parse()?),
                _ => {}
            }
            if smtp.is_some() && (http.is_some() || !roles.iter().any(|role| ["up", "api"].contains(role))) {
                break;
            }
        }
        let smtp = smtp.context("millrace ended before it listened")?;
        for address in ACCOUNTS {
            add_account(millrace(binary, data.path()), address)?;
        }
        Ok(Self { name: "millrace", smtp, http, data, child: Some(child), stop: None })
    }

    /// `smtp-sink`, which keeps nothing: the limit of the client.
    pub fn sink() -> anyhow::Result<Self> {
        let smtp = free_port()?;
        let child = Command::new("smtp-sink")
            .args(["-u", "nobody", &smtp.to_string(), "200"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("smtp-sink is in Debian's postfix package")?;
        let data = tempfile::tempdir()?;
        Self { name: "smtp-sink", smtp, http: None, data, child: Some(child), stop: None }.when_up()
    }

    /// Postfix that takes mail and leaves it in its queue: what is measured is acceptance alone.
    pub fn postfix() -> anyhow::Result<Self> {
        let smtp = free_port()?;
        let data = tempfile::Builder::new().prefix("postfix-bench").tempdir_in("/var/tmp")?;
        let folder = |name: &str| data.path().join(name);
        let conf = folder("conf");
        copy_configuration(&conf)?;
        for name in ["queue", "data"] {
            std::fs::create_dir(folder(name))?;
        }
        run(Command::new("chown").arg("postfix").arg(folder("data")))?;
        run(Command::new("chmod").args(["755", &data.path().to_string_lossy()]))?;
        std::fs::write(conf.join("main.cf"), main_cf(&folder("queue"), &folder("data")))?;
        std::fs::write(conf.join("master.cf"), master_cf(smtp))?;
        std::fs::write(conf.join("transport"), "")?;
        run(Command::new("postfix").args(["-c", &conf.to_string_lossy(), "start"]))?;
        let mut stop = Command::new("postfix");
        stop.args(["-c", &conf.to_string_lossy(), "abort"]).stderr(Stdio::null());
        Self { name: "postfix", smtp, http: None, data, child: None, stop: Some(stop) }.when_up()
    }

    fn when_up(self) -> anyhow::Result<Self> {
        let start = Instant::now();
        while TcpStream::connect(self.smtp).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                bail!("{} does not answer on {}", self.name, self.smtp);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(self)
    }

    pub fn target(&self) -> Target {
        Target { smtp: vec![self.smtp], http: self.http.into_iter().collect() }
    }

    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Resident memory at its highest, in bytes.
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(stop) = &mut self.stop {
            drop(stop.status());
        }
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

pub fn millrace(binary: &Path, data: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .arg("--data")
        .arg(data)
        .env("MILLRACE_SCREENING_DNS", "off")
        .env("MILLRACE_LOG", "warn")
        .stderr(Stdio::inherit());
    command
}

/// Adds an account by a command that says where the data is.
pub fn add_account(mut command: Command, address: &str) -> anyhow::Result<()> {
    let mut child = command
        .args(["account", "add", address, "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    writeln!(child.stdin.take().context("no input")?, "{PASSWORD}")?;
    anyhow::ensure!(child.wait()?.success(), "the account could not be made");
    Ok(())
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn copy_configuration(conf: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(conf)?;
    for name in ["dynamicmaps.cf", "postfix-files"] {
        for folder in ["/etc/postfix", "/usr/share/postfix"] {
            let from = PathBuf::from(folder).join(name);
            if from.exists() {
                std::fs::copy(from, conf.join(name))?;
            }
        }
    }
    Ok(())
}

fn main_cf(queue: &Path, data: &Path) -> String {
    format!(
        "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmyhostname = bench.millrace.test\n\
         mydestination = millrace.test\nlocal_recipient_maps =\nalias_maps =\nalias_database =\ninet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\nsmtpd_recipient_restrictions = permit_mynetworks, reject\nmynetworks = 127.0.0.0/8\n\
         defer_transports = local\nsmtpd_client_connection_count_limit = 0\nmessage_size_limit = 52428800\nmaillog_file =\n",
        queue.display(),
        data.display()
    )
}

/// Postfix's services, without chroot, with the SMTP server on our address. Columns: service, type, private,
/// unprivileged, chroot, wakeup, most processes, command.
fn master_cf(smtp: SocketAddr) -> String {
    format!("{smtp} inet n - n - 100 smtpd\n{SERVICES}")
}

const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
";
