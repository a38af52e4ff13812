//! The Audio Spectrogram Transformer.
