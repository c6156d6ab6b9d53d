//! The entries of the directory, and how an address finds its accounts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use millrace_schemas::DirectoryEntry;

use crate::address::without_tag;

pub const DOMAIN: &str = "domain";
pub const ACCOUNT: &str = "account";
pub const ALIAS: &str = "alias";

/// An account: whose mailboxes they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    /// Primary address, lower case.
    pub address: String,
    /// Storage limit; `None` for none.
    pub quota_bytes: Option<u64>,
    pub(crate) made_at_us: i64,
    pub(crate) password_hash: Option<String>,
}

impl Account {
    /// A hash that is another one as soon as the password is set anew: what was opened with the old one can tell.
    pub fn credential_digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[u8::from(self.password_hash.is_some())]);
        hasher.update(self.password_hash.as_deref().unwrap_or_default().as_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// Where an address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// To these accounts, at least one, each once.
    Accounts(Vec<Arc<Account>>),
    /// The domain is ours, the name is not known there.
    UnknownUser,
    /// The domain is not ours.
    NotLocal,
}

/// All entries that hold now.
#[derive(Debug, Default)]
pub struct View {
    domains: BTreeMap<String, i64>,
    accounts: HashMap<String, Arc<Account>>,
    by_address: BTreeMap<String, String>,
    aliases: BTreeMap<String, Vec<String>>,
    /// When a domain's accounts were made, and their ids: the oldest gets the mail to postmaster when nobody else does.
    of_domain: HashMap<String, BTreeSet<(i64, String)>>,
}

impl View {
    /// Makes an entry hold. Entries come in the order of the log.
    pub fn apply(&mut self, entry: DirectoryEntry) {
        match entry.kind.as_str() {
            DOMAIN if entry.is_removed => drop(self.domains.remove(&entry.name)),
            DOMAIN => drop(self.domains.insert(entry.name, entry.changed_at_us)),
            ALIAS if entry.is_removed => drop(self.aliases.remove(&entry.name)),
            ALIAS => drop(self.aliases.insert(entry.name, entry.targets)),
            ACCOUNT if entry.is_removed => self.remove_account(&entry.name),
            ACCOUNT => self.insert_account(entry),
            kind => tracing::warn!(kind, name = entry.name, "directory entry of an unknown kind is passed over"),
        }
    }

    fn insert_account(&mut self, entry: DirectoryEntry) {
        let Some(address) = entry.address else {
            return tracing::warn!(name = entry.name, "account without an address is passed over");
        };
        if self.account_of(&address).is_some_and(|account| account.id != entry.name) {
            // Two processes made it at the same time: the first in the log has it.
            return tracing::warn!(address, id = entry.name, "a second account with this address is passed over");
        }
        self.remove_account(&entry.name);
        let of_domain = self.of_domain.entry(domain_of(&address).to_owned()).or_default();
        of_domain.insert((entry.changed_at_us, entry.name.clone()));
        self.by_address.insert(address.clone(), entry.name.clone());
        let quota_bytes = entry.quota_bytes.and_then(|bytes| u64::try_from(bytes).ok());
        let (id, made_at_us) = (entry.name.clone(), entry.changed_at_us);
        let account = Account { id, address, quota_bytes, made_at_us, password_hash: entry.password_hash };
        self.accounts.insert(entry.name, Arc::new(account));
    }

    fn remove_account(&mut self, id: &str) {
        if let Some(account) = self.accounts.remove(id) {
            self.by_address.remove(&account.address);
            if let Some(ids) = self.of_domain.get_mut(domain_of(&account.address)) {
                ids.remove(&(account.made_at_us, account.id.clone()));
            }
        }
    }

    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.accounts.get(id).cloned()
    }

    pub fn account_of(&self, address: &str) -> Option<Arc<Account>> {
        self.by_address.get(address).and_then(|id| self.account(id))
    }

    pub fn has_domain(&self, domain: &str) -> bool {
        self.domains.contains_key(domain)
    }

    pub fn has_domain_of(&self, address: &str) -> bool {
        self.has_domain(domain_of(address))
    }

    /// Accounts and aliases of a domain.
    pub fn addresses_in(&self, domain: &str) -> usize {
        let accounts = self.of_domain.get(domain).map_or(0, BTreeSet::len);
        accounts + self.aliases.keys().filter(|alias| domain_of(alias) == domain).count()
    }

    pub fn has_alias(&self, address: &str) -> bool {
        self.aliases.contains_key(address)
    }

    pub fn domains(&self) -> Vec<String> {
        self.domains.keys().cloned().collect()
    }

    /// By address.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.by_address.values().filter_map(|id| self.account(id)).collect()
    }

    /// Alias address and the addresses it leads to.
    pub fn aliases(&self) -> Vec<(String, Vec<String>)> {
        let address = |id: &String| self.account(id).map(|account| account.address.clone());
        self.aliases.iter().map(|(alias, ids)| (alias.clone(), ids.iter().filter_map(address).collect())).collect()
    }

    /// Where mail to `address` (lower case) goes: an account, an alias, either of them without the `+tag`, or for
    /// postmaster, whom every domain must have (RFC 5321 section 4.5.1), the domain's oldest account.
    pub fn resolve(&self, address: &str) -> Resolution {
        let Some((local, domain)) = address.rsplit_once('@') else { return Resolution::NotLocal };
        if !self.has_domain(domain) {
            return Resolution::NotLocal;
        }
        let found = self.lookup(address).or_else(|| self.lookup(&without_tag(address)?));
        let oldest = || Some(vec![self.account(&self.of_domain.get(domain)?.first()?.1)?]);
        let postmaster = || (local == "postmaster").then(oldest).flatten();
        match found.or_else(postmaster) {
            Some(accounts) => Resolution::Accounts(accounts),
            None => Resolution::UnknownUser,
        }
    }

    fn lookup(&self, address: &str) -> Option<Vec<Arc<Account>>> {
        if let Some(account) = self.account_of(address) {
            return Some(vec![account]);
        }
        let mut accounts: Vec<_> = self.aliases.get(address)?.iter().filter_map(|id| self.account(id)).collect();
        accounts.dedup_by(|a, b| a.id == b.id);
        (!accounts.is_empty()).then_some(accounts)
    }
}

/// What follows the `@`.
pub fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(kind: &str, name: &str) -> DirectoryEntry {
        DirectoryEntry { kind: kind.into(), name: name.into(), ..DirectoryEntry::default() }
    }

    fn view() -> View {
        let mut view = View::default();
        view.apply(entry(DOMAIN, "x.org"));
        view.apply(DirectoryEntry { address: Some("alice@x.org".into()), ..entry(ACCOUNT, "a1") });
        view.apply(DirectoryEntry { address: Some("bob@x.org".into()), ..entry(ACCOUNT, "a2") });
        view.apply(DirectoryEntry {
            targets: vec!["a1".into(), "a2".into(), "gone".into()],
            ..entry(ALIAS, "all@x.org")
        });
        view
    }

    fn ids(resolution: Resolution) -> Vec<String> {
        match resolution {
            Resolution::Accounts(accounts) => accounts.iter().map(|account| account.id.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_tags_and_aliases_find_their_accounts() {
        let view = view();
        assert_eq!(ids(view.resolve("alice@x.org")), ["a1"]);
        assert_eq!(ids(view.resolve("alice+news@x.org")), ["a1"]);
        assert_eq!(ids(view.resolve("all@x.org")), ["a1", "a2"]);
        assert_eq!(view.resolve("eve@x.org"), Resolution::UnknownUser);
        assert_eq!(view.resolve("alice@y.org"), Resolution::NotLocal);
    }

    #[test]
    fn postmaster_always_has_someone() {
        let mut view = view();
        assert_eq!(ids(view.resolve("postmaster@x.org")), ["a1"]);
        view.apply(DirectoryEntry { targets: vec!["a2".into()], ..entry(ALIAS, "postmaster@x.org") });
        assert_eq!(ids(view.resolve("postmaster@x.org")), ["a2"]);
        view.apply(DirectoryEntry { is_removed: true, ..entry(ALIAS, "postmaster@x.org") });
        view.apply(DirectoryEntry { is_removed: true, ..entry(ACCOUNT, "a1") });
        assert_eq!(ids(view.resolve("postmaster@x.org")), ["a2"]);
        view.apply(DirectoryEntry { is_removed: true, ..entry(ACCOUNT, "a2") });
        assert_eq!(view.resolve("postmaster@x.org"), Resolution::UnknownUser);
    }

    #[test]
    fn the_digest_of_a_credential_changes_with_the_password_alone() {
        let mut view = View::default();
        let mut digest = |hash: Option<&str>, quota_bytes| {
            let (address, password_hash) = (Some("alice@x.org".to_owned()), hash.map(str::to_owned));
            view.apply(DirectoryEntry { address, password_hash, quota_bytes, ..entry(ACCOUNT, "a1") });
            view.account("a1").unwrap().credential_digest()
        };
        let first = digest(Some("$argon2id$a"), None);
        assert_eq!(digest(Some("$argon2id$a"), Some(1)), first);
        assert_ne!(digest(Some("$argon2id$b"), None), first);
        assert_ne!(digest(None, None), digest(Some(""), None));
    }

    #[test]
    fn what_is_removed_is_gone() {
        let mut view = view();
        view.apply(DirectoryEntry { is_removed: true, ..entry(ACCOUNT, "a1") });
        assert_eq!(view.resolve("alice@x.org"), Resolution::UnknownUser);
        assert_eq!(ids(view.resolve("all@x.org")), ["a2"]);
        view.apply(DirectoryEntry { is_removed: true, ..entry(DOMAIN, "x.org") });
        assert_eq!(view.resolve("bob@x.org"), Resolution::NotLocal);
    }
}
