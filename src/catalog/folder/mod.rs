//! Any folder of audio as a library.

mod tags;

pub use tags::TrackTags;
