//! A directory of a few people, and of trouble.

use async_trait::async_trait;
use millrace_smtp::{Address, Recipients, Resolution, Unavailable};

pub struct People;

#[async_trait]
impl Recipients for People {
    async fn resolve(&self, address: &Address, size_bytes: Option<u64>) -> Result<Resolution, Unavailable> {
        let domain = address.domain().to_ascii_lowercase();
        if !["millrace.test", "mx.millrace.test", "[127.0.0.1]"].contains(&domain.as_str()) {
            return Ok(Resolution::NotLocal);
        }
        let local_part = address.local_part().to_lowercase();
        let accounts: &[&str] = match local_part.split('+').next().unwrap_or_default() {
            "alice" | "postmaster" => &["alice1"],
            "bob" => &["bob1"],
            "team" => &["alice1", "bob1"],
            "사용자" => &["user1"],
            "many" => return Ok(Resolution::Accounts(vec![local_part.replace('+', "")])),
            // Has room for 1,000 bytes.
            "small" if size_bytes.unwrap_or_default() <= 1000 => &["small1"],
            "full" | "small" => return Ok(Resolution::OverQuota),
            "down" => return Err(Unavailable("the directory is down".into())),
            "stuck" => std::future::pending().await,
            _ => return Ok(Resolution::UnknownUser),
        };
        Ok(Resolution::Accounts(accounts.iter().map(|account| (*account).to_owned()).collect()))
    }
}
