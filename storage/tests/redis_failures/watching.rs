//! Changes are told in other processes, and when any may have been missed.

use millrace_storage::hot::Changed;
use tokio::sync::broadcast::Receiver;

use super::*;

/// The next change that is told.
pub(crate) async fn next(changes: &mut Receiver<Changed>) -> Changed {
    tokio::time::timeout(Duration::from_secs(20), changes.recv()).await.expect("in time").expect("a change")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn watchers_elsewhere_are_told_and_told_when_they_may_have_missed_something() {
    let mut server = RedisServer::start(&[]);
    let (lander, reader) = (open(&options(&server)).await, open(&options(&server)).await);
    let mut changes = reader.watch();
    lander.reset(PARTITION, 0, 0).await.unwrap();
    lander.apply(PARTITION, vec![row("a", 0), row("b", 1)], 2).await.unwrap();
    let told = |account: &str, seq| Changed { account_id: account.into(), seq };
    assert_eq!((next(&mut changes).await, next(&mut changes).await), (told("a", 0), told("b", 1)));

    // The connection breaks, and a change comes meanwhile.
    server.ask(&["client", "kill", "type", "pubsub"]);
    lander.apply(PARTITION, vec![row("a", 2)], 3).await.unwrap();
    let mut change = next(&mut changes).await;
    if change == told("a", 2) {
        change = next(&mut changes).await;
    }
    assert_eq!(change, Changed::missed());
    assert!(change.concerns("a", 2) && change.concerns("zoe", 0));
    lander.apply(PARTITION, vec![row("a", 3)], 4).await.unwrap();
    while next(&mut changes).await != told("a", 3) {}

    // Redis itself goes away and comes back with nothing.
    server.kill();
    server.start_again();
    until(async || lander.reset(PARTITION, 0, 0).await.is_ok()).await;
    lander.apply(PARTITION, rows("a", 0..5), 5).await.unwrap();
    while next(&mut changes).await != Changed::missed() {}
    lander.apply(PARTITION, vec![row("a", 5)], 6).await.unwrap();
    while next(&mut changes).await != told("a", 5) {}
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn watchers_are_told_of_a_message_that_did_not_come() {
    let server = RedisServer::start(&[]);
    let (lander, reader) = (open(&options(&server)).await, open(&options(&server)).await);
    let mut changes = reader.watch();
    lander.reset(PARTITION, 0, 0).await.unwrap();
    lander.apply(PARTITION, vec![row("a", 0)], 1).await.unwrap();
    next(&mut changes).await;
    // As if a message were lost on its way: what is applied moves, and nobody is told.
    server.ask(&["hset", &format!("{{millrace:hot:{PARTITION}}}:meta"), "applied_to", "7"]);
    assert_eq!(next(&mut changes).await, Changed::missed(), "noticed without any other change");
    server.ask(&["hset", &format!("{{millrace:hot:{PARTITION}}}:meta"), "applied_to", "9"]);
    lander.apply(PARTITION, vec![row("a", 9)], 10).await.unwrap();
    assert_eq!(next(&mut changes).await, Changed::missed(), "noticed with the next change");
    assert_eq!(next(&mut changes).await, Changed { account_id: "a".into(), seq: 9 });
}
