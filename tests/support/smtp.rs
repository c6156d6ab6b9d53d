//! An SMTP client that shows replies as they are.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut client = Self { reader: BufReader::new(writer.try_clone()?), writer };
        expect(&client.reply()?, 220)?;
        let greeting = client.command("EHLO client.example.org")?;
        expect(&greeting, 250)?;
        Ok(client)
    }

    pub fn command(&mut self, line: &str) -> io::Result<String> {
        self.writer.write_all(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    pub fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.reader.read_line(&mut reply)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }

    /// Sends a message; an error means that no 250 was seen.
    pub fn send(&mut self, from: &str, to: &[&str], raw: &[u8]) -> io::Result<()> {
        expect(&self.command(&format!("MAIL FROM:<{from}>"))?, 250)?;
        for recipient in to {
            expect(&self.command(&format!("RCPT TO:<{recipient}>"))?, 250)?;
        }
        expect(&self.command("DATA")?, 354)?;
        self.writer.write_all(&dot_stuffed(raw))?;
        expect(&self.reply()?, 250)
    }
}

fn expect(reply: &str, code: u16) -> io::Result<()> {
    if reply.starts_with(&code.to_string()) {
        return Ok(());
    }
    Err(io::Error::other(format!("wanted {code}, got {reply}")))
}

/// The bytes with CRLF line ends, as they travel.
pub fn canonical(raw: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(raw.len() + raw.len() / 40);
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                lines.extend_from_slice(b"\r\n");
                bytes.next_if_eq(&b'\n');
            }
            b'\n' => lines.extend_from_slice(b"\r\n"),
            other => lines.push(other),
        }
    }
    if !lines.ends_with(b"\r\n") {
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

fn dot_stuffed(raw: &[u8]) -> Vec<u8> {
    let canonical = canonical(raw);
    let mut stuffed = Vec::with_capacity(canonical.len() + 16);
    for line in canonical.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}
