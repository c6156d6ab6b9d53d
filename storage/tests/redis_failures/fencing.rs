//! Only the lander that took a partition last writes, and it notices what Redis lost.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn a_lander_that_lost_a_partition_writes_nothing_more() {
    let server = RedisServer::start(&[]);
    let (one, other) = (open(&options(&server)).await, open(&options(&server)).await);
    assert!(is_fenced(&other.apply(PARTITION, rows("a", 0..1), 1).await), "it never had it");
    one.reset(PARTITION, 0, 0).await.unwrap();
    one.apply(PARTITION, rows("a", 0..5), 5).await.unwrap();

    other.reset(PARTITION, 3, 3).await.unwrap();
    other.apply(PARTITION, rows("a", 3..6), 6).await.unwrap();
    assert!(is_fenced(&one.apply(PARTITION, rows("late", 5..9), 9).await));
    assert!(is_fenced(&one.release(PARTITION, 5).await));
    for reader in [&one, &other] {
        let tail = reader.tail(PARTITION, "a", 0).await.unwrap();
        assert_eq!((tail.held_from, tail.applied_to, tail.rows), (3, 6, rows("a", 3..6)));
    }

    one.reset(PARTITION, 4, 4).await.unwrap();
    one.apply(PARTITION, rows("a", 4..8), 8).await.unwrap();
    assert!(is_fenced(&other.release(PARTITION, 6).await), "it goes both ways");
    assert!(is_fenced(&other.apply(PARTITION, rows("late", 8..9), 9).await), "and stays so");
    assert_eq!(one.rows(PARTITION, 0).await.unwrap().rows, rows("a", 4..8));
    other.reset(PARTITION + 1, 0, 0).await.unwrap();
    other.apply(PARTITION + 1, rows("a", 0..1), 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn who_takes_a_partition_over_keeps_its_rows_and_fences_the_other() {
    let server = RedisServer::start(&[]);
    let (one, other) = (open(&options(&server)).await, open(&options(&server)).await);
    one.reset(PARTITION, 0, 0).await.unwrap();
    one.apply(PARTITION, rows("a", 0..5), 5).await.unwrap();
    assert_eq!(other.take_over(PARTITION, 2, 7).await.unwrap(), Some(5));
    assert!(is_fenced(&one.apply(PARTITION, rows("late", 5..9), 9).await));
    assert!(is_fenced(&one.release(PARTITION, 5).await));
    other.apply(PARTITION, rows("a", 5..7), 7).await.unwrap();
    let tail = one.tail(PARTITION, "a", 0).await.unwrap();
    assert!(tail.is_complete());
    assert_eq!(tail.rows, rows("a", 0..7));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn a_reset_remembers_what_the_one_before_has_shown_meanwhile() {
    let server = RedisServer::start(&[]);
    let (one, other) = (open(&options(&server)).await, open(&options(&server)).await);
    one.reset(PARTITION, 5, 5).await.unwrap();
    // The other asks where the log ends; then the one applies what came after.
    one.apply(PARTITION, rows("a", 5..9), 9).await.unwrap();
    other.reset(PARTITION, 3, 5).await.unwrap();
    other.apply(PARTITION, rows("a", 3..8), 8).await.unwrap();
    assert!(!one.tail(PARTITION, "a", 0).await.unwrap().is_complete(), "readers have seen the 8th");
    other.apply(PARTITION, rows("a", 8..9), 9).await.unwrap();
    assert!(one.tail(PARTITION, "a", 0).await.unwrap().is_complete());
    // Who has it already knows better where the log ends.
    other.reset(PARTITION, 3, 4).await.unwrap();
    assert_eq!(one.tail(PARTITION, "a", 0).await.unwrap().complete_at, 4);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn what_was_lost_is_noticed_and_filled_again() {
    let server = RedisServer::start(&[]);
    let (lander, reader) = (open(&options(&server)).await, open(&options(&server)).await);
    let keys = ["meta", "rows", "accounts", "newest"].map(|key| format!("{{millrace:hot:{PARTITION}}}:{key}"));
    let losses = keys.iter().map(|key| vec!["unlink", key.as_str()]).chain([vec!["flushall"]]);
    for loss in losses {
        lander.reset(PARTITION, 10, 10).await.unwrap();
        lander.apply(PARTITION, rows("a", 10..20), 20).await.unwrap();
        assert_eq!(reader.tail(PARTITION, "a", 10).await.unwrap().rows, rows("a", 10..20));

        server.ask(&loss);
        assert_eq!(reader.applied_to(PARTITION).await.unwrap(), None, "{loss:?}");
        assert!(is_unavailable(&reader.tail(PARTITION, "a", 10).await), "{loss:?}");
        assert!(is_unavailable(&reader.rows(PARTITION, 10).await), "{loss:?}");
        assert!(is_unavailable(&reader.newest(PARTITION, "a", "e1").await), "{loss:?}");
        assert!(is_fenced(&lander.release(PARTITION, 12).await), "{loss:?}");
        assert!(is_fenced(&lander.apply(PARTITION, rows("a", 20..21), 21).await), "{loss:?}");
    }
    lander.reset(PARTITION, 10, 10).await.unwrap();
    lander.apply(PARTITION, rows("a", 10..21), 21).await.unwrap();
    assert_eq!(reader.tail(PARTITION, "a", 10).await.unwrap().rows, rows("a", 10..21));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn redis_gone_back_to_an_older_state_is_noticed() {
    let mut server = RedisServer::start(&[]);
    let lander = open(&options(&server)).await;
    lander.reset(PARTITION, 0, 0).await.unwrap();
    lander.apply(PARTITION, rows("a", 0..5), 5).await.unwrap();
    server.ask(&["save"]);
    lander.apply(PARTITION, rows("a", 5..9), 9).await.unwrap();
    server.kill();
    server.start_again();
    let reader = open(&options(&server)).await;
    assert_eq!(reader.applied_to(PARTITION).await.unwrap(), Some(5), "it has lost the last rows");
    let mut outcome = lander.apply(PARTITION, rows("a", 9..12), 12).await;
    while is_unavailable(&outcome) {
        outcome = lander.apply(PARTITION, rows("a", 9..12), 12).await;
    }
    assert!(is_fenced(&outcome), "else 5 to 8 would be missing for ever");
    assert_eq!(lander.take_over(PARTITION, 0, 9).await.unwrap(), Some(5), "what it still has is gone on with");
    assert!(!reader.tail(PARTITION, "a", 0).await.unwrap().is_complete(), "readers may have seen up to 9");
    lander.apply(PARTITION, rows("a", 5..12), 12).await.unwrap();
    let tail = reader.tail(PARTITION, "a", 0).await.unwrap();
    assert!(tail.is_complete());
    assert_eq!(tail.rows, rows("a", 0..12));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn an_apply_that_arrives_late_changes_nothing() {
    let server = RedisServer::start(&[]);
    let (one, other) = (open(&options(&server)).await, open(&options(&server)).await);
    one.reset(PARTITION, 0, 0).await.unwrap();
    server.freeze();
    assert!(is_unavailable(&one.apply(PARTITION, rows("late", 0..5), 5).await));
    // The other is first in the queue of a new connection or behind; either way the late rows are not added to its own.
    server.thaw();
    until(async || other.reset(PARTITION, 0, 0).await.is_ok()).await;
    until(async || other.apply(PARTITION, rows("a", 0..3), 3).await.is_ok()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = other.rows(PARTITION, 0).await.unwrap();
    assert_eq!((held.applied_to, held.rows), (3, rows("a", 0..3)));
    assert!(is_fenced(&one.apply(PARTITION, rows("late", 5..6), 6).await));
}
