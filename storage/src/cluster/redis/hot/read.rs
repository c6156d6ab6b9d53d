//! Rows in pages, so that no single answer holds Redis up.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::Value;

use super::scripts::{MAX_OFFSET, READ, account_key, split_account};
use super::{RedisHot, nonsense, not_held};
use crate::hot::{HotError, HotRow, HotTail};

const PAGE_ROWS: u64 = 1_000;
const PAGE_BYTES: u64 = 1024 * 1024;
/// How often a read begins again when what it had begun with was dropped meanwhile.
const ATTEMPTS: usize = 5;

struct Page {
    owner: Bytes,
    held_from: u64,
    applied_to: u64,
    complete_at: u64,
    /// Where the next page begins.
    next: Option<(u64, u64)>,
    rows: Vec<HotRow>,
}

impl RedisHot {
    /// The rows of an account, or all, with `seq >= from`.
    pub(super) async fn read(&self, partition: u32, account: Option<&str>, from: u64) -> Result<HotTail, HotError> {
        for _ in 0..ATTEMPTS {
            if let Some(tail) = self.read_once(partition, account, from.min(MAX_OFFSET)).await? {
                return Ok(tail);
            }
        }
        Err(HotError::Unavailable(format!("partition {partition} is released faster than it can be read")))
    }

    /// `None` when the pages do not belong together.
    async fn read_once(&self, partition: u32, account: Option<&str>, from: u64) -> Result<Option<HotTail>, HotError> {
        let account: Option<Arc<str>> = account.map(Arc::from);
        let first = self.page(partition, account.as_ref(), (from, 0), None).await?;
        let (owner, mut next) = (first.owner.clone(), first.next);
        let Page { held_from, applied_to, complete_at, rows, .. } = first;
        let mut tail = HotTail { held_from, applied_to, complete_at, rows };
        while let Some(at) = next {
            // Ends where the first page ended, so that the result is the state at that time.
            let page = self.page(partition, account.as_ref(), at, Some(tail.applied_to)).await?;
            if page.owner != owner || page.held_from > at.0 || page.applied_to < tail.applied_to {
                return Ok(None);
            }
            tail.rows.extend(page.rows);
            next = page.next;
        }
        Ok(Some(tail))
    }

    async fn page(
        &self,
        partition: u32,
        account: Option<&Arc<str>>,
        (seq, n): (u64, u64),
        to: Option<u64>,
    ) -> Result<Page, HotError> {
        let args: Vec<Value> = vec![
            account.map(|account_id| account_key(account_id)).unwrap_or_default().into(),
            seq.to_string().into(),
            n.to_string().into(),
            to.map(|to| to.to_string()).unwrap_or_default().into(),
            PAGE_ROWS.to_string().into(),
            PAGE_BYTES.to_string().into(),
        ];
        let answer = self.run(&READ, partition, args).await?.into_array();
        if answer.is_empty() {
            return Err(not_held(partition));
        }
        parse(answer, account).ok_or_else(|| nonsense(partition))
    }
}

fn parse(answer: Vec<Value>, account: Option<&Arc<str>>) -> Option<Page> {
    let mut answer = answer.into_iter();
    let owner = answer.next()?.into_bytes()?;
    let (held_from, applied_to) = (answer.next()?.as_u64()?, answer.next()?.as_u64()?);
    let complete_at = answer.next()?.as_u64()?;
    let has_more = answer.next()?.as_u64()? == 1;
    let mut rows = Vec::with_capacity(answer.len() / 4);
    let mut last = None;
    while let Some(id) = answer.next() {
        let (seq, n) = row_id(&id)?;
        last = Some((seq, n + 1));
        let row_account = answer.next()?.into_bytes()?;
        let account_id = match account {
            Some(account) => account.clone(),
            None => split_account(&row_account)?.0.into(),
        };
        let email_id = answer.next()?.as_bytes_str()?.to_string().into();
        let value = answer.next()?.into_bytes()?;
        rows.push(HotRow { account_id, email_id, seq, value });
    }
    Some(Page { owner, held_from, applied_to, complete_at, next: last.filter(|_| has_more), rows })
}

/// `<seq>-<n>`.
pub(super) fn row_id(id: &Value) -> Option<(u64, u64)> {
    let id = id.as_bytes_str()?;
    let (seq, n) = id.split_once('-')?;
    Some((seq.parse().ok()?, n.parse().ok()?))
}
