//! Answers kept for other messages: bounded in number, each for as long as DNS allows.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::question::{Answer, Question};

const MAX_ANSWERS: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");

pub(super) struct Known {
    answers: Mutex<LruCache<Question, (Answer, Instant)>>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { answers: Mutex::new(LruCache::new(MAX_ANSWERS)) }
    }

    pub(super) fn get(&self, question: &Question) -> Option<Answer> {
        let mut answers = self.answers.lock();
        let (answer, until) = answers.get(question)?;
        if Instant::now() < *until {
            return Some(answer.clone());
        }
        answers.pop(question);
        None
    }

    pub(super) fn put(&self, question: Question, answer: &Answer) {
        if !answer.keep.is_zero() {
            self.answers.lock().put(question, (answer.clone(), Instant::now() + answer.keep));
        }
    }
}
