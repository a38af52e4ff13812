//! A catalogue's own model: learned from its audio, and measured on tracks that it never heard.

pub mod evaluate;
