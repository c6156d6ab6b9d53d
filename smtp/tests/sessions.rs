//! What a dialogue in a file cannot say: failing storage, TLS, limits across connections, shutdown, noise.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::store::Failure;
use common::{Client, Server, options};
use millrace_smtp::tls;
use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[tokio::test]
async fn a_full_disk_is_452_and_the_session_goes_on() {
    let (server, store) = Server::with_store(options()).await;
    let mut client = Client::introduced(server.address).await;
    for failure in [Failure::BodiesFull, Failure::LogFull] {
        store.fail(failure);
        assert!(client.deliver("Subject: x").await.starts_with("452 4.3.1 "), "{failure:?}");
        assert_eq!(store.appended(), 0);
    }
    store.fail(Failure::None);
    assert!(client.deliver("Subject: x").await.starts_with("250 2.0.0 Ok: queued as "));
    assert_eq!(store.appended(), 1);
    server.stop().await;
}

#[tokio::test]
async fn stuck_storage_is_452_in_time() {
    let mut options = options();
    options.timeouts.commit = Duration::from_millis(200);
    let (server, store) = Server::with_store(options).await;
    let mut client = Client::introduced(server.address).await;
    for failure in [Failure::BodiesStuck, Failure::LogStuck] {
        store.fail(failure);
        let started_at = Instant::now();
        assert!(client.deliver("Subject: x").await.starts_with("452 4.3.1 "), "{failure:?}");
        assert!(started_at.elapsed() < Duration::from_secs(5));
    }
    server.stop().await;
}

/// Storage that is stuck keeps the bodies that it was given: they go on counting, so that clients are refused
/// rather than taking the machine's memory.
#[tokio::test]
async fn memory_is_bounded_while_storage_is_stuck_and_comes_back() {
    let mut options = options();
    options.limits.max_body_memory_bytes = 300 * 1024;
    options.timeouts.commit = Duration::from_millis(500);
    options.timeouts.memory = Duration::from_millis(50);
    let (server, store) = Server::with_store(options).await;
    let mut client = Client::introduced(server.address).await;
    store.fail(Failure::BodiesStuck);
    let content = "x".repeat(100 * 1024);
    for _ in 0..4 {
        assert!(client.deliver(&content).await.starts_with("452 4.3.1 "));
    }
    let held: usize = store.held.lock().iter().map(|body| body.len()).sum();
    assert!((100 * 1024..=300 * 1024).contains(&held), "{held} bytes held");
    store.fail(Failure::None);
    store.held.lock().clear();
    assert!(client.deliver(&content).await.starts_with("250 "));
    server.stop().await;
}

#[tokio::test]
async fn a_slow_client_holds_little_memory() {
    let mut options = options();
    options.limits.max_body_memory_bytes = 400 * 1024;
    options.timeouts.memory = Duration::from_millis(50);
    let (server, _store) = Server::with_store(options).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut client = Client::introduced(server.address).await;
        client.ask("MAIL FROM:<a@example.com> SIZE=50000000", "250 ").await;
        client.ask("RCPT TO:<alice@millrace.test>", "250 ").await;
        client.ask("DATA", "354 ").await;
        client.send(b"a little\r\n").await;
        slow.push(client);
    }
    let mut client = Client::introduced(server.address).await;
    assert!(client.deliver(&"x".repeat(100 * 1024)).await.starts_with("250 "));
    drop(slow);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_end_leaves_nothing() {
    let (server, store) = Server::with_store(options()).await;
    let mut client = Client::introduced(server.address).await;
    client.open_data().await;
    client.send(b"Subject: half\r\n\r\nof it\r\n.\r").await;
    drop(client);
    let mut client = Client::introduced(server.address).await;
    client.ask("MAIL FROM:<a@example.com>", "250 ").await;
    client.ask("RCPT TO:<alice@millrace.test>", "250 ").await;
    client.send(b"BDAT 100 LAST\r\nhalf").await;
    drop(client);
    server.stop().await;
    assert_eq!(store.appended(), 0);
}

#[tokio::test]
async fn connections_are_limited_and_freed() {
    let mut options = options();
    options.limits.max_connections_per_address = 2;
    let (server, _store) = Server::with_store(options).await;
    let first = Client::introduced(server.address).await;
    let mut second = Client::introduced(server.address).await;
    let mut third = server.client().await;
    third.expect("421 4.7.0 ").await;
    third.expect_close().await;
    drop(first);
    second.ask("QUIT", "221 ").await;
    second.expect_close().await;
    let freed = async {
        while !server.client().await.reply().await.starts_with("220 ") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.expect("the connections stay counted");
    server.stop().await;
}

#[tokio::test]
async fn too_many_connections_in_all_are_turned_away() {
    let mut options = options();
    options.limits.max_connections = 1;
    let (server, _store) = Server::with_store(options).await;
    let _first = Client::introduced(server.address).await;
    let mut second = server.client().await;
    second.expect("421 4.3.2 ").await;
    second.expect_close().await;
}

#[tokio::test]
async fn a_slow_loris_is_cut_off_however_often_it_sends_a_byte() {
    let mut options = options();
    options.timeouts.command = Duration::from_millis(300);
    let (server, _store) = Server::with_store(options).await;
    let mut client = server.client().await;
    client.expect("220 ").await;
    let started_at = Instant::now();
    for _ in 0..40 {
        client.send(b"N").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.expect("421 4.4.2 ").await;
    assert!(started_at.elapsed() >= Duration::from_millis(300));
    server.stop().await;
}

#[tokio::test]
async fn shutdown_tells_idle_clients_and_lets_a_transaction_end() {
    let (server, store) = Server::with_store(options()).await;
    let mut idle = Client::introduced(server.address).await;
    let mut busy = Client::introduced(server.address).await;
    busy.open_data().await;
    server.begin_shutdown();
    idle.expect("421 4.3.2 ").await;
    idle.expect_close().await;
    busy.send(b"Subject: x\r\n.\r\n").await;
    busy.expect("250 2.0.0 Ok: queued as ").await;
    busy.expect("421 4.3.2 ").await;
    busy.expect_close().await;
    server.stop().await;
    assert_eq!(store.appended(), 1);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let mut options = options();
    options.timeouts.drain = Duration::from_millis(200);
    let (server, store) = Server::with_store(options).await;
    let mut busy = Client::introduced(server.address).await;
    busy.open_data().await;
    let started_at = Instant::now();
    server.stop().await;
    assert!(started_at.elapsed() < Duration::from_secs(5));
    assert_eq!(store.appended(), 0);
}

/// A server with a certificate, and a TLS configuration that trusts it.
async fn server_with_tls() -> (Server, Arc<common::Store>, Arc<rustls::ClientConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.tls = Some(tls::load_or_make(folder.path(), common::SERVER_NAME).unwrap());
    let certificate = CertificateDer::from_pem_file(folder.path().join("certificate.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (server, store) = Server::with_store(options).await;
    (server, store, Arc::new(config))
}

async fn handshake(client: Client, config: Arc<rustls::ClientConfig>) -> Client<TlsStream<TcpStream>> {
    let name = ServerName::try_from(common::SERVER_NAME).unwrap();
    Client::new(TlsConnector::from(config).connect(name, client.stream).await.unwrap())
}

#[tokio::test]
async fn mail_over_tls_begins_anew_and_says_so_in_its_trace() {
    let (server, _store, config) = server_with_tls().await;
    let mut client = server.client().await;
    client.expect("220 ").await;
    let offered = client.ask("EHLO client.example", "250-").await;
    assert!(offered.contains("\n250-STARTTLS\n"));
    client.ask("MAIL FROM:<a@example.com>", "250 ").await;
    client.ask("STARTTLS", "220 2.0.0 ").await;
    let mut client = handshake(client, config).await;
    client.ask("MAIL FROM:<a@example.com>", "503 5.5.1 ").await;
    let offered = client.ask("EHLO client.example", "250-").await;
    assert!(!offered.contains("STARTTLS"));
    client.ask("STARTTLS", "503 5.5.1 ").await;
    let content = "Subject: x\r\n\r\n".to_owned() + &"over TLS ".repeat(50_000);
    assert!(client.deliver(&content).await.starts_with("250 "));
    let stored = server.stored().await.pop().unwrap();
    assert!(stored.record.is_tls && stored.trace.contains("with ESMTPS id"));
    assert_eq!(stored.content, (content + "\r\n").as_bytes());
    client.ask("QUIT", "221 ").await;
    client.expect_close().await;
    server.stop().await;
}

#[tokio::test]
async fn commands_injected_before_the_handshake_are_forgotten() {
    let (server, _store, config) = server_with_tls().await;
    let mut client = Client::introduced(server.address).await;
    client.send(b"STARTTLS\r\nEHLO attacker.example\r\nMAIL FROM:<attacker@example.com>\r\n").await;
    client.expect("220 2.0.0 ").await;
    let mut client = handshake(client, config).await;
    // Nothing of the above was answered or kept: the first reply is to our own command.
    client.ask("RCPT TO:<alice@millrace.test>", "503 5.5.1 ").await;
    client.ask("NOOP", "250 2.0.0 ").await;
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_none_ends_the_connection() {
    let (server, _store, _) = server_with_tls().await;
    let mut client = Client::introduced(server.address).await;
    client.ask("STARTTLS", "220 ").await;
    client.send(b"EHLO client.example\r\nand no handshake at all\r\n").await;
    while client.stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stop().await;
}

/// Words that lead far into the server, bytes that lead astray, in any order.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        &b"EHLO x\r\n"[..],
        b"MAIL FROM:<a@b>\r\n",
        b"RCPT TO:<alice@millrace.test>\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\n",
        b"BDAT 3 LAST\r\n",
        b"RSET\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
    ]);
    let piece = prop_oneof![3 => word.prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..40)];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

#[test]
fn no_noise_stops_the_server() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, _store) = runtime.block_on(Server::with_store(options()));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let sent = runner.run(&noise(), |bytes| {
        runtime.block_on(async {
            let mut client = server.client().await;
            client.send(&bytes).await;
            let _ = client.stream.shutdown().await;
            while let Some(line) = client.line().await {
                let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
                prop_assert!(code.is_some_and(|code| (200..600).contains(&code)), "no reply: {line}");
            }
            Ok(())
        })
    });
    sent.unwrap();
    runtime.block_on(async {
        let mut client = Client::introduced(server.address).await;
        assert!(client.deliver("Subject: still here").await.starts_with("250 "));
        server.stop().await;
    });
}

/// Lines of anything, ended by CRLF.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let byte =
        prop_oneof![2 => Just(b'.'), 5 => any::<u8>().prop_filter("no line end", |byte| !b"\r\n".contains(byte))];
    let line = prop_oneof![8 => prop::collection::vec(byte, 0..20), 1 => Just(vec![b'x'; 70_000])];
    prop::collection::vec(line, 0..8)
        .prop_map(|lines| lines.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect())
}

/// The bytes to send after RCPT, with dots stuffed for DATA or in chunks of `size` for BDAT.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        sent.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        sent.extend_from_slice(line);
    }
    sent.extend_from_slice(b".\r\n");
    sent
}

fn chunked(content: &[u8], size: usize) -> Vec<u8> {
    let chunk = |piece: &[u8]| [format!("BDAT {}\r\n", piece.len()).as_bytes(), piece].concat();
    let mut sent: Vec<u8> = content.chunks(size).flat_map(chunk).collect();
    sent.extend_from_slice(b"BDAT 0 LAST\r\n");
    sent
}

#[test]
fn any_content_is_stored_as_it_was_sent_in_whatever_pieces() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, _store) = runtime.block_on(Server::with_store(options()));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(100));
    let input = (content(), any::<bool>(), 100..20_000usize, 1..30_000usize);
    let sent = runner.run(&input, |(content, is_chunked, chunk_size, write_size)| {
        runtime.block_on(async {
            let mut client = Client::introduced(server.address).await;
            client.ask("MAIL FROM:<a@example.com>", "250 ").await;
            client.ask("RCPT TO:<alice@millrace.test>", "250 ").await;
            let bytes = if is_chunked { chunked(&content, chunk_size) } else { stuffed(&content) };
            if !is_chunked {
                client.ask("DATA", "354 ").await;
            }
            for piece in bytes.chunks(write_size) {
                client.send(piece).await;
            }
            while !client.expect("250 ").await.contains("queued as") {}
            prop_assert_eq!(server.stored().await.pop().unwrap().content, content);
            Ok(())
        })
    });
    sent.unwrap();
}
