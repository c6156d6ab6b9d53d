//! Columns, partitioning and sort order of each table.
//!
//! Field ids are the places in these lists and never change: a new column goes to the end and is optional.
//! Statistics are kept only for columns marked `pruned`, since bounds of the others would put people's subjects and
//! addresses into manifests. Dictionaries are kept only where values repeat: for ids and subjects they slow point
//! reads six times.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use iceberg::spec::{
    ListType, NestedField, NestedFieldRef, NullOrder, PrimitiveType, Schema, SortDirection, SortField, SortOrder,
    Transform, Type, UnboundPartitionSpec,
};

use super::{Table, TableError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Long,
    Double,
    Bool,
    /// Microseconds since 1970 UTC.
    Time,
    /// A list of text.
    Texts,
}

/// A column as declared below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    kind: Kind,
    is_optional: bool,
    /// Whether minimum and maximum are kept, for files, row groups and pages.
    pub(super) is_pruned: bool,
    /// Whether values repeat enough for a dictionary.
    pub(super) is_repetitive: bool,
}

impl Column {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, is_optional: false, is_pruned: false, is_repetitive: false }
    }

    const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    const fn pruned(self) -> Self {
        Self { is_pruned: true, ..self }
    }

    const fn repetitive(self) -> Self {
        Self { is_repetitive: true, ..self }
    }
}

const fn text(name: &'static str) -> Column {
    Column::new(name, Kind::Text)
}

const fn long(name: &'static str) -> Column {
    Column::new(name, Kind::Long)
}

const fn time(name: &'static str) -> Column {
    Column::new(name, Kind::Time)
}

const fn boolean(name: &'static str) -> Column {
    Column::new(name, Kind::Bool)
}

const fn texts(name: &'static str) -> Column {
    Column::new(name, Kind::Texts)
}

const LOG_PARTITION: Column = Column::new("log_partition", Kind::Int).repetitive().pruned();
const LOG_OFFSET: Column = long("log_offset").pruned();

const RECEPTION: &[Column] = &[
    text("message_id").pruned(),
    time("received_at").pruned(),
    text("origin").repetitive().pruned(),
    text("remote_ip"),
    text("helo"),
    text("server_name").repetitive(),
    boolean("is_tls"),
    boolean("is_smtputf8"),
    text("reverse_path").optional(),
    texts("forward_path"),
    texts("recipients"),
    text("body"),
    long("trace_bytes"),
    long("size_bytes"),
    text("body_digest"),
    LOG_PARTITION,
    LOG_OFFSET,
];

const SCREENED: &[Column] = &[
    text("message_id").pruned(),
    time("received_at").pruned(),
    text("origin").repetitive().pruned(),
    text("remote_ip"),
    text("helo"),
    text("reverse_path").optional(),
    texts("forward_path"),
    text("body"),
    long("size_bytes"),
    text("from_domain").optional(),
    text("subject").optional(),
    text("spf").optional().repetitive(),
    text("dkim").optional().repetitive(),
    text("dmarc").optional().repetitive(),
    text("arc").optional().repetitive(),
    text("authentication").optional(),
    text("virus").optional(),
    text("virus_name").optional().repetitive(),
    text("spam").optional(),
    Column::new("spam_score", Kind::Double).optional(),
    text("disposition").repetitive().pruned(),
    text("reason").optional(),
    LOG_PARTITION,
    LOG_OFFSET,
];

const DELIVERY: &[Column] = &[
    text("message_id").pruned(),
    time("at").pruned(),
    text("event").repetitive().pruned(),
    text("account_id").optional(),
    text("recipient"),
    text("email_id").optional(),
    text("reverse_path").optional(),
    text("remote_ip").optional(),
    long("size_bytes"),
    text("detail").optional(),
    LOG_PARTITION,
    LOG_OFFSET,
];

const DEAD_LETTER: &[Column] = &[
    text("stage").repetitive().pruned(),
    text("error"),
    time("failed_at").pruned(),
    text("message_id").optional(),
    text("recipient").optional(),
    text("body").optional(),
    text("topic").optional().repetitive(),
    long("partition").optional(),
    long("offset").optional(),
    LOG_PARTITION,
    LOG_OFFSET,
];

const EMAILS: &[Column] = &[
    text("account_id").pruned(),
    text("email_id").pruned(),
    text("message_id"),
    text("thread_id"),
    time("received_at").pruned(),
    time("sent_at").optional(),
    text("recipient"),
    long("size_bytes"),
    text("body"),
    text("subject").optional(),
    text("from_address").optional(),
    text("from_name").optional(),
    text("to_addresses").optional(),
    boolean("has_attachment"),
    text("preview").optional(),
    text("summary"),
    text("mailbox").repetitive(),
    long("seq").pruned(),
];

const EMAIL_STATE: &[Column] = &[
    text("account_id").pruned(),
    text("email_id").pruned(),
    time("received_at").pruned(),
    text("thread_id"),
    long("size_bytes"),
    text("mailboxes").repetitive(),
    text("keywords").repetitive(),
    boolean("is_read").pruned(),
    boolean("is_destroyed"),
    boolean("is_tombstone"),
    long("seq").pruned(),
    long("created_seq"),
];

pub(super) const fn columns(table: Table) -> &'static [Column] {
    match table {
        Table::Reception => RECEPTION,
        Table::Screened => SCREENED,
        Table::Delivery => DELIVERY,
        Table::DeadLetter => DEAD_LETTER,
        Table::Emails => EMAILS,
        Table::EmailState => EMAIL_STATE,
    }
}

/// The time column that event tables are split by.
const fn day_column(table: Table) -> &'static str {
    match table {
        Table::Delivery => "at",
        Table::DeadLetter => "failed_at",
        _ => "received_at",
    }
}

/// What rows of a file are sorted by: the column, and whether it descends.
pub(super) const fn sort_columns(table: Table) -> &'static [(&'static str, bool)] {
    match table {
        Table::Reception | Table::Screened => &[("received_at", false), ("message_id", false)],
        Table::Delivery => &[("at", false), ("message_id", false)],
        Table::DeadLetter => &[("failed_at", false), ("log_offset", false)],
        Table::Emails => &[("account_id", false), ("received_at", true), ("email_id", false)],
        Table::EmailState => &[("account_id", false), ("received_at", true), ("email_id", false), ("seq", true)],
    }
}

/// The Arrow schema of a table's rows. Times are `Timestamp(Microsecond, "+00:00")`.
pub fn arrow_schema(table: Table) -> SchemaRef {
    let field = |column: &Column| Field::new(column.name, arrow_type(column.kind), column.is_optional);
    Arc::new(ArrowSchema::new(columns(table).iter().map(field).collect::<Vec<_>>()))
}

fn arrow_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Double => DataType::Float64,
        Kind::Bool => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Kind::Texts => DataType::List(Arc::new(Field::new("element", DataType::Utf8, false))),
    }
}

pub(super) fn iceberg_schema(table: Table) -> Result<Schema, TableError> {
    let fields = columns(table).iter().zip(1..).map(|(column, id)| iceberg_field(column, id));
    Ok(Schema::builder().with_schema_id(0).with_fields(fields).build()?)
}

fn iceberg_field(column: &Column, id: i32) -> NestedFieldRef {
    /// Ids of list elements, away from those of columns.
    const ELEMENT_IDS: i32 = 1000;
    let kind = match column.kind {
        Kind::Text => PrimitiveType::String.into(),
        Kind::Int => PrimitiveType::Int.into(),
        Kind::Long => PrimitiveType::Long.into(),
        Kind::Double => PrimitiveType::Double.into(),
        Kind::Bool => PrimitiveType::Boolean.into(),
        Kind::Time => PrimitiveType::Timestamptz.into(),
        Kind::Texts => {
            let element = NestedField::list_element(ELEMENT_IDS + id, PrimitiveType::String.into(), true);
            Type::List(ListType { element_field: element.into() })
        }
    };
    NestedField::new(id, column.name, kind, !column.is_optional).into()
}

/// By bucket of the account (and read or unread) for mail, by day for events.
pub(super) fn partition_spec(table: Table, schema: &Schema, buckets: u32) -> Result<UnboundPartitionSpec, TableError> {
    let spec = UnboundPartitionSpec::builder().with_spec_id(0);
    let id = |column: &str| field_id(table, schema, column);
    if table.is_event() {
        let column = day_column(table);
        return Ok(spec.add_partition_field(id(column)?, format!("{column}_day"), Transform::Day)?.build());
    }
    let spec = spec.add_partition_field(id("account_id")?, "account_bucket", Transform::Bucket(buckets))?;
    if table == Table::EmailState {
        return Ok(spec.add_partition_field(id("is_read")?, "is_read", Transform::Identity)?.build());
    }
    Ok(spec.build())
}

pub(super) fn sort_order(table: Table, schema: &Schema) -> Result<SortOrder, TableError> {
    let mut order = SortOrder::builder();
    order.with_order_id(1);
    for (column, is_descending) in sort_columns(table) {
        let (direction, nulls) = match is_descending {
            true => (SortDirection::Descending, NullOrder::Last),
            false => (SortDirection::Ascending, NullOrder::First),
        };
        let id = field_id(table, schema, column)?;
        let field = SortField::builder().source_id(id).transform(Transform::Identity).direction(direction);
        order.with_sort_field(field.null_order(nulls).build());
    }
    Ok(order.build(schema)?)
}

fn field_id(table: Table, schema: &Schema, column: &str) -> Result<i32, TableError> {
    schema.field_id_by_name(column).ok_or_else(|| TableError::NoColumn { table, column: column.to_owned() })
}

/// What other engines that write the table should keep to.
pub(super) fn properties(table: Table) -> HashMap<String, String> {
    let mut properties = HashMap::from([
        ("write.parquet.compression-codec".to_owned(), "zstd".to_owned()),
        ("write.metadata.metrics.default".to_owned(), "none".to_owned()),
        ("write.metadata.previous-versions-max".to_owned(), "100".to_owned()),
        ("write.metadata.delete-after-commit.enabled".to_owned(), "true".to_owned()),
    ]);
    for column in columns(table).iter().filter(|column| column.is_pruned) {
        properties.insert(format!("write.metadata.metrics.column.{}", column.name), "full".to_owned());
    }
    properties
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arrow_and_iceberg_say_the_same() {
        for table in Table::ALL {
            let schema = iceberg_schema(table).unwrap();
            let theirs = iceberg::arrow::schema_to_arrow_schema(&schema).unwrap();
            let ours = arrow_schema(table);
            assert_eq!(theirs.fields().len(), ours.fields().len());
            for (theirs, ours) in theirs.fields().iter().zip(ours.fields()) {
                assert_eq!((theirs.name(), theirs.is_nullable()), (ours.name(), ours.is_nullable()), "{table}");
                assert!(theirs.data_type().equals_datatype(ours.data_type()), "{table}.{}", ours.name());
            }
            partition_spec(table, &schema, 8).unwrap();
            sort_order(table, &schema).unwrap();
        }
    }

    #[test]
    fn event_tables_have_the_fields_of_their_topic() {
        for table in Table::ALL.into_iter().filter(|table| table.is_event()) {
            let topic = millrace_schemas::arrow::BatchDecoder::new(table.topic()).schema();
            let theirs = topic.fields().iter().map(|field| field.name().trim_end_matches("_us").to_owned());
            let wanted: Vec<_> = theirs.chain(["log_partition".to_owned(), "log_offset".to_owned()]).collect();
            let ours: Vec<_> = arrow_schema(table).fields().iter().map(|field| field.name().clone()).collect();
            assert_eq!(ours, wanted, "{table}");
        }
    }

    #[test]
    fn no_statistics_are_kept_of_what_people_write() {
        for table in Table::ALL {
            for name in ["subject", "recipient", "reverse_path", "from_address", "preview", "summary", "forward_path"] {
                assert!(!columns(table).iter().any(|column| column.name == name && column.is_pruned));
            }
        }
    }
}
