//! Collects the email ids of what matches.

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::StrColumn;
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader};

use super::schema::EMAIL_ID;

/// In no order.
pub(super) struct EmailIds;

pub(super) struct SegmentIds {
    column: Option<StrColumn>,
    ords: Vec<u64>,
}

impl Collector for EmailIds {
    type Fruit = Vec<String>;
    type Child = SegmentIds;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentIds> {
        Ok(SegmentIds { column: segment.fast_fields().str(EMAIL_ID)?, ords: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, fruits: Vec<Vec<String>>) -> tantivy::Result<Vec<String>> {
        Ok(fruits.into_iter().flatten().collect())
    }
}

impl SegmentCollector for SegmentIds {
    type Fruit = Vec<String>;

    fn collect(&mut self, document: DocId, _: Score) {
        if let Some(column) = &self.column {
            self.ords.extend(column.term_ords(document));
        }
    }

    fn harvest(self) -> Vec<String> {
        let Some(column) = self.column else { return Vec::new() };
        let mut found = Vec::with_capacity(self.ords.len());
        for ord in self.ords {
            let mut email_id = String::new();
            if matches!(column.ord_to_str(ord, &mut email_id), Ok(true)) {
                found.push(email_id);
            }
        }
        found
    }
}
