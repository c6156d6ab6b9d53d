//! How a REST catalog is reached.

use std::fmt;
use std::path::PathBuf;

use millrace_storage::Secret;
use reqwest::Url;

use crate::tables::catalog::CatalogError;

/// An Iceberg REST catalog.
#[derive(Clone)]
pub struct RestOptions {
    /// `http(s)://host:port[/path][?warehouse=NAME]`: what comes before `/v1`, and the warehouse to ask for where the
    /// server has several.
    pub url: String,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// PEM; authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// The URL may hold what does not belong there.
impl fmt::Debug for RestOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestOptions").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

impl RestOptions {
    /// The URL that paths follow, with a slash at its end, and the warehouse.
    pub(super) fn base(&self) -> Result<(Url, Option<String>), CatalogError> {
        let bad = |reason: &dyn std::fmt::Display| {
            CatalogError::Options(format!("the url is not one of a REST catalog (https://host:port): {reason}"))
        };
        let mut url = Url::parse(&self.url).map_err(|error| bad(&error))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad(&"it has another scheme or no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(&"it holds credentials; give a token instead"));
        }
        let warehouse = url.query_pairs().find(|(key, _)| key == "warehouse").map(|(_, value)| value.into_owned());
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{path}/"));
        Ok((url, warehouse))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_follow_what_comes_before_v1() {
        let base = |url: &str| RestOptions { url: url.to_owned(), token: None, ca_file: None }.base();
        let of = |url: &str| base(url).map(|(url, warehouse)| (url.to_string(), warehouse)).unwrap();
        assert_eq!(of("http://h:1"), ("http://h:1/".to_owned(), None));
        assert_eq!(of("https://h/catalog/v1/"), ("https://h/catalog/".to_owned(), None));
        assert_eq!(of("https://h/a?warehouse=w%201"), ("https://h/a/".to_owned(), Some("w 1".to_owned())));
        assert!(base("postgresql://h/a").is_err());
        assert!(base("https://user:hidden@h/").is_err_and(|error| !error.to_string().contains("hidden")));
    }
}
