//! SQL over the tables, hot rows included.
