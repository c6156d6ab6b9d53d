//! `millrace query`.

use std::io::Write;

use axum::http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use crate::admin::client::Client;
use crate::cli::Format;

pub async fn run(client: &Client, sql: &str, format: Format) -> anyhow::Result<()> {
    let format = match format {
        Format::Table => "table",
        Format::Json => "json",
        Format::Csv => "csv",
        Format::Arrow => "arrow",
    };
    let body = serde_json::to_vec(&json!({ "sql": sql, "format": format }))?;
    let mut answer = client.send(Method::POST, "/query", body.into()).await?.into_body();
    let mut out = std::io::stdout().lock();
    while let Some(frame) = answer.frame().await {
        if let Some(data) = frame?.data_ref() {
            out.write_all(data)?;
        }
    }
    Ok(out.flush()?)
}
