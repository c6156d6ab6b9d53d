//! Learning a model: logistic regression by stochastic gradient descent with a step per weight (AdaGrad). The same
//! messages in the same order give the same file.

use super::SpamFilter;
use super::corpus::Judged;
use super::features::Features;
use super::model::{Model, ModelError, PLACES, share};

const EPOCHS: usize = 12;
const STEP: f32 = 0.5;
/// Pulls weights towards zero, so that what was seen once counts little.
const SHRINK: f32 = 2e-6;
/// A ham taken for spam costs its reader more than the reverse.
const HAM_WEIGHT: f32 = 1.5;
const SHUFFLE_SEED: u64 = 0x6d69_6c6c_7261_6365;

/// What a model got right and wrong at a score of 0.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub spam_found: usize,
    pub spam_missed: usize,
    pub ham_kept: usize,
    pub ham_lost: usize,
}

impl Counts {
    /// Of what was called spam, the part that was.
    pub fn precision(&self) -> f64 {
        self.spam_found as f64 / (self.spam_found + self.ham_lost).max(1) as f64
    }

    /// Of the spam, the part that was found.
    pub fn recall(&self) -> f64 {
        self.spam_found as f64 / (self.spam_found + self.spam_missed).max(1) as f64
    }
}

/// Learns from `messages` and gives the model's file.
pub fn train(messages: &[&Judged]) -> Vec<u8> {
    let examples: Vec<(Vec<u32>, bool)> =
        messages.iter().map(|judged| (Features::of(&judged.raw).places().to_vec(), judged.is_spam)).collect();
    let mut learner = Learner { bias: 0.0, bias_slope: 1e-6, weights: vec![0.0; PLACES], slopes: vec![1e-6; PLACES] };
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let mut random = SHUFFLE_SEED;
    for _ in 0..EPOCHS {
        shuffle(&mut order, &mut random);
        for index in &order {
            let (places, is_spam) = &examples[*index];
            learner.learn(places, *is_spam);
        }
    }
    Model::new(learner.bias, &learner.weights).encode()
}

/// Scores `messages` with the model in `file`, without authentication.
///
/// # Errors
/// `file` is not a model.
pub fn measure(file: &[u8], messages: &[&Judged]) -> Result<Counts, ModelError> {
    let filter = SpamFilter::from_bytes(file)?;
    let mut counts = Counts::default();
    for judged in messages {
        let is_called_spam = filter.verdict(&judged.raw, "").score >= 0.5;
        let count = match (judged.is_spam, is_called_spam) {
            (true, true) => &mut counts.spam_found,
            (true, false) => &mut counts.spam_missed,
            (false, false) => &mut counts.ham_kept,
            (false, true) => &mut counts.ham_lost,
        };
        *count += 1;
    }
    Ok(counts)
}

struct Learner {
    bias: f32,
    bias_slope: f32,
    weights: Vec<f32>,
    slopes: Vec<f32>,
}

impl Learner {
    fn learn(&mut self, places: &[u32], is_spam: bool) {
        let share = share(places.len());
        let sum: f32 = places.iter().map(|place| self.weights[*place as usize]).sum();
        let likely = 1.0 / (1.0 + (-(self.bias + sum * share)).exp());
        let error = if is_spam { likely - 1.0 } else { likely * HAM_WEIGHT };
        for place in places {
            let place = *place as usize;
            let slope = error * share + SHRINK * self.weights[place];
            self.slopes[place] += slope * slope;
            self.weights[place] -= STEP * slope / self.slopes[place].sqrt();
        }
        self.bias_slope += error * error;
        self.bias -= STEP * error / self.bias_slope.sqrt();
    }
}

/// Fisher and Yates, with a fixed generator (splitmix64).
fn shuffle(order: &mut [usize], random: &mut u64) {
    for last in (1..order.len()).rev() {
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = *random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(last, ((bits ^ (bits >> 31)) % (last as u64 + 1)) as usize);
    }
}
