//! Asking the brokers who they are, and hearing why they do not answer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use super::options::{KafkaOptions, REQUEST_TIMEOUT, tell_error};
use crate::cluster::keys::Keys;
use crate::log::LogError;

const KEYS: Keys = Keys {
    ca_file: "kafka.ca_file",
    login: "kafka.username, kafka.password and kafka.sasl_mechanism",
    place: "kafka.brokers and kafka.tls",
};

/// What the client has to tell is taken from its queue for so long.
const HEARING: Duration = Duration::from_millis(100);

/// The brokers and the topics that there are.
///
/// # Errors
/// [`LogError::Unavailable`] with the reason, and the key of the configuration that it points at.
pub(super) async fn metadata(options: &KafkaOptions) -> Result<Metadata, LogError> {
    let (config, heard) = (options.admin(), Heard::default());
    let hearing = heard.clone();
    let ask = move || {
        let client: BaseProducer<Heard> = config.create_with_context(hearing)?;
        let answer = client.client().fetch_metadata(None, REQUEST_TIMEOUT);
        if answer.is_err() {
            client.poll(HEARING);
        }
        answer
    };
    let asked = tokio::task::spawn_blocking(ask).await.map_err(|error| LogError::Unavailable(error.to_string()))?;
    asked.map_err(|error| {
        let reason = heard.0.lock().take().unwrap_or_else(|| error.to_string());
        let keys = KEYS.for_reason(&reason);
        LogError::Unavailable(format!("the brokers at {} do not answer: {reason}; check {keys}", options.brokers))
    })
}

/// The last that a client told of a connection that fails: of the request over it, it says only that it failed.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Option<String>>>);

impl ClientContext for Heard {
    fn error(&self, error: KafkaError, reason: &str) {
        tell_error(&error, reason);
        // It comes after each reason, and has none.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock() = Some(reason.to_owned());
        }
    }
}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
