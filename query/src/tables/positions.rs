//! How far the log has landed in a table, as every snapshot's summary says it.

use std::collections::BTreeMap;

use iceberg::spec::Snapshot;
use millrace_schemas::Topic;

/// Partition of the topic to the offset of the next record to land.
pub type Positions = BTreeMap<u32, u64>;

/// The property of the snapshot summary: `{"<topic>":{"<partition>":<next offset>}}`.
pub(super) const PROPERTY: &str = "millrace.positions";

pub(super) fn to_json(topic: Topic, positions: &Positions) -> String {
    serde_json::json!({ topic.name(): positions }).to_string()
}

/// The positions of a topic in a snapshot; empty when the snapshot carries none of it.
///
/// # Errors
/// What is wrong with the property: going on without it would land records twice.
pub(super) fn of_snapshot(topic: Topic, snapshot: &Snapshot) -> Result<Positions, String> {
    let Some(text) = snapshot.summary().additional_properties.get(PROPERTY) else {
        return Err(format!("snapshot {} carries no {PROPERTY}", snapshot.snapshot_id()));
    };
    parse(topic, text)
}

fn parse(topic: Topic, text: &str) -> Result<Positions, String> {
    let mut all: BTreeMap<String, Positions> =
        serde_json::from_str(text).map_err(|error| format!("{PROPERTY} is '{text}': {error}"))?;
    Ok(all.remove(topic.name()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn positions_come_back_as_they_went() {
        let positions = Positions::from([(0, 123), (3, u64::MAX)]);
        let text = to_json(Topic::Reception, &positions);
        assert_eq!(text, r#"{"mail.reception":{"0":123,"3":18446744073709551615}}"#);
        assert_eq!(parse(Topic::Reception, &text).unwrap(), positions);
        assert_eq!(parse(Topic::Delivery, &text).unwrap(), Positions::new());
        assert!(parse(Topic::Reception, "{}x").is_err());
    }
}
