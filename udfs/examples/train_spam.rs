//! Learns the spam model from the corpus and measures it on the part that was held out.
//!
//! `cargo run --release -p millrace-udfs --example train_spam -- corpus/package/data udfs/model/spam.model`

use std::path::Path;
use std::time::Instant;

use millrace_udfs::spam::corpus::{self, Judged};
use millrace_udfs::spam::{SpamFilter, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file] = arguments.as_slice() else {
        return Err("usage: train_spam CORPUS_FOLDER MODEL_FILE".into());
    };
    let messages = corpus::read(Path::new(folder))?;
    let (held_out, learnt): (Vec<&Judged>, Vec<&Judged>) = messages.iter().partition(|judged| judged.is_held_out());
    // Settings are chosen on every fifth message of what is learnt from; the held-out part is measured once, at the end.
    let (checked, rest): (Vec<_>, Vec<_>) = learnt.iter().enumerate().partition(|(index, _)| index % 5 == 0);
    let [checked, rest] = [checked, rest].map(|part| part.into_iter().map(|(_, judged)| *judged).collect::<Vec<_>>());
    report("for choosing settings", train::measure(&train::train(&rest), &checked)?);

    let model = train::train(&learnt);
    std::fs::write(file, &model)?;
    println!("learnt from {}, {} bytes", learnt.len(), model.len());
    report("learnt", train::measure(&model, &learnt)?);
    report("held out", train::measure(&model, &held_out)?);
    for group in ["easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"] {
        let part: Vec<&Judged> = held_out.iter().copied().filter(|judged| judged.group == group).collect();
        report(&format!("held out, {group}"), train::measure(&model, &part)?);
    }
    let filter = SpamFilter::from_bytes(&model)?;
    let start = Instant::now();
    held_out.iter().for_each(|judged| drop(filter.verdict(&judged.raw, "")));
    println!("{:.0} µs a message", start.elapsed().as_secs_f64() * 1e6 / held_out.len().max(1) as f64);
    Ok(())
}

fn report(what: &str, counts: train::Counts) {
    let (precision, recall) = (counts.precision(), counts.recall());
    println!("{what}: precision {precision:.4}, recall {recall:.4}, {counts:?}");
}
