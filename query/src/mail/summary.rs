//! The summary of a message, as the stage function `summarise` made it at screening: what a mail list shows, and what
//! `Email/get` answers without opening the body.

pub use millrace_udfs::{Summary, SummaryAddress as Address, SummaryAttachment as Attachment};

/// [`Summary::sent_at`] in microseconds since 1970 UTC.
pub(super) fn sent_at_us(summary: &Summary) -> Option<i64> {
    let text = summary.sent_at.as_deref()?;
    Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senders_offset_counts() {
        let summary = Summary { sent_at: Some("2026-11-23T10:00:00+09:00".to_owned()), ..Summary::default() };
        assert_eq!(sent_at_us(&summary), Some(1_795_395_600_000_000));
    }
}
