//! Which part of a query's results is returned (RFC 8620 section 5.5).

use crate::error::MethodError;

/// What the client asks for.
#[derive(Clone, Debug, Default)]
pub struct Paging {
    pub position: i64,
    pub anchor: Option<String>,
    pub anchor_offset: i64,
    pub limit: Option<i64>,
}

/// A window of the results.
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    pub position: usize,
    pub limit: usize,
    /// The server's limit, when it is what was applied.
    pub server_limit: Option<usize>,
}

impl Paging {
    /// Finds the window in `ids`.
    ///
    /// # Errors
    /// `anchorNotFound`; `invalidArguments` for a negative limit.
    pub fn window<S: AsRef<str>>(&self, ids: &[S], most: usize) -> Result<Window, MethodError> {
        let total = ids.len() as i64;
        let start = match &self.anchor {
            Some(anchor) => {
                let index = ids.iter().position(|id| id.as_ref() == anchor).ok_or(MethodError::AnchorNotFound)?;
                (index as i64).saturating_add(self.anchor_offset)
            }
            None if self.position < 0 => total.saturating_add(self.position),
            None => self.position,
        };
        let asked = match self.limit {
            Some(limit) => Some(usize::try_from(limit).map_err(|_| MethodError::invalid("'limit' is negative"))?),
            None => None,
        };
        let limit = asked.unwrap_or(most).min(most);
        let is_cut = asked.is_none_or(|asked| asked > most);
        Ok(Window { position: start.max(0) as usize, limit, server_limit: is_cut.then_some(most) })
    }
}

impl Window {
    pub fn of<'a, T>(&self, items: &'a [T]) -> &'a [T] {
        let start = self.position.min(items.len());
        let end = start.saturating_add(self.limit).min(items.len());
        &items[start..end]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn page(paging: &Paging) -> Vec<&'static str> {
        paging.window(&IDS, 100).unwrap().of(&IDS).to_vec()
    }

    #[test]
    fn positions_count_from_either_end() {
        assert_eq!(page(&Paging { position: 3, ..Paging::default() }), ["d", "e"]);
        assert_eq!(page(&Paging { position: -2, ..Paging::default() }), ["d", "e"]);
        assert_eq!(page(&Paging { position: -9, limit: Some(1), ..Paging::default() }), ["a"]);
        assert_eq!(page(&Paging { position: i64::MAX, ..Paging::default() }), Vec::<&str>::new());
    }

    #[test]
    fn an_anchor_moves_the_window_and_must_exist() {
        let anchored = |anchor: &str, offset| Paging {
            anchor: Some(anchor.into()),
            anchor_offset: offset,
            limit: Some(2),
            ..Paging::default()
        };
        assert_eq!(page(&anchored("c", -1)), ["b", "c"]);
        assert_eq!(page(&anchored("a", -7)), ["a", "b"]);
        assert_eq!(page(&anchored("e", 1)), Vec::<&str>::new());
        assert!(matches!(anchored("x", 0).window(&IDS, 9), Err(MethodError::AnchorNotFound)));
    }

    #[test]
    fn the_servers_limit_is_told() {
        assert_eq!(Paging::default().window(&IDS, 3).unwrap().server_limit, Some(3));
        let asked = Paging { limit: Some(2), ..Paging::default() };
        assert_eq!(asked.window(&IDS, 3).unwrap().server_limit, None);
        assert!(Paging { limit: Some(-1), ..Paging::default() }.window(&IDS, 3).is_err());
    }
}
