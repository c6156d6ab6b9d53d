//! Readers in other processes than the lander's: they share hot store and tables, and learn of landings late.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mail::Mailboxes;
use crate::mail::testing::{World, delivery, patch};
use crate::tables::{Table, TableOptions, Tables};

/// The mailboxes of another process, which looks at the tables for the first time now.
async fn another_process(world: &World) -> (Mailboxes, Arc<Tables>) {
    let tables = Tables::open(world.dir.path(), TableOptions::default()).await.unwrap();
    let (log, hot, search) = (world.log.clone(), world.hot.clone(), world.search.clone());
    (Mailboxes::new(log, hot, tables.clone(), search, Default::default()), tables)
}

/// Waits until the hot store no longer has anything of the account.
async fn released(world: &World, partition: u32, account_id: &str) {
    let begun = Instant::now();
    while !world.hot.tail(partition, account_id, 0).await.unwrap().rows.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hot_store_released_is_found_in_a_newer_snapshot() {
    let mut world = World::open().await;
    world.reopen().await;
    let (mailboxes, tables) = another_process(&world).await;
    world.start(World::quick());
    let mut positions = Vec::new();
    for n in 0..30 {
        positions.extend(world.append(vec![delivery("ann", &format!("e{n}"))]).await);
    }
    world.settle(&positions).await;
    released(&world, positions[0].partition, "ann").await;
    assert_eq!(tables.snapshot(Table::EmailState).rows(), 0, "this process has not looked since");

    assert_eq!(mailboxes.view("ann").await.unwrap().len(), 30);
    let ids: Vec<String> = (0..30).map(|n| format!("e{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(mailboxes.facts("ann", &ids).await.unwrap().len(), 30);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_another_process_never_miss_a_change() {
    let mut world = World::open().await;
    world.reopen().await;
    world.start(World::quick());
    let (first, _) = another_process(&world).await;
    let mut state = 0;
    for n in 0..16 {
        let id = format!("e{n}");
        let mut positions = world.append(vec![delivery("ann", &id)]).await;
        if n % 3 == 0 {
            positions.extend(world.append(vec![patch("ann", &id, r#"{"keywords":{"$seen":true}}"#)]).await);
        }
        world.settle(&positions).await;
        if n % 4 == 0 {
            released(&world, positions[0].partition, "ann").await;
        }
        // One that follows from the start, and one whose views are empty.
        let (anew, _) = another_process(&world).await;
        for mailboxes in [&first, &anew] {
            let view = mailboxes.view("ann").await.unwrap();
            assert_eq!(view.len(), n + 1);
            assert_eq!(view.get(&id).unwrap().is_read(), n % 3 == 0);
            assert!(view.state >= state);
            assert_eq!(mailboxes.facts("ann", &[&id]).await.unwrap().len(), 1, "{id}");
        }
        state = anew.view("ann").await.unwrap().state;
    }
    world.stop().await;
}
