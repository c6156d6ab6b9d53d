//! A `millrace` process.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
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
        let mut child = millrace(data)
            .args(["up", "--smtp", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("MILLRACE_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut listening = |name: &str| {
            let line = lines.next().unwrap_or_else(|| panic!("millrace ended before it listened on {name}")).unwrap();
            line.strip_prefix(&format!("listening {name} ")).unwrap_or_else(|| panic!("{line}")).parse().unwrap()
        };
        let (smtp, http) = (listening("smtp"), listening("http"));
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

    fn audit_once(&self, options: &[&str]) -> serde_json::Value {
        let output = self.output(&[&["audit", "--json"], options].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        serde_json::from_str(&out).unwrap()
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
