//! Damaged files, and headers that lie.

use songkin::audio::{AudioError, Corruption, Found, MAX_SAMPLE};

use super::{
    decode, decoder, excerpt, ffmpeg,
    forge::{Wav, find, junk},
    seconds, sine_file, strength,
};

/// Ten quiet seconds, ten loud ones: an estimate from the first frames is far off.
fn uneven_vbr(xing: bool) -> Vec<u8> {
    let source = "aevalsrc=if(lt(t\\,10)\\,0.001*sin(440*2*PI*t)\\,0.5*random(0)):s=44100:d=20";
    let xing = if xing { "1" } else { "0" };
    ffmpeg(
        "mp3",
        &[
            "-f",
            "lavfi",
            "-i",
            source,
            "-q:a",
            "2",
            "-write_xing",
            xing,
        ],
    )
}

#[test]
fn a_vbr_file_without_a_header_is_heard_to_the_end() {
    let decoded = decode(uneven_vbr(false)).unwrap();
    // Nothing tells the encoder's delay and padding here, so they stay.
    assert!(
        (seconds(&decoded) - 20.0).abs() < 0.1,
        "{} s",
        seconds(&decoded)
    );
    let exact = decode(uneven_vbr(true)).unwrap();
    assert_eq!(seconds(&exact), 20.0);
}

#[test]
fn joined_files_keep_their_second_half() {
    let file = uneven_vbr(true);
    let decoded = decode([file.clone(), file].concat()).unwrap();
    assert!(
        (seconds(&decoded) - 40.0).abs() < 0.15,
        "{} s",
        seconds(&decoded)
    );
}

#[test]
fn a_header_that_claims_too_few_frames_costs_nothing() {
    let file = sine_file("mp3", 44_100, 4.0, &["-b:a", "128k"]);
    // "Info", flags, frames.
    let frames_at = find(&file, b"Info") + 8;
    for claimed in [0u32, 1, 10, 100, 1_000_000, u32::MAX] {
        let mut lying = file.clone();
        lying[frames_at..frames_at + 4].copy_from_slice(&claimed.to_be_bytes());
        let decoded = decode(lying).unwrap();
        assert!(
            (seconds(&decoded) - 4.0).abs() < 0.05,
            "{claimed}: {} s",
            seconds(&decoded)
        );
    }
}

#[test]
fn junk_and_tags_before_the_first_frame_are_skipped() {
    let file = sine_file("mp3", 44_100, 2.0, &["-b:a", "128k"]);
    let whole = decode(file.clone()).unwrap();
    let mut junk_with_tag = junk(500_000);
    junk_with_tag[1_000..1_010].copy_from_slice(b"ID3\x04\0\0\x7f\x7f\x7f\x7f");
    let big_tag = [b"ID3\x04\0\0\x01\0\0\0".to_vec(), vec![0xff; 1 << 21]].concat();
    let ape_tag = {
        let mut tag = b"APETAGEX\xd0\x07\0\0".to_vec();
        tag.extend(100u32.to_le_bytes());
        tag.resize(32 + 100, 0);
        tag
    };
    for (name, prefix) in [
        ("zeros", vec![0; 300_000]),
        ("junk with ID3 in it", junk_with_tag),
        ("a tag of 2 MiB", big_tag.clone()),
        ("two tags", [big_tag, ape_tag].concat()),
    ] {
        let decoded = decode([prefix, file.clone()].concat());
        assert_eq!(decoded.unwrap().clip, whole.clip, "{name}");
    }
}

#[test]
fn more_than_a_mebibyte_of_junk_is_not_searched() {
    let file = sine_file("mp3", 44_100, 2.0, &["-b:a", "128k"]);
    let result = decode([junk(3 << 20), file].concat());
    assert!(
        matches!(
            result,
            Err(AudioError::Unsupported {
                found: Found::Unknown
            })
        ),
        "{result:?}"
    );
}

#[test]
fn samples_that_are_none_are_scrubbed() {
    let mut samples = vec![0.25f32; 4_000];
    samples[1_000] = f32::NAN;
    samples[1_001] = f32::INFINITY;
    samples[1_002] = f32::NEG_INFINITY;
    samples[1_003] = 5.7e8;
    samples[1_004] = -4e4;
    samples[1_005] = 1.3;
    let decoded = decode(Wav::of_floats(1, 16_000, &samples)).unwrap();
    assert_eq!(decoded.clip[1_000..1_006], [0.0, 2.0, -2.0, 2.0, -2.0, 1.3]);
    // Around an edge a resampler swings past its input.
    let square: Vec<f32> = (0..44_100)
        .map(|i| if i % 100 < 50 { 9.0 } else { -9.0 })
        .collect();
    let decoded = decode(Wav::of_floats(1, 44_100, &square)).unwrap();
    assert!(
        decoded
            .clip
            .iter()
            .all(|sample| (-MAX_SAMPLE..=MAX_SAMPLE).contains(sample))
    );
    assert!(decoded.clip.contains(&MAX_SAMPLE));
}

#[test]
fn a_truncated_file_gives_what_is_there() {
    for (extension, options) in [
        ("mp3", &["-b:a", "128k"][..]),
        ("wav", &[]),
        ("flac", &[]),
        ("ogg", &[]),
        ("aac", &[]),
    ] {
        let file = sine_file(extension, 44_100, 4.0, options);
        let decoded = decode(file[..file.len() / 2].to_vec()).unwrap();
        let length = seconds(&decoded);
        assert!((1.0..3.5).contains(&length), "{extension}: {length} s");
        let tone = strength(&decoded.clip[2_000..14_000], 440.0);
        assert!((tone - 0.25).abs() < 0.02, "{extension}: {tone}");
    }
}

#[test]
fn a_stretch_of_junk_inside_costs_only_itself() {
    let mut file = sine_file("mp3", 44_100, 4.0, &["-b:a", "128k"]);
    let middle = file.len() / 2;
    file[middle..middle + 3_000].copy_from_slice(&junk(3_000));
    let decoded = decode(file).unwrap();
    assert!(
        (3.6..=4.0).contains(&seconds(&decoded)),
        "{} s",
        seconds(&decoded)
    );
    assert!(strength(&decoded.clip[40_000..], 440.0) > 0.2);
}

#[test]
fn nothing_but_bad_packets_is_an_error() {
    // Frames with valid headers; what they hold decodes to nothing.
    let header = [0xff, 0xfb, 0x90, 0x64];
    let frame: Vec<u8> = header
        .into_iter()
        .chain(std::iter::repeat_n(0xff, 413))
        .collect();
    let result = decode(frame.repeat(1_000));
    assert!(
        matches!(result, Err(AudioError::Corrupt(Corruption::BadPackets(packets))) if packets == 257),
        "{result:?}"
    );
    let result = decode(frame.repeat(100));
    assert!(
        matches!(result, Err(AudioError::Corrupt(Corruption::Codec(_)))),
        "{result:?}"
    );
}

#[test]
fn a_header_without_its_file_is_damage() {
    for head in [
        &b"RIFF\x24\0\0\0WAVEfmt "[..],
        b"fLaC\0\0\0\x22\x10",
        b"OggS\0\x02",
    ] {
        let result = decode(head.to_vec());
        assert!(
            matches!(
                result,
                Err(AudioError::Corrupt(_)
                    | AudioError::Unsupported {
                        found: Found::UnknownOgg
                    })
            ),
            "{result:?}"
        );
    }
}

#[test]
fn what_is_no_file_is_an_error_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    for path in [
        dir.path().to_owned(),
        dir.path().join("missing.mp3"),
        "/dev/zero".into(),
    ] {
        let result = decoder().decode_file(&path, excerpt(0.0, 1.0));
        assert!(
            matches!(result, Err(AudioError::Io(_))),
            "{path:?}: {result:?}"
        );
    }
}
