//! Results as a table for people, or as JSON, CSV or Arrow for programs.

use std::io::{self, Write};
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::util::pretty::pretty_format_batches_with_schema;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Drawn with lines, for a terminal.
    #[default]
    Table,
    /// An object a line.
    Json,
    /// With a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no format '{0}'; the formats are table, json, csv and arrow")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            "arrow" => Ok(Format::Arrow),
            _ => Err(UnknownFormat(name.to_owned())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The reader went away, or the disk is full.
    #[error("the result cannot be written: {0}")]
    Write(#[from] io::Error),
    /// A column has no form in this format, such as lists in CSV.
    #[error("the result has no such form: {0}; choose another --format, or cast the column")]
    Form(#[from] ArrowError),
}

/// Writes a result whole.
///
/// # Errors
/// [`FormatError`].
pub fn write_batches(
    format: Format,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    mut out: impl Write,
) -> Result<(), FormatError> {
    match format {
        Format::Table => {
            let text = pretty_format_batches_with_schema(schema.clone(), batches)?.to_string();
            writeln!(out, "{}", without_controls(&text))?;
        }
        Format::Json => {
            let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut out);
            for batch in batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut out);
            if batches.is_empty() {
                writer.write(&RecordBatch::new_empty(schema.clone()))?;
            }
            for batch in batches {
                writer.write(batch)?;
            }
        }
        Format::Arrow => {
            let mut writer = StreamWriter::try_new(&mut out, schema)?;
            for batch in batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
    }
    Ok(out.flush()?)
}

/// Subjects can hold escape sequences, which a terminal would obey.
fn without_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::ipc::reader::StreamReader;

    use super::*;

    fn sample() -> RecordBatch {
        let subject: ArrayRef = Arc::new(StringArray::from(vec![Some("a\u{1b}[31mb, \"c\""), None]));
        let size: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        RecordBatch::try_from_iter_with_nullable([("subject", subject, true), ("size", size, false)]).unwrap()
    }

    fn text(format: &str, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        write_batches(format.parse().unwrap(), &sample().schema(), batches, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn programs_get_what_the_rows_hold() {
        assert_eq!(
            text("json", &[sample()]),
            "{\"subject\":\"a\\u001b[31mb, \\\"c\\\"\",\"size\":1}\n{\"subject\":null,\"size\":2}\n"
        );
        assert_eq!(text("csv", &[sample()]), "subject,size\n\"a\u{1b}[31mb, \"\"c\"\"\",1\n,2\n");
        let mut out = Vec::new();
        write_batches(Format::Arrow, &sample().schema(), &[sample()], &mut out).unwrap();
        assert_eq!(StreamReader::try_new(&out[..], None).unwrap().next().unwrap().unwrap(), sample());
    }

    #[test]
    fn a_terminal_gets_no_escape_sequences() {
        let table = text("table", &[sample()]);
        assert!(table.contains("a\u{fffd}[31mb") && !table.contains('\u{1b}'), "{table}");
    }

    #[test]
    fn an_empty_result_has_its_columns() {
        assert_eq!(text("csv", &[]), "subject,size\n");
        assert!(text("table", &[]).contains("subject"));
        assert_eq!(text("json", &[]), "");
        assert!("xml".parse::<Format>().is_err());
    }
}
