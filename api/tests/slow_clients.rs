//! Clients that read nothing: nothing piles up behind them, and they do not stay. And a server that stops lets go of
//! all that listen.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use futures::{SinkExt, StreamExt};
use millrace_api::{Options, ServeOptions};
use serde_json::json;
use support::{Server, World, mail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const AT_US: i64 = 1_795_168_800_000_000;
const PATIENCE: Duration = Duration::from_secs(10);
const EVENTS: &str = "/jmap/eventsource?types=*&closeafter=no&ping=0";

/// A server that leaves little to the kernel, so that a client which reads nothing is soon noticed. It has one push
/// connection at a time: the next one shows when the place is free.
fn serve(world: &World, write_timeout: Duration) -> Server {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4 << 10).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let options = Options { max_push_connections: 1, ..Options::default() };
    let serving = ServeOptions { write_timeout, drain_timeout: Duration::from_millis(500), ..ServeOptions::default() };
    world.serve_on(socket.listen(64).unwrap(), options, serving)
}

/// A connection that takes little when nobody reads.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

fn get(world: &World, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", world.basic("alice"))
}

/// Asks for an event source, and reads up to the end of its head.
async fn events(world: &World, address: SocketAddr) -> TcpStream {
    let mut stream = connect(address).await;
    stream.write_all(get(world, EVENTS).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

async fn websocket(world: &World, address: SocketAddr) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let mut request = format!("ws://{address}/jmap/ws").into_client_request().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, world.basic("alice").parse().unwrap());
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, "jmap".parse().unwrap());
    client_async(request, connect(address).await).await.map(|(socket, _)| socket)
}

async fn has_place(world: &World, address: SocketAddr) -> bool {
    websocket(world, address).await.is_ok()
}

/// A request whose response is as large.
fn echo(bytes: usize) -> Message {
    let calls = json!([["Core/echo", { "a": "x".repeat(bytes) }, "c"]]);
    let request = json!({ "@type": "Request", "using": ["urn:ietf:params:jmap:core"], "methodCalls": calls });
    Message::text(request.to_string())
}

async fn change(world: &World, number: usize) {
    let keyword = number.is_multiple_of(2).then_some(true);
    let set = json!({"accountId": world.alice.id, "update": {"m1": {"keywords/x": keyword}}});
    let response = world.call("alice", json!([["Email/set", set, "0"]])).await;
    assert_eq!(response[0][1]["updated"], json!({"m1": null}), "{response}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_source_that_is_not_read_is_closed() {
    let world = World::start().await;
    world.deliver("alice", "m1", &mail("plain.eml"), "inbox", AT_US).await;
    let server = serve(&world, Duration::from_millis(500));
    let events = events(&world, server.address).await;
    assert!(!has_place(&world, server.address).await);
    let begun = Instant::now();
    for number in 0.. {
        change(&world, number).await;
        // Changes that come faster are told as one.
        tokio::time::sleep(Duration::from_millis(25)).await;
        if number % 10 == 0 && has_place(&world, server.address).await {
            break;
        }
        assert!(begun.elapsed() < PATIENCE * 3, "after {number} changes it is open");
    }
    drop(events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_is_not_read_is_closed() {
    let world = World::start().await;
    let server = serve(&world, Duration::from_millis(500));
    let message = [&mail("plain.eml")[..], &vec![b'x'; 1 << 20]].concat();
    world.deliver("alice", "large", &message, "inbox", AT_US).await;
    let mut stream = connect(server.address).await;
    let download = get(&world, &format!("/jmap/download/{}/Blarge/x", world.alice.id));
    stream.write_all(download.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // What it got before it was closed is there to read, and then the end.
    let mut got = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the connection is still open");
    assert!(got.len() < 1 << 20, "{} bytes, {end:?}", got.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_do_not_pile_up_while_nobody_takes_them() {
    let world = World::start().await;
    world.deliver("alice", "m1", &mail("plain.eml"), "inbox", AT_US).await;
    let request = Request::get(EVENTS).header(header::AUTHORIZATION, world.basic("alice")).body(Body::empty()).unwrap();
    let router = world.router(Options::default(), CancellationToken::new());
    let mut events = router.oneshot(request).await.unwrap().into_body().into_data_stream();
    for number in 0..20 {
        change(&world, number).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let state = world.mailboxes.view(&world.alice.id).await.unwrap().state;
    let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
    assert!(String::from_utf8_lossy(&event).contains(&format!("id: {state}\n")), "{event:?}");
    let next = timeout(Duration::from_millis(500), events.next()).await;
    assert!(next.is_err(), "one event tells of all 20 changes: {next:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_is_not_read_holds_little_and_is_closed() {
    let world = World::start().await;
    let server = serve(&world, Duration::from_millis(500));
    let mut socket = websocket(&world, server.address).await.unwrap();
    assert!(!has_place(&world, server.address).await);
    let begun = Instant::now();
    let mut taken = 0;
    // The server takes no more than what its buffers and one response hold, and then closes.
    while taken < 1_000 && socket.send(echo(500_000)).await.is_ok() {
        taken += 1;
    }
    assert!(taken < 50, "{taken} requests were taken, and no response");
    assert!(begun.elapsed() < PATIENCE);
    world.eventually(|| has_place(&world, server.address)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_reads_slowly_gets_its_response() {
    let world = World::start().await;
    let server = serve(&world, Duration::from_millis(500));
    let mut socket = websocket(&world, server.address).await.unwrap();
    socket.send(echo(2_000_000)).await.unwrap();
    // It reads in pieces, for longer than a client may take nothing.
    let begun = Instant::now();
    let stream = socket.get_mut();
    let mut read = 0;
    while read < 2_000_000 {
        if begun.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut bytes = vec![0; 64 << 10];
        let some = timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(some, 0, "it was closed after {read} bytes");
        read += some;
    }
    assert!(begun.elapsed() > Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_ends_what_listens() {
    let world = World::start().await;
    let server = world.serve(Options::default(), ServeOptions::default()).await;
    let mut events = events(&world, server.address).await;
    let mut socket = websocket(&world, server.address).await.unwrap();
    // One that has only just been upgraded may be dropped without a word.
    socket.send(echo(10)).await.unwrap();
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    let begun = Instant::now();
    server.shutdown.cancel();
    let mut rest = Vec::new();
    timeout(PATIENCE, events.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"0\r\n\r\n", "the end of a chunked response");
    let last = timeout(PATIENCE, socket.next()).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = last else { panic!("not closed with a reason: {last:?}") };
    assert_eq!(u16::from(frame.code), 1001);
    timeout(PATIENCE, server.served).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_waits_for_no_client_that_reads_nothing() {
    let world = World::start().await;
    let server = serve(&world, PATIENCE);
    let message = [&mail("plain.eml")[..], &vec![b'x'; 1 << 20]].concat();
    world.deliver("alice", "large", &message, "inbox", AT_US).await;
    let mut stream = connect(server.address).await;
    let download = get(&world, &format!("/jmap/download/{}/Blarge/x", world.alice.id));
    stream.write_all(download.as_bytes()).await.unwrap();
    let mut socket = websocket(&world, server.address).await.unwrap();
    socket.send(echo(2_000_000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    server.shutdown.cancel();
    timeout(PATIENCE, server.served).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let mut got = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the connection is still open");
    assert!(got.len() < 1 << 20, "{} bytes, {end:?}", got.len());
}
