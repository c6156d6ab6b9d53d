//! `CREATE TABLE … WITH (…)`: a topic as a source or a sink, held against the topic's Avro schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, ColumnDef, ColumnOption, CreateTable, CreateTableOptions, DataType as SqlType, Expr, Ident,
    ObjectName, SqlOption, Value,
};
use millrace_schemas::Topic;
use millrace_schemas::arrow::BatchDecoder;

use crate::error::{PipelineError, Place};

/// A topic as the file declares it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) topic: Topic,
    pub(crate) is_source: bool,
    /// The declared columns, in the declared order.
    pub(crate) schema: SchemaRef,
}

impl Table {
    /// Reads a declaration.
    ///
    /// # Errors
    /// When an option is missing, or a column is not as the topic's newest Avro schema has it.
    pub(crate) fn read(place: Place<'_>, table: &CreateTable) -> Result<Self, PipelineError> {
        let name = relation_name(place, &table.name)?;
        let options = options(place, table)?;
        let option = |key: &str| {
            let value = options.get(key).map(String::as_str);
            value.ok_or_else(|| place.invalid(format!("table '{name}' has no option '{key}' in WITH (…)")))
        };
        let connector = option("connector")?;
        if connector != "kafka" {
            return Err(place.unsupported(format!("connector '{connector}'"), "topics are connector = 'kafka'"));
        }
        let topic: Topic = option("topic")?.parse().map_err(|error| place.invalid(format!("{error}")))?;
        let is_source = match option("type")? {
            "source" => true,
            "sink" => false,
            other => return Err(place.invalid(format!("type = '{other}': it is 'source' or 'sink'"))),
        };
        let key_field = options.get("sink.key_field").map(String::as_str);
        if !is_source && key_field != Some(topic.key_field()) {
            let wanted = topic.key_field();
            return Err(place.invalid(format!("records of {topic} need 'sink.key_field' = '{wanted}'")));
        }
        let schema = columns(place, topic, &table.columns, is_source)?;
        Ok(Self { name, topic, is_source, schema })
    }
}

/// The one part of a relation's name, folded to lower case unless quoted.
pub(crate) fn relation_name(place: Place<'_>, name: &ObjectName) -> Result<String, PipelineError> {
    match &name.0[..] {
        [part] if part.as_ident().is_some() => Ok(part.as_ident().map(ident_name).unwrap_or_default()),
        _ => Err(place.invalid(format!("'{name}': names of tables and views have one part"))),
    }
}

pub(crate) fn ident_name(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn options(place: Place<'_>, table: &CreateTable) -> Result<BTreeMap<String, String>, PipelineError> {
    let CreateTableOptions::With(options) = &table.table_options else {
        return Err(place.invalid(format!("table '{}' has no WITH (…)", table.name)));
    };
    let mut read = BTreeMap::new();
    for option in options {
        let SqlOption::KeyValue { key, value: Expr::Value(value) } = option else {
            return Err(place.invalid(format!("option {option}: write 'key' = 'value'")));
        };
        let Value::SingleQuotedString(text) = &value.value else {
            return Err(place.invalid(format!("option {option}: write 'key' = 'value'")));
        };
        if read.insert(key.value.clone(), text.clone()).is_some() {
            return Err(place.invalid(format!("option '{}' is given twice", key.value)));
        }
    }
    Ok(read)
}

fn columns(place: Place<'_>, topic: Topic, columns: &[ColumnDef], is_source: bool) -> Result<SchemaRef, PipelineError> {
    let wanted = BatchDecoder::new(topic).schema();
    let mut fields: Vec<Arc<Field>> = Vec::with_capacity(columns.len());
    for column in columns {
        let place = place.at(column.name.span.start.line);
        let name = ident_name(&column.name);
        let Some((_, field)) = wanted.fields().find(&name) else {
            return Err(place.invalid(format!("column '{name}' is not in the Avro schema of {topic}")));
        };
        let is_required = is_required(place, column)?;
        if !is_same(&column.data_type, field.data_type()) {
            let (sql, avro) = (&column.data_type, sql_name(field.data_type()));
            return Err(place.invalid(format!("column '{name}' is {sql}; the Avro schema of {topic} has {avro}")));
        }
        if is_required == field.is_nullable() {
            let hint = if is_required { "drop NOT NULL" } else { "write NOT NULL" };
            return Err(place.invalid(format!("column '{name}': the Avro schema of {topic} says otherwise: {hint}")));
        }
        if fields.iter().any(|other| other.name() == field.name()) {
            return Err(place.invalid(format!("column '{name}' is declared twice")));
        }
        fields.push(Arc::clone(field));
    }
    // A column that the schema has got since its first version is null where a pipeline does not have it: schemas grow under
    // their pipelines.
    let is_of_first = |field: &Field| millrace_schemas::registry::first_has(topic, field.name());
    let is_missing = |field: &&Arc<Field>| !fields.contains(field) && (!field.is_nullable() || is_of_first(field));
    if !is_source && let Some(field) = wanted.fields().iter().find(is_missing) {
        return Err(place.invalid(format!("column '{}' of {topic} is missing", field.name())));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn is_required(place: Place<'_>, column: &ColumnDef) -> Result<bool, PipelineError> {
    let mut is_required = false;
    for option in &column.options {
        match option.option {
            ColumnOption::NotNull => is_required = true,
            ColumnOption::Null => {}
            ref other => {
                let construct = format!("column option {other}");
                return Err(place.unsupported(construct, "columns are a name, a type and NOT NULL"));
            }
        }
    }
    Ok(is_required)
}

fn is_same(sql: &SqlType, arrow: &DataType) -> bool {
    match (sql, arrow) {
        (SqlType::Text | SqlType::String(None) | SqlType::Varchar(None), DataType::Utf8)
        | (SqlType::BigInt(None), DataType::Int64)
        | (SqlType::Boolean | SqlType::Bool, DataType::Boolean)
        | (SqlType::Double(_) | SqlType::DoublePrecision, DataType::Float64) => true,
        (SqlType::Array(ArrayElemTypeDef::SquareBracket(item, None)), DataType::List(field)) => {
            is_same(item, field.data_type())
        }
        _ => false,
    }
}

fn sql_name(arrow: &DataType) -> String {
    match arrow {
        DataType::Utf8 => "TEXT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::List(item) => format!("{}[]", sql_name(item.data_type())),
        other => other.to_string(),
    }
}
