//! Views against the model, with landings and crashes anywhere.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_schemas::{MailboxChange, MailboxPatch};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::model::Account;
use crate::mail::testing::{World, delivery, patch};
use crate::mail::{ChangeError, Rejected};

const ACCOUNTS: [&str; 3] = ["ann", "bob", "cho"];
const PATCHES: [&str; 9] = [
    r#"{"keywords":{"$seen":true}}"#,
    r#"{"keywords":{"$seen":false,"$flagged":true}}"#,
    r#"{"set_keywords":["$draft","x"]}"#,
    r#"{"mailboxes":{"trash":true}}"#,
    r#"{"mailboxes":{"inbox":false,"junk":false}}"#,
    r#"{"mailboxes":{"archive":true,"inbox":false,"junk":false,"trash":false}}"#,
    r#"{}"#,
    r#"{"is_destroyed":true}"#,
    r#"{"set_keywords":[]}"#,
];

fn random_change(random: &mut StdRng, next: &mut u32) -> MailboxChange {
    let account_id = ACCOUNTS.choose(random).unwrap();
    if random.random_bool(0.4) {
        *next += 1;
        return delivery(account_id, &format!("e{next}"));
    }
    let email_id = format!("e{}", random.random_range(1..=*next + 1));
    match random.random_bool(0.1) {
        true => delivery(account_id, &email_id),
        false => patch(account_id, &email_id, PATCHES.choose(random).unwrap()),
    }
}

async fn check(world: &World, accounts: &BTreeMap<&str, Account>, random: &mut StdRng) {
    for (account_id, account) in accounts {
        let view = world.mailboxes.view(account_id).await.unwrap();
        account.assert_is(&view);
        account.assert_changes(&view, random.random_range(1..20));
        account.assert_exact_changes(&view, random.random_range(0..=account.state));
        let live = account.live();
        let ids: Vec<&str> = live.iter().map(String::as_str).collect();
        let mut facts = world.mailboxes.facts(account_id, &ids).await.unwrap();
        facts.sort_by(|a, b| a.email_id.cmp(&b.email_id));
        let told: Vec<_> = facts.iter().map(|facts| (facts.account_id.as_str(), facts.email_id.as_str())).collect();
        assert_eq!(told, ids.iter().map(|id| (*account_id, *id)).collect::<Vec<_>>());
        assert!(facts.iter().all(|facts| facts.summary.subject == Some(format!("mail {}", facts.email_id))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_those_of_the_model_whatever_lands_or_crashes() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        eprintln!("seed {seed}");
        let mut accounts: BTreeMap<&str, Account> = ACCOUNTS.map(|id| (id, Account::default())).into();
        let mut world = World::open().await;
        world.start(World::quick());
        let mut next = 0;
        for _ in 0..25 {
            let changes: Vec<_> = (0..random.random_range(1..25))
                .map(|_| {
                    let change = random_change(&mut random, &mut next);
                    match random.random_bool(0.3) && change.patch.is_some() {
                        true => accounts[change.account_id.as_str()].conditional(change, random.random_range(0..4)),
                        false => change,
                    }
                })
                .collect();
            let positions = world.append(changes.clone()).await;
            for (change, position) in changes.iter().zip(&positions) {
                accounts.get_mut(change.account_id.as_str()).unwrap().apply(change, position.offset);
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
            match random.random_range(0..4) {
                0 => {
                    world.kill().await;
                    world.reopen().await;
                    world.start(if random.random_bool(0.5) { World::quick() } else { World::slow() });
                }
                1 => {
                    world.stop().await;
                    world.reopen().await;
                    world.start(World::quick());
                }
                _ => world.settle(&positions).await,
            }
            check(&world, &accounts, &mut random).await;
        }
        world.stop().await;
        world.reopen().await;
        world.start(World::slow());
        check(&world, &accounts, &mut random).await;
        world.stop().await;
        let emails = accounts.values().map(|account| account.emails.len()).sum();
        let states = accounts.values().map(|account| account.state_rows).sum();
        assert_eq!(world.stored_rows().await, (emails, states), "nothing lost, nothing doubled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_landing_in_the_middle_of_reads_hides_and_doubles_nothing() {
    let mut world = World::open().await;
    world.reopen().await;
    world.start(World::quick());
    let is_done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (mailboxes, hot, tables, is_done) =
            (world.mailboxes.clone(), world.hot.clone(), world.tables.clone(), is_done.clone());
        tokio::spawn(async move {
            let (mut seen, mut reads) = (0, 0);
            while !is_done.load(Ordering::Relaxed) {
                let cached = mailboxes.view("ann").await.unwrap().len();
                assert!(cached >= seen, "{cached} after {seen}");
                let fresh = crate::mail::merged::load(&tables, hot.as_ref(), 0, "nobody").await.unwrap();
                assert!(fresh.versions.is_empty());
                seen = cached;
                reads += 1;
            }
            reads
        })
    };
    for n in 0..300 {
        let positions = world.append(vec![delivery("ann", &format!("e{n}"))]).await;
        world.settle(&positions).await;
        let partition = positions[0].partition;
        assert_eq!(world.mailboxes.view("ann").await.unwrap().len(), n + 1);
        let loaded = crate::mail::merged::load(&world.tables, world.hot.as_ref(), partition, "ann").await.unwrap();
        assert_eq!(loaded.versions.len(), n + 1);
        let ids: Vec<String> = (0..=n).map(|n| format!("e{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        if n % 10 == 0 {
            assert_eq!(world.mailboxes.facts("ann", &ids).await.unwrap().len(), n + 1);
        }
    }
    is_done.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
    world.stop().await;
    assert_eq!(world.stored_rows().await, (300, 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_visible_when_they_return_and_keep_to_the_state() {
    let mut world = World::open().await;
    world.start(World::slow());
    let positions = world.append(vec![delivery("ann", "1"), delivery("bob", "2")]).await;
    world.settle(&positions).await;
    let seen = || MailboxPatch { keywords: [("$seen".to_owned(), true)].into(), ..MailboxPatch::default() };
    let state = world.mailboxes.view("ann").await.unwrap().state;

    let applied =
        world.mailboxes.change("ann", Some(state), vec![("1".into(), seen()), ("2".into(), seen())]).await.unwrap();
    assert_eq!(applied.old_state, state);
    assert!(applied.new_state > state);
    assert_eq!(applied.rejected, [("2".to_owned(), Rejected::NotFound)], "bob's email is not ann's");
    let view = world.mailboxes.view("ann").await.unwrap();
    assert!(view.get("1").unwrap().is_read() && view.state == applied.new_state);
    assert!(!world.mailboxes.view("bob").await.unwrap().get("2").unwrap().is_read());

    let stale = world.mailboxes.change("ann", Some(state), vec![("1".into(), seen())]).await;
    assert!(matches!(stale, Err(ChangeError::StateMismatch { .. })));
    let refused = |patch: &str| vec![("1".to_owned(), serde_json::from_str::<MailboxPatch>(patch).unwrap())];
    for (patch, reason) in [
        (r#"{"set_mailboxes":[]}"#, Rejected::NoMailbox),
        (r#"{"mailboxes":{"inbox":false,"junk":false}}"#, Rejected::NoMailbox),
        (r#"{"mailboxes":{"nowhere":true}}"#, Rejected::UnknownMailbox("nowhere".into())),
        (r#"{"keywords":{"a b":true}}"#, Rejected::BadKeyword("a b".into())),
    ] {
        let applied = world.mailboxes.change("ann", None, refused(patch)).await.unwrap();
        assert_eq!(applied.rejected, [("1".to_owned(), reason)]);
        assert_eq!(applied.old_state, applied.new_state);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_new_email_in_a_large_account_costs_little() {
    let mut world = World::open().await;
    world.start(World::slow());
    let mut positions = Vec::new();
    for chunk in 0..20 {
        positions = world.append((0..1000).map(|n| delivery("ann", &format!("e{}", chunk * 1000 + n))).collect()).await;
    }
    world.settle(&positions).await;
    let begun = Instant::now();
    assert_eq!(world.mailboxes.view("ann").await.unwrap().len(), 20_000);
    let first = begun.elapsed();
    let begun = Instant::now();
    for n in 0..20 {
        let positions = world.append(vec![delivery("ann", &format!("n{n}"))]).await;
        world.settle(&positions).await;
        assert_eq!(world.mailboxes.view("ann").await.unwrap().len(), 20_001 + n);
    }
    let each = begun.elapsed() / 20;
    eprintln!("20,000 emails: first view {first:?}, each new email appended, applied and read in {each:?}");
    // Far less than to read all of it again and again; syncs of a busy disk are in it.
    assert!(each < Duration::from_secs(1), "{each:?}");
    world.stop().await;
}
