//! Whatever happens to a file's bytes: no panic, no sample out of range, no more than the limits.

use std::{sync::LazyLock, time::Duration};

use proptest::{collection::vec, prelude::*, sample::Index};
use songkin::audio::{DecodeLimits, Decoder, Excerpt, IsolatedCommand, MAX_SAMPLE};

use super::noise_file;

/// Small files of every format that is decoded in this process.
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
    formats
        .iter()
        .map(|(extension, options)| noise_file(extension, 22_050, 0.4, options))
        .collect()
});

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Fill(Index, u8, u8),
    Cut(Index),
    Repeat(Index, u16),
    Drop(Index, u16),
    Splice(Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        2 => (at(), any::<u8>(), any::<u8>()).prop_map(|(at, len, byte)| Mutation::Fill(at, len, byte)),
        1 => at().prop_map(Mutation::Cut),
        1 => (at(), any::<u16>()).prop_map(|(at, len)| Mutation::Repeat(at, len)),
        1 => (at(), any::<u16>()).prop_map(|(at, len)| Mutation::Drop(at, len)),
        1 => (at(), 0usize..9).prop_map(|(at, seed)| Mutation::Splice(at, seed)),
    ]
}

/// Half of all places lie in the first 128 bytes, where the headers are.
fn place(at: &Index, bytes: &[u8]) -> usize {
    let anywhere = at.index(bytes.len());
    if anywhere.is_multiple_of(2) {
        anywhere
    } else {
        at.index(bytes.len().min(128))
    }
}

fn apply(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    match mutation {
        Mutation::Set(at, byte) => {
            let at = place(at, bytes);
            bytes[at] = *byte;
        }
        Mutation::Flip(at, bit) => {
            let at = place(at, bytes);
            bytes[at] ^= 1 << bit;
        }
        Mutation::Fill(at, len, byte) => {
            let at = place(at, bytes);
            let end = bytes.len().min(at + usize::from(*len));
            bytes[at..end].fill(*byte);
        }
        Mutation::Cut(at) => {
            let at = at.index(bytes.len());
            bytes.truncate(at);
        }
        Mutation::Repeat(at, len) => {
            let at = at.index(bytes.len());
            let part = bytes[at..bytes.len().min(at + usize::from(*len))].to_vec();
            bytes.splice(at..at, part);
        }
        Mutation::Drop(at, len) => {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + usize::from(*len));
            bytes.drain(at..end);
        }
        Mutation::Splice(at, seed) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, SEEDS[*seed].iter().copied());
        }
    }
}

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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn mutated_files_never_panic(
        seed in 0usize..9,
        mutations in vec(mutation(), 1..12),
        offset in prop_oneof![3 => Just(0.0), 1 => 0.0..0.6],
    ) {
        let mut bytes = SEEDS[seed].clone();
        for mutation in &mutations {
            apply(&mut bytes, mutation);
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
