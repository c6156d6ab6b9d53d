//! Search over delivered mail.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use millrace_schemas::{MailboxChange, MailboxPatch};

use crate::mail::TextQuery;
use crate::mail::testing::{World, delivery, patch};

fn mail(subject: &str, body: &str) -> String {
    format!(
        "From: \"Kim\" <kim@example.org>\r\nTo: ann@millrace.test\r\nSubject: {subject}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
    )
}

async fn found(world: &World, account_id: &str, text: &str) -> Vec<String> {
    let query = TextQuery { text: Some(text.into()), ..TextQuery::default() };
    let ids = world.mailboxes.search(account_id, &query).await.unwrap();
    ids.iter().map(ToString::to_string).collect()
}

/// Waits until the index has this many documents.
async fn indexed(world: &World, documents: u64) {
    let begun = Instant::now();
    while world.search.documents() != documents {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} documents", world.search.documents());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn world() -> World {
    let mut world = World::open().await;
    world.start(World::slow());
    world.start_indexer();
    world.deliver("ann", "en", &mail("Quarterly meetings", "We were running late to the café office.")).await;
    world.deliver("ann", "ko", &mail("서울시 회의 안내", "내일 강남역에서 만나요")).await;
    world.deliver("ann", "ja", &mail("会議のお知らせ", "東京都庁で打ち合わせ ﾃｽﾄ")).await;
    world.deliver("ann", "zh", &mail("北京会议", "我们明天在人民大会堂见面")).await;
    world.deliver("bob", "other", &mail("Quarterly meetings", "running 서울시")).await;
    indexed(&world, 5).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn words_phrases_and_prefixes_are_found_in_every_language() {
    let mut world = world().await;
    let none: [&str; 0] = [];
    for (text, wanted) in [
        ("meeting", &["en"][..]),
        ("RUN", &["en"]),
        ("cafe", &["en"]),
        ("\"running late\"", &["en"]),
        ("\"late running\"", &none),
        ("quart*", &["en"]),
        ("\"running la\"*", &["en"]),
        ("meeting office kim", &["en"]),
        ("meeting absent", &none),
        ("서울", &["ko"]),
        ("강남역", &["ko"]),
        ("\"회의 안내\"", &["ko"]),
        ("울", &["ko"]),
        ("내", &["ko"]),
        ("会議", &["ja"]),
        ("東京", &["ja"]),
        ("テスト", &["ja"]),
        ("人民大会", &["zh"]),
        ("会", &["ja", "zh"]),
        ("京", &["ja", "zh"]),
        ("kim@example.org", &["en", "ja", "ko", "zh"]),
        ("org@example.kim", &none),
        ("!?", &none),
    ] {
        assert_eq!(found(&world, "ann", text).await, wanted, "{text}");
    }
    let subject = |text: &str| TextQuery { subject: Some(text.into()), ..TextQuery::default() };
    assert_eq!(world.mailboxes.search("ann", &subject("running")).await.unwrap().len(), 0);
    assert_eq!(world.mailboxes.search("ann", &subject("meeting")).await.unwrap().len(), 1);
    let both = TextQuery { from: Some("kim".into()), body: Some("강남역".into()), ..TextQuery::default() };
    assert_eq!(world.mailboxes.search("ann", &both).await.unwrap().len(), 1);
    assert_eq!(found(&world, "bob", "서울").await, ["other"]);
    assert_eq!(found(&world, "nobody", "서울").await, none);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroyed_mail_is_not_found_and_new_mail_is_found_within_a_second() {
    let mut world = world().await;
    let gone = MailboxPatch { is_destroyed: true, ..MailboxPatch::default() };
    world.mailboxes.change("ann", None, vec![("en".into(), gone)]).await.unwrap();
    assert!(found(&world, "ann", "meeting").await.is_empty());
    indexed(&world, 4).await;
    let begun = Instant::now();
    world.deliver("ann", "new", &mail("Zebra", "stripes")).await;
    while found(&world, "ann", "zebra").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    eprintln!("found after {:?}", begun.elapsed());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_the_log_has_refused_is_none_to_the_index() {
    let mut world = world().await;
    let since = world.deliver("ann", "kept", &mail("Zebra", "stripes")).await[0].offset as i64;
    let removal = |since: i64| MailboxChange {
        if_unchanged_since: Some(since),
        call: Some(format!("since {since}")),
        ..patch("ann", "kept", r#"{"is_destroyed":true}"#)
    };
    world.append(vec![removal(since)]).await;
    world.deliver("ann", "after", &mail("Okapi", "stripes")).await;
    indexed(&world, 7).await;
    assert_eq!(found(&world, "ann", "zebra").await, ["kept"]);
    let positions = world.append(vec![patch("ann", "after", r#"{"is_destroyed":true}"#)]).await;
    let positions = world.append(vec![removal(positions[0].offset as i64 + 1)]).await;
    world.settle(&positions).await;
    assert!(found(&world, "ann", "zebra").await.is_empty());
    indexed(&world, 5).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_anywhere_loses_and_doubles_no_document() {
    let mut world = World::open().await;
    world.start(World::slow());
    for n in 0_u64..60 {
        world.deliver("ann", &format!("e{n}"), &mail(&format!("number{n}"), "same words")).await;
        if n % 6 == 0 {
            world.kill().await;
            world.reopen().await;
            world.start(World::slow());
            world.start_indexer();
            tokio::time::sleep(Duration::from_millis(n * 11)).await;
        }
    }
    indexed(&world, 60).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.search.documents(), 60);
    assert_eq!(found(&world, "ann", "number59").await, ["e59"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_thrown_away_is_made_again_from_tables_and_log() {
    let mut world = world().await;
    // A body that is not there: its summary is found.
    let changes = vec![delivery("ann", "bodiless"), patch("ann", "zh", r#"{"is_destroyed":true}"#)];
    let appended = world.append(changes).await;
    world.settle(&appended).await;
    world.stop().await;
    world.reopen().await;
    world.start(World::slow());
    world.start_indexer();
    world.deliver("ann", "later", &mail("later", "x")).await;
    indexed(&world, 6).await;
    let mut steps = Vec::new();
    let done = world
        .search
        .rebuild(&world.tables, world.blobs.as_ref(), world.log.as_ref(), |progress| steps.push(progress))
        .await
        .unwrap();
    assert_eq!((done.total, done.read, done.indexed), (6, 6, 5), "one is destroyed");
    assert!(!steps.is_empty());
    // `later` comes from the log, by the indexer that made way.
    indexed(&world, 6).await;
    assert_eq!(found(&world, "ann", "later").await, ["later"]);
    assert_eq!(found(&world, "ann", "bodiless").await, ["bodiless"]);
    assert_eq!(found(&world, "ann", "서울").await, ["ko"]);
    assert!(found(&world, "ann", "北京").await.is_empty());
    world.stop().await;
}
