//! Whatever happens to a file's bytes: no panic, no sample out of range, no more than the limits.

use std::{sync::LazyLock, time::Duration};

use proptest::{collection::vec, prelude::*, sample::Index};
use songkin::audio::{DecodeLimits, Decoder, Excerpt, IsolatedCommand, MAX_SAMPLE};

use super::noise_file;
use crate::fuzz::{
    cases, corpus,
    mutation::{apply, mutation},
};

/// Small files of every format that is decoded in this process, and what is kept of former runs.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let formats: [(&str, &[&str]); 9] = [
        ("mp3", &["-b:a", "64k"]),
        ("mp3", &["-q:a", "4", "-ac", "2"]),
        ("mp2", &["-b:a", "64k"]),
        ("wav", &["-c:a", "pcm_s16le"]),
        ("wav", &["-c:a", "pcm_f32le"]),
        ("flac", &["-ac", "2"]),
        ("ogg", &["-c:a", "libvorbis"]),
        ("ogg", &["-c:a", "flac"]),
        ("aac", &["-b:a", "64k"]),
    ];
    let made = formats
        .iter()
        .map(|(extension, options)| noise_file(extension, 22_050, 0.4, options));
    corpus("decoder").into_iter().chain(made).collect()
});

fn check(bytes: Vec<u8>, excerpt: Excerpt) -> Result<(), TestCaseError> {
    let limits = DecodeLimits {
        max_seconds: 5.0,
        deadline: Duration::from_secs(10),
        ..DecodeLimits::default()
    };
    // A mutation that makes an MP4 of it gets no child.
    let no_child = IsolatedCommand {
        program: "/nonexistent".into(),
        args: Vec::new(),
    };
    match Decoder::new(limits, Some(no_child)).decode_bytes(bytes.into(), excerpt) {
        Ok(decoded) => {
            prop_assert!(!decoded.clip.is_empty());
            prop_assert!(
                decoded.clip.len() <= 5 * 16_000 + 1,
                "{} samples",
                decoded.clip.len()
            );
            let sound = decoded
                .clip
                .iter()
                .all(|sample| (-MAX_SAMPLE..=MAX_SAMPLE).contains(sample));
            prop_assert!(sound, "a sample out of range");
        }
        Err(error) => prop_assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(1_500)) })]

    #[test]
    fn mutated_files_never_panic(
        seed in any::<Index>(),
        mutations in vec(mutation(), 1..12),
        offset in prop_oneof![3 => Just(0.0), 1 => 0.0..0.6],
    ) {
        let mut bytes = seed.get(&SEEDS).clone();
        for mutation in &mutations {
            apply(&mut bytes, mutation, &SEEDS);
        }
        check(bytes, Excerpt { offset_seconds: offset, max_seconds: f64::MAX })?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        magic in prop_oneof![
            Just(&b""[..]), Just(&b"fLaC"[..]), Just(&b"OggS\0\x02"[..]), Just(&b"ID3\x04"[..]),
            Just(&b"RIFF\xff\xff\xff\xffWAVE"[..]), Just(&b"\xff\xfb\x90\x64"[..]),
            Just(&b"\xff\xf1\x50\x80"[..]), Just(&b"APETAGEX"[..]),
        ],
        rest in vec(any::<u8>(), 0..2_000),
    ) {
        check([magic, &rest].concat(), Excerpt::ALL)?;
    }
}
