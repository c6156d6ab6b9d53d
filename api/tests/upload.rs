//! Uploads: what goes up comes down again, for its own account only, and within bounds.

#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use millrace_api::{Options, ServeOptions, UploadKey};
use serde_json::{Value, json};
use support::{Answer, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn request(world: &World, name: &str, account_id: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(format!("/jmap/upload/{account_id}/"))
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "image/png")
        .header(header::AUTHORIZATION, world.basic(name))
        .body(body.into())
        .unwrap()
}

async fn upload(world: &World, name: &str, body: impl Into<Body>) -> Answer {
    let account_id = world.account(name).id.clone();
    world.send(request(world, name, &account_id, body)).await
}

async fn uploaded(world: &World, name: &str, body: &'static [u8]) -> String {
    let answer = upload(world, name, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer.json()["blobId"].as_str().unwrap().to_owned()
}

async fn download(world: &World, name: &str, account_id: &str, blob_id: &str) -> Answer {
    world.get(name, &format!("/jmap/download/{account_id}/{blob_id}/file.png?type=image/png")).await
}

/// An upload that has sent `sent` of the bytes it announced, and goes no further.
async fn stalled(world: &World, name: &str, announced: usize, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /jmap/upload/{}/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: {announced}\r\n\r\n",
        world.account(name).id,
        world.basic(name),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream
}

/// The status of the response on a connection.
async fn status(stream: &mut TcpStream) -> String {
    let mut line = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut line)).await.unwrap().unwrap();
    String::from_utf8_lossy(&line[9..]).into_owned()
}

/// Waits until what is `held` leaves no room for another; one that was refused, since the other was there first, is made anew.
async fn until_full<S: Future<Output = TcpStream>, A: Future<Output = Answer>>(
    held: &mut [TcpStream],
    stall: impl Fn() -> S,
    another: impl Fn() -> A,
) {
    let filled = async {
        while another().await.status == StatusCode::CREATED {
            for stream in &mut *held {
                if stream.try_read(&mut [0; 1]).is_ok() {
                    *stream = stall().await;
                }
            }
        }
    };
    timeout(PATIENCE, filled).await.unwrap();
}

/// As many bytes, in chunks: their number is not known before.
fn in_chunks(bytes: usize) -> Body {
    let chunks = (0..bytes / 100).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b'x'; 100])));
    Body::from_stream(futures::stream::iter(chunks))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_described_and_downloads_byte_for_byte() {
    let world = World::start().await;
    let alice = world.alice.id.clone();
    let session = world.get("alice", "/jmap/session").await.json();
    let url = session["uploadUrl"].as_str().unwrap().replace("{accountId}", &alice);
    let path = url.strip_prefix("http://localhost").unwrap().to_owned();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    for path in [path.as_str(), path.trim_end_matches('/')] {
        let mut request = request(&world, "alice", &alice, bytes.clone());
        *request.uri_mut() = path.parse().unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        let created = answer.json();
        let blob_id = created["blobId"].as_str().unwrap().to_owned();
        let expected = json!({"accountId": alice, "blobId": blob_id, "type": "image/png", "size": bytes.len()});
        assert_eq!(created, expected);
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        assert!(blob_id.len() <= 255 && blob_id.bytes().all(is_id), "{blob_id} is an id (RFC 8620 section 1.2)");
        let found = download(&world, "alice", &alice, &blob_id).await;
        assert_eq!(
            (found.status, found.headers[header::CONTENT_TYPE].to_str().unwrap()),
            (StatusCode::OK, "image/png")
        );
        assert!(found.body == bytes);
    }
    let empty = uploaded(&world, "alice", b"").await;
    assert_eq!(download(&world, "alice", &alice, &empty).await.body, Bytes::new());
    let mut odd = request(&world, "alice", &alice, "x");
    odd.headers_mut().insert(header::CONTENT_TYPE, "no type".parse().unwrap());
    assert_eq!(world.send(odd).await.json()["type"], "application/octet-stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_there_for_its_own_account_only() {
    let world = World::start().await;
    let (alice, bob) = (world.alice.id.clone(), world.bob.id.clone());
    let blob_id = uploaded(&world, "alice", b"secret").await;
    assert_eq!(download(&world, "alice", &alice, &blob_id).await.body, "secret");
    for (name, account) in [("bob", &bob), ("bob", &alice), ("alice", &bob)] {
        assert_eq!(download(&world, name, account, &blob_id).await.status, StatusCode::NOT_FOUND, "{name} {account}");
    }
    for at in [1, 20, 60, blob_id.len() - 1] {
        let other = if blob_id.as_bytes()[at] == b'A' { "B" } else { "A" };
        let forged = format!("{}{other}{}", &blob_id[..at], &blob_id[at + 1..]);
        assert_eq!(download(&world, "alice", &alice, &forged).await.status, StatusCode::NOT_FOUND, "{forged}");
    }
    let to_bob = world.send(request(&world, "alice", &bob, "x")).await;
    assert_eq!(to_bob.status, StatusCode::NOT_FOUND);
    let mut nobody = request(&world, "alice", &alice, "x");
    nobody.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(world.send(nobody).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_process_with_the_key_serves_an_upload() {
    let options = || Options { upload_key: UploadKey::from([7; 32]), ..Options::default() };
    let world = World::start_with(options()).await;
    let blob_id = uploaded(&world, "alice", b"shared").await;
    let path = format!("/jmap/download/{}/{blob_id}/x", world.alice.id);
    let ask = || {
        let asked = Request::get(&path).header(header::HOST, "localhost");
        asked.header(header::AUTHORIZATION, world.basic("alice")).body(Body::empty()).unwrap()
    };
    let same = world.serve(options(), ServeOptions::default()).await;
    let other = world.serve(Options::default(), ServeOptions::default()).await;
    assert_eq!(world.send_to(same.address, ask()).await.body, "shared");
    assert_eq!(world.send_to(other.address, ask()).await.status, StatusCode::NOT_FOUND);
}

fn is_limit(answer: &Answer, status: StatusCode, limit: &str) {
    let problem = answer.json();
    assert_eq!((answer.status, &problem["limit"]), (status, &Value::from(limit)), "{problem}");
    assert_eq!(problem["type"], "urn:ietf:params:jmap:error:limit");
    assert_eq!(problem["status"], status.as_u16());
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_too_large_is_refused_whether_or_not_it_says_so() {
    let world = World::start_with(Options { max_size_upload: 1_000, ..Options::default() }).await;
    let session = world.get("alice", "/jmap/session").await.json();
    assert_eq!(session["capabilities"]["urn:ietf:params:jmap:core"]["maxSizeUpload"], 1_000);
    assert_eq!(upload(&world, "alice", vec![0; 1_000]).await.status, StatusCode::CREATED);
    assert_eq!(upload(&world, "alice", in_chunks(1_000)).await.status, StatusCode::CREATED);
    is_limit(&upload(&world, "alice", vec![0; 1_001]).await, StatusCode::PAYLOAD_TOO_LARGE, "maxSizeUpload");
    is_limit(&upload(&world, "alice", in_chunks(1_100)).await, StatusCode::PAYLOAD_TOO_LARGE, "maxSizeUpload");
    // It is refused by what it announces, before it sends.
    let mut announced = stalled(&world, "alice", 1_001, b"").await;
    assert_eq!(status(&mut announced).await, "413");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_so_many_uploads_at_a_time() {
    let world = World::start_with(Options { max_concurrent_uploads: 2, ..Options::default() }).await;
    let session = world.get("alice", "/jmap/session").await.json();
    assert_eq!(session["capabilities"]["urn:ietf:params:jmap:core"]["maxConcurrentUpload"], 2);
    let stall = || stalled(&world, "alice", 4, b"ab");
    let mut held = [stall().await, stall().await];
    until_full(&mut held, stall, || upload(&world, "alice", "x")).await;
    let [mut first, second] = held;
    is_limit(&upload(&world, "alice", "x").await, StatusCode::TOO_MANY_REQUESTS, "maxConcurrentUpload");
    assert_eq!(upload(&world, "bob", "x").await.status, StatusCode::CREATED);
    // One goes on to its end, the other goes away: both places are free.
    first.write_all(b"cd").await.unwrap();
    assert_eq!(status(&mut first).await, "201");
    drop(second);
    world.eventually(|| async { upload(&world, "alice", "x").await.status == StatusCode::CREATED }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stalls_is_given_up() {
    let world = World::start_with(Options { read_timeout: Duration::from_millis(200), ..Options::default() }).await;
    let mut stream = stalled(&world, "alice", 4, b"ab").await;
    assert_eq!(status(&mut stream).await, "408");
    // So is one that goes on, far too slowly.
    let mut slow = stalled(&world, "alice", 100, b"").await;
    let dripping = async {
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut answer = [0; 12];
            match slow.try_read(&mut answer) {
                Ok(_) => return String::from_utf8_lossy(&answer[9..]).into_owned(),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        panic!("it was cut off without an answer");
    };
    assert_eq!(timeout(Duration::from_secs(3), dripping).await.unwrap(), "408");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_all_accounts_share_bounded_memory() {
    let options = Options { max_size_upload: 1_000, max_upload_memory: 1_000, ..Options::default() };
    let world = World::start_with(options).await;
    let stall = || stalled(&world, "alice", 1_000, &[b'x'; 900]);
    let mut alices = [stall().await];
    until_full(&mut alices, stall, || upload(&world, "bob", vec![0; 200])).await;
    let refused = upload(&world, "bob", vec![0; 200]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(upload(&world, "bob", vec![0; 100]).await.status, StatusCode::CREATED);
    drop(alices);
    world.eventually(|| async { upload(&world, "bob", vec![0; 1_000]).await.status == StatusCode::CREATED }).await;
}
