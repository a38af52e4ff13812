//! `/v1/admin`: jobs and generations, for those who have an admin key.

pub(super) mod access;
pub(super) mod events;
pub(super) mod generations;
pub(super) mod jobs;
mod path;
