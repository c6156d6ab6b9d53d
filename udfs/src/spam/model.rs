//! The model: a weight per place, and its file.
//!
//! File: `MRSPAM1\n`, then little endian: u32 places, f32 step, f32 bias, then one i8 a place (weight = i8 × step).

/// Places that features hash to.
pub(super) const PLACES: usize = 1 << 17;
const MAGIC: &[u8; 8] = b"MRSPAM1\n";
const HEAD_BYTES: usize = MAGIC.len() + 12;

/// Why bytes are not a model.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not a spam model of this version: {0}; train one with `cargo run --release -p millrace-udfs --example train_spam`"
)]
pub struct ModelError(&'static str);

pub(super) struct Model {
    bias: f32,
    step: f32,
    weights: Vec<i8>,
    version: String,
}

impl Model {
    /// Rounds weights to 255 steps.
    pub(super) fn new(bias: f32, weights: &[f32]) -> Self {
        let largest = weights.iter().fold(f32::MIN_POSITIVE, |largest, weight| largest.max(weight.abs()));
        let step = largest / 127.0;
        let weights = weights.iter().map(|weight| (weight / step).round() as i8).collect();
        let mut model = Self { bias, step, weights, version: String::new() };
        model.version = version_of(&model.encode());
        model
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(self.weights.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.step.to_le_bytes());
        bytes.extend_from_slice(&self.bias.to_le_bytes());
        bytes.extend(self.weights.iter().map(|weight| weight.cast_unsigned()));
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(ModelError("it does not begin with MRSPAM1"))?;
        if bytes.len() != HEAD_BYTES + PLACES {
            return Err(ModelError("its length is wrong"));
        }
        let word = |at: usize| [rest[at], rest[at + 1], rest[at + 2], rest[at + 3]];
        if u32::from_le_bytes(word(0)) as usize != PLACES {
            return Err(ModelError("it has another number of places"));
        }
        let (step, bias) = (f32::from_le_bytes(word(4)), f32::from_le_bytes(word(8)));
        if !step.is_finite() || !bias.is_finite() {
            return Err(ModelError("its numbers are not finite"));
        }
        let weights = rest[12..].iter().map(|byte| byte.cast_signed()).collect();
        Ok(Self { bias, step, weights, version: version_of(bytes) })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn weight(&self, place: u32) -> f32 {
        f32::from(self.weights[place as usize]) * self.step
    }

    /// How much one of `count` features counts, so that long mail does not outweigh itself.
    pub(super) fn share(&self, count: usize) -> f32 {
        share(count)
    }

    /// The log-odds that a message with these features is spam.
    pub(super) fn log_odds(&self, places: &[u32]) -> f32 {
        let sum: i64 = places.iter().map(|place| i64::from(self.weights[*place as usize])).sum();
        self.bias + sum as f32 * self.step * share(places.len())
    }
}

pub(super) fn share(count: usize) -> f32 {
    1.0 / (count.max(1) as f32).sqrt()
}

fn version_of(bytes: &[u8]) -> String {
    format!("spam/1-{}", &blake3::hash(bytes).to_hex()[..12])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_model_comes_back_from_its_file() {
        let mut weights = vec![0.0; PLACES];
        weights[7] = 2.5;
        weights[9] = -1.0;
        let model = Model::new(-0.5, &weights);
        let read = Model::decode(&model.encode()).unwrap();
        assert_eq!(read.version(), model.version());
        assert!((read.weight(7) - 2.5).abs() < 0.01);
        assert!((read.log_odds(&[7, 9]) - model.log_odds(&[7, 9])).abs() < 1e-6);
    }

    #[test]
    fn other_bytes_are_refused() {
        assert!(Model::decode(b"").is_err());
        assert!(Model::decode(b"MRSPAM1\nshort").is_err());
    }
}
