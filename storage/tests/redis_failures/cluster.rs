//! Redis as a cluster of three nodes.

use support::redis_server::{RedisCluster, ask};

use super::watching::next;
use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn a_cluster_shares_partitions_out_and_tells_all_watchers() {
    let cluster = RedisCluster::start();
    let options = RedisOptions { command_timeout: Duration::from_secs(2), ..RedisOptions::new(cluster.url()) };
    let (lander, reader) = (open(&options).await, open(&options).await);
    let mut changes = reader.watch();
    for partition in 0..12 {
        lander.reset(partition, 0, 0).await.unwrap();
        lander.apply(partition, vec![row("a", u64::from(partition))], 20).await.unwrap();
        // Nodes tell each other in any order, so that something may seem to be missed.
        while next(&mut changes).await.seq != u64::from(partition) {}
        assert_eq!(reader.tail(partition, "a", 0).await.unwrap().rows, [row("a", u64::from(partition))]);
    }
    for node in &cluster.nodes {
        assert_ne!(node.ask(&["dbsize"]), "0", "each node has some");
    }
    // A partition moves to another node under our feet.
    let slot = ask(cluster.nodes[0].port, &["cluster", "keyslot", "{millrace:hot:3}:meta"]);
    move_slot(&cluster, &slot);
    assert_eq!(reader.tail(3, "a", 0).await.unwrap().rows, [row("a", 3)]);
    lander.apply(3, vec![row("a", 20)], 21).await.unwrap();
    assert_eq!(reader.applied_to(3).await.unwrap(), Some(21));
}

/// Moves a slot, keys and all, to a node that does not have it.
fn move_slot(cluster: &RedisCluster, slot: &str) {
    let keys = |node: &RedisServer| node.ask(&["cluster", "getkeysinslot", slot, "10"]);
    let from = cluster.nodes.iter().find(|node| !keys(node).is_empty()).unwrap();
    let to = cluster.nodes.iter().find(|node| node.port != from.port).unwrap();
    let (from_id, to_id) = (from.ask(&["cluster", "myid"]), to.ask(&["cluster", "myid"]));
    to.ask(&["cluster", "setslot", slot, "importing", &from_id]);
    from.ask(&["cluster", "setslot", slot, "migrating", &to_id]);
    let port = to.port.to_string();
    let moved = keys(from);
    let mut command = vec!["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
    command.extend(moved.lines());
    assert_eq!(from.ask(&command), "OK");
    for node in [to, from] {
        node.ask(&["cluster", "setslot", slot, "node", &to_id]);
    }
}
