//! Sound in, spectrograms and fingerprints out: decode, resample, mel filterbank, landmarks.

pub mod fingerprint;
