//! Whose mail this is: domains, accounts and aliases.
//!
//! The truth is the compacted topic `directory`; every process keeps a [`view`] of it in memory, so that looking up
//! a recipient costs a hash lookup. Not here: what an account holds (`query`), and who may connect (`smtp`, `api`).
//!
//! - [`address`]: addresses as the directory compares them
//! - [`view`]: the entries, and how an address finds its accounts
//! - [`password`]: argon2 hashes, checked without stalling anyone
//! - [`directory`]: the view kept up to date, and changes to it

pub mod address;
pub mod directory;
pub mod password;
pub mod view;

pub use directory::{Directory, DirectoryError};
pub use view::{Account, Resolution};
