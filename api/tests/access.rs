//! Who gets in, and that nobody gets at another account's mail.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_api::{Options, UploadKey};
use millrace_directory::{Directory, password};
use millrace_schemas::{DirectoryEntry, Topic, encode};
use millrace_storage::embedded::EmbeddedRevocations;
use millrace_storage::{Log, NewRecord};
use serde_json::json;
use support::{Server, World, mail};

const AT_US: i64 = 1_795_168_800_000_000;

async fn with(world: &World, method: &str, path: &str, authorization: &str) -> support::Answer {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    world.send(request.header(header::AUTHORIZATION, authorization).body(Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_is_sealed_off_between_accounts() {
    let world = World::start().await;
    world.deliver("alice", "m1", &mail("nested.eml"), "inbox", AT_US).await;
    let (alice, bob) = (world.alice.id.clone(), world.bob.id.clone());
    for blob in ["Bm1", "P1-m1"] {
        let own = world.get("alice", &format!("/jmap/download/{alice}/{blob}/x")).await;
        assert_eq!(own.status, StatusCode::OK);
        for (name, account) in [("bob", &alice), ("bob", &bob), ("alice", &bob)] {
            let other = world.get(name, &format!("/jmap/download/{account}/{blob}/x")).await;
            assert_eq!(other.status, StatusCode::NOT_FOUND, "{name} {account} {blob}");
        }
    }
    let calls = json!([
        ["Email/get", {"accountId": bob, "ids": ["m1"]}, "0"],
        ["Email/set", {"accountId": bob, "destroy": ["m1"]}, "1"],
        ["Email/query", {"accountId": bob, "filter": {"text": "parts"}}, "2"],
    ]);
    let responses = world.call("bob", calls).await;
    assert_eq!(responses[0][1]["notFound"], json!(["m1"]));
    assert_eq!(responses[1][1]["notDestroyed"]["m1"]["type"], "notFound");
    assert_eq!(responses[2][1]["ids"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_download_byte_for_byte_and_parts_decoded() {
    let world = World::start().await;
    let body = world.deliver("alice", "m1", &mail("nested.eml"), "inbox", AT_US).await;
    let base = format!("/jmap/download/{}", world.alice.id);
    let whole = world.get("alice", &format!("{base}/Bm1/mail.eml?type=message/rfc822")).await;
    assert_eq!(whole.body, body);
    assert_eq!(whole.headers[header::CONTENT_TYPE], "message/rfc822");
    assert_eq!(whole.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(whole.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("sandbox"));
    let part = world.get("alice", &format!("{base}/P5-m1/%EB%B3%B4.pdf?type=text/html")).await;
    assert_eq!(&part.body[..], b"%PDF-1.4\n");
    let disposition = part.headers[header::CONTENT_DISPOSITION].to_str().unwrap();
    assert_eq!(disposition, "attachment; filename*=UTF-8''%EB%B3%B4.pdf");
    for missing in ["P99-m1/x", "Bgone/x", "X/x", "..%2Fm1/x"] {
        assert_eq!(world.get("alice", &format!("{base}/{missing}")).await.status, StatusCode::NOT_FOUND, "{missing}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_tokens_open_the_session_and_nothing_else_does() {
    let world = World::start().await;
    for authorization in ["Basic !", "Basic YWxpY2U=", "Bearer x", "Digest a", ""] {
        let answer = with(&world, "GET", "/jmap/session", authorization).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{authorization}");
        assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    let session = world.get("alice", "/.well-known/jmap").await.json();
    assert_eq!(session["username"], "alice@millrace.test");
    assert_eq!(session["primaryAccounts"]["urn:ietf:params:jmap:mail"], world.alice.id);
    let opened = with(&world, "POST", "/auth/token", &world.basic("alice")).await;
    assert_eq!(opened.status, StatusCode::CREATED);
    let bearer = format!("Bearer {}", opened.json()["access_token"].as_str().unwrap());
    assert_eq!(with(&world, "GET", "/jmap/session", &bearer).await.json(), session);
    assert_eq!(with(&world, "POST", "/auth/token", &bearer).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(with(&world, "DELETE", "/auth/token", &bearer).await.status, StatusCode::NO_CONTENT);
    assert_eq!(with(&world, "GET", "/jmap/session", &bearer).await.status, StatusCode::UNAUTHORIZED);
}

/// Writes alice's account anew, as another process would.
async fn write_account(world: &World, password_hash: Option<String>, quota_bytes: i64) {
    let entry = DirectoryEntry {
        kind: "account".into(),
        name: world.alice.id.clone(),
        address: Some(world.alice.address.clone()),
        password_hash,
        quota_bytes: Some(quota_bytes),
        ..DirectoryEntry::default()
    };
    let record = NewRecord { topic: Topic::Directory, key: entry.name.clone(), value: encode(&entry).unwrap() };
    world.storage.log.append(vec![record]).await.unwrap();
    let is_written = || async {
        let account = world.directory.account(&world.alice.id).unwrap();
        account.quota_bytes == u64::try_from(quota_bytes).ok()
    };
    world.eventually(is_written).await;
}

/// A token for alice, as the header that it goes in.
async fn bearer(world: &World, basic: &str) -> String {
    let opened = with(world, "POST", "/auth/token", basic).await;
    assert_eq!(opened.status, StatusCode::CREATED);
    format!("Bearer {}", opened.json()["access_token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_with_the_password_that_opened_it() {
    let world = World::start().await;
    let (old, new) = (password::hash(support::PASSWORD).unwrap(), password::hash("battery staple").unwrap());
    write_account(&world, Some(old.clone()), 1_000_000).await;
    let first = bearer(&world, &world.basic("alice")).await;
    // What is no credential can change.
    write_account(&world, Some(old.clone()), 2_000_000).await;
    assert_eq!(with(&world, "GET", "/jmap/session", &first).await.status, StatusCode::OK);
    write_account(&world, Some(new), 3_000_000).await;
    assert_eq!(with(&world, "GET", "/jmap/session", &first).await.status, StatusCode::UNAUTHORIZED);
    let basic = format!("Basic {}", STANDARD.encode("alice@millrace.test:battery staple"));
    let second = bearer(&world, &basic).await;
    assert_eq!(with(&world, "GET", "/jmap/session", &second).await.status, StatusCode::OK);
    // The old password does not bring the old token back.
    write_account(&world, Some(old), 4_000_000).await;
    for token in [&first, &second] {
        assert_eq!(with(&world, "GET", "/jmap/session", token).await.status, StatusCode::UNAUTHORIZED);
    }
    write_account(&world, None, 5_000_000).await;
    assert_eq!(with(&world, "GET", "/jmap/session", &world.basic("alice")).await.status, StatusCode::UNAUTHORIZED);
}

/// Asks one of several servers for the session.
async fn session_at(world: &World, server: &Server, authorization: &str) -> StatusCode {
    let request = Request::get("/jmap/session").header(header::HOST, "localhost");
    let request = request.header(header::AUTHORIZATION, authorization).body(Body::empty()).unwrap();
    world.send_to(server.address, request).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_holds_at_every_process_and_ends_at_every_one() {
    let world = World::start().await;
    let shared: Arc<EmbeddedRevocations> = Arc::default();
    let process = |key: u8| {
        let options = Options { upload_key: UploadKey::from([key; 32]), ..Options::default() };
        world.serve_api(options, |api| api.with_revocations(shared.clone()))
    };
    let (one, other, foreign) = (process(7).await, process(7).await, process(8).await);
    let at = |server: &Server, method: &str, authorization: &str| {
        let request = Request::builder().method(method).uri("/auth/token").header(header::HOST, "localhost");
        world.send_to(server.address, request.header(header::AUTHORIZATION, authorization).body(Body::empty()).unwrap())
    };
    let open = async || {
        let opened = at(&one, "POST", &world.basic("alice")).await;
        format!("Bearer {}", opened.json()["access_token"].as_str().unwrap())
    };
    let (first, second) = (open().await, open().await);
    for token in [&first, &second] {
        assert_eq!(session_at(&world, &one, token).await, StatusCode::OK);
        assert_eq!(session_at(&world, &other, token).await, StatusCode::OK);
        assert_eq!(session_at(&world, &foreign, token).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(at(&foreign, "DELETE", &first).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(at(&other, "DELETE", &first).await.status, StatusCode::NO_CONTENT);
    for server in [&one, &other] {
        assert_eq!(session_at(&world, server, &first).await, StatusCode::UNAUTHORIZED);
        assert_eq!(session_at(&world, server, &second).await, StatusCode::OK);
    }
    assert_eq!(at(&one, "DELETE", &first).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_with_its_account() {
    let world = World::start().await;
    let token = bearer(&world, &world.basic("alice")).await;
    assert_eq!(with(&world, "GET", "/jmap/session", &token).await.status, StatusCode::OK);
    world.directory.remove_account(&world.alice.address).await.unwrap();
    assert_eq!(with(&world, "GET", "/jmap/session", &token).await.status, StatusCode::UNAUTHORIZED);
    // One of the same name is another account.
    world.directory.add_account(&world.alice.address, Some(support::PASSWORD), None).await.unwrap();
    assert_eq!(with(&world, "GET", "/jmap/session", &token).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_at_a_password_is_stopped() {
    let world = World::start_with(Options { max_login_failures: 2, ..Options::default() }).await;
    // alice@millrace.test:wrong
    let wrong = "Basic YWxpY2VAbWlsbHJhY2UudGVzdDp3cm9uZw==";
    for status in [StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(with(&world, "GET", "/jmap/session", wrong).await.status, status);
    }
    let right = with(&world, "GET", "/jmap/session", &world.basic("alice")).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(right.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(world.get("bob", "/jmap/session").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_has_just_written_counts_before_a_login_is_refused() {
    let mut world = World::start().await;
    // As in a process that has not heard of it yet: nobody follows this directory.
    let behind = Directory::open(world.storage.log.clone()).await.unwrap();
    let server = world.serve_knowing(behind, Options { max_login_failures: 3, ..Options::default() }).await;
    world.address = server.address;
    let carol = async |password: &str, status| {
        let basic = format!("Basic {}", STANDARD.encode(format!("carol@millrace.test:{password}")));
        assert_eq!(with(&world, "GET", "/jmap/session", &basic).await.status, status, "{password}");
    };
    carol("one", StatusCode::UNAUTHORIZED).await;
    world.directory.add_account("carol@millrace.test", Some("one"), None).await.unwrap();
    carol("one", StatusCode::OK).await;
    world.directory.remove_account("carol@millrace.test").await.unwrap();
    world.directory.add_account("carol@millrace.test", Some("another"), None).await.unwrap();
    carol("another", StatusCode::OK).await;
    carol("one", StatusCode::UNAUTHORIZED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_size_and_type_are_kept() {
    let world = World::start_with(Options { max_size_request: 1_000, ..Options::default() }).await;
    let answer = world.post("alice", "x".repeat(1_001)).await;
    assert_eq!((answer.status, answer.json()["limit"].clone()), (StatusCode::BAD_REQUEST, json!("maxSizeRequest")));
    let request =
        Request::post("/jmap").header(header::HOST, "localhost").header(header::AUTHORIZATION, world.basic("alice"));
    let answer = world.send(request.body(Body::from("{}")).unwrap()).await;
    assert_eq!(answer.json()["type"], "urn:ietf:params:jmap:error:notJSON");
    assert_eq!(with(&world, "GET", "/healthz", "").await.status, StatusCode::OK);
    assert_eq!(with(&world, "GET", "/nothing", "").await.status, StatusCode::NOT_FOUND);
}
