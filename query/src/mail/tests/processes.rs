//! Readers in other processes than the lander's: they share hot store and tables, and learn of landings late.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_schemas::MailboxPatch;

use crate::mail::testing::{World, delivery, patch};
use crate::mail::{ChangeError, Mailboxes};
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

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_for_one_state_in_two_processes_one_is_made() {
    let mut world = World::open().await;
    world.start(World::quick());
    let positions = world.append((0..40).map(|n| delivery("ann", &format!("e{n}"))).collect()).await;
    world.settle(&positions).await;
    let ((first, _), (second, _)) = (another_process(&world).await, another_process(&world).await);
    let flag = |id: &str| {
        let patch = MailboxPatch { keywords: [("$flagged".to_owned(), true)].into(), ..MailboxPatch::default() };
        (id.to_owned(), patch)
    };
    let (mut refused, mut delivered) = (0, 0);
    for n in 0..19 {
        let state = first.view("ann").await.unwrap().state;
        assert_eq!(second.view("ann").await.unwrap().state, state);
        let ids = [[format!("e{}", 2 * n), format!("e{}", 2 * n + 2)], [format!("e{}", 2 * n + 1), "e1".into()]];
        let patches = |ids: &[String; 2]| ids.iter().map(|id| flag(id)).collect::<Vec<_>>();
        let delivering = async {
            if n % 4 == 3 {
                delivered += 1;
                return world.append(vec![delivery("ann", &format!("n{n}"))]).await;
            }
            Vec::new()
        };
        let before = first.view("ann").await.unwrap();
        let (of_first, of_second, others) = tokio::join!(
            first.change("ann", Some(state), patches(&ids[0])),
            second.change("ann", Some(state), patches(&ids[1])),
            delivering,
        );
        // Or it would refuse those of the next round.
        world.settle(&others).await;
        let view = first.view("ann").await.unwrap();
        let made = [&of_first, &of_second].iter().filter(|outcome| outcome.is_ok()).count();
        assert!(made <= 1 && (made == 1 || n % 4 == 3), "round {n}: {of_first:?}, {of_second:?}");
        for (outcome, ids) in [(&of_first, &ids[0]), (&of_second, &ids[1])] {
            match outcome {
                Ok(applied) => {
                    assert_eq!(applied.old_state, state);
                    assert!(ids.iter().all(|id| view.get(id).unwrap().keywords.len() == 1), "round {n}");
                }
                Err(ChangeError::StateMismatch { wanted, found }) => {
                    assert!(*wanted == state && *found > state);
                    let is_as_before = |id: &String| view.get(id).unwrap().keywords == before.get(id).unwrap().keywords;
                    assert!(ids.iter().all(is_as_before), "round {n}: a part was made");
                    refused += 1;
                }
                Err(error) => panic!("round {n}: {error}"),
            }
        }
    }
    assert!(refused >= 19 && delivered == 4, "{refused} refused");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_the_states_of_own_changes_misses_no_mail() {
    let mut world = World::open().await;
    world.start(World::quick());
    let positions = world.append((0..3).map(|n| delivery("ann", &format!("e{n}"))).collect()).await;
    world.settle(&positions).await;
    let (mailboxes, _) = another_process(&world).await;
    let view = mailboxes.view("ann").await.unwrap();
    let mut state = view.state;
    let mut seen: BTreeSet<String> = view.versions_since(0).map(|version| version.email_id.to_string()).collect();
    let (mut followed, mut asked) = (0, 0);
    for n in 0..40 {
        let patches = (0..3).map(|id| {
            let keywords = [(format!("k{n}"), true), (format!("k{}", n - 1), false)].into();
            (format!("e{id}"), MailboxPatch { keywords, ..MailboxPatch::default() })
        });
        let delivering = async {
            for part in 0..n % 4 {
                world.append(vec![delivery("ann", &format!("n{n}-{part}"))]).await;
            }
        };
        let (applied, ()) = tokio::join!(mailboxes.change("ann", None, patches.collect()), delivering);
        let applied = applied.unwrap();
        if applied.old_state == state && applied.new_state > state {
            state = applied.new_state;
            followed += 1;
        } else {
            let view = mailboxes.view("ann").await.unwrap();
            seen.extend(view.versions_since(state).map(|version| version.email_id.to_string()));
            state = view.state;
            asked += 1;
        }
    }
    let settled = world.append(vec![delivery("ann", "last")]).await;
    world.settle(&settled).await;
    let view = mailboxes.view("ann").await.unwrap();
    seen.extend(view.versions_since(state).map(|version| version.email_id.to_string()));
    let all: BTreeSet<String> = view.versions_since(0).map(|version| version.email_id.to_string()).collect();
    assert_eq!(all.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(followed >= 10 && asked > 0, "{followed} followed, {asked} asked");
    world.stop().await;
}
