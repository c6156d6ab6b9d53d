//! Which data files a filter leaves out, by partition values and by the bounds kept in manifests. What is not
//! understood here leaves nothing out.

use std::cmp::Ordering;

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use iceberg::spec::{Datum, PrimitiveLiteral, Transform};

use crate::tables::{DataFileRef, TableSnapshot};

/// One test: the file is left out unless it passes.
enum Test {
    /// A partition field has this value.
    Partition { field: usize, value: PrimitiveLiteral },
    /// The column's values may compare so to this one.
    Bounds { field_id: i32, operator: Operator, value: PrimitiveLiteral },
}

pub(super) struct Pruner {
    tests: Vec<Test>,
}

impl Pruner {
    /// `filters` all hold at once.
    pub(super) fn new(snapshot: &TableSnapshot, filters: &[Expr]) -> Self {
        let mut tests = Vec::new();
        for filter in filters {
            add_tests(snapshot, filter, &mut tests);
        }
        Self { tests }
    }

    /// Whether the file may hold rows that pass.
    pub(super) fn keeps(&self, file: &DataFileRef) -> bool {
        self.tests.iter().all(|test| match test {
            Test::Partition { field, value } => file.partition_value(*field).is_none_or(|held| held == *value),
            Test::Bounds { field_id, operator, value } => {
                file.bounds(*field_id).is_none_or(|(lower, upper)| may_pass(lower, upper, *operator, value))
            }
        })
    }
}

fn add_tests(snapshot: &TableSnapshot, filter: &Expr, tests: &mut Vec<Test>) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            add_tests(snapshot, left, tests);
            add_tests(snapshot, right, tests);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => add_test(snapshot, &column.name, *op, value, tests),
            (Expr::Literal(value, _), Expr::Column(column)) => {
                if let Some(op) = op.swap() {
                    add_test(snapshot, &column.name, op, value, tests);
                }
            }
            _ => {}
        },
        Expr::Column(column) => {
            add_test(snapshot, &column.name, Operator::Eq, &ScalarValue::Boolean(Some(true)), tests);
        }
        Expr::Not(inner) => {
            if let Expr::Column(column) = inner.as_ref() {
                add_test(snapshot, &column.name, Operator::Eq, &ScalarValue::Boolean(Some(false)), tests);
            }
        }
        _ => {}
    }
}

fn add_test(snapshot: &TableSnapshot, column: &str, operator: Operator, value: &ScalarValue, tests: &mut Vec<Test>) {
    let Some(value) = literal(value) else { return };
    if operator == Operator::Eq {
        for (field, (transform, source)) in snapshot.partition_fields().into_iter().enumerate() {
            if source != column {
                continue;
            }
            let value = match (transform, &value) {
                (Transform::Identity, value) => Some(value.clone()),
                (Transform::Bucket(_), PrimitiveLiteral::String(account_id)) => snapshot.bucket(account_id).ok(),
                _ => None,
            };
            tests.extend(value.map(|value| Test::Partition { field, value }));
        }
    }
    if let Some(field_id) = snapshot.field_id(column) {
        tests.push(Test::Bounds { field_id, operator, value });
    }
}

fn literal(value: &ScalarValue) -> Option<PrimitiveLiteral> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            Some(PrimitiveLiteral::String(text.clone()))
        }
        ScalarValue::Boolean(Some(value)) => Some(PrimitiveLiteral::Boolean(*value)),
        ScalarValue::Int32(Some(value)) => Some(PrimitiveLiteral::Int(*value)),
        ScalarValue::Int64(Some(value)) | ScalarValue::TimestampMicrosecond(Some(value), Some(_)) => {
            Some(PrimitiveLiteral::Long(*value))
        }
        _ => None,
    }
}

fn may_pass(lower: &Datum, upper: &Datum, operator: Operator, value: &PrimitiveLiteral) -> bool {
    let (Some(lower), Some(upper)) = (compare(lower.literal(), value), compare(upper.literal(), value)) else {
        return true;
    };
    match operator {
        Operator::Eq => lower != Ordering::Greater && upper != Ordering::Less,
        Operator::Lt => lower == Ordering::Less,
        Operator::LtEq => lower != Ordering::Greater,
        Operator::Gt => upper == Ordering::Greater,
        Operator::GtEq => upper != Ordering::Less,
        _ => true,
    }
}

fn compare(bound: &PrimitiveLiteral, value: &PrimitiveLiteral) -> Option<Ordering> {
    match (bound, value) {
        (PrimitiveLiteral::String(bound), PrimitiveLiteral::String(value)) => Some(bound.cmp(value)),
        (PrimitiveLiteral::Long(bound), PrimitiveLiteral::Long(value)) => Some(bound.cmp(value)),
        (PrimitiveLiteral::Int(bound), PrimitiveLiteral::Int(value)) => Some(bound.cmp(value)),
        (PrimitiveLiteral::Boolean(bound), PrimitiveLiteral::Boolean(value)) => Some(bound.cmp(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::prelude::{col, lit};

    use super::*;
    use crate::tables::testing::{emails, states};
    use crate::tables::{Positions, Table, TableOptions, Tables};

    #[tokio::test]
    async fn only_files_that_may_hold_rows_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables::open(dir.path(), TableOptions::default()).await.unwrap();
        let at = |offset| Positions::from([(0, offset)]);
        tables.append(Table::Emails, vec![emails(0..100, 20)], at(1)).await.unwrap();
        tables.append(Table::Emails, vec![emails(100..200, 20)], at(2)).await.unwrap();
        let rows = [("acc1", 1, 1, false, false, false), ("acc1", 2, 2, true, false, false)];
        tables.append(Table::EmailState, vec![states(&rows)], at(2)).await.unwrap();
        let kept = |table, filter: Expr| {
            let snapshot = tables.snapshot(table);
            let pruner = Pruner::new(&snapshot, &[filter]);
            (snapshot.files().filter(|file| pruner.keeps(file)).count(), snapshot.files().count())
        };
        let (one, all) = kept(Table::Emails, col("account_id").eq(lit("acc3")));
        assert!(one == 2 && all > 8, "{one} of {all}");
        assert_eq!(kept(Table::Emails, col("account_id").eq(lit("acc3")).and(col("seq").lt(lit(100_i64)))).0, 1);
        assert_eq!(kept(Table::Emails, lit(199_i64).lt(col("seq"))).0, 0);
        assert_eq!(kept(Table::Emails, col("subject").eq(lit("x"))).0, all);
        assert_eq!(kept(Table::EmailState, col("is_read")), (1, 2));
        assert_eq!(kept(Table::EmailState, Expr::Not(Box::new(col("is_read")))), (1, 2));
    }
}
