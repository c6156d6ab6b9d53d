//! Push, with real clients: the event source, and JMAP over WebSocket.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use millrace_api::Options;
use millrace_schemas::{Topic, topic::partition_of};
use millrace_storage::{HotRow, HotStore, Log};
use serde_json::{Value, json};
use support::{World, mail};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

const AT_US: i64 = 1_795_168_800_000_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens an event source; the text of its events comes out in pieces.
async fn events(world: &World, query: &str) -> axum::body::BodyDataStream {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("/jmap/eventsource?{query}"))
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, world.basic("alice"));
    let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    Body::new(response.into_body().map_err(axum::Error::new)).into_data_stream()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_source_tells_of_new_mail_and_ends_after_a_state_when_asked() {
    let world = World::start().await;
    let mut events = events(&world, "types=Email,EmailDelivery&closeafter=state&ping=0").await;
    world.deliver("bob", "b1", &mail("plain.eml"), "inbox", AT_US).await;
    world.deliver("alice", "m1", &mail("plain.eml"), "inbox", AT_US).await;
    let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
    let event = String::from_utf8(event.to_vec()).unwrap();
    let data: Value = serde_json::from_str(event.split("data: ").nth(1).unwrap()).unwrap();
    let state = world.mailboxes.view(&world.alice.id).await.unwrap().state.to_string();
    let states = json!({ "Email": state, "EmailDelivery": state });
    assert_eq!(data, json!({ "@type": "StateChange", "changed": { &world.alice.id: states } }));
    assert!(timeout(PATIENCE, events.next()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_read_at_first_is_told_when_it_can() {
    const FAR: u64 = 1_000_000;
    let world = World::start().await;
    world.deliver("alice", "m1", &mail("plain.eml"), "inbox", AT_US).await;
    let mut events = events(&world, "types=Email&closeafter=no&ping=0").await;
    let (log, hot, account_id) = (&world.storage.log, &world.storage.hot, &world.alice.id);
    let partition = partition_of(account_id, log.partitions(Topic::MailboxChanges));
    let before = world.mailboxes.view(account_id).await.unwrap().state;
    // The hot store begins behind where the tables end, so that the account cannot be read; and tells of a change.
    hot.reset(partition, FAR, 0).await.unwrap();
    let row = HotRow { account_id: (&**account_id).into(), email_id: "x".into(), seq: FAR, value: "x".into() };
    hot.apply(partition, vec![row], FAR + 1).await.unwrap();
    world.append("alice", "m2", &mail("plain.eml"), "inbox", AT_US).await;
    let landed = async || log.committed("lander", Topic::MailboxChanges, partition).await.unwrap();
    world.eventually(|| async { landed().await == Some(before + 1) }).await;
    assert!(world.mailboxes.view(account_id).await.is_err());
    assert!(timeout(Duration::from_millis(500), events.next()).await.is_err(), "nothing can be told");

    // Nobody tells that it can be read again.
    hot.reset(partition, before + 1, 0).await.unwrap();
    let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
    assert!(event.starts_with(format!("event: state\nid: {}\n", before + 1).as_bytes()), "{event:?}");
}

async fn open(world: &World) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{}/jmap/ws", world.address).into_client_request().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, world.basic("alice").parse().unwrap());
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, "jmap".parse().unwrap());
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (socket, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], "jmap");
    socket
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_takes_requests_and_pushes() {
    let world = World::start().await;
    let mut socket = open(&world).await;
    let request = json!({
        "@type": "Request", "id": "R1", "using": ["urn:ietf:params:jmap:core"],
        "methodCalls": [["Core/echo", {"a": 1}, "c"]],
    });
    socket.send(Message::text(request.to_string())).await.unwrap();
    let response = next(&mut socket).await;
    assert_eq!((&response["@type"], &response["requestId"]), (&json!("Response"), &json!("R1")));
    assert_eq!(response["methodResponses"], json!([["Core/echo", {"a": 1}, "c"]]));

    socket.send(Message::text(r#"{"@type":"Request","id":"R2"}"#)).await.unwrap();
    let refused = next(&mut socket).await;
    assert_eq!((&refused["@type"], &refused["requestId"]), (&json!("RequestError"), &json!("R2")));
    assert_eq!(refused["type"], "urn:ietf:params:jmap:error:notRequest");
    socket.send(Message::text("{")).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "urn:ietf:params:jmap:error:notJSON");

    socket.send(Message::text(r#"{"@type":"WebSocketPushEnable","dataTypes":["Email"]}"#)).await.unwrap();
    // An answer to a request shows that push is on.
    socket.send(Message::text(request.to_string())).await.unwrap();
    next(&mut socket).await;
    world.deliver("alice", "m1", &mail("plain.eml"), "inbox", AT_US).await;
    let change = next(&mut socket).await;
    let state = world.mailboxes.view(&world.alice.id).await.unwrap().state.to_string();
    assert_eq!(change["changed"], json!({ &world.alice.id: { "Email": state } }));
    assert_eq!(change["pushState"], json!(state));

    let enable = json!({ "@type": "WebSocketPushEnable", "dataTypes": null, "pushState": "0" });
    socket.send(Message::text(enable.to_string())).await.unwrap();
    assert_eq!(next(&mut socket).await["changed"][&world.alice.id]["Mailbox"], json!(state));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_needs_the_subprotocol_and_a_login() {
    let world = World::start().await;
    let mut request = format!("ws://{}/jmap/ws", world.address).into_client_request().unwrap();
    let stream = TcpStream::connect(world.address).await.unwrap();
    assert!(client_async(request.clone(), stream).await.is_err());
    request.headers_mut().insert(header::AUTHORIZATION, world.basic("alice").parse().unwrap());
    let stream = TcpStream::connect(world.address).await.unwrap();
    assert!(client_async(request, stream).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn push_ends_with_the_account() {
    let world = World::start().await;
    let mut events = events(&world, "types=*&closeafter=no&ping=0").await;
    let [mut watching, mut asking] = [open(&world).await, open(&world).await];
    watching.send(Message::text(r#"{"@type":"WebSocketPushEnable","dataTypes":null}"#)).await.unwrap();
    let request = json!({ "@type": "Request", "using": ["urn:ietf:params:jmap:core"], "methodCalls": [] }).to_string();
    for socket in [&mut watching, &mut asking] {
        socket.send(Message::text(request.clone())).await.unwrap();
        assert_eq!(next(socket).await["@type"], "Response");
    }
    world.directory.remove_account(&world.alice.address).await.unwrap();
    // Mail that was on its way wakes those that watch.
    world.deliver("alice", "m1", &mail("plain.eml"), "inbox", AT_US).await;
    assert!(timeout(PATIENCE, events.next()).await.unwrap().is_none(), "no event, and the end");
    asking.send(Message::text(request)).await.unwrap();
    for socket in [&mut watching, &mut asking] {
        let last = timeout(PATIENCE, socket.next()).await.unwrap();
        let Some(Ok(Message::Close(Some(frame)))) = last else { panic!("not closed with a reason: {last:?}") };
        assert_eq!(u16::from(frame.code), 1008);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_no_message_holds_is_refused_and_the_websocket_goes_on() {
    let world = World::start_with(Options { max_size_request: 80 << 20, ..Options::default() }).await;
    let mut socket = open(&world).await;
    let echo = |bytes: usize| {
        let calls = json!([["Core/echo", { "a": "x".repeat(bytes) }, "c"]]);
        let using = ["urn:ietf:params:jmap:core"];
        Message::text(json!({ "@type": "Request", "id": "R", "using": using, "methodCalls": calls }).to_string())
    };
    socket.send(echo(65 << 20)).await.unwrap();
    let refused = next(&mut socket).await;
    assert_eq!((&refused["@type"], &refused["requestId"]), (&json!("RequestError"), &json!("R")));
    assert!(refused["detail"].as_str().unwrap().contains("ask for less"), "{refused}");
    socket.send(echo(1)).await.unwrap();
    assert_eq!(next(&mut socket).await["@type"], "Response");
}
