//! Landing, views and search together, on the embedded storage.

mod landing;
mod model;
mod outages;
mod processes;
mod searching;
mod views;
