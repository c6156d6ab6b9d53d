//! A `millrace` process.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::eventually;

pub const PASSWORD: &str = "correct horse battery staple";

pub struct Server {
    child: Child,
    pub smtp: SocketAddr,
    pub http: SocketAddr,
    data: std::path::PathBuf,
}

/// A command on a data directory. Nothing that it does leaves this machine.
pub fn millrace(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("--data").arg(data).env("MILLRACE_SCREENING_DNS", "off").env("MILLRACE_LANDING_INTERVAL_S", "1");
    command
}

impl Server {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub fn start_with(data: &Path, environment: &[(&str, &str)]) -> Self {
        Self::spawn(data, &["up"], environment)
    }

    /// Only some roles; the address of what does not listen is `0.0.0.0:0`.
    pub fn start_roles(data: &Path, roles: &[&str]) -> Self {
        Self::spawn(data, &[&["run"], roles].concat(), &[])
    }

    fn spawn(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = millrace(data)
            .args(arguments)
            .args(["--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("MILLRACE_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut listening = |name: &str, role: &str| {
            if !["up", role].iter().any(|listens| arguments.contains(listens)) {
                return SocketAddr::from(([0, 0, 0, 0], 0));
            }
            let line = lines.next().unwrap_or_else(|| panic!("millrace ended before it listened on {name}")).unwrap();
            line.strip_prefix(&format!("listening {name} ")).unwrap_or_else(|| panic!("{line}")).parse().unwrap()
        };
        let (smtp, http) = (listening("smtp", "reception"), listening("http", "api"));
        // Roles that listen nowhere print nothing.
        let socket = data.join("admin.sock");
        eventually(Duration::from_secs(60), "the node takes commands", || UnixStream::connect(&socket).ok());
        Self { child, smtp, http, data: data.to_owned() }
    }

    /// Runs a command beside the server and gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "millrace {arguments:?}\n{out}\n{err}");
        out.into_owned()
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        millrace(&self.data).args(arguments).output().unwrap()
    }

    pub fn add_account(&self, address: &str) {
        let mut command = millrace(&self.data);
        command.args(["account", "add", address, "--password-stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// The answer of a query, as JSON rows.
    pub fn query(&self, sql: &str) -> Vec<serde_json::Value> {
        let lines = self.run(&["query", sql, "--format", "json"]);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until screening has caught up, and gives the audit, bodies included, which must be clean.
    pub fn audit(&self, limit: Duration) -> serde_json::Value {
        eventually(limit, "screening has caught up", || {
            let is_done = self.audit_once(&[])["in_flight"] == 0;
            if !is_done {
                std::thread::sleep(Duration::from_millis(500));
            }
            is_done.then_some(())
        });
        self.audit_once(&["--bodies"])
    }

    /// What a command that must fail says.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{arguments:?} did not fail: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Status and body of `/healthz`.
    pub fn health(&self) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.get(format!("http://{}/healthz", self.http)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// One audit, which must be clean.
    pub fn audit_once(&self, options: &[&str]) -> serde_json::Value {
        let output = self.output(&[&["audit", "--json"], options].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// Memory that the process has now.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// SIGKILL: whatever it was doing, it does no more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: it must drain and exit 0.
    pub fn stop(mut self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        let exit = eventually(Duration::from_secs(30), "millrace ends", || self.child.try_wait().unwrap());
        assert!(exit.success(), "{exit}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already where the test got that far.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
