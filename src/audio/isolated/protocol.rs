//! What parent and child say to each other.
//!
//! Parent to child: a [`Task`] as JSON in an argument. Child to parent, on standard output: one line of
//! JSON ([`Answer`]); for a clip, its samples follow as little-endian f32.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::IsolatedError;
use crate::audio::{
    AudioError, Corruption, DecodeLimits, Excerpt, Found, LimitExceeded, SourceInfo, Tags,
};
use crate::text::Chain;

/// What the child is asked to do with its standard input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub(in crate::audio) enum Task {
    Decode { excerpt: Excerpt, limits: Limits },
    ReadTags { limits: Limits },
}

impl Task {
    pub(super) fn limits(&self) -> &Limits {
        match self {
            Self::Decode { limits, .. } | Self::ReadTags { limits } => limits,
        }
    }
}

/// [`DecodeLimits`] in transit.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::audio) struct Limits {
    max_body_bytes: u64,
    max_seconds: f64,
    max_channels: usize,
    min_rate: u32,
    max_rate: u32,
    deadline_seconds: f64,
    max_bad_packets: usize,
}

impl From<&DecodeLimits> for Limits {
    fn from(limits: &DecodeLimits) -> Self {
        Self {
            max_body_bytes: limits.max_body_bytes,
            max_seconds: limits.max_seconds,
            max_channels: limits.max_channels,
            min_rate: *limits.rate.start(),
            max_rate: *limits.rate.end(),
            deadline_seconds: limits.deadline.as_secs_f64(),
            max_bad_packets: limits.max_bad_packets,
        }
    }
}

impl From<&Limits> for DecodeLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            max_body_bytes: limits.max_body_bytes,
            max_seconds: limits.max_seconds,
            max_channels: limits.max_channels,
            rate: limits.min_rate..=limits.max_rate,
            deadline: Duration::try_from_secs_f64(limits.deadline_seconds).unwrap_or_default(),
            max_bad_packets: limits.max_bad_packets,
        }
    }
}

/// First line of the child's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(super) enum Answer {
    /// `samples` samples follow.
    Clip {
        samples: usize,
        source: SourceInfo,
        truncated: bool,
        bad_packets: usize,
    },
    Tags {
        tags: Tags,
    },
    Fault {
        fault: Fault,
    },
}

/// An [`AudioError`] in transit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Fault {
    Unsupported { found: Found },
    NoAudio,
    OffsetBeyondEnd { offset_seconds: f64 },
    Limit { limit: LimitExceeded },
    Corrupt { message: String },
    Limits { message: String },
}

impl From<AudioError> for Fault {
    fn from(error: AudioError) -> Self {
        match error {
            AudioError::Unsupported { found } => Self::Unsupported { found },
            AudioError::NoAudio => Self::NoAudio,
            AudioError::OffsetBeyondEnd { offset_seconds } => {
                Self::OffsetBeyondEnd { offset_seconds }
            }
            AudioError::Limit(limit) => Self::Limit { limit },
            AudioError::Corrupt(corruption) => {
                let message = Chain(&corruption).to_string();
                Self::Corrupt { message }
            }
            other => Self::Corrupt {
                message: other.to_string(),
            },
        }
    }
}

impl From<Fault> for AudioError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unsupported { found } => Self::Unsupported { found },
            Fault::NoAudio => Self::NoAudio,
            Fault::OffsetBeyondEnd { offset_seconds } => Self::OffsetBeyondEnd { offset_seconds },
            Fault::Limit { limit } => Self::Limit(limit),
            Fault::Corrupt { message } => Self::Corrupt(Corruption::Isolated { message }),
            Fault::Limits { message } => Self::Isolated(IsolatedError::Limits { message }),
        }
    }
}
