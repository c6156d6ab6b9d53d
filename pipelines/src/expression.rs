//! Which expressions a stage may hold: plain ones, stage functions where Arroyo takes them, and `unnest` alone.

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Select, SelectItem, Spanned, TableFactor,
    visit_expressions,
};

use crate::error::{PipelineError, Place};
use crate::link;
use crate::table::ident_name;

const WINDOWS: [&str; 3] = ["tumble", "hop", "session"];
/// Functions that are not the same at a replay although DataFusion has them as stable.
const CLOCKS: [&str; 6] = ["now", "current_timestamp", "current_date", "current_time", "today", "localtimestamp"];

pub(crate) struct ExpressionCheck<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) state: &'a SessionState,
    /// In a subquery: no function of ours that waits, no unnest.
    pub(crate) is_nested: bool,
}

impl ExpressionCheck<'_> {
    pub(crate) fn select(&self, select: &Select) -> Result<(), PipelineError> {
        let mut waits: Option<String> = None;
        let mut unnests = 0;
        for expression in select.projection.iter().filter_map(expression) {
            match call(expression) {
                Some((name, function)) if link::is_async(&name) => {
                    let place = self.place.at(function.span().start.line);
                    if let Some(first) = waits.replace(name.clone()) {
                        let construct = format!("two asynchronous functions in one SELECT ({first} and {name})");
                        return Err(place.unsupported(construct, "make a view of each"));
                    }
                    self.asynchronous(place, select, &name, function)?;
                }
                Some((name, function)) if name == "unnest" => {
                    unnests += 1;
                    self.unnest(self.place.at(function.span().start.line), select, function, unnests)?;
                }
                _ => self.plain(expression)?,
            }
        }
        select.selection.as_ref().map_or(Ok(()), |condition| self.plain(condition))
    }

    /// An asynchronous call is a column of its own. Of calls that are under way at a checkpoint Arroyo keeps the row
    /// that they stand in, and asks again with its first columns: the arguments must be those. And the row must be
    /// that of a subquery without a name: the planner passes over what else stands between the call and the view.
    fn asynchronous(
        &self,
        place: Place<'_>,
        select: &Select,
        name: &str,
        function: &Function,
    ) -> Result<(), PipelineError> {
        if self.is_nested {
            let construct = format!("the asynchronous function {name} in a subquery");
            return Err(place.unsupported(construct, "make the subquery a view"));
        }
        if !arguments(function).iter().all(|argument| argument.is_some_and(is_column)) {
            let construct = format!("an expression as an argument of the asynchronous function {name}");
            return Err(place.unsupported(construct, "give it plain columns of a subquery"));
        }
        if select.selection.is_some() {
            let construct = format!("WHERE beside the asynchronous function {name}");
            return Err(place.unsupported(construct, "filter in the subquery that it reads"));
        }
        let arguments = arguments(function).into_iter().flatten().filter_map(column_name);
        let Some(columns) = unnamed_subquery(select).map(column_names) else {
            let construct = format!("the asynchronous function {name} over anything but a subquery without a name");
            return Err(place.unsupported(construct, "write FROM (SELECT its arguments, other columns FROM …)"));
        };
        if !arguments.enumerate().all(|(at, argument)| columns.get(at) == Some(&Some(argument))) {
            let construct = format!("the asynchronous function {name} over a subquery that begins otherwise");
            return Err(place.unsupported(construct, "let the subquery begin with its arguments, in their order"));
        }
        Ok(())
    }

    fn unnest(
        &self,
        place: Place<'_>,
        select: &Select,
        function: &Function,
        count: usize,
    ) -> Result<(), PipelineError> {
        let others = select.projection.iter().filter_map(expression).filter(|other| !is_column(other)).count();
        let is_alone = count == 1 && others == 1 && select.selection.is_none() && !self.is_nested;
        if !is_alone || !arguments(function).iter().all(|argument| argument.is_some_and(is_column)) {
            let advice = "give unnest of a column a view of its own, next to plain columns";
            return Err(place.unsupported("unnest next to other work", advice));
        }
        Ok(())
    }

    /// Refuses what an expression holds at any depth.
    fn plain(&self, expression: &Expr) -> Result<(), PipelineError> {
        let found = visit_expressions(expression, |inner| match self.one(inner) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        });
        match found {
            ControlFlow::Break(error) => Err(*error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    fn one(&self, expression: &Expr) -> Result<(), PipelineError> {
        let place = self.place.at(expression.span().start.line);
        match expression {
            Expr::InSubquery { .. } => Err(place.unsupported("IN (subquery)", "it is an outer join without a window")),
            Expr::Exists { .. } => Err(place.unsupported("EXISTS", "it is an outer join without a window")),
            Expr::Subquery(_) => Err(place.unsupported("a subquery as a value", "a stage reads one view")),
            Expr::Function(function) => self.function(place, function),
            _ => Ok(()),
        }
    }

    fn function(&self, place: Place<'_>, function: &Function) -> Result<(), PipelineError> {
        let name = function_name(function);
        let aggregates = "aggregates run in the tables: millrace query";
        if function.over.is_some() {
            return Err(place.unsupported(format!("the window function {name}"), "dedupe with first_seen"));
        }
        if WINDOWS.contains(&name.as_str()) {
            return Err(place.unsupported(format!("the window {name}"), aggregates));
        }
        if self.state.aggregate_functions().contains_key(&name) {
            return Err(place.unsupported(format!("the aggregate {name}"), aggregates));
        }
        if name == "unnest" {
            let advice = "give unnest of a column a view of its own, next to plain columns";
            return Err(place.unsupported("unnest next to other work", advice));
        }
        if link::is_async(&name) {
            let construct = format!("the asynchronous function {name} in WHERE or inside an expression");
            return Err(place.unsupported(construct, "give it a column of its own in a view"));
        }
        let known = self.state.scalar_functions().get(&name);
        let is_volatile = known.is_some_and(|known| known.signature().volatility == Volatility::Volatile);
        if is_volatile || CLOCKS.contains(&name.as_str()) {
            return Err(place.unsupported(format!("the function {name}"), "a replay must give the same answer"));
        }
        if known.is_none() {
            return Err(place.invalid(format!("no function is named '{name}'")));
        }
        Ok(())
    }
}

fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expression) => Some(expression),
        SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

fn call(expression: &Expr) -> Option<(String, &Function)> {
    match expression {
        Expr::Function(function) if function.over.is_none() => Some((function_name(function), function)),
        _ => None,
    }
}

fn function_name(function: &Function) -> String {
    match &function.name.0[..] {
        [part] => part.as_ident().map(ident_name).unwrap_or_default(),
        _ => function.name.to_string(),
    }
}

/// The arguments, `None` for one that is not a plain expression.
fn arguments(function: &Function) -> Vec<Option<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return vec![None] };
    let expressions = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression),
        _ => None,
    });
    expressions.collect()
}

/// The SELECT of a subquery that the whole of FROM is.
fn unnamed_subquery(select: &Select) -> Option<&Select> {
    match &select.from.first()?.relation {
        TableFactor::Derived { subquery, alias: None, .. } => subquery.body.as_select(),
        _ => None,
    }
}

/// What a SELECT calls its columns, where it says so.
fn column_names(select: &Select) -> Vec<Option<String>> {
    let names = select.projection.iter().map(|item| match item {
        SelectItem::UnnamedExpr(expression) => column_name(expression),
        SelectItem::ExprWithAlias { alias, .. } => Some(ident_name(alias)),
        _ => None,
    });
    names.collect()
}

fn column_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Identifier(name) => Some(ident_name(name)),
        Expr::CompoundIdentifier(names) => names.last().map(ident_name),
        _ => None,
    }
}

fn is_column(expression: &Expr) -> bool {
    matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}
