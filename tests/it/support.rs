//! What tests of several parts need.

use std::{ffi::OsStr, fs, process::Command};

use songkin::model::AstConfig;

/// An encoder so small that decoding is most of the work.
pub(crate) fn tiny_config() -> AstConfig {
    AstConfig {
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 64,
        frequency_stride: 32,
        time_stride: 64,
        ..AstConfig::default()
    }
}

/// What `ffmpeg` makes of these arguments (inputs, codecs, options), as a file that ends in `extension`.
///
/// Panics where ffmpeg is missing or fails.
pub(crate) fn ffmpeg<S: AsRef<OsStr>>(extension: &str, args: &[S]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("out").with_extension(extension);
    let result = Command::new("ffmpeg")
        .args([
            "-hide_banner",
            "-loglevel",
            "error",
            "-nostdin",
            "-bitexact",
        ])
        .args(args)
        .arg(&output)
        .output()
        .expect("ffmpeg cannot be started: install ffmpeg, scripts/test does");
    assert!(
        result.status.success(),
        "ffmpeg: {}",
        String::from_utf8_lossy(&result.stderr)
    );
    fs::read(output).unwrap()
}

/// The built server, without the settings that the caller's environment may hold.
pub(crate) fn server() -> Command {
    program(env!("CARGO_BIN_EXE_songkin-server"))
}

/// The built worker, without the settings that the caller's environment may hold.
pub(crate) fn worker() -> Command {
    program(env!("CARGO_BIN_EXE_songkin-worker"))
}

/// A program of ours, without the settings that the caller's environment may hold.
pub(crate) fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SONGKIN_") {
            command.env_remove(name);
        }
    }
    command
}
