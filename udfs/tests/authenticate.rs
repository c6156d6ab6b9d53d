//! authenticate against a name server of its own, with mail signed here.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::dns::Zone;
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use mail_auth::{ArcOutput, AuthenticatedMessage, AuthenticationResults};
use millrace_udfs::{AuthVerdict, Dns, Stages};

const OURS: &str = "mx.millrace.test";
const MAIL: &str = "From: Alice <alice@example.org>\r\nTo: bob@millrace.test\r\nSubject: hello\r\n\
                    Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nHello Bob.\r\n";

/// A key pair: the private one in PKCS 8, and the text that publishes the other.
struct Key {
    pkcs8: Vec<u8>,
    published: String,
}

impl Key {
    fn new() -> Self {
        let pkcs8 = Ed25519Key::generate_pkcs8().unwrap();
        let public = STANDARD.encode(Ed25519Key::from_pkcs8_der(&pkcs8).unwrap().public_key());
        Self { pkcs8, published: format!("v=DKIM1; k=ed25519; p={public}") }
    }

    fn private(&self) -> Ed25519Key {
        Ed25519Key::from_pkcs8_der(&self.pkcs8).unwrap()
    }

    /// `mail` with a signature of `domain` before it.
    fn sign(&self, domain: &str, mail: &str) -> String {
        let signer = DkimSigner::from_key(self.private());
        let signer = signer.domain(domain).selector("s1").headers(["From", "To", "Subject", "Date", "Message-ID"]);
        signer.sign(mail.as_bytes()).unwrap().to_header() + mail
    }
}

async fn server(zone: Zone) -> (Stages, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let (address, count) = zone.serve().await;
    (common::stages(Dns::Server(address)).0, count)
}

async fn check(stages: &Stages, mail: &str, ip: &str, path: Option<&str>) -> AuthVerdict {
    let json = stages.authenticate(mail.as_bytes(), ip, "client.example.org", path, OURS).await;
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn words(verdict: &AuthVerdict) -> [&str; 4] {
    [&verdict.spf, &verdict.dkim, &verdict.dmarc, &verdict.arc]
}

#[tokio::test]
async fn signed_and_permitted_mail_passes_everything() {
    let key = Key::new();
    let zone = Zone::default()
        .txt("example.org", "v=spf1 ip4:192.0.2.0/24 -all")
        .txt("s1._domainkey.example.org", &key.published)
        .txt("_dmarc.example.org", "v=DMARC1; p=reject");
    let (stages, _) = server(zone).await;
    let verdict = check(&stages, &key.sign("example.org", MAIL), "192.0.2.7", Some("alice@example.org")).await;
    assert_eq!(words(&verdict), ["pass", "pass", "pass", "none"], "{verdict:?}");
    assert_eq!(verdict.from_domain.as_deref(), Some("example.org"));
    assert_eq!(verdict.dmarc_policy, "reject");
    assert!(verdict.results.starts_with("mx.millrace.test; dkim=pass "), "{}", verdict.results);
    for part in ["spf=pass", "smtp.mailfrom=alice@example.org", "dmarc=pass", "header.from=example.org"] {
        assert!(verdict.results.contains(part), "{part} in {}", verdict.results);
    }
    assert!(!verdict.results.contains('\n'));
    let lookup = verdict.lookups.iter().find(|lookup| lookup.name == "s1._domainkey.example.org.").unwrap();
    assert_eq!((lookup.kind.as_str(), lookup.result.as_str()), ("TXT", "found"));
}

#[tokio::test]
async fn forged_mail_fails() {
    let zone = Zone::default()
        .txt("example.org", "v=spf1 ip4:192.0.2.0/24 -all")
        .txt("_dmarc.example.org", "v=DMARC1; p=quarantine");
    let (stages, _) = server(zone).await;
    let verdict = check(&stages, MAIL, "203.0.113.9", Some("alice@example.org")).await;
    assert_eq!(words(&verdict), ["fail", "none", "fail", "none"]);
    assert_eq!(verdict.dmarc_policy, "quarantine");
}

#[tokio::test]
async fn a_changed_body_or_header_fails_dkim() {
    let key = Key::new();
    let (stages, _) = server(Zone::default().txt("s1._domainkey.example.org", &key.published)).await;
    let signed = key.sign("example.org", MAIL);
    for changed in [signed.replace("Hello Bob", "Hello Eve"), signed.replace("Subject: hello", "Subject: hullo")] {
        let verdict = check(&stages, &changed, "203.0.113.9", None).await;
        assert_eq!(verdict.dkim, "fail", "{verdict:?}");
        assert!(verdict.results.contains("dkim=fail"), "{}", verdict.results);
    }
    let traced = format!("Return-Path: <>\r\nReceived: from x by y; Mon, 23 Nov 2026 10:00:00 +0000\r\n{signed}");
    assert_eq!(check(&stages, &traced, "203.0.113.9", None).await.dkim, "pass", "our own trace fields do no harm");
}

#[tokio::test]
async fn a_signature_of_another_domain_does_not_align() {
    let key = Key::new();
    let zone = Zone::default()
        .txt("bulk.example.net", "v=spf1 ip4:192.0.2.0/24 -all")
        .txt("s1._domainkey.bulk.example.net", &key.published)
        .txt("_dmarc.example.org", "v=DMARC1; p=reject");
    let (stages, _) = server(zone).await;
    let signed = key.sign("bulk.example.net", MAIL);
    let verdict = check(&stages, &signed, "192.0.2.7", Some("bounce@bulk.example.net")).await;
    assert_eq!(words(&verdict), ["pass", "pass", "fail", "none"]);
    let relaxed = key.sign("example.org", MAIL);
    let (stages, _) = server(
        Zone::default()
            .txt("s1._domainkey.example.org", &key.published)
            .txt("_dmarc.example.org", "v=DMARC1; p=reject"),
    )
    .await;
    assert_eq!(check(&stages, &relaxed, "203.0.113.9", Some("x@other.test")).await.dmarc, "pass");
}

#[tokio::test]
async fn spf_follows_includes_redirects_exchanges_addresses_and_existence() {
    let zone = Zone::default()
        .txt("a.test", "v=spf1 include:b.test -all")
        .txt("b.test", "v=spf1 include:c.test ~all")
        .txt("c.test", "v=spf1 mx:d.test a:e.test -all")
        .mx("d.test", "mail.d.test")
        .a("mail.d.test", "192.0.2.10")
        .aaaa("e.test", "2001:db8::5")
        .txt("r.test", "v=spf1 redirect=b.test")
        .txt("x.test", "v=spf1 exists:%{i}.list.test -all")
        .a("192.0.2.99.list.test", "127.0.0.2")
        .txt("p.test", "v=spf1 ptr:p.test -all")
        .ptr("8.2.0.192.in-addr.arpa", "host.p.test")
        .a("host.p.test", "192.0.2.8")
        .txt("loop.test", "v=spf1 include:loop.test -all")
        .txt("two.test", "v=spf1 -all")
        .txt("two.test", "v=spf1 +all")
        .txt("other.test", "site-verification=abc");
    let (stages, _) = server(zone).await;
    let cases = [
        ("192.0.2.10", "a.test", "pass"),
        ("2001:db8::5", "a.test", "pass"),
        ("192.0.2.11", "a.test", "fail"),
        ("192.0.2.10", "r.test", "pass"),
        ("192.0.2.11", "r.test", "softfail"),
        ("192.0.2.99", "x.test", "pass"),
        ("192.0.2.98", "x.test", "fail"),
        ("192.0.2.8", "p.test", "pass"),
        ("192.0.2.10", "loop.test", "permerror"),
        ("192.0.2.10", "two.test", "permerror"),
        ("192.0.2.10", "other.test", "none"),
        ("192.0.2.10", "unknown.test", "none"),
        ("not an address", "a.test", "none"),
    ];
    for (ip, domain, wanted) in cases {
        let verdict = check(&stages, MAIL, ip, Some(&format!("x@{domain}"))).await;
        assert_eq!(verdict.spf, wanted, "{ip} {domain}: {:?}", verdict.lookups);
    }
}

#[tokio::test]
async fn the_null_reverse_path_is_checked_by_helo() {
    let (stages, _) = server(Zone::default().txt("client.example.org", "v=spf1 ip4:192.0.2.7 -all")).await;
    let verdict = check(&stages, MAIL, "192.0.2.7", None).await;
    assert_eq!(verdict.spf, "pass");
    assert!(verdict.results.contains("smtp.helo=client.example.org"), "{}", verdict.results);
}

#[tokio::test]
async fn an_arc_chain_is_validated() {
    let key = Key::new();
    let (stages, _) = server(Zone::default().txt("s1._domainkey.list.test", &key.published)).await;
    let results = AuthenticationResults::new("list.test");
    let message = AuthenticatedMessage::parse(MAIL.as_bytes()).unwrap();
    let sealer = ArcSealer::from_key(key.private()).domain("list.test").selector("s1");
    let set = sealer.headers(["From", "To", "Subject"]).seal(&message, &results, &ArcOutput::default()).unwrap();
    let sealed = set.to_header() + MAIL;
    let verdict = check(&stages, &sealed, "192.0.2.7", None).await;
    assert_eq!(verdict.arc, "pass", "{verdict:?}");
    let broken = sealed.replace("Hello Bob", "Hello Eve");
    assert_ne!(check(&stages, &broken, "192.0.2.7", None).await.arc, "pass");
}

#[tokio::test]
async fn failures_of_dns_are_temperrors() {
    let key = Key::new();
    let zone = Zone::default()
        .failing("example.org")
        .failing("s1._domainkey.example.org")
        .failing("_dmarc.example.org")
        .txt("mx.test", "v=spf1 a:broken.test -all")
        .failing("broken.test");
    let (stages, _) = server(zone).await;
    let signed = key.sign("example.org", MAIL);
    let verdict = check(&stages, &signed, "192.0.2.7", Some("alice@example.org")).await;
    assert_eq!(words(&verdict), ["temperror", "temperror", "temperror", "none"], "{verdict:?}");
    assert!(verdict.lookups.iter().any(|lookup| lookup.result == "server failure"), "{:?}", verdict.lookups);
    assert_eq!(check(&stages, MAIL, "192.0.2.7", Some("x@mx.test")).await.spf, "temperror");
}

#[tokio::test]
async fn without_dns_nothing_is_claimed() {
    let key = Key::new();
    let (stages, _) = common::stages(Dns::Off);
    let verdict = check(&stages, &key.sign("example.org", MAIL), "192.0.2.7", Some("alice@example.org")).await;
    assert_eq!(words(&verdict), ["temperror", "temperror", "temperror", "none"]);
    assert!(verdict.lookups.iter().all(|lookup| lookup.result == "off"));
}

#[tokio::test]
async fn answers_are_kept_negative_ones_too() {
    let key = Key::new();
    let zone =
        Zone::default().txt("example.org", "v=spf1 a:none.test -all").txt("s1._domainkey.example.org", &key.published);
    let (stages, count) = server(zone).await;
    let signed = key.sign("example.org", MAIL);
    let first = check(&stages, &signed, "192.0.2.7", Some("alice@example.org")).await;
    let asked = count.load(Ordering::Relaxed);
    assert!(asked >= 3);
    for _ in 0..20 {
        assert_eq!(check(&stages, &signed, "192.0.2.7", Some("alice@example.org")).await, first);
    }
    assert_eq!(count.load(Ordering::Relaxed), asked, "nothing is asked twice");
}

#[tokio::test]
async fn one_question_is_asked_once_for_many_messages_at_a_time() {
    let (stages, count) = server(Zone::default().txt("example.org", "v=spf1 -all")).await;
    let many = (0..50).map(|_| check(&stages, MAIL, "192.0.2.7", Some("alice@example.org")));
    let verdicts = futures::future::join_all(many).await;
    assert!(verdicts.iter().all(|verdict| verdict.spf == "fail"));
    assert!(count.load(Ordering::Relaxed) <= 6, "{count:?}");
}

#[tokio::test]
async fn a_dead_resolver_costs_a_few_seconds_once() {
    let (stages, _) = server(Zone::default().dead()).await;
    let start = Instant::now();
    let verdict = check(&stages, MAIL, "192.0.2.7", Some("alice@example.org")).await;
    assert_eq!((verdict.spf.as_str(), verdict.dmarc.as_str()), ("temperror", "temperror"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let others = (0..4).map(|number| {
        let stages = &stages;
        async move { check(stages, MAIL, "192.0.2.7", Some(&format!("x@d{number}.test"))).await }
    });
    futures::future::join_all(others).await;
    // The resolver is suspected now, the next question finds that even the root is not answered …
    check(&stages, MAIL, "192.0.2.7", Some("x@next.test")).await;
    // … and from then on nothing waits.
    let start = Instant::now();
    for number in 0..20 {
        let verdict = check(&stages, MAIL, "192.0.2.7", Some(&format!("x@later{number}.test"))).await;
        assert_eq!(verdict.spf, "temperror");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_domain_whose_servers_are_dead_harms_nobody_else() {
    let mut zone = Zone::default().txt("good.test", "v=spf1 -all").txt("_dmarc.example.org", "v=DMARC1; p=none");
    for number in 0..8 {
        zone = zone.silent(&format!("dead{number}.test"));
    }
    let (stages, _) = server(zone).await;
    let dead = (0..8).map(|number| {
        let stages = &stages;
        async move { check(stages, MAIL, "192.0.2.7", Some(&format!("x@dead{number}.test"))).await }
    });
    assert!(futures::future::join_all(dead).await.iter().all(|verdict| verdict.spf == "temperror"));
    for _ in 0..3 {
        assert_eq!(check(&stages, MAIL, "192.0.2.7", Some("x@good.test")).await.spf, "fail");
    }
}

#[tokio::test]
async fn junk_gets_a_verdict() {
    let (stages, _) = server(Zone::default()).await;
    let junk: [&[u8]; 5] =
        [b"", b"\r\n", b"\xff\xfe\0", b"DKIM-Signature: v=1; a=rsa-sha256; d=; s=; b=x\r\n\r\n", b"From: @\r\n\r\n"];
    for raw in junk {
        for path in [None, Some(""), Some("@"), Some("a@b@c"), Some("\u{0}@..\u{7f}")] {
            let json = stages.authenticate(raw, "192.0.2.7", "[\r\n", path, OURS).await;
            let verdict: AuthVerdict = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
            assert!(!verdict.results.contains(['\r', '\n']), "{}", verdict.results);
        }
    }
}
