//! The schema registry, as its clients ask it.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use millrace_api::{Options, Registry};
use millrace_schemas::codec::header as frame;
use millrace_schemas::{DeadLetter, Topic, decode, registry};
use millrace_storage::Log;
use millrace_storage::schemas::SchemaTopic;
use serde_json::{Value, json};
use support::{Answer, Server, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SCREENED: &str = "/subjects/mail%2Escreened%2Dvalue/versions/";
const DEAD_LETTER: &str = "/subjects/mail.dead-letter-value";

/// Another API process over the same log.
async fn another(world: &World) -> Server {
    let log: Arc<dyn Log> = world.storage.log.clone();
    world.serve_api(Options::default(), |api| api.with_registry(Registry::new(Arc::new(SchemaTopic::new(log))))).await
}

async fn get(world: &World, server: &Server, path: &str) -> Answer {
    let request = Request::get(path).header(header::HOST, "localhost");
    world.send_to(server.address, request.body(Body::empty()).unwrap()).await
}

async fn post(world: &World, server: &Server, path: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()));
    world.send_to(server.address, request.unwrap()).await
}

/// What a sink of Arroyo's sends for records of `mail.dead-letter`; `name` tells the tests' schemas apart.
fn written_by_arroyo(name: &str) -> Value {
    let text = |name: &str| json!({"name": name, "type": ["null", "string"]});
    let number = |name: &str| json!({"name": name, "type": ["null", "long"]});
    let schema = json!({"name": name, "type": "record", "fields": [
        {"name": "stage", "type": "string"}, text("error"), number("failed_at_us"), text("message_id"),
        text("recipient"), text("body"), text("topic"), number("partition"), number("offset"),
    ]});
    json!({"schema": schema.to_string(), "schemaType": "AVRO"})
}

fn id_of(answer: &Answer) -> u32 {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    u32::try_from(answer.json()["id"].as_u64().unwrap()).unwrap()
}

fn error_of(answer: &Answer) -> (u16, u64, String) {
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/vnd.schemaregistry.v1+json");
    let error = answer.json();
    (answer.status.as_u16(), error["error_code"].as_u64().unwrap(), error["message"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_write_with_is_there_under_both_bases() {
    let world = World::start().await;
    let server = another(&world).await;
    for base in ["", "/schemas"] {
        let subjects = get(&world, &server, &format!("{base}/subjects")).await.json();
        assert!(subjects.as_array().unwrap().contains(&json!("mail.screened-value")));
        let newest = registry::newest(Topic::Screened);
        let latest = get(&world, &server, &format!("{base}/subjects/mail.screened-value/versions/latest")).await;
        assert_eq!(latest.headers[header::CONTENT_TYPE], "application/vnd.schemaregistry.v1+json");
        let wanted = json!({"subject": "mail.screened-value", "id": newest.id, "version": 1, "schema": newest.text});
        assert_eq!(latest.json(), wanted);
        let by_id = get(&world, &server, &format!("{base}/schemas/ids/{}", newest.id)).await;
        assert_eq!(by_id.json(), json!({ "schema": newest.text }));
        let raw = get(&world, &server, &format!("{base}/schemas/ids/{}/schema", newest.id)).await;
        assert_eq!(raw.json()["name"], "Screened");
        let versions = get(&world, &server, &format!("{base}/schemas/ids/{}/versions", newest.id)).await;
        assert_eq!(versions.json(), json!([{"subject": "mail.screened-value", "version": 1}]));
        assert_eq!(get(&world, &server, &format!("{base}/schemas/types")).await.json(), json!(["AVRO"]));
        let config = get(&world, &server, &format!("{base}/config")).await.json();
        assert_eq!(config, json!({"compatibilityLevel": "FORWARD"}));
        assert_eq!(get(&world, &server, &format!("{base}/mode")).await.json(), json!({"mode": "READWRITE"}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arroyo_sends_gets_an_id_and_records_with_it_are_read() {
    let world = World::start().await;
    let server = another(&world).await;
    let body = written_by_arroyo("ArroyoAvro");
    let path = "/subjects/mail%2Edead%2Dletter%2Dvalue/versions/";
    let id = id_of(&post(&world, &server, path, &body).await);
    assert!(id >= registry::FIRST_REGISTERED_ID);
    // stage, then a union's branch before each other field: a string, a long, nulls.
    let datum = b"\x06abc\x02\x06why\x02\x0e\x00\x00\x00\x00\x00\x00";
    let read: DeadLetter = decode(&[&frame(id)[..], datum].concat()).unwrap();
    let wanted = DeadLetter { stage: "abc".into(), error: "why".into(), failed_at_us: 7, ..DeadLetter::default() };
    assert_eq!(read, wanted);
    let schema = get(&world, &server, &format!("/schemas/ids/{id}")).await.json();
    assert!(schema["schema"].as_str().unwrap().contains("ArroyoAvro"));
    // Again, by whatever path and form, it is the same one.
    for path in [format!("{DEAD_LETTER}/versions"), format!("/schemas{DEAD_LETTER}/versions/")] {
        assert_eq!(id_of(&post(&world, &server, &path, &body).await), id);
    }
    let found = post(&world, &server, DEAD_LETTER, &body).await.json();
    assert_eq!((&found["id"], &found["version"]), (&json!(id), &json!(id)));
    let versions = get(&world, &server, &format!("{DEAD_LETTER}/versions")).await.json();
    assert_eq!(versions, json!([1, id]));
    let latest = get(&world, &server, &format!("{DEAD_LETTER}/versions/latest")).await.json();
    assert_eq!(latest["version"], 1, "what Millrace itself writes");
}

/// `tests/arroyo/TOPIC.json` is what the sink of a topic posts when its pipeline starts: names of all records the same,
/// no logical types, columns that went through `unnest` nullable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arroyos_sinks_post_is_taken_byte_for_byte() {
    let world = World::start().await;
    let server = another(&world).await;
    for topic in [Topic::Screened, Topic::MailboxChanges, Topic::Delivery, Topic::DeadLetter] {
        let body = std::fs::read(format!("{}/tests/arroyo/{topic}.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let subject = topic.subject().replace('.', "%2E").replace('-', "%2D");
        let post = || async {
            let head = format!(
                "POST /subjects/{subject}/versions/ HTTP/1.1\r\ncontent-type: application/json\r\naccept: */*\r\n\
                 host: {}\r\ncontent-length: {}\r\n\r\n",
                server.address,
                body.len()
            );
            let answer = exchange(&server, &[head.as_bytes(), &body].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{topic}: {answer}");
            let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
            serde_json::from_str::<Value>(answer).unwrap()["id"].as_i64().and_then(|id| u32::try_from(id).ok()).unwrap()
        };
        let id = post().await;
        assert_eq!(post().await, id, "each start of the pipeline");
        assert!(id >= registry::FIRST_REGISTERED_ID && i32::try_from(id).is_ok(), "Arroyo keeps it signed");
        // Its sources take /schemas/ids from the root of the host, whatever the endpoint is.
        let kept = get(&world, &server, &format!("/schemas/ids/{id}")).await.json();
        assert_eq!(kept["schema"], serde_json::from_slice::<Value>(&body).unwrap()["schema"]);
        assert_eq!(registry::by_id(id).unwrap().subject, topic.subject(), "decoders know it");
    }
}

/// Sends bytes as they are, and reads one answer.
async fn exchange(server: &Server, request: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_schema_keeps_its_id() {
    let world = World::start().await;
    let server = another(&world).await;
    for topic in Topic::ALL {
        let newest = registry::newest(topic);
        let path = format!("/subjects/{}/versions", topic.subject());
        assert_eq!(id_of(&post(&world, &server, &path, &json!({"schema": newest.text})).await), newest.id);
        let canonical = json!({"schema": newest.schema.canonical_form()});
        assert_eq!(id_of(&post(&world, &server, &path, &canonical).await), newest.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_give_the_same_ids_and_keep_them() {
    let world = World::start().await;
    let (one, other) = (another(&world).await, another(&world).await);
    let bodies: Vec<_> = (0..4).map(|n| written_by_arroyo(&format!("TwoProcesses{n}"))).collect();
    let path = format!("{DEAD_LETTER}/versions");
    let asked = bodies.iter().flat_map(|body| [(&one, body), (&other, body)]);
    let asked = asked.map(|(server, body)| post(&world, server, &path, body));
    let answers = futures::future::join_all(asked).await;
    let ids: Vec<u32> = answers.iter().map(id_of).collect();
    for pair in ids.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    // As after a restart: what is in the log is all that it knows.
    let fresh = another(&world).await;
    for (id, body) in ids.iter().step_by(2).zip(&bodies) {
        assert_eq!(get(&world, &fresh, &format!("/schemas/ids/{id}")).await.status, StatusCode::OK);
        assert_eq!(id_of(&post(&world, &fresh, &path, body).await), *id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_as_ours_is_refused_with_what_differs() {
    let world = World::start().await;
    let server = another(&world).await;
    let schema = json!({"name": "R", "type": "record", "fields": [
        {"name": "stage", "type": "long"}, {"name": "error", "type": "string"}]});
    let body = json!({ "schema": schema.to_string() });
    let (status, code, message) = error_of(&post(&world, &server, &format!("{DEAD_LETTER}/versions"), &body).await);
    assert_eq!((status, code), (409, 409));
    assert!(message.contains("field stage: it is a long, and a string is needed"), "{message}");
    assert!(message.contains("field failed_at_us: it is missing, and has no default"), "{message}");
    let path = format!("/compatibility{DEAD_LETTER}/versions/latest");
    let compatible = post(&world, &server, &path, &body).await.json();
    assert_eq!(compatible["is_compatible"], false);
    assert_eq!(compatible["messages"].as_array().unwrap().len(), 2);
    let compatible = post(&world, &server, &path, &written_by_arroyo("Compatible")).await.json();
    assert_eq!(compatible, json!({"is_compatible": true, "messages": []}));
    let versions = get(&world, &server, &format!("{DEAD_LETTER}/versions")).await.json();
    assert_eq!(versions, json!([1]), "asking registers nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_a_password_only_who_sends_it_registers_and_everybody_reads() {
    let world = World::start().await;
    let topic = Arc::new(SchemaTopic::new(world.storage.log.clone()));
    let registry = Registry::new(topic).with_password("a long secret");
    let server = world.serve_api(Options::default(), |api| api.with_registry(registry)).await;
    let body = written_by_arroyo("Guarded");
    let versions = format!("{DEAD_LETTER}/versions");
    for path in [DEAD_LETTER, &versions, &format!("/compatibility{versions}/latest")] {
        let refused = post(&world, &server, path, &body).await;
        assert_eq!(error_of(&refused).1, 40101, "{path}");
        assert_eq!(refused.headers[header::WWW_AUTHENTICATE], "Basic realm=\"schemas\"");
    }
    assert_eq!(get(&world, &server, &versions).await.json(), json!([1]));
    // "arroyo:a long secret"
    let request = Request::post(&versions)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, "Basic YXJyb3lvOmEgbG9uZyBzZWNyZXQ=")
        .body(Body::from(body.to_string()));
    let id = id_of(&world.send_to(server.address, request.unwrap()).await);
    assert_eq!(get(&world, &server, &versions).await.json(), json!([1, id]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_have_confluents_numbers() {
    let world = World::start().await;
    let server = another(&world).await;
    let taken = written_by_arroyo("Errors");
    let unknown = json!({"schema": "{\"type\":\"record\",\"name\":\"R\",\"fields\":[]}"});
    for (path, code) in [
        ("/subjects/other-value/versions", 40401),
        ("/subjects/other-value/versions/latest", 40401),
        ("/subjects/mail.screened-key/versions", 40401),
        ("/config/other-value", 40401),
        ("/subjects/mail.screened-value/versions/9", 40402),
        ("/subjects/mail.screened-value/versions/last", 42202),
        ("/schemas/ids/99", 40403),
        ("/schemas/ids/2000000000", 40403),
        ("/schemas/ids/x", 40403),
    ] {
        assert_eq!(error_of(&get(&world, &server, path).await).1, code, "{path}");
    }
    for (path, body, code) in [
        ("/subjects/other-value/versions", &taken, 40401),
        (DEAD_LETTER, &taken, 40403),
        ("/subjects/directory-value/versions", &directory_writer(), 409),
        (SCREENED, &unknown, 409),
        (SCREENED, &json!({"schema": "{"}), 42201),
        (SCREENED, &json!({"schema": "\"string\""}), 42201),
        (SCREENED, &json!({"schema": "{}", "schemaType": "JSON"}), 42201),
        (SCREENED, &json!({"schema": "{}", "references": [{"name": "a", "subject": "b", "version": 1}]}), 42201),
        (SCREENED, &json!({"schema": " ".repeat(70_000)}), 42201),
        (SCREENED, &json!({"schema": " ".repeat(200_000)}), 413),
        (SCREENED, &json!([]), 400),
    ] {
        assert_eq!(error_of(&post(&world, &server, path, body).await).1, code, "{path} {code}");
    }
    let request = |method: &str| Request::builder().method(method).uri("/config").header(header::HOST, "localhost");
    let put = world.send_to(server.address, request("PUT").body(Body::empty()).unwrap()).await;
    assert_eq!(error_of(&put).1, 405);
    let form = Request::post(SCREENED).header(header::HOST, "localhost").header(header::CONTENT_TYPE, "text/plain");
    let form = world.send_to(server.address, form.body(Body::from(taken.to_string())).unwrap()).await;
    assert_eq!(error_of(&form).1, 415);
}

/// It resolves to ours, under a name of its own.
fn directory_writer() -> Value {
    let text = registry::newest(Topic::Directory).schema.canonical_form().replace("millrace.DirectoryEntry", "Mine");
    json!({ "schema": text })
}
