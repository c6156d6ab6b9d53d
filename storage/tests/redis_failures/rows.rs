//! Rows: in steps, in pages, and kept for as long as they have to be.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn many_rows_are_applied_in_steps_and_read_in_pages() {
    let server = RedisServer::start(&[]);
    let (lander, reader) = (open(&options(&server)).await, open(&options(&server)).await);
    lander.reset(PARTITION, 0, 0).await.unwrap();
    // Up to three rows of one offset, of one account and of others, some of them large.
    let all: Vec<HotRow> = (0..9_000_u64)
        .map(|n| {
            let account_id = if n % 3 == 0 { "ann" } else { "an" };
            let value = vec![(n % 251) as u8; if n % 100 == 0 { 20_000 } else { 300 }];
            HotRow {
                account_id: account_id.into(),
                email_id: format!("e{n}").into(),
                seq: n / 3 + n / 7 * 5,
                value: value.into(),
            }
        })
        .collect();
    let mut all = all;
    all.sort_by_key(|row| row.seq);
    let end = all.last().unwrap().seq + 10;
    lander.apply(PARTITION, all.clone(), end).await.unwrap();
    let read = reader.rows(PARTITION, 0).await.unwrap();
    assert_eq!((read.held_from, read.applied_to), (0, end));
    assert!(read.rows == all);
    let from = all[4_000].seq;
    for account_id in ["ann", "an"] {
        let expected: Vec<HotRow> =
            all.iter().filter(|row| &*row.account_id == account_id && row.seq >= from).cloned().collect();
        assert!(reader.tail(PARTITION, account_id, from).await.unwrap().rows == expected);
    }
    let begun = Instant::now();
    let looks = all.iter().take(1_000).map(|row| reader.newest(PARTITION, &row.account_id, &row.email_id));
    for (found, row) in futures::future::join_all(looks).await.into_iter().zip(&all) {
        assert_eq!(found.unwrap().as_ref(), Some(row));
    }
    println!("1,000 looks at once: {:?}", begun.elapsed());
}

#[derive(Clone, Debug)]
enum Step {
    /// Rows of as many emails each as the numbers say; one record may make none.
    Apply(Vec<u8>),
    /// How far behind (or before) what is applied the tables end.
    Release(i8),
}

fn step() -> impl Strategy<Value = Step> {
    let apply = proptest::collection::vec(0..3_u8, 0..12).prop_map(Step::Apply);
    prop_oneof![apply, (-6..12_i8).prop_map(Step::Release)]
}

fn nth_row(seq: u64, n: u8) -> HotRow {
    HotRow {
        account_id: format!("a{}", (seq + u64::from(n)) % 3).into(),
        email_id: format!("e{}", (seq + u64::from(n)) % 5).into(),
        seq,
        value: vec![b'v'; 100].into(),
    }
}

fn after(rows: &[HotRow], from: u64) -> Vec<HotRow> {
    rows.iter().filter(|row| row.seq >= from).cloned().collect()
}

/// What the embedded store promises, step by step.
async fn check_steps(hot: &RedisHot, budget: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    hot.reset(PARTITION, 0, 0).await.unwrap();
    let (mut all, mut next, mut landed) = (Vec::new(), 0, 0);
    for step in steps {
        match step {
            Step::Apply(counts) => {
                let records = (next..).zip(&counts);
                let rows: Vec<HotRow> =
                    records.flat_map(|(seq, count)| (0..*count).map(move |n| nth_row(seq, n))).collect();
                next += counts.len() as u64;
                all.extend_from_slice(&rows);
                hot.apply(PARTITION, rows, next).await.unwrap();
            }
            Step::Release(behind) => {
                let to = next.saturating_add_signed(-i64::from(behind));
                hot.release(PARTITION, to).await.unwrap();
                landed = landed.max(to.min(next));
            }
        }
        let held = hot.rows(PARTITION, 0).await.unwrap();
        prop_assert_eq!(held.applied_to, next);
        prop_assert!(held.held_from <= landed, "held from {}, landed to {}", held.held_from, landed);
        prop_assert_eq!(&held.rows, &after(&all, held.held_from));
        let released = held.rows.iter().filter(|row| row.seq < landed).count();
        prop_assert!(released * 700 <= budget, "{} rows are kept beyond what has to be", released);
        for account_id in ["a0", "a1", "a2"] {
            let of_account: Vec<HotRow> = all.iter().filter(|row| &*row.account_id == account_id).cloned().collect();
            let tail = hot.tail(PARTITION, account_id, 0).await.unwrap();
            prop_assert_eq!(tail.rows, after(&of_account, held.held_from));
            for email_id in ["e0", "e1", "e2", "e3", "e4"] {
                let newest = of_account.iter().rfind(|row| &*row.email_id == email_id);
                let newest = newest.filter(|row| row.seq >= held.held_from).cloned();
                prop_assert_eq!(hot.newest(PARTITION, account_id, email_id).await.unwrap(), newest);
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
fn rows_that_have_not_landed_are_never_dropped() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start(&[]);
    let redis = runtime.block_on(Redis::connect(&options(&server))).unwrap();
    let budgets = prop_oneof![Just(0), Just(1), 300..20_000_usize, Just(usize::MAX)];
    let cases = (proptest::collection::vec(step(), 1..25), budgets);
    TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() })
        .run(&cases, |(steps, budget)| {
            let hot_options = RedisHotOptions { released_bytes: budget, ..RedisHotOptions::default() };
            runtime.block_on(async {
                let hot = RedisHot::open(redis.clone(), hot_options).await.unwrap();
                check_steps(&hot, budget, steps).await
            })
        })
        .unwrap();
}
