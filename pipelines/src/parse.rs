//! A SQL file as one source, its sinks, and its stages in order.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{CreateView, Insert, Query, Statement, TableObject};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::{PipelineError, Place};
use crate::table::{Table, relation_name};

/// Longest SQL file taken, bytes.
const MAX_SQL_BYTES: usize = 1 << 20;

/// What a file declares, before it is checked and planned.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) source: Table,
    pub(crate) sinks: Vec<Table>,
    /// Views and INSERTs, as in the file.
    pub(crate) stages: Vec<Stage>,
}

/// A view or an INSERT.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Line of its first word, from 1.
    pub(crate) line: u64,
    pub(crate) query: Query,
    pub(crate) into: Into,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Into {
    View(String),
    /// Index into [`Definition::sinks`].
    Sink(usize),
}

impl Definition {
    /// Parses a file.
    ///
    /// # Errors
    /// [`PipelineError`] when it is not SQL, holds other statements than `CREATE TABLE`, `CREATE VIEW` and
    /// `INSERT INTO … SELECT`, has none or several sources, or says a name twice.
    pub(crate) fn parse(pipeline: &str, sql: &str) -> Result<Self, PipelineError> {
        let mut reader = Reader::default();
        for (line, statement) in statements(pipeline, sql)? {
            reader.take(Place { pipeline, line }, statement)?;
        }
        let place = Place { pipeline, line: 1 };
        let source = reader.source.ok_or_else(|| place.invalid("no table has type = 'source'"))?;
        Ok(Self { source, sinks: reader.sinks, stages: reader.stages })
    }
}

/// The statements with the line of their first word.
fn statements(pipeline: &str, sql: &str) -> Result<Vec<(u64, Statement)>, PipelineError> {
    let first = Place { pipeline, line: 1 };
    if sql.len() > MAX_SQL_BYTES {
        return Err(first.invalid(format!("the file is longer than {MAX_SQL_BYTES} bytes")));
    }
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).try_with_sql(sql).map_err(|error| first.syntax(error))?;
    let mut found = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        let next = parser.peek_token();
        if next.token == Token::EOF {
            return Ok(found);
        }
        let place = Place { pipeline, line: next.span.start.line };
        let statement = parser.parse_statement().map_err(|error| place.syntax(error))?;
        let end = parser.peek_token();
        if !matches!(end.token, Token::SemiColon | Token::EOF) {
            return Err(place.syntax(format!("'{}' on line {} ends no statement", end.token, end.span.start.line)));
        }
        found.push((place.line, statement));
    }
}

#[derive(Default)]
struct Reader {
    source: Option<Table>,
    sinks: Vec<Table>,
    stages: Vec<Stage>,
    /// Names of tables and views, with their lines.
    names: HashMap<String, u64>,
}

impl Reader {
    fn take(&mut self, place: Place<'_>, statement: Statement) -> Result<(), PipelineError> {
        match statement {
            Statement::CreateTable(table) => self.table(place, Table::read(place, &table)?),
            Statement::CreateView(view) => self.view(place, view),
            Statement::Insert(insert) => self.insert(place, insert),
            other => {
                let text = other.to_string();
                let words: Vec<_> = text.split_whitespace().take(2).collect();
                Err(place.unsupported(words.join(" "), "a pipeline is CREATE TABLE, CREATE VIEW and INSERT INTO"))
            }
        }
    }

    fn name(&mut self, place: Place<'_>, name: &str) -> Result<(), PipelineError> {
        match self.names.insert(name.to_owned(), place.line) {
            Some(line) => Err(place.invalid(format!("'{name}' was defined on line {line} already"))),
            None => Ok(()),
        }
    }

    fn table(&mut self, place: Place<'_>, table: Table) -> Result<(), PipelineError> {
        self.name(place, &table.name)?;
        if !table.is_source {
            self.sinks.push(table);
        } else if let Some(other) = self.source.replace(table) {
            let construct = format!("two sources (the first is '{}')", other.name);
            return Err(place.unsupported(construct, "write a pipeline for each"));
        }
        Ok(())
    }

    fn view(&mut self, place: Place<'_>, view: CreateView) -> Result<(), PipelineError> {
        let name = relation_name(place, &view.name)?;
        if view.materialized || view.or_replace || view.temporary || view.to.is_some() || !view.columns.is_empty() {
            let advice = "write CREATE VIEW name AS SELECT …";
            return Err(place.unsupported(format!("the form of CREATE VIEW {name}"), advice));
        }
        self.name(place, &name)?;
        self.stages.push(Stage { line: place.line, query: *view.query, into: Into::View(name) });
        Ok(())
    }

    fn insert(&mut self, place: Place<'_>, insert: Insert) -> Result<(), PipelineError> {
        let (TableObject::TableName(name), Some(query)) = (&insert.table, insert.source) else {
            return Err(place.unsupported("this INSERT", "write INSERT INTO sink SELECT …"));
        };
        let name = relation_name(place, name)?;
        if !insert.columns.is_empty() {
            let advice = "give all columns in the sink's order";
            return Err(place.unsupported("INSERT with a list of columns", advice));
        }
        if insert.on.is_some() || insert.returning.is_some() || insert.overwrite {
            return Err(place.unsupported("this INSERT", "write INSERT INTO sink SELECT …"));
        }
        let sink = self.sinks.iter().position(|sink| sink.name == name);
        let sink = sink.ok_or_else(|| place.invalid(format!("no table '{name}' with type = 'sink' before this")))?;
        self.stages.push(Stage { line: place.line, query: *query, into: Into::Sink(sink) });
        Ok(())
    }
}
