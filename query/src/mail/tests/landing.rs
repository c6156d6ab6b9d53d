//! What landing tells the log, and the event topics.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use millrace_schemas::{Reception, Topic, encode};
use millrace_storage::NewRecord;
use tokio_util::sync::CancellationToken;

use crate::mail::lander::GROUP;
use crate::mail::testing::{World, delivery};
use crate::mail::{EventLander, EventLanderOptions};
use crate::tables::testing::reception;
use crate::tables::{Table, TableOptions, Tables};

#[tokio::test(flavor = "multi_thread")]
async fn the_group_moves_when_rows_have_landed_and_not_before() {
    let mut world = World::open().await;
    world.start(World::slow());
    let position = world.append(vec![delivery("ann", "1")]).await[0];
    world.settle(&[position]).await;
    let committed = async |world: &World| {
        world.log.committed(GROUP, Topic::MailboxChanges, position.partition).await.unwrap().unwrap_or(0)
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(committed(&world).await, 0, "applied, and not landed");
    world.stop().await;
    assert_eq!(committed(&world).await, 1);

    world.reopen().await;
    world.start(World::quick());
    for n in 2..40 {
        world.append(vec![delivery("ann", &n.to_string())]).await;
    }
    let begun = Instant::now();
    while committed(&world).await != 39 {
        let at = committed(&world).await;
        assert!(at <= world.tables.positions(Table::EmailState)[&position.partition]);
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_land_once_and_a_damaged_record_costs_itself_alone() {
    let world = World::open().await;
    let options = EventLanderOptions { interval: Duration::from_millis(50), ..EventLanderOptions::default() };
    let record = |n: i64| {
        let value = encode::<Reception>(&reception(n)).unwrap();
        NewRecord { topic: Topic::Reception, key: n.to_string(), value }
    };
    for round in 0..3 {
        let mut records: Vec<_> = (0..50).map(|n| record(round * 50 + n)).collect();
        let damaged = records[7].value.slice(..9);
        records.push(NewRecord { topic: Topic::Reception, key: "damaged".into(), value: damaged });
        world.log.append(records).await.unwrap();
        let tables = Tables::open(world.dir.path(), TableOptions::default()).await.unwrap();
        let lander = EventLander::new(world.log.clone(), tables.clone(), Table::Reception, options);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(lander.run(shutdown.clone()));
        let (begun, wanted) = (Instant::now(), 50 * (round.unsigned_abs() + 1));
        while tables.snapshot(Table::Reception).rows() < wanted {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} rows", tables.snapshot(Table::Reception).rows());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shutdown.cancel();
        task.await.unwrap().unwrap();
        assert_eq!(tables.snapshot(Table::Reception).rows(), wanted);
    }
}
