//! The directory of a process: the view, kept up to date from the log, and changes to it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_schemas::{DirectoryEntry, Topic, decode, encode};
use millrace_storage::{Log, LogError, NewRecord};
use parking_lot::RwLock;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::address::{AddressError, normalise, normalise_domain};
use crate::password::{self, PasswordError, Passwords};
use crate::view::{ACCOUNT, ALIAS, Account, DOMAIN, Resolution, View, domain_of};

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the domain {0} is not ours yet; add it first with `millrace domain add {0}`")]
    UnknownDomain(String),
    #[error("there is no account {0}; `millrace account list` shows those there are")]
    UnknownAccount(String),
    #[error("there is no alias {0}; `millrace account list` shows those there are")]
    UnknownAlias(String),
    #[error("{0} exists already; choose another address, or remove it first")]
    Exists(String),
    #[error("the domain {domain} still has {accounts} accounts or aliases; remove them first")]
    InUse { domain: String, accounts: usize },
    #[error("an alias needs at least one account to lead to")]
    NoTargets,
    #[error(transparent)]
    Log(#[from] LogError),
    /// The change is recorded, and another process may have recorded one before it that decides otherwise.
    #[error(
        "this is recorded, but what holds now cannot be seen ({0}); look with `millrace account list` before trying again"
    )]
    Unseen(LogError),
    #[error("the entry could not be written: {0}")]
    Codec(#[from] millrace_schemas::CodecError),
}

/// Domains, accounts and aliases, as the log has them.
pub struct Directory {
    log: Arc<dyn Log>,
    view: RwLock<View>,
    /// Next offset to read of each partition. Held while reading, so that entries are applied in order.
    next: Mutex<Vec<u64>>,
    /// The last look at what others have written. Held while looking, so that whoever waits shares the next one.
    looked: Mutex<Look>,
    /// Held from the check of a change until it shows in the view.
    changing: Mutex<()>,
    passwords: Passwords,
}

/// How often the log is asked on behalf of those who want to be up to date, at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

struct Look {
    begun: Instant,
    failure: Option<String>,
}

impl Directory {
    /// Reads the whole topic.
    ///
    /// # Errors
    /// [`DirectoryError::Log`] when the log cannot be read.
    pub async fn open(log: Arc<dyn Log>) -> Result<Arc<Self>, DirectoryError> {
        let next = Mutex::new(vec![0; log.partitions(Topic::Directory) as usize]);
        let passwords = Passwords::new()?;
        let looked = Mutex::new(Look { begun: Instant::now(), failure: None });
        let directory = Self { log, view: RwLock::default(), next, looked, changing: Mutex::default(), passwords };
        directory.catch_up().await?;
        Ok(Arc::new(directory))
    }

    /// Applies entries as other processes write them, until `shutdown`.
    pub async fn follow(&self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let wait = tokio::select! {
                () = shutdown.cancelled() => return,
                wait = self.wait() => wait,
            };
            if let Err(error) = wait {
                warn!(%error, "the directory cannot be read; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn wait(&self) -> Result<(), LogError> {
        let next = self.next.lock().await.clone();
        let waits = next.iter().enumerate().map(|(partition, offset)| {
            let log = self.log.clone();
            let offset = *offset;
            Box::pin(async move { log.wait(Topic::Directory, partition as u32, offset, Duration::from_secs(60)).await })
        });
        let (woken, _, _) = futures::future::select_all(waits).await;
        woken?;
        self.catch_up().await
    }

    /// Applies what other processes have written until now.
    ///
    /// # Errors
    /// [`DirectoryError::Log`] when the log cannot be read.
    pub async fn refresh(&self) -> Result<(), DirectoryError> {
        Ok(self.catch_up().await?)
    }

    /// Sees that the view has all that was written before this call, for answers that are final. Many callers share one
    /// look at the log.
    ///
    /// # Errors
    /// When the log cannot be read: nobody can tell then.
    pub async fn be_up_to_date(&self) -> Result<(), LogError> {
        let asked = Instant::now();
        let mut looked = self.looked.lock().await;
        if looked.begun < asked {
            tokio::time::sleep_until(looked.begun + LOOK_INTERVAL).await;
            let begun = Instant::now();
            let failure = self.catch_up().await.err().map(|error| error.to_string());
            *looked = Look { begun, failure };
        }
        looked.failure.clone().map_or(Ok(()), |reason| Err(LogError::Unavailable(reason)))
    }

    async fn catch_up(&self) -> Result<(), LogError> {
        let mut next = self.next.lock().await;
        for (partition, next) in next.iter_mut().enumerate() {
            loop {
                let records = self.log.read(Topic::Directory, partition as u32, *next, 1000, 1 << 20).await?;
                let Some(last) = records.last() else { break };
                *next = last.position.offset + 1;
                let mut view = self.view.write();
                for record in &records {
                    match decode::<DirectoryEntry>(&record.value) {
                        Ok(entry) => view.apply(entry),
                        Err(error) => {
                            warn!(%error, offset = record.position.offset, "a directory entry cannot be read");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Before a change is checked: what other processes wrote counts.
    async fn begin_change(&self) -> Result<MutexGuard<'_, ()>, LogError> {
        let changing = self.changing.lock().await;
        self.catch_up().await?;
        Ok(changing)
    }

    async fn write(&self, entry: DirectoryEntry) -> Result<(), DirectoryError> {
        let record = NewRecord { topic: Topic::Directory, key: entry.name.clone(), value: encode(&entry)? };
        self.log.append(vec![record]).await?;
        self.catch_up().await.map_err(DirectoryError::Unseen)
    }

    /// Where mail to an address goes. The address may be in any case.
    pub fn resolve(&self, address: &str) -> Resolution {
        self.view.read().resolve(&address.to_lowercase())
    }

    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.view.read().account(id)
    }

    /// The account with this primary address.
    ///
    /// # Errors
    /// [`DirectoryError::UnknownAccount`] and, for what is no address, [`DirectoryError::Address`].
    pub fn account_of(&self, address: &str) -> Result<Arc<Account>, DirectoryError> {
        let address = normalise(address)?;
        self.view.read().account_of(&address).ok_or(DirectoryError::UnknownAccount(address))
    }

    /// The account, when the password is its own, as far as is known. Takes as long when there is no such account.
    pub async fn authenticate(&self, address: &str, password: &str) -> Option<Arc<Account>> {
        let account = self.account_of(address).ok();
        let stored = account.as_ref().and_then(|account| account.password_hash.as_deref());
        self.passwords.verify(stored, password).await.then_some(account).flatten()
    }

    pub fn domains(&self) -> Vec<String> {
        self.view.read().domains()
    }

    /// All accounts, by address.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        self.view.read().accounts()
    }

    /// Every alias and the addresses it leads to.
    pub fn aliases(&self) -> Vec<(String, Vec<String>)> {
        self.view.read().aliases()
    }

    /// # Errors
    /// [`DirectoryError`] when the name is none, or the log takes nothing.
    pub async fn add_domain(&self, name: &str) -> Result<String, DirectoryError> {
        let name = normalise_domain(name)?;
        let _changing = self.begin_change().await?;
        if !self.view.read().has_domain(&name) {
            self.write(entry(DOMAIN, &name)).await?;
        }
        Ok(name)
    }

    /// # Errors
    /// [`DirectoryError::InUse`] while accounts or aliases are in it.
    pub async fn remove_domain(&self, name: &str) -> Result<(), DirectoryError> {
        let name = normalise_domain(name)?;
        let _changing = self.begin_change().await?;
        if !self.view.read().has_domain(&name) {
            return Err(DirectoryError::UnknownDomain(name));
        }
        self.check_unused(&name)?;
        self.write(DirectoryEntry { is_removed: true, ..entry(DOMAIN, &name) }).await?;
        if let Err(in_use) = self.check_unused(&name) {
            // What another process has made in it meanwhile stays reachable.
            self.write(entry(DOMAIN, &name)).await?;
            return Err(in_use);
        }
        Ok(())
    }

    fn check_unused(&self, domain: &str) -> Result<(), DirectoryError> {
        match self.view.read().addresses_in(domain) {
            0 => Ok(()),
            accounts => Err(DirectoryError::InUse { domain: domain.to_owned(), accounts }),
        }
    }

    /// Makes an account. Without a password nobody can log in to it.
    ///
    /// # Errors
    /// [`DirectoryError`] when the address is taken, none, or not in a domain of ours.
    pub async fn add_account(
        &self,
        address: &str,
        password: Option<&str>,
        quota_bytes: Option<u64>,
    ) -> Result<Arc<Account>, DirectoryError> {
        let address = normalise(address)?;
        let password_hash = password.map(password::hash).transpose()?;
        let _changing = self.begin_change().await?;
        self.check_free(&address)?;
        let id = new_account_id();
        let quota_bytes = quota_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let account = entry(ACCOUNT, &id);
        self.write(DirectoryEntry { address: Some(address.clone()), password_hash, quota_bytes, ..account }).await?;
        let is_reached = {
            let view = self.view.read();
            view.has_domain_of(&address) && !view.has_alias(&address)
        };
        match self.account(&id) {
            Some(account) if is_reached => Ok(account),
            _ => self.take_back(ACCOUNT, &id, &address).await,
        }
    }

    /// Removes what was made for an address that another process has taken, or whose domain it has removed: it must not
    /// come to life when that one is removed and its entry forgotten. Gives why.
    async fn take_back<T>(&self, kind: &str, name: &str, address: &str) -> Result<T, DirectoryError> {
        self.write(DirectoryEntry { is_removed: true, ..entry(kind, name) }).await?;
        self.check_free(address)?;
        Err(DirectoryError::Exists(address.to_owned()))
    }

    /// # Errors
    /// [`DirectoryError::UnknownAccount`], or the log takes nothing.
    pub async fn remove_account(&self, address: &str) -> Result<(), DirectoryError> {
        let _changing = self.begin_change().await?;
        let account = self.account_of(address)?;
        self.write(DirectoryEntry { is_removed: true, ..entry(ACCOUNT, &account.id) }).await
    }

    /// Makes `alias` lead to the accounts with these addresses.
    ///
    /// # Errors
    /// [`DirectoryError`] when the alias is taken or a target is no account.
    pub async fn add_alias(&self, alias: &str, targets: &[String]) -> Result<(), DirectoryError> {
        let alias = normalise(alias)?;
        if targets.is_empty() {
            return Err(DirectoryError::NoTargets);
        }
        let _changing = self.begin_change().await?;
        self.check_free(&alias)?;
        let mut ids = Vec::with_capacity(targets.len());
        for target in targets {
            let id = self.account_of(target)?.id.clone();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        self.write(DirectoryEntry { targets: ids, ..entry(ALIAS, &alias) }).await?;
        if self.view.read().has_domain_of(&alias) && self.account_of(&alias).is_err() {
            return Ok(());
        }
        self.take_back(ALIAS, &alias, &alias).await
    }

    /// # Errors
    /// [`DirectoryError::UnknownAlias`], or the log takes nothing.
    pub async fn remove_alias(&self, alias: &str) -> Result<(), DirectoryError> {
        let alias = normalise(alias)?;
        let _changing = self.begin_change().await?;
        if !self.view.read().has_alias(&alias) {
            return Err(DirectoryError::UnknownAlias(alias));
        }
        self.write(DirectoryEntry { is_removed: true, ..entry(ALIAS, &alias) }).await
    }

    fn check_free(&self, address: &str) -> Result<(), DirectoryError> {
        let view = self.view.read();
        if !view.has_domain_of(address) {
            return Err(DirectoryError::UnknownDomain(domain_of(address).to_owned()));
        }
        if view.account_of(address).is_some() || view.has_alias(address) {
            return Err(DirectoryError::Exists(address.to_owned()));
        }
        Ok(())
    }
}

fn entry(kind: &str, name: &str) -> DirectoryEntry {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    DirectoryEntry {
        kind: kind.to_owned(),
        name: name.to_owned(),
        changed_at_us: now.as_micros() as i64,
        ..DirectoryEntry::default()
    }
}

/// `a` and 16 characters of Crockford's base 32: 80 random bits.
fn new_account_id() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let random: [u8; 16] = rand::random();
    std::iter::once('a').chain(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))).collect()
}
