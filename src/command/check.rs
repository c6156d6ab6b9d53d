//! `millrace config check`.

use crate::config::Config;
use crate::node::check::{Finding, check};

/// Tries everything, prints what was found, and fails when something would.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    let mut failures = 0;
    for Finding { what, outcome } in check(config).await {
        match outcome {
            Ok(found) => println!("{what:<9} ok    {}", found.join("; ")),
            Err(error) => {
                failures += 1;
                println!("{what:<9} FAILS {error:#}");
            }
        }
    }
    anyhow::ensure!(failures == 0, "{failures} part(s) of the configuration cannot be used");
    Ok(())
}
