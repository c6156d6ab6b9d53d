//! An account's mail: landing, the merged view, search.
