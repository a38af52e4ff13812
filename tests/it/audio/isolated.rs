//! M4A is read in a child that can be killed, and only there.

use std::{fs, time::Duration};

use songkin::audio::{
    AudioError, DecodeLimits, Decoded, Decoder, Excerpt, Found, IsolatedCommand, IsolatedError,
};

use super::{decoder, decoder_within, ffmpeg, forge::find, seconds, sine_file, within};

/// A decoder whose child is a line of shell.
fn decode_with_child(script: &str) -> Result<Decoded, AudioError> {
    let command = IsolatedCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
    };
    let limits = DecodeLimits {
        deadline: Duration::from_millis(200),
        ..DecodeLimits::default()
    };
    let file = sine_file("m4a", 44_100, 0.5, &[]);
    Decoder::new(limits, Some(command)).decode_bytes(file.into(), Excerpt::ALL)
}

#[test]
fn the_index_may_lie_at_either_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip");
    for options in [
        &["-movflags", "faststart"][..],
        &[],
        &["-movflags", "frag_keyframe+empty_moov"],
    ] {
        fs::write(&path, sine_file("m4a", 44_100, 3.0, options)).unwrap();
        let decoded = decoder().decode_file(&path, Excerpt::ALL).unwrap();
        assert!(
            (seconds(&decoded) - 3.0).abs() < 0.1,
            "{options:?}: {} s",
            seconds(&decoded)
        );
        assert_eq!(decoded.source.container, "mp4");
    }
}

#[test]
fn the_mp4_reader_cannot_be_reached_from_this_process() {
    let nowhere = IsolatedCommand {
        program: "/nonexistent".into(),
        args: Vec::new(),
    };
    let decoder = Decoder::new(DecodeLimits::default(), Some(nowhere));
    let file = sine_file("m4a", 44_100, 0.5, &[]);
    let result = decoder.decode_bytes(file.clone().into(), Excerpt::ALL);
    let not_started = |result: &Result<_, AudioError>| {
        matches!(result, Err(AudioError::Isolated(IsolatedError::Start(_))))
    };
    assert!(not_started(&result.map(drop)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp3");
    fs::write(&path, file).unwrap();
    assert!(not_started(&decoder.read_tags(&path).map(drop)));
}

/// A fragmented MP4 whose `trun` box claims four thousand million samples in 16 bytes.
fn trun_bomb() -> Vec<u8> {
    let mut file = sine_file(
        "m4a",
        44_100,
        3.0,
        &["-movflags", "frag_keyframe+empty_moov+default_base_moof"],
    );
    let trun = find(&file, b"trun") - 4;
    let size = u32::from_be_bytes(file[trun..trun + 4].try_into().unwrap()) as usize;
    // Size, type, version and flags (no field per sample), count; the rest becomes free space.
    file[trun..trun + 4].copy_from_slice(&16u32.to_be_bytes());
    file[trun + 8..trun + 12].fill(0);
    file[trun + 12..trun + 16].fill(0xff);
    file[trun + 16..trun + 20].copy_from_slice(&(size as u32 - 16).to_be_bytes());
    file[trun + 20..trun + 24].copy_from_slice(b"free");
    file
}

#[test]
fn a_box_that_holds_the_reader_ends_with_a_limit() {
    let limits = DecodeLimits {
        deadline: Duration::from_secs(1),
        ..DecodeLimits::default()
    };
    let result = within(Duration::from_secs(6), || {
        decoder_within(limits).decode_bytes(trun_bomb().into(), Excerpt::ALL)
    });
    assert!(
        matches!(
            result,
            Err(AudioError::Isolated(
                // On a busy machine a second of CPU time may take longer than the wall allows.
                IsolatedError::CpuLimit
                    | IsolatedError::MemoryLimit
                    | IsolatedError::TimedOut { .. }
            ))
        ),
        "{result:?}"
    );
}

#[test]
fn what_an_mp4_may_hold_besides_aac_is_named() {
    let alac = sine_file("m4a", 44_100, 0.5, &["-c:a", "alac"]);
    let film = ffmpeg(
        "mp4",
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc=d=1:s=64x64:r=10",
            "-f",
            "lavfi",
            "-i",
            "sine=d=1",
            "-c:v",
            "mpeg4",
            "-c:a",
            "aac",
        ],
    );
    for (file, expected) in [(alac, Found::UnknownInMp4), (film, Found::Video)] {
        let result = decoder().decode_bytes(file.into(), Excerpt::ALL);
        assert!(
            matches!(result, Err(AudioError::Unsupported { found }) if found == expected),
            "{expected:?}: {result:?}"
        );
    }
}

#[test]
fn a_damaged_mp4_is_damage() {
    let mut file = sine_file("m4a", 44_100, 1.0, &["-movflags", "faststart"]);
    let moov = find(&file, b"moov");
    file[moov + 4..moov + 300].fill(0xff);
    let result = decoder().decode_bytes(file.into(), Excerpt::ALL);
    assert!(
        matches!(
            result,
            Err(AudioError::Corrupt(_) | AudioError::Unsupported { .. })
        ),
        "{result:?}"
    );
}

#[test]
fn a_child_that_hangs_is_killed() {
    let result = within(Duration::from_secs(8), || decode_with_child("sleep 60"));
    assert!(
        matches!(
            result,
            Err(AudioError::Isolated(IsolatedError::TimedOut { .. }))
        ),
        "{result:?}"
    );
}

#[test]
fn the_way_a_child_dies_is_told() {
    let isolated = |script| match decode_with_child(script) {
        Err(AudioError::Isolated(error)) => error,
        other => panic!("{script}: {other:?}"),
    };
    assert!(matches!(isolated("kill -XCPU $$"), IsolatedError::CpuLimit));
    assert!(matches!(isolated("kill -KILL $$"), IsolatedError::CpuLimit));
    assert!(matches!(
        isolated("kill -ABRT $$"),
        IsolatedError::MemoryLimit
    ));
    assert!(matches!(
        isolated("kill -SEGV $$"),
        IsolatedError::Signal { signal: 11 }
    ));
    assert!(matches!(isolated("exit 3"), IsolatedError::Answer));
}

#[test]
fn an_answer_is_not_believed() {
    let source = r#""source":{"codec":"aac","container":"mp4","sample_rate":44100,"channels":2,
        "duration_seconds":null},"truncated":false,"bad_packets":0}"#
        .replace('\n', "");
    let clip = |samples: u32, bytes: &str| {
        format!(r#"printf '{{"answer":"clip","samples":{samples},{source}\n{bytes}'"#)
    };
    // 0.5 is 0x3f000000; 4.0 is 0x40800000; NaN is 0x7fc00000.
    let honest = decode_with_child(&clip(1, r"\000\000\000\077")).unwrap();
    assert_eq!(honest.clip, [0.5]);
    for script in [
        "true".to_owned(),
        "echo hello".to_owned(),
        clip(2, r"\000\000\000\077"),
        clip(1, r"\000\000\000\077\000"),
        clip(1, r"\000\000\200\100"),
        clip(1, r"\000\000\300\177"),
        clip(0, ""),
        r#"echo '{"answer":"tags","tags":{}}'"#.to_owned(),
    ] {
        let result = decode_with_child(&script);
        assert!(
            matches!(result, Err(AudioError::Isolated(IsolatedError::Answer))),
            "{script}: {result:?}"
        );
    }
}

#[test]
fn an_endless_answer_is_cut() {
    let limits = DecodeLimits {
        max_seconds: 10.0,
        ..DecodeLimits::default()
    };
    let args = vec!["-c".into(), "yes".into()];
    let command = IsolatedCommand {
        program: "/bin/sh".into(),
        args,
    };
    let file = sine_file("m4a", 44_100, 0.5, &[]);
    let result = within(Duration::from_secs(5), || {
        Decoder::new(limits, Some(command)).decode_bytes(file.into(), Excerpt::ALL)
    });
    assert!(
        matches!(result, Err(AudioError::Isolated(IsolatedError::Answer))),
        "{result:?}"
    );
}
