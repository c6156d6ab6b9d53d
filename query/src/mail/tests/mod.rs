//! Landing, views and search together, on the embedded storage.

mod model;
mod searching;
mod views;
