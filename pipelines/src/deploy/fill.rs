//! What the deployer writes into each table of a SQL file: how its topic is reached. The text is otherwise as it was, so
//! that Arroyo's errors name the lines of the file.

use std::time::Duration;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use millrace_storage::cluster::kafka::MAX_BATCH_BYTES;

use super::options::{CommitMode, Connection, Sasl};
use crate::error::{PipelineError, Place};

/// How long the brokers keep a sink's transaction, which is open from one checkpoint to the next. They abort it behind the
/// job's back, and its records are lost: so it is longer than a store may hold a checkpoint up, and within the brokers'
/// default limit (`transaction.max.timeout.ms`, 15 min).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(600);

/// The text of pipeline `name` with the options of `connection` in its tables. What a table says itself stands.
///
/// # Errors
/// The text is not SQL, or an option cannot be written.
pub fn fill(name: &str, sql: &str, connection: &Connection) -> Result<String, PipelineError> {
    let place = Place { pipeline: name, line: 1 };
    let mut filled = String::with_capacity(sql.len() * 2);
    let mut copied = 0;
    for table in tables(place, sql)? {
        let end = byte_offset(sql, table.end);
        filled += &sql[copied..end];
        for (key, value) in options(name, &table, connection) {
            if !table.options.iter().any(|(given, _)| *given == key) {
                filled += &format!(",\n  '{key}' = '{}'", value.replace('\'', "''"));
            }
        }
        copied = end;
    }
    check(place, connection)?;
    Ok(filled + &sql[copied..])
}

/// The functions that a text calls, by name, each once.
pub(crate) fn calls(place: Place<'_>, sql: &str) -> Result<Vec<String>, PipelineError> {
    let tokens = tokens(place, sql)?;
    let mut names: Vec<String> = Vec::new();
    for pair in tokens.windows(2) {
        if let (Token::Word(word), Token::LParen) = (&pair[0].token, &pair[1].token)
            && !names.contains(&word.value.to_lowercase())
        {
            names.push(word.value.to_lowercase());
        }
    }
    Ok(names)
}

/// A `CREATE TABLE … WITH (…)`.
struct Table {
    options: Vec<(String, String)>,
    /// Where its WITH ends: the last parenthesis.
    end: Location,
}

impl Table {
    fn is_source(&self) -> bool {
        self.options.iter().any(|(key, value)| key == "type" && value == "source")
    }
}

fn tokens(place: Place<'_>, sql: &str) -> Result<Vec<TokenWithSpan>, PipelineError> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location();
    let mut tokens = tokens.map_err(|error| place.syntax(error))?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Ok(tokens)
}

fn tables(place: Place<'_>, sql: &str) -> Result<Vec<Table>, PipelineError> {
    let tokens = tokens(place, sql)?;
    let statements = tokens.split(|token| token.token == Token::SemiColon);
    Ok(statements.filter_map(table).collect())
}

fn table(statement: &[TokenWithSpan]) -> Option<Table> {
    let is_create_table = is_word(statement.first()?, "create") && is_word(statement.get(1)?, "table");
    let last = statement.last()?;
    let with = statement.iter().position(|token| is_word(token, "with"))?;
    if !is_create_table || last.token != Token::RParen {
        return None;
    }
    let options =
        statement[with..].windows(3).filter_map(|three| match (&three[0].token, &three[1].token, &three[2].token) {
            (key, Token::Eq, Token::SingleQuotedString(value)) => Some((key_text(key)?, value.clone())),
            _ => None,
        });
    Some(Table { options: options.collect(), end: last.span.start })
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.value.eq_ignore_ascii_case(word))
}

fn key_text(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.value.clone()),
        Token::SingleQuotedString(text) => Some(text.clone()),
        _ => None,
    }
}

/// Lines and columns count characters from 1.
fn byte_offset(sql: &str, location: Location) -> usize {
    let line = sql.split_inclusive('\n').take(location.line as usize - 1).map(str::len).sum::<usize>();
    let rest = &sql[line..];
    let column = rest.char_indices().nth(location.column as usize - 1);
    column.map_or(sql.len(), |(column, _)| line + column)
}

fn options(pipeline: &str, table: &Table, connection: &Connection) -> Vec<(&'static str, String)> {
    let mut options = vec![("bootstrap_servers", connection.brokers.clone())];
    let mut client = Vec::new();
    if table.is_source() {
        // A successor goes on where its predecessor was left; the first begins at the beginning.
        options.push(("source.offset", "group".to_owned()));
        options.push(("source.group_id", pipeline.to_owned()));
        options.push(("source.read_mode", "read_committed".to_owned()));
        client.push("auto.offset.reset=earliest".to_owned());
    } else {
        options.push(("sink.commit_mode", connection.commit_mode.as_str().to_owned()));
        client.push("enable.idempotence=true".to_owned());
        client.push(format!("message.max.bytes={MAX_BATCH_BYTES}"));
        if connection.commit_mode == CommitMode::ExactlyOnce {
            client.push(format!("transaction.timeout.ms={}", TRANSACTION_TIMEOUT.as_millis()));
        }
    }
    options.push(("format", "avro".to_owned()));
    options.push(("avro.confluent_schema_registry", "true".to_owned()));
    options.push(("schema_registry.endpoint", connection.schema_registry.clone()));
    if connection.has_registry_password {
        options.push(("schema_registry.api_key", "arroyo".to_owned()));
        options.push(("schema_registry.api_secret", variable(Connection::REGISTRY_PASSWORD_VARIABLE)));
    }
    if let Some(sasl) = &connection.sasl {
        let protocol = if connection.is_tls { "SASL_SSL" } else { "SASL_PLAINTEXT" };
        options.push(("auth.type", "sasl".to_owned()));
        options.push(("auth.mechanism", sasl.mechanism.clone()));
        options.push(("auth.protocol", protocol.to_owned()));
        options.push(("auth.username", sasl.username.clone()));
        options.push(("auth.password", variable(Sasl::PASSWORD_VARIABLE)));
    } else if connection.is_tls {
        client.push("security.protocol=ssl".to_owned());
    }
    if let Some(ca_file) = &connection.ca_file {
        client.push(format!("ssl.ca.location={}", ca_file.display()));
    }
    options.push(("client_configs", client.join(",")));
    options
}

/// What Arroyo puts a variable of its own in place of.
fn variable(name: &str) -> String {
    format!("{{{{ {name} }}}}")
}

/// Arroyo takes client options as pairs with commas between them, and knows no quotes.
fn check(place: Place<'_>, connection: &Connection) -> Result<(), PipelineError> {
    let ca_file = connection.ca_file.as_ref().map(|path| path.to_string_lossy());
    if ca_file.as_ref().is_some_and(|path| path.contains([',', '='])) {
        return Err(place.invalid("kafka.ca_file must hold neither a comma nor an equals sign: Arroyo cannot be told"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::BUILT_IN;
    use crate::plan::Pipeline;

    fn connection() -> Connection {
        Connection {
            brokers: "127.0.0.1:9092".to_owned(),
            schema_registry: "http://127.0.0.1:8080/schemas".to_owned(),
            has_registry_password: false,
            is_tls: false,
            ca_file: None,
            sasl: None,
            commit_mode: CommitMode::ExactlyOnce,
        }
    }

    #[test]
    fn every_table_is_told_how_its_topic_is_reached_and_nothing_else_changes() {
        let (name, sql) = BUILT_IN[0];
        let filled = fill(name, sql, &connection()).unwrap();
        assert_eq!(filled.matches("bootstrap_servers").count(), 5);
        assert_eq!(filled.matches("'sink.commit_mode' = 'exactly_once'").count(), 4);
        assert_eq!(filled.matches("'source.group_id' = '10_reception'").count(), 1);
        let of_file =
            |line: &&str| !line.trim_start().starts_with('\'') || sql.contains(line.trim_end_matches([')', ';', ',']));
        let kept: Vec<&str> = filled.lines().filter(of_file).collect();
        assert!(kept.len() >= sql.lines().count() - 5, "{} of {}", kept.len(), sql.lines().count());
        Pipeline::load(name, &filled).unwrap();
    }

    #[test]
    fn a_sink_without_transactions_has_none_that_end() {
        let connection = Connection { commit_mode: CommitMode::AtLeastOnce, ..connection() };
        let (name, sql) = BUILT_IN[0];
        let filled = fill(name, sql, &connection).unwrap();
        assert_eq!(filled.matches("'sink.commit_mode' = 'at_least_once'").count(), 4);
        assert!(!filled.contains("transaction.timeout.ms"), "{filled}");
    }

    #[test]
    fn what_a_table_says_itself_stands() {
        let sql = "CREATE TABLE 한 (a TEXT) WITH (connector = 'kafka', type = 'source', 'source.offset' = 'latest');";
        let filled = fill("p", sql, &connection()).unwrap();
        assert_eq!(filled.matches("source.offset").count(), 1);
        assert!(filled.starts_with("CREATE TABLE 한 (a TEXT) WITH (connector = 'kafka', type = 'source'"));
        assert!(filled.ends_with("'client_configs' = 'auto.offset.reset=earliest');"), "{filled}");
    }

    #[test]
    fn a_password_is_named_and_never_written() {
        let sasl = Some(Sasl { mechanism: "PLAIN".to_owned(), username: "o'neill".to_owned() });
        let ca_file = Some("/etc/ssl/kafka.pem".into());
        let sql = "CREATE TABLE a (a TEXT) WITH (type = 'sink')";
        let filled = fill("p", sql, &Connection { is_tls: true, sasl, ca_file, ..connection() }).unwrap();
        for option in [
            "'auth.protocol' = 'SASL_SSL'",
            "'auth.username' = 'o''neill'",
            "'auth.password' = '{{ MILLRACE_KAFKA_PASSWORD }}'",
            "'client_configs' = 'enable.idempotence=true,message.max.bytes=4259840,transaction.timeout.ms=600000,ssl.ca.location=/etc/ssl/kafka.pem'",
        ] {
            assert!(filled.contains(option), "{option} in {filled}");
        }
        assert!(!filled.contains("schema_registry.api_key"));
        let filled = fill("p", sql, &Connection { has_registry_password: true, ..connection() }).unwrap();
        assert!(filled.contains("'schema_registry.api_secret' = '{{ MILLRACE_HTTP_REGISTRY_PASSWORD }}'"), "{filled}");
        let ca_file = Some("/etc/a,b.pem".into());
        assert!(fill("p", sql, &Connection { ca_file, ..connection() }).is_err());
    }
}
