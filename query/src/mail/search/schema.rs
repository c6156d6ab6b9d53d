//! Fields of a document: one per email.

use std::str::FromStr;

use millrace_schemas::MailboxChange;
use millrace_storage::{BlobError, BlobStore, BodyRef};
use millrace_udfs::SearchText;
use tantivy::schema::{Field, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::{TantivyDocument, Term};

use super::tokenizer;
use crate::mail::summary::{Address, Summary};

/// Text fields, in the order of [`Fields::text`].
const TEXT_FIELDS: [&str; 7] = ["subject", "body", "attachments", "from", "to", "cc", "bcc"];

#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) account: Field,
    /// Account and email id: what a deletion names.
    key: Field,
    pub(super) subject: Field,
    pub(super) body: Field,
    pub(super) attachments: Field,
    pub(super) from: Field,
    pub(super) to: Field,
    pub(super) cc: Field,
    pub(super) bcc: Field,
}

/// The column that answers which email a document is.
pub(super) const EMAIL_ID: &str = "email_id";

/// One email to index.
pub(super) struct Document {
    pub(super) account_id: String,
    pub(super) email_id: String,
    pub(super) text: SearchText,
}

impl Fields {
    pub(super) fn new() -> (Schema, Self) {
        let mut builder = Schema::builder();
        let column = TextOptions::default().set_fast("raw");
        let account = builder.add_text_field("account", STRING);
        let key = builder.add_text_field("key", STRING);
        builder.add_text_field(EMAIL_ID, column);
        // Nothing is ranked, so that no lengths of fields are kept; positions are for phrases.
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(tokenizer::NAME)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions)
            .set_fieldnorms(false);
        let text = TextOptions::default().set_indexing_options(indexing);
        let [subject, body, attachments, from, to, cc, bcc] =
            TEXT_FIELDS.map(|name| builder.add_text_field(name, text.clone()));
        (builder.build(), Self { account, key, subject, body, attachments, from, to, cc, bcc })
    }

    pub(super) fn text(&self) -> [Field; 7] {
        [self.subject, self.body, self.attachments, self.from, self.to, self.cc, self.bcc]
    }

    /// Names the email's document; neither id has a space.
    pub(super) fn key_term(&self, account_id: &str, email_id: &str) -> Term {
        Term::from_field_text(self.key, &format!("{account_id} {email_id}"))
    }

    pub(super) fn document(&self, schema: &Schema, from: &Document) -> Result<TantivyDocument, tantivy::TantivyError> {
        let mut document = TantivyDocument::default();
        document.add_text(self.account, &from.account_id);
        document.add_text(self.key, format!("{} {}", from.account_id, from.email_id));
        document.add_text(schema.get_field(EMAIL_ID)?, &from.email_id);
        let text = &from.text;
        let names = text.attachment_names.join("\n");
        let values = [&text.subject, &text.body, &names, &text.from, &text.to, &text.cc, &text.bcc];
        for (field, value) in self.text().into_iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            document.add_text(field, value);
        }
        Ok(document)
    }
}

fn addresses(list: &[Address]) -> String {
    let words = list.iter().flat_map(|address| [address.name.as_deref(), Some(address.email.as_str())]);
    words.flatten().collect::<Vec<_>>().join(" ")
}

/// What can be searched of an email whose body cannot be read: its summary.
fn summary_text(summary: &Summary) -> SearchText {
    SearchText {
        subject: summary.subject.clone().unwrap_or_default(),
        body: summary.preview.clone(),
        attachment_names: summary.attachments.iter().filter_map(|attachment| attachment.name.clone()).collect(),
        from: addresses(&summary.from),
        to: addresses(&summary.to),
        cc: addresses(&summary.cc),
        bcc: addresses(&summary.bcc),
    }
}

/// An email on its way into the index.
pub(super) struct Source {
    pub(super) account_id: String,
    pub(super) email_id: String,
    pub(super) body: String,
    pub(super) summary: String,
}

impl Source {
    pub(super) fn of(change: MailboxChange) -> Self {
        Self {
            account_id: change.account_id,
            email_id: change.email_id,
            body: change.body.unwrap_or_default(),
            summary: change.summary.unwrap_or_default(),
        }
    }

    /// The stored body; `None` when there is none, or a damaged one.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`]: try again.
    pub(super) async fn read(&self, blobs: &dyn BlobStore) -> Result<Option<bytes::Bytes>, BlobError> {
        let Ok(reference) = BodyRef::from_str(&self.body) else { return Ok(None) };
        match blobs.get(&reference).await {
            Ok(body) => Ok(Some(body)),
            Err(error @ BlobError::Unavailable(_)) => Err(error),
            Err(error) => {
                tracing::warn!(email_id = self.email_id, %error, "only the summary of an email is indexed");
                Ok(None)
            }
        }
    }

    pub(super) fn document(self, body: Option<&[u8]>) -> Document {
        let text = match body {
            Some(body) => millrace_udfs::searchable_text(body),
            None => summary_text(&Summary::parse(&self.summary)),
        };
        Document { account_id: self.account_id, email_id: self.email_id, text }
    }
}
