//! A Redis that is gone, frozen, full or set up wrongly.

use millrace_storage::{Claim, FirstSeen, Secret};

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn without_redis_all_is_unavailable_soon_and_works_again_after() {
    let mut server = RedisServer::start(&[]);
    let options = RedisOptions { command_timeout: Duration::from_secs(1), ..options(&server) };
    let lander = open(&options).await;
    let seen = RedisFirstSeen::new(Redis::connect(&options).await.unwrap(), &RedisFirstSeenOptions::default());
    lander.reset(PARTITION, 0, 0).await.unwrap();
    for frozen in [false, true] {
        match frozen {
            true => server.freeze(),
            false => server.kill(),
        }
        let begun = Instant::now();
        assert!(is_unavailable(&lander.apply(PARTITION, rows("a", 0..1), 1).await));
        assert!(is_unavailable(&lander.tail(PARTITION, "a", 0).await));
        assert!(seen.claim([7; 32], "m1", 1_000_000).await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(8), "frozen {frozen}: {:?}", begun.elapsed());
        match frozen {
            true => server.thaw(),
            false => server.start_again(),
        }
        until(async || lander.reset(PARTITION, 0, 0).await.is_ok()).await;
        until(async || lander.apply(PARTITION, rows("a", 0..3), 3).await.is_ok()).await;
        assert_eq!(lander.tail(PARTITION, "a", 0).await.unwrap().rows, rows("a", 0..3));
        until(async || seen.claim([8; 32], "m1", 1_000_000).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn a_full_redis_refuses_rows_until_some_are_released() {
    let server = RedisServer::start(&["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    let hot = RedisHotOptions { released_bytes: 0, ..RedisHotOptions::default() };
    let lander = open_with(&options(&server), hot).await;
    lander.reset(PARTITION, 0, 0).await.unwrap();
    let large = |seq| HotRow { value: vec![b'v'; 10_000].into(), ..row("a", seq) };
    let mut end = 0;
    let refusal = loop {
        let next = end + 20;
        match lander.apply(PARTITION, (end..next).map(large).collect(), next).await {
            Ok(()) => end = next,
            Err(error) => break error,
        }
        assert!(end < 5_000, "it is never full");
    };
    assert!(refusal.to_string().contains("maxmemory"), "{refusal}");
    let held = lander.rows(PARTITION, 0).await.unwrap();
    assert_eq!((held.held_from, held.applied_to, held.rows.len() as u64), (0, end, end), "nothing is evicted");
    lander.release(PARTITION, end).await.unwrap();
    assert_eq!(lander.rows(PARTITION, 0).await.unwrap().held_from, end);
    lander.apply(PARTITION, (end..end + 20).map(large).collect(), end + 20).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn rows_that_have_landed_make_room_in_a_full_redis() {
    let server = RedisServer::start(&["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    // More than Redis has, so that what is kept fills it.
    let hot = RedisHotOptions { released_bytes: 64 << 20, ..RedisHotOptions::default() };
    let lander = open_with(&options(&server), hot).await;
    let large = |seq| HotRow { value: vec![b'v'; 10_000].into(), ..row("a", seq) };
    lander.reset(PARTITION, 0, 0).await.unwrap();
    lander.apply(PARTITION, (0..300).map(large).collect(), 300).await.unwrap();
    lander.release(PARTITION, 200).await.unwrap();
    lander.reset(PARTITION + 1, 0, 0).await.unwrap();
    let mut end = 0;
    while lander.tail(PARTITION, "nobody", 0).await.unwrap().held_from == 0 {
        lander.apply(PARTITION + 1, (end..end + 20).map(large).collect(), end + 20).await.unwrap();
        end += 20;
    }
    let held = lander.rows(PARTITION, 0).await.unwrap();
    assert_eq!((held.held_from, held.rows.len()), (200, 100), "what has landed has gone, and nothing else");
    let held = lander.rows(PARTITION + 1, 0).await.unwrap();
    assert_eq!((held.held_from, held.rows.len() as u64), (0, end));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn rows_that_have_landed_go_before_redis_refuses_claims() {
    let server = RedisServer::start(&["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    let hot = RedisHotOptions { released_bytes: 64 << 20, ..RedisHotOptions::default() };
    let lander = open_with(&options(&server), hot).await;
    let large = |seq| HotRow { value: vec![b'v'; 10_000].into(), ..row("a", seq) };
    let used = || {
        let memory = server.ask(&["info", "memory"]);
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().to_owned();
        used.parse::<u64>().unwrap()
    };
    lander.reset(PARTITION, 0, 0).await.unwrap();
    let mut end = 0;
    while used() < 11 << 20 {
        lander.apply(PARTITION, (end..end + 10).map(large).collect(), end + 10).await.unwrap();
        end += 10;
    }
    lander.release(PARTITION, end).await.unwrap();
    assert!(lander.tail(PARTITION, "a", 0).await.unwrap().held_from > 0, "it is not full yet");
    assert!(used() < 11 << 20);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn a_redis_that_may_drop_anything_is_refused() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let refusal = open(&options(&server)).await.reset(PARTITION, 0, 0).await.unwrap_err();
    assert!(refusal.to_string().contains("allkeys-lru") && refusal.to_string().contains("noeviction"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn a_password_and_an_own_authority_are_used() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(path("other.pem"), other.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let tls_port = support::redis_server::free_port();
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let server = RedisServer::start(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &text("cert.pem"),
        "--tls-key-file",
        &text("key.pem"),
        "--tls-ca-cert-file",
        &text("cert.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    server.ask(&["config", "set", "requirepass", "hush"]);
    let right = RedisOptions {
        password: Some(Secret::new("hush")),
        ca_file: Some(path("cert.pem")),
        ..RedisOptions::new(format!("rediss://localhost:{tls_port}"))
    };
    let lander = open(&right).await;
    lander.reset(PARTITION, 0, 0).await.unwrap();
    lander.apply(PARTITION, rows("a", 0..2), 2).await.unwrap();
    assert_eq!(lander.tail(PARTITION, "a", 0).await.unwrap().rows, rows("a", 0..2));

    let wrong = [
        RedisOptions { password: Some(Secret::new("loud")), ..right.clone() },
        RedisOptions { password: None, ..right.clone() },
        RedisOptions { ca_file: Some(path("other.pem")), ..right.clone() },
        RedisOptions { ca_file: Some(path("missing.pem")), ..right.clone() },
        RedisOptions { url: "redis://localhost:1".to_owned(), ca_file: None, ..right.clone() },
        RedisOptions { url: "nonsense".to_owned(), ..right.clone() },
    ];
    for wrong in wrong {
        let begun = Instant::now();
        let refusal = Redis::connect(&wrong).await.map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains("; check redis.") && !refusal.contains("hush"), "{refusal}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{wrong:?}: {:?}", begun.elapsed());
        println!("{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn connections_are_closed_with_the_last_handle() {
    let mut server = RedisServer::start(&[]);
    let hot = open(&options(&server)).await;
    let seen = RedisFirstSeen::new(Redis::connect(&options(&server)).await.unwrap(), &RedisFirstSeenOptions::default());
    let clients = || server.ask(&["client", "list"]).lines().count();
    assert_eq!(clients(), 1 + 4 + 1 + 4, "redis-cli, two pools and a subscriber");
    drop((hot, seen));
    until(async || clients() == 1).await;

    let hot = open(&options(&server)).await;
    server.kill();
    drop(hot);
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.start_again();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.ask(&["client", "list"]).lines().count(), 1, "nobody goes on to connect");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server and redis-cli on PATH: compose/native/test"]
async fn a_claim_goes_by_itself_some_time_after_the_window() {
    let server = RedisServer::start(&[]);
    let day = Duration::from_secs(24 * 60 * 60);
    let seen_options = RedisFirstSeenOptions { window: day * 5, slack: day };
    let seen = RedisFirstSeen::new(Redis::connect(&options(&server)).await.unwrap(), &seen_options);
    assert_eq!(seen.claim(*b"0123456789abcdef0123456789abcdef", "m 1", 5).await.unwrap(), Claim::First);
    let left: u64 = server.ask(&["ttl", "millrace:seen:0123456789abcdef0123456789abcdef"]).parse().unwrap();
    assert!((6 * 86_400 - 10..=6 * 86_400).contains(&left), "{left} s");
    let claim = seen.claim(*b"0123456789abcdef0123456789abcdef", "m2", 6).await.unwrap();
    assert_eq!(claim, Claim::Taken("m 1".to_owned()));
}
