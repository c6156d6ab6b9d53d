//! `Email/query` (RFC 8621 section 4.4).

use std::collections::HashSet;
use std::sync::Arc;

use millrace_query::mail::{AccountView, EmailVersion};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::evaluate;
use super::filter::{Filters, Test};
use super::sort::Sort;
use crate::error::MethodError;
use crate::jmap::arguments::{self, Comparator, object};
use crate::jmap::dispatch::Call;
use crate::jmap::paging::Paging;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arguments {
    account_id: String,
    filter: Option<Value>,
    sort: Option<Vec<Comparator>>,
    position: Option<i64>,
    anchor: Option<String>,
    anchor_offset: Option<i64>,
    limit: Option<i64>,
    calculate_total: Option<bool>,
    collapse_threads: Option<bool>,
}

/// Which emails, and in which order.
pub(super) struct Selection {
    filters: Filters,
    sort: Sort,
    is_collapsed: bool,
}

impl Selection {
    pub(super) fn parse(
        filter: Option<&Value>,
        sort: Option<&[Comparator]>,
        is_collapsed: Option<bool>,
    ) -> Result<Self, MethodError> {
        Ok(Self {
            filters: Filters::parse(filter)?,
            sort: Sort::parse(sort.unwrap_or_default())?,
            is_collapsed: is_collapsed.unwrap_or(false),
        })
    }

    /// Whether an email's place in the results depends on that email alone, so that what changed tells all. The text
    /// index follows a moment after the state: what it finds changes without a change of the state.
    pub(super) fn can_calculate_changes(&self) -> bool {
        let is_by_thread = |test: &Test| {
            matches!(
                test,
                Test::AllInThreadHaveKeyword(_) | Test::SomeInThreadHaveKeyword(_) | Test::NoneInThreadHaveKeyword(_)
            )
        };
        !self.is_collapsed
            && self.filters.texts.is_empty()
            && !self.sort.is_by_thread()
            && !self.filters.filter.any(&is_by_thread)
    }

    /// Whether two emails that are in the results are always in the same order.
    pub(super) fn has_fixed_order(&self) -> bool {
        self.sort.is_fixed()
    }

    pub(super) async fn run(&self, call: &Call<'_>, view: &AccountView) -> Result<Vec<Arc<EmailVersion>>, MethodError> {
        let found = evaluate::find(call, view, &self.filters).await?;
        let mut sorted = self.sort.apply(call, view, found).await?;
        if self.is_collapsed {
            let mut seen = HashSet::new();
            sorted.retain(|email| seen.insert(email.thread_id.clone()));
        }
        Ok(sorted)
    }
}

pub async fn query(call: &Call<'_>, arguments: Map<String, Value>) -> Result<Map<String, Value>, MethodError> {
    let asked: Arguments = arguments::parse(arguments)?;
    call.check_account(&asked.account_id)?;
    let selection = Selection::parse(asked.filter.as_ref(), asked.sort.as_deref(), asked.collapse_threads)?;
    let view = call.api.mailboxes.view(&call.account.id).await?;
    let found = selection.run(call, &view).await?;
    let ids: Vec<&str> = found.iter().map(|email| &*email.email_id).collect();
    let paging = Paging {
        position: asked.position.unwrap_or(0),
        anchor: asked.anchor.map(|anchor| call.id(&anchor).to_owned()),
        anchor_offset: asked.anchor_offset.unwrap_or(0),
        limit: asked.limit,
    };
    let window = paging.window(&ids, call.api.options.max_query_limit)?;
    let mut response = object(json!({
        "accountId": call.account.id,
        "queryState": view.state.to_string(),
        "canCalculateChanges": selection.can_calculate_changes(),
        "position": window.position,
        "ids": window.of(&ids),
    }));
    if let Some(limit) = window.server_limit {
        response.insert("limit".into(), limit.into());
    }
    if asked.calculate_total == Some(true) {
        response.insert("total".into(), ids.len().into());
    }
    Ok(response)
}
