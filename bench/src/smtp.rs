//! A client that sends mail, and waits for each answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

pub struct Smtp {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Smtp {
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        let mut client = Self { reader: BufReader::new(writer.try_clone()?), writer };
        client.expect("220")?;
        client.writer.write_all(b"EHLO bench.example.org\r\n")?;
        client.expect("250")?;
        Ok(client)
    }

    fn expect(&mut self, code: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            anyhow::ensure!(self.reader.read_line(&mut line)? > 0, "the server closed the connection");
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        anyhow::ensure!(line.starts_with(code), "wanted {code}, got {line}");
        Ok(())
    }

    /// Sends a message whose lines may end with LF; returns with its 250.
    pub fn send(&mut self, to: &str, raw: &[u8]) -> anyhow::Result<()> {
        let envelope = format!("MAIL FROM:<bench@example.org>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        self.writer.write_all(envelope.as_bytes())?;
        self.expect("250")?;
        self.expect("250")?;
        self.expect("354")?;
        let mut text = Vec::with_capacity(raw.len() + raw.len() / 30);
        for line in raw.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b".") {
                text.push(b'.');
            }
            text.extend(line.iter().filter(|byte| **byte != b'\r'));
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b".\r\n");
        self.writer.write_all(&text)?;
        self.expect("250")
    }
}
