//! What the local runner refuses, by the name of the construct and its line. It keeps to what Arroyo plans as well,
//! so that a file that runs here runs there.

use std::collections::{HashMap, HashSet};

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, JoinOperator, Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor,
};

use crate::error::{PipelineError, Place};
use crate::expression::ExpressionCheck;
use crate::parse::{Definition, Into};
use crate::table::relation_name;

/// Checks every stage of a file.
///
/// # Errors
/// [`PipelineError::Unsupported`] for the first construct that is refused, [`PipelineError::Invalid`] for a name that
/// is not known.
pub(crate) fn check(pipeline: &str, definition: &Definition, state: &SessionState) -> Result<(), PipelineError> {
    let mut readable = HashSet::from([definition.source.name.clone()]);
    let views = definition.stages.iter().filter_map(|stage| match &stage.into {
        Into::View(name) => Some((name.as_str(), stage.line)),
        Into::Sink(_) => None,
    });
    let views: HashMap<_, _> = views.collect();
    for stage in &definition.stages {
        let place = Place { pipeline, line: stage.line };
        QueryCheck { definition, readable: &readable, views: &views, state }.query(place, &stage.query, false)?;
        if let Into::View(name) = &stage.into {
            readable.insert(name.clone());
        }
    }
    Ok(())
}

struct QueryCheck<'a> {
    definition: &'a Definition,
    readable: &'a HashSet<String>,
    /// All views of the file with their lines, for a better word on one that comes too late.
    views: &'a HashMap<&'a str, u64>,
    state: &'a SessionState,
}

impl QueryCheck<'_> {
    fn query(&self, place: Place<'_>, query: &Query, is_nested: bool) -> Result<(), PipelineError> {
        if let Some(with) = &query.with {
            let place = place.at(with.span().start.line);
            return Err(place.unsupported("WITH (a common table expression)", "make it a view"));
        }
        if let Some(order_by) = &query.order_by {
            let place = place.at(order_by.span().start.line);
            return Err(place.unsupported("ORDER BY", "a stream has no end to sort at"));
        }
        if let Some(limit) = &query.limit_clause {
            let place = place.at(limit.span().start.line);
            return Err(place.unsupported("LIMIT", "a stream has no end to count to; filter in WHERE"));
        }
        if query.fetch.is_some() {
            return Err(place.unsupported("FETCH", "a stream has no end to count to; filter in WHERE"));
        }
        if !query.locks.is_empty() || query.for_clause.is_some() || !query.pipe_operators.is_empty() {
            return Err(place.unsupported("a clause after SELECT", "write SELECT … FROM … WHERE …"));
        }
        match query.body.as_ref() {
            SetExpr::Select(select) => self.select(place, select, is_nested),
            SetExpr::SetOperation { op, set_quantifier, right, .. } => {
                let place = place.at(right.span().start.line);
                let is_all = *op == SetOperator::Union && *set_quantifier == SetQuantifier::All;
                let advice = if is_all { "write an INSERT for each side" } else { "a stream has no end to compare at" };
                Err(place.unsupported(format!("{op} {set_quantifier}").trim(), advice))
            }
            SetExpr::Values(_) => Err(place.unsupported("VALUES", "a stage reads the source or a view")),
            _ => Err(place.unsupported("this query", "write SELECT … FROM … WHERE …")),
        }
    }

    fn select(&self, place: Place<'_>, select: &Select, is_nested: bool) -> Result<(), PipelineError> {
        let place = place.at(select.select_token.0.span.start.line);
        if let GroupByExpr::All(_) = select.group_by {
            return Err(place.unsupported("GROUP BY ALL", "aggregates run in the tables: millrace query"));
        }
        if let GroupByExpr::Expressions(keys, _) = &select.group_by
            && let Some(key) = keys.first()
        {
            let place = place.at(key.span().start.line);
            return Err(place.unsupported("GROUP BY", "aggregates run in the tables: millrace query"));
        }
        let clauses = [
            (select.distinct.is_some(), "DISTINCT"),
            (select.top.is_some(), "TOP"),
            (select.into.is_some(), "SELECT INTO"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (select.having.is_some(), "HAVING"),
            (!select.named_window.is_empty(), "WINDOW"),
            (select.qualify.is_some(), "QUALIFY"),
            (!select.sort_by.is_empty(), "SORT BY"),
            (!select.cluster_by.is_empty(), "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        ];
        if let Some((_, clause)) = clauses.into_iter().find(|(is_there, _)| *is_there) {
            return Err(place.unsupported(clause, "write SELECT … FROM … WHERE …"));
        }
        self.from(place, select)?;
        ExpressionCheck { place, state: self.state, is_nested }.select(select)
    }

    fn from(&self, place: Place<'_>, select: &Select) -> Result<(), PipelineError> {
        let [from] = &select.from[..] else {
            let construct = if select.from.is_empty() { "SELECT without FROM" } else { "a cross join" };
            return Err(place.unsupported(construct, "a stage reads the source or one view"));
        };
        if let Some(join) = from.joins.first() {
            let place = place.at(join.relation.span().start.line);
            return Err(place.unsupported(join_name(&join.join_operator), "a stage reads the source or one view"));
        }
        match &from.relation {
            TableFactor::Table { name, args: None, sample: None, .. } => {
                let place = place.at(name.span().start.line);
                self.relation(place, &relation_name(place, name)?)
            }
            TableFactor::Derived { lateral: false, subquery, .. } => self.query(place, subquery, true),
            other => {
                let place = place.at(other.span().start.line);
                let construct = format!("FROM {other}");
                Err(place.unsupported(construct, "a stage reads the source or one view, or a subquery of it"))
            }
        }
    }

    fn relation(&self, place: Place<'_>, name: &str) -> Result<(), PipelineError> {
        if self.readable.contains(name) {
            return Ok(());
        }
        if let Some(line) = self.views.get(name) {
            return Err(place.invalid(format!("view '{name}' is used before it is defined, on line {line}")));
        }
        if self.definition.sinks.iter().any(|sink| sink.name == name) {
            return Err(place.unsupported(format!("reading the sink '{name}'"), "read the view that feeds it"));
        }
        Err(place.invalid(format!("no table or view is named '{name}'")))
    }
}

fn join_name(join: &JoinOperator) -> &'static str {
    match join {
        JoinOperator::Join(_) | JoinOperator::Inner(_) => "JOIN",
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => "LEFT OUTER JOIN",
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => "RIGHT OUTER JOIN",
        JoinOperator::FullOuter(_) => "FULL OUTER JOIN",
        JoinOperator::CrossJoin(_) => "CROSS JOIN",
        _ => "this JOIN",
    }
}
