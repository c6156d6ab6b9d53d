//! Whether brokers can be used, found out by trying.

use super::KafkaLog;
use super::options::KafkaOptions;
use super::transaction::Transactions;
use super::{reach, topics};
use crate::log::{Log, LogError};

/// Tries what the log needs: brokers, topics, transactions, groups. Gives what was found, a line each. Makes the topics
/// that do not exist, as any start does.
///
/// # Errors
/// The first that does not work, and why.
pub async fn probe(options: KafkaOptions) -> Result<Vec<String>, LogError> {
    let failed = |what: &str, error: String| LogError::Unavailable(format!("{what}: {error}"));
    let brokers = reach::metadata(&options).await?.brokers().len();
    let mut found = vec![format!("{brokers} broker(s)")];
    let replicas = options.replication_factor as usize;
    if replicas > brokers {
        let advice = format!("kafka.replication_factor is {replicas}, and there are {brokers} broker(s)");
        return Err(LogError::Unavailable(advice));
    }
    if replicas < 3 {
        found.push(format!("topics have {replicas} replica(s): a broker that is lost takes mail with it or stops it"));
    }
    let partitions = topics::ensure(&options).await?;
    found.push(format!("{} topics", partitions.len()));
    let mut transactions = Transactions::new(&options, "probe");
    let transaction = transactions.call(|transactor| transactor.begin_anew().map(drop)).await;
    transaction.map_err(|failure| failed("transactions are refused", format!("{failure:?}")))?;
    found.push("transactions".to_owned());
    KafkaLog::open(options).await?.committed("millrace.probe", millrace_schemas::Topic::Reception, 0).await?;
    found.push("groups".to_owned());
    Ok(found)
}
