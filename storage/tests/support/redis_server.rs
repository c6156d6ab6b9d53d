//! A `redis-server` (from PATH) that a test starts, stops and freezes.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct RedisServer {
    pub port: u16,
    dir: tempfile::TempDir,
    settings: Vec<String>,
    process: Option<Child>,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    /// `settings` as on the command line: `["--maxmemory", "8mb"]`.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_at(free_port(), settings)
    }

    pub fn start_at(port: u16, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { port, dir: tempfile::tempdir().unwrap(), settings, process: None };
        server.start_again();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .args(&self.settings)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be on PATH");
        self.process = Some(process);
        let begun = Instant::now();
        while self.ask(&["ping"]) != "PONG" {
            assert!(begun.elapsed() < Duration::from_secs(20), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As a crash would: nothing is saved.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("it runs").id();
        assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
    }

    /// What `redis-cli` prints.
    pub fn ask(&self, command: &[&str]) -> String {
        ask(self.port, command)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn ask(port: u16, command: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(command).output();
    String::from_utf8_lossy(&output.expect("redis-cli must be on PATH").stdout).trim().to_owned()
}

/// Three nodes that share the slots.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let nodes: Vec<RedisServer> = (0..3).map(|_| cluster_node()).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let begun = Instant::now();
        for node in &nodes {
            while !node.ask(&["cluster", "info"]).contains("cluster_state:ok") {
                assert!(begun.elapsed() < Duration::from_secs(30), "the cluster does not come up");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Self { nodes }
    }

    pub fn url(&self) -> String {
        let others: Vec<String> = self.nodes[1..].iter().map(|node| format!("node=127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://127.0.0.1:{}?{}", self.nodes[0].port, others.join("&"))
    }
}

/// Nodes also listen at 10000 above their port, which has to be free and below 65536.
fn cluster_node() -> RedisServer {
    loop {
        let port = free_port();
        let (port, bus) = if port > 55_000 { (port - 20_000, port - 10_000) } else { (port, port + 10_000) };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", bus)).is_ok() {
            return RedisServer::start_at(port, &["--cluster-enabled", "yes", "--cluster-node-timeout", "15000"]);
        }
    }
}
