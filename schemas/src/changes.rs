//! Records of `mailbox.changes` read together: every lander and every indexer does so with every record.

use ::arrow::array::{Array, AsArray, Int64Array, StringArray};
use ::arrow::datatypes::Int64Type;
use ::arrow::record_batch::RecordBatch;

use crate::arrow::BatchDecoder;
use crate::{CodecError, MailboxChange, Topic, decode};

/// What each record says, in their order. One that cannot be read costs no other.
pub fn decode_changes<B: AsRef<[u8]>>(records: &[B]) -> Vec<Result<MailboxChange, CodecError>> {
    let batch = BatchDecoder::new(Topic::MailboxChanges).decode(records);
    match batch.ok().as_ref().and_then(Columns::of) {
        Some(columns) => (0..records.len()).map(|row| Ok(columns.change(row))).collect(),
        None => records.iter().map(|record| decode(record.as_ref())).collect(),
    }
}

/// The columns of a batch, by field.
struct Columns<'a> {
    kind: &'a StringArray,
    account_id: &'a StringArray,
    email_id: &'a StringArray,
    changed_at_us: &'a Int64Array,
    message_id: &'a StringArray,
    received_at_us: &'a Int64Array,
    recipient: &'a StringArray,
    body: &'a StringArray,
    size_bytes: &'a Int64Array,
    mailbox: &'a StringArray,
    summary: &'a StringArray,
    patch: &'a StringArray,
    if_unchanged_since: &'a Int64Array,
    call: &'a StringArray,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>();
        let number = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        Some(Self {
            kind: text("kind")?,
            account_id: text("account_id")?,
            email_id: text("email_id")?,
            changed_at_us: number("changed_at_us")?,
            message_id: text("message_id")?,
            received_at_us: number("received_at_us")?,
            recipient: text("recipient")?,
            body: text("body")?,
            size_bytes: number("size_bytes")?,
            mailbox: text("mailbox")?,
            summary: text("summary")?,
            patch: text("patch")?,
            if_unchanged_since: number("if_unchanged_since")?,
            call: text("call")?,
        })
    }

    fn change(&self, row: usize) -> MailboxChange {
        let text = |column: &StringArray| column.is_valid(row).then(|| column.value(row).to_owned());
        let number = |column: &Int64Array| column.is_valid(row).then(|| column.value(row));
        MailboxChange {
            kind: self.kind.value(row).to_owned(),
            account_id: self.account_id.value(row).to_owned(),
            email_id: self.email_id.value(row).to_owned(),
            changed_at_us: self.changed_at_us.value(row),
            message_id: text(self.message_id),
            received_at_us: number(self.received_at_us),
            recipient: text(self.recipient),
            body: text(self.body),
            size_bytes: number(self.size_bytes),
            mailbox: text(self.mailbox),
            summary: text(self.summary),
            patch: text(self.patch),
            if_unchanged_since: number(self.if_unchanged_since),
            call: text(self.call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;

    fn full() -> MailboxChange {
        MailboxChange {
            kind: MailboxChange::DELIVERED.into(),
            account_id: "a".into(),
            email_id: "e".into(),
            changed_at_us: -5,
            message_id: Some("m".into()),
            received_at_us: Some(7),
            recipient: Some("a@example.org".into()),
            body: Some("p:0:1".into()),
            size_bytes: Some(9),
            mailbox: Some("inbox".into()),
            summary: Some("요약".into()),
            patch: Some("{}".into()),
            if_unchanged_since: Some(11),
            call: Some("c".into()),
        }
    }

    #[test]
    fn every_field_comes_back_as_from_one_record() {
        let bare = MailboxChange { kind: MailboxChange::UPDATED.into(), ..MailboxChange::default() };
        let records: Vec<_> = [full(), bare.clone()].iter().map(|change| encode(change).unwrap()).collect();
        let changes: Vec<_> = decode_changes(&records).into_iter().map(Result::unwrap).collect();
        assert_eq!(changes, [full(), bare]);
    }

    /// `full()` as the first version's writer wrote it, in hexadecimal.
    const OF_VERSION_1: &str = "00000000031264656c697665726564026102650902026d020e021a61406578616d706c652e6f7267020a703a303a310212020a696e626f78020cec9a94ec95bd02047b7d";

    #[test]
    fn records_of_the_first_version_stand_beside_todays() {
        let old = hex(OF_VERSION_1);
        let known_then = MailboxChange { if_unchanged_since: None, call: None, ..full() };
        assert_eq!(decode::<MailboxChange>(&old).unwrap(), known_then);
        let changes = decode_changes(&[old, encode(&full()).unwrap().to_vec()]);
        assert_eq!(changes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [known_then, full()]);
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }

    #[test]
    fn a_damaged_record_costs_no_other() {
        let good = encode(&full()).unwrap();
        let changes = decode_changes(&[good.clone(), good.slice(..good.len() - 1), good]);
        assert!(changes[1].is_err());
        assert_eq!((changes[0].as_ref().unwrap(), changes[2].as_ref().unwrap()), (&full(), &full()));
    }
}
