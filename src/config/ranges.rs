//! What the numbers of the configuration may be.

use anyhow::bail;
use millrace_udfs::hosted::LONGEST_CALL;

use super::Config;

const DAY_HOURS: u64 = 24;
const MIB: u64 = 1 << 20;

/// A number, and what it may be.
struct Range {
    key: &'static str,
    value: u64,
    least: u64,
    most: Option<u64>,
}

/// Refuses numbers that nothing could work with.
///
/// # Errors
/// The first such number: its key, its value and what is allowed.
pub fn check(config: &Config) -> anyhow::Result<()> {
    for Range { key, value, least, most } in ranges(config) {
        if value >= least && most.is_none_or(|most| value <= most) {
            continue;
        }
        let allowed = most.map_or(format!("{least} or more"), |most| format!("{least} to {most}"));
        bail!("{key} ({}) is {value}; it may be {allowed}", variable(key));
    }
    Ok(())
}

/// The variable of a key.
pub fn variable(key: &str) -> String {
    format!("MILLRACE_{}", key.to_uppercase().replace('.', "_"))
}

fn ranges(config: &Config) -> Vec<Range> {
    let Config { smtp, screening, pipelines, landing, log, kafka, arroyo, .. } = config;
    let range = |key, value, least, most| Range { key, value, least, most: Some(most) };
    vec![
        Range { key: "min_free_bytes", value: config.min_free_bytes, least: MIB, most: None },
        // RFC 5321 section 4.5.3.1.7 asks for 64 KB at least; above, a few messages would fill the memory for bodies.
        range("smtp.max_message_bytes", smtp.max_message_bytes, 64 << 10, 256 * MIB),
        // RFC 5321 section 4.5.3.1.8 asks for 100; all of a message, 256 bytes each twice, are in one record of the log.
        range("smtp.max_recipients", smtp.max_recipients as u64, 100, 5_000),
        range("smtp.max_connections", smtp.max_connections as u64, 1, 1_000_000),
        range("smtp.max_connections_per_address", smtp.max_connections_per_address as u64, 1, 1_000_000),
        range("screening.first_seen_days", u64::from(screening.first_seen_days), 1, 3650),
        range("pipelines.batch_records", pipelines.batch_records as u64, 1, 100_000),
        range("landing.interval_s", landing.interval_s, 1, 3600),
        range("landing.max_rows", landing.max_rows as u64, 1, 1_000_000),
        // A partition of each topic is a store of its own, with its own memory.
        range("log.partitions", u64::from(log.partitions), 1, 256),
        range("log.retention_hours", log.retention_hours, 1, 10 * 365 * DAY_HOURS),
        Range { key: "log.retention_bytes", value: log.retention_bytes, least: MIB, most: None },
        range("kafka.replication_factor", u64::from(kafka.replication_factor), 1, 15),
        // Brokers allow 6 s at least by default (group.min.session.timeout.ms).
        range("kafka.session_timeout_s", kafka.session_timeout_s, 6, 300),
        // A call ends before Arroyo's own timeout, which takes the job down.
        range("arroyo.patience_s", arroyo.patience_s, 1, LONGEST_CALL.as_secs()),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use confique::Config as _;
    use confique::meta::{Expr, FieldKind, LeafKind, Meta};

    use super::*;

    /// Keys of numbers, and the variable of every key.
    fn leaves(meta: &Meta, prefix: &str, numbers: &mut Vec<String>, variables: &mut Vec<(String, String)>) {
        for field in meta.fields {
            let key = format!("{prefix}{}", field.name);
            match field.kind {
                FieldKind::Nested { meta } => leaves(meta, &format!("{key}."), numbers, variables),
                FieldKind::Leaf { env, kind } => {
                    variables.push((key.clone(), env.unwrap_or_default().to_owned()));
                    if matches!(kind, LeafKind::Required { default: Some(Expr::Integer(_)) }) {
                        numbers.push(key);
                    }
                }
            }
        }
    }

    #[test]
    fn every_number_has_a_range_that_its_default_is_in_and_every_key_its_variable() {
        let config = Config::builder().load().unwrap();
        check(&config).unwrap();
        let (mut numbers, mut variables) = (Vec::new(), Vec::new());
        leaves(&Config::META, "", &mut numbers, &mut variables);
        let mut ranged: Vec<_> = ranges(&config).iter().map(|range| range.key.to_owned()).collect();
        numbers.sort();
        ranged.sort();
        assert_eq!(ranged, numbers);
        for (key, named) in variables {
            assert_eq!(named, variable(&key));
        }
    }

    #[test]
    fn a_number_out_of_range_is_named_with_what_is_allowed() {
        let mut config = Config::builder().load().unwrap();
        config.landing.interval_s = 0;
        let error = check(&config).unwrap_err().to_string();
        assert_eq!(error, "landing.interval_s (MILLRACE_LANDING_INTERVAL_S) is 0; it may be 1 to 3600");
        config.landing.interval_s = 3601;
        assert!(check(&config).is_err());
        config.landing.interval_s = 3600;
        check(&config).unwrap();
        config.log.retention_bytes = 0;
        assert!(check(&config).unwrap_err().to_string().contains("it may be 1048576 or more"));
    }
}
