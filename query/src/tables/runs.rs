//! Where each account's rows are in a row group: files are sorted by account, so an account is one run of rows.
//!
//! Small files each span all accounts, so their minimum and maximum tell nothing; this tells which of them hold an
//! account at all, and exactly where.

use std::ops::Range;

use arrow::array::StringArray;

/// The runs of one row group.
pub(super) struct Runs {
    /// Ascending.
    accounts: Vec<Box<str>>,
    /// The first row of each account, and the number of rows at the end.
    starts: Vec<u32>,
}

impl Runs {
    /// From the account column of consecutive batches. `None` when it is not sorted, as in a file of another writer.
    pub(super) fn new<'a>(batches: impl Iterator<Item = &'a StringArray>) -> Option<Self> {
        let mut runs = Self { accounts: Vec::new(), starts: Vec::new() };
        let mut row = 0;
        for batch in batches {
            for account in batch.iter() {
                let account = account?;
                match runs.accounts.last().map(|last| account.cmp(last)) {
                    Some(std::cmp::Ordering::Equal) => {}
                    Some(std::cmp::Ordering::Less) => return None,
                    _ => {
                        runs.accounts.push(account.into());
                        runs.starts.push(row);
                    }
                }
                row += 1;
            }
        }
        runs.starts.push(row);
        Some(runs)
    }

    /// The account's rows.
    pub(super) fn find(&self, account: &str) -> Option<Range<usize>> {
        let at = self.accounts.binary_search_by(|probe| probe.as_ref().cmp(account)).ok()?;
        Some(self.starts[at] as usize..self.starts[at + 1] as usize)
    }

    /// Roughly, in memory.
    pub(super) fn size_bytes(&self) -> usize {
        let names: usize = self.accounts.iter().map(|name| name.len() + size_of::<Box<str>>()).sum();
        names + self.starts.len() * size_of::<u32>() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_account_is_one_run_across_batches() {
        let (one, two) = (StringArray::from(vec!["a", "a", "c"]), StringArray::from(vec!["c", "d"]));
        let runs = Runs::new([&one, &two].into_iter()).unwrap();
        assert_eq!(runs.find("a"), Some(0..2));
        assert_eq!(runs.find("b"), None);
        assert_eq!(runs.find("c"), Some(2..4));
        assert_eq!(runs.find("d"), Some(4..5));
    }

    #[test]
    fn unsorted_accounts_have_no_runs() {
        assert!(Runs::new([&StringArray::from(vec!["b", "a"])].into_iter()).is_none());
        assert!(Runs::new([&StringArray::from(vec![Some("b"), None])].into_iter()).is_none());
    }
}
