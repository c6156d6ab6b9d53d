//! score_spam: a classifier learnt from mail, and what header and authentication add to it.
//!
//! A message becomes a set of [`features`] (words, hosts, structure), each hashed to a place in the [`model`], whose
//! weights were learnt by logistic regression ([`train`], run by `examples/train_spam.rs`). [`signals`] adds fixed
//! weights for authentication, which the training mail does not have.

pub mod corpus;
mod features;
mod model;
mod signals;
pub mod train;

use serde::{Deserialize, Serialize};

pub use model::ModelError;

use crate::guard::{error_value, guarded};
use features::Features;
use model::Model;

/// The model that is compiled in.
const BUILT_IN: &[u8] = include_bytes!("../../model/spam.model");
/// Signals named in a verdict: the strongest.
const MAX_SIGNALS: usize = 8;

/// How likely a message is spam, and what speaks for and against it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpamVerdict {
    /// 0 (ham) to 1 (spam); 0.5 is undecided. Rounded to four digits.
    pub score: f64,
    /// The strongest, strongest first.
    pub signals: Vec<SpamSignal>,
    /// The model that scored.
    pub version: String,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpamSignal {
    /// `subject:free`, `body:미팅`, `host:example.org`, `auth:dmarc=fail`, …
    pub name: String,
    /// Added to the log-odds of spam: above 0 speaks for spam.
    pub weight: f64,
}

/// A model, ready to score.
pub struct SpamFilter {
    model: Model,
}

impl SpamFilter {
    /// The model that is compiled in.
    ///
    /// # Errors
    /// The model file is not one of this version: the build is wrong.
    pub fn built_in() -> Result<Self, ModelError> {
        Ok(Self { model: Model::decode(BUILT_IN)? })
    }

    /// A model from its file's bytes.
    ///
    /// # Errors
    /// The bytes are not a model of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        Ok(Self { model: Model::decode(bytes)? })
    }

    pub(crate) fn version(&self) -> &str {
        self.model.version()
    }

    pub(crate) fn score(&self, raw: &[u8], auth: &str) -> String {
        let verdict = guarded("score spam", || self.verdict(raw, auth));
        match verdict.map(|verdict| serde_json::to_string(&verdict)) {
            Ok(Ok(json)) => json,
            Ok(Err(error)) => error_value(&error.to_string(), self.version()),
            Err(reason) => error_value(&reason, self.version()),
        }
    }

    /// Scores a message. `auth` is JSON as `authenticate` gives it; anything else counts as no authentication.
    pub fn verdict(&self, raw: &[u8], auth: &str) -> SpamVerdict {
        let features = Features::of(raw);
        let mut log_odds = self.model.log_odds(features.places());
        let share = self.model.share(features.places().len());
        let places = features.places().iter().enumerate();
        let mut strongest: Vec<Strength> = places
            .map(|(index, place)| Strength { weight: self.model.weight(*place) * share, place: *place, index })
            .collect();
        if strongest.len() > MAX_SIGNALS {
            strongest.select_nth_unstable_by(MAX_SIGNALS, Strength::order);
            strongest.truncate(MAX_SIGNALS);
        }
        let mut signals: Vec<SpamSignal> = signals::of(auth);
        log_odds += signals.iter().map(|signal| signal.weight as f32).sum::<f32>();
        signals.extend(strongest.iter().map(|strength| SpamSignal {
            name: features.name(strength.index).to_owned(),
            weight: rounded(strength.weight),
        }));
        signals.retain(|signal| signal.weight != 0.0);
        signals.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then_with(|| a.name.cmp(&b.name)));
        signals.truncate(MAX_SIGNALS);
        SpamVerdict { score: rounded(1.0 / (1.0 + (-log_odds).exp())), signals, version: self.version().to_owned() }
    }
}

/// What a feature adds to the log-odds.
struct Strength {
    weight: f32,
    place: u32,
    /// Which of the features it is.
    index: usize,
}

impl Strength {
    /// Strongest first, ties by place, so that the choice is the same every time.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.weight.abs().total_cmp(&self.weight.abs()).then(self.place.cmp(&other.place))
    }
}

fn rounded(value: f32) -> f64 {
    (f64::from(value) * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
