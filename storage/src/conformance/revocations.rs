//! [`Revocations`].

use std::time::Duration;

use super::{Place, unique};
use crate::revocations::{MAX_OF_ACCOUNT, Revocations, TokenId};

const NOW_US: i64 = 1_800_000_000_000_000;
const KEEP: Duration = Duration::from_secs(3600);

pub async fn all(place: &dyn Place<dyn Revocations>) {
    a_token_holds_until_it_is_revoked_and_others_hold_on(place).await;
    a_token_of_another_epoch_does_not_hold(place).await;
    whoever_ends_too_many_ends_all_that_are_open(place).await;
}

async fn token(revocations: &dyn Revocations, account_id: &str, opened_at_us: i64) -> TokenId {
    let epoch = revocations.epoch(account_id).await.expect("an epoch");
    TokenId { account_id: account_id.to_owned(), id: ulid::Ulid::new().to_bytes(), epoch, opened_at_us }
}

async fn holds(revocations: &dyn Revocations, token: &TokenId) -> bool {
    revocations.holds(token).await.expect("an answer")
}

pub async fn a_token_holds_until_it_is_revoked_and_others_hold_on(place: &dyn Place<dyn Revocations>) {
    let revocations = place.open().await;
    let (account, other) = (unique("a"), unique("a"));
    let first = token(&*revocations, &account, NOW_US).await;
    let second = token(&*revocations, &account, NOW_US).await;
    let foreign = token(&*revocations, &other, NOW_US).await;
    assert!(holds(&*revocations, &first).await);
    for _ in 0..2 {
        revocations.revoke(&first, NOW_US, KEEP).await.expect("a revocation");
        assert!(!holds(&*revocations, &first).await);
    }
    assert!(holds(&*revocations, &second).await && holds(&*revocations, &foreign).await);
}

pub async fn a_token_of_another_epoch_does_not_hold(place: &dyn Place<dyn Revocations>) {
    let revocations = place.open().await;
    let mut token = token(&*revocations, &unique("a"), NOW_US).await;
    assert_eq!(revocations.epoch(&token.account_id).await.expect("an epoch"), token.epoch);
    token.epoch[7] ^= 1;
    assert!(!holds(&*revocations, &token).await);
}

pub async fn whoever_ends_too_many_ends_all_that_are_open(place: &dyn Place<dyn Revocations>) {
    let revocations = place.open().await;
    let (account, other) = (unique("a"), unique("a"));
    let open = token(&*revocations, &account, NOW_US).await;
    let foreign = token(&*revocations, &other, NOW_US).await;
    let mut last = open.clone();
    for _ in 0..MAX_OF_ACCOUNT {
        last = token(&*revocations, &account, NOW_US).await;
        revocations.revoke(&last, NOW_US, KEEP).await.expect("a revocation");
    }
    assert!(holds(&*revocations, &open).await);
    let one_more = token(&*revocations, &account, NOW_US).await;
    revocations.revoke(&one_more, NOW_US + 5, KEEP).await.expect("a revocation");
    for ended in [&last, &one_more, &open] {
        assert!(!holds(&*revocations, ended).await);
    }
    assert!(holds(&*revocations, &token(&*revocations, &account, NOW_US + 6).await).await, "one that is opened later");
    assert!(holds(&*revocations, &foreign).await);
}
