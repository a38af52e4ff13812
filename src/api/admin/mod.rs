//! `/v1/admin`: jobs, generations, keys, and the record of what was done.

pub(super) mod audit;
pub(super) mod events;
mod fields;
pub(super) mod generations;
pub(super) mod jobs;
pub(super) mod keys;
mod path;
