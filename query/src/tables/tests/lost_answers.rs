//! Catalogs whose answers get lost, with real ones.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use uuid::Uuid;

use super::place::variable;
use super::proxy::{Loss, Proxy};
use super::{Place, all_seqs, at};
use crate::tables::testing::emails;
use crate::tables::{Table, TableError};

const ERROR_500: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const ERROR_503: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Commits, one loss each, then some without.
async fn land_through(place: &Place, proxy: &Proxy, losses: &[Loss]) {
    let tables = place.open().await;
    let count = losses.len() as i64 + 3;
    for n in 0..count {
        if let Some(loss) = losses.get(n as usize) {
            proxy.lose(loss.clone());
        }
        let (rows, positions) = (emails(n * 10..n * 10 + 10, 3), at(0, n as u64 + 1));
        tables.append(Table::Emails, vec![rows], positions).await.unwrap();
        assert!(!proxy.is_armed(), "the loss was not met");
    }
    for tables in [tables, place.open().await] {
        assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..count * 10).collect::<Vec<_>>());
        assert_eq!(tables.positions(Table::Emails), at(0, count as u64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an Iceberg REST catalog and S3: compose/native/test"]
async fn a_rest_catalog_that_fails_before_or_after_a_commit_has_it_once() {
    let url = variable("MILLRACE_TEST_ICEBERG_REST");
    let proxy = Proxy::start(url.trim_start_matches("http://").trim_end_matches('/').to_owned()).await;
    let place = Place::rest_at(format!("http://{}", proxy.address));
    let loss = |is_done, answer| Loss { needle: "add-snapshot", is_done, answer };
    let losses = [ERROR_500, ERROR_503, ""].map(|answer| [loss(true, answer), loss(false, answer)]);
    land_through(&place, &proxy, losses.as_flattened()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: compose/native/test"]
async fn a_connection_to_postgres_that_breaks_in_a_commit_leaves_it_once() {
    let target: tokio_postgres::Config = variable("MILLRACE_TEST_POSTGRES").parse().unwrap();
    let tokio_postgres::config::Host::Tcp(host) = &target.get_hosts()[0] else { panic!("a TCP address is needed") };
    let proxy = Proxy::start(format!("{host}:{}", target.get_ports().first().unwrap_or(&5432))).await;
    let place = Place::postgres().await.through(proxy.address);
    let loss = |is_done| Loss { needle: "UPDATE iceberg_tables", is_done, answer: "" };
    land_through(&place, &proxy, &[loss(true), loss(false), loss(false), loss(true)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and S3: compose/native/test"]
async fn sessions_that_postgres_ends_cost_nothing() {
    let name = format!("ended_{}", Uuid::now_v7().simple());
    let place = Place::postgres().await.known_as(&name);
    let tables = place.open().await;
    let (client, connection) =
        tokio_postgres::connect(&variable("MILLRACE_TEST_POSTGRES"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // What a restart does to sessions.
    let ending = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(70)).await;
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
            if client.execute(end, &[&name]).await.is_err() {
                // It ends with the rest when PostgreSQL itself is restarted meanwhile, by hand.
                return;
            }
        }
    });
    for n in 0..40_i64 {
        let (rows, positions) = (emails(n * 10..n * 10 + 10, 3), at(0, n as u64 + 1));
        while let Err(error) = tables.append(Table::Emails, vec![rows.clone()], positions.clone()).await {
            assert!(matches!(error, TableError::Catalog(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    ending.abort();
    assert_eq!(all_seqs(&place.open().await.snapshot(Table::Emails)).await, (0..400).collect::<Vec<_>>());
}
