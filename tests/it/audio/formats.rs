//! What can be decoded, told by content; what cannot, told by name.

use std::{fs, time::Duration};

use songkin::audio::{AudioError, Excerpt, Found, Hearing, Source};

use super::{
    decode, decoder, excerpt, ffmpeg,
    forge::{Wav, junk, ogg_head},
    noise_file, rms, seconds, sine_file, strength, within,
};

/// (file name's ending, ffmpeg's output options, container, codec).
const FORMATS: [(&str, &[&str], &str, &str); 12] = [
    ("mp3", &["-b:a", "128k"], "mp3", "mp3"),
    ("mp3", &["-q:a", "2"], "mp3", "mp3"),
    ("mp2", &["-b:a", "160k"], "mp2", "mp2"),
    ("wav", &["-c:a", "pcm_s16le"], "wav", "pcm_s16le"),
    ("wav", &["-c:a", "pcm_u8"], "wav", "pcm_u8"),
    ("wav", &["-c:a", "pcm_s24le"], "wav", "pcm_s24le"),
    ("wav", &["-c:a", "pcm_f32le"], "wav", "pcm_f32le"),
    ("flac", &[], "flac", "flac"),
    ("ogg", &["-c:a", "libvorbis"], "ogg", "vorbis"),
    ("ogg", &["-c:a", "flac"], "ogg", "flac"),
    ("aac", &["-b:a", "128k"], "adts", "aac"),
    ("m4a", &["-b:a", "128k"], "mp4", "aac"),
];

#[test]
fn every_format_gives_the_sine_that_went_in() {
    for (extension, options, container, codec) in FORMATS {
        let case = format!("{extension} {options:?}");
        let decoded = decode(sine_file(extension, 44_100, 3.0, options)).unwrap();
        let source = &decoded.source;
        assert_eq!(
            (source.container.as_str(), source.codec.as_str()),
            (container, codec)
        );
        assert_eq!((source.sample_rate, source.channels), (44_100, 2), "{case}");
        assert_eq!(
            (decoded.truncated, decoded.bad_packets),
            (false, 0),
            "{case}"
        );

        // Lossless formats and MP3 (whose header tells delay and padding) are exact. MP2 and AAC carry
        // the encoder's delay of up to 2,048 samples, and whole packets.
        let exact = !["mp2", "aac", "m4a"].contains(&extension);
        let allowed = if exact { 0.0 } else { 0.1 };
        assert!(
            (seconds(&decoded) - 3.0).abs() <= allowed,
            "{case}: {} s",
            seconds(&decoded)
        );

        let middle = &decoded.clip[16_000..32_000];
        let tone = strength(middle, 440.0);
        assert!((tone - 0.25).abs() < 0.02, "{case}: strength {tone}");
        let noise = (rms(middle).powi(2) - tone.powi(2) / 2.0).max(0.0).sqrt();
        assert!(noise < 0.01, "{case}: {noise} besides the sine");
    }
}

#[test]
fn who_listens_hears_the_clip_grow() {
    for (rate, extension, options, container, _) in
        FORMATS
            .into_iter()
            .flat_map(|(extension, options, container, codec)| {
                [16_000, 44_100].map(|rate| (rate, extension, options, container, codec))
            })
    {
        let case = format!("{rate} Hz, {extension} {options:?}");
        let file: bytes::Bytes = noise_file(extension, rate, 6.0, options).into();
        let mut heard = vec![Vec::new()];
        let hearing = Hearing {
            listen: &mut |settled: &[f32]| heard.push(settled.to_vec()),
            threads: 1,
        };
        let decoded = decoder()
            .hear(Source::Bytes(&file), excerpt(0.5, 5.0), hearing)
            .unwrap();
        let alone = decoder().decode_bytes(file, excerpt(0.5, 5.0)).unwrap();
        assert_eq!(decoded, alone, "{case}");
        assert!(heard.is_sorted_by_key(Vec::len), "{case}");
        for settled in &heard {
            assert!(decoded.clip.starts_with(settled), "{case}");
        }
        // A child process reads M4A, and says nothing before its end.
        let heard = heard.last().map_or(0, Vec::len);
        match container {
            "mp4" => assert_eq!(heard, 0),
            _ => assert!(decoded.clip.len() - heard < 2_000, "{case}: {heard}"),
        }
    }
}

/// Also of a file that is cut, shorter than its header says, or damaged.
#[test]
fn several_threads_give_what_one_gives() {
    let hear = |file: &bytes::Bytes, excerpt: Excerpt, threads| {
        let mut heard = Vec::new();
        let hearing = Hearing {
            listen: &mut |settled: &[f32]| heard = settled.to_vec(),
            threads,
        };
        let decoded = decoder().hear(Source::Bytes(file), excerpt, hearing);
        (decoded.map_err(|error| error.to_string()), heard)
    };
    for (extension, options, container, _) in FORMATS {
        for rate in [16_000, 44_100] {
            let case = format!("{extension} {options:?} {rate}");
            let file: bytes::Bytes = noise_file(extension, rate, 27.0, options).into();
            let mut cut = file.to_vec();
            cut.truncate(file.len() * 2 / 3);
            let mut damaged = file.to_vec();
            damaged[file.len() / 2..][..3_000].fill(0x55);
            for (what, file) in [
                ("whole", file),
                ("cut", cut.into()),
                ("damaged", damaged.into()),
            ] {
                for excerpt in [
                    Excerpt::ALL,
                    excerpt(0.0, 20.0),
                    excerpt(3.21, 17.77),
                    excerpt(26.9, 9.0),
                ] {
                    let (alone, all) = hear(&file, excerpt, 1);
                    for threads in [2, 5] {
                        let (together, some) = hear(&file, excerpt, threads);
                        assert!(together == alone, "{case}, {what}, {excerpt:?}, {threads}");
                        assert!(
                            all.starts_with(&some) || container == "mp4",
                            "{case}, {what}"
                        );
                        // The first thread heard no more than its stretch.
                        if (extension, what) == ("mp3", "whole") && excerpt.offset_seconds < 4.0 {
                            assert!(some.len() < all.len() * 2 / 3, "{case}: {}", some.len());
                        }
                    }
                }
            }
        }
    }
}

/// A 16 kHz source is not resampled, so the comparison is to the bit.
#[test]
fn an_excerpt_is_a_slice_of_the_whole() {
    for (extension, options, ..) in FORMATS {
        let case = format!("{extension} {options:?}");
        let file = noise_file(extension, 16_000, 6.0, options);
        let whole = decode(file.clone()).unwrap();
        let part = decoder()
            .decode_bytes(file.into(), excerpt(3.25, 1.5))
            .unwrap();
        assert_eq!(part.clip.len(), 24_000, "{case}");
        assert!(part.truncated, "{case}");
        assert!(
            part.clip == whole.clip[52_000..76_000],
            "{case}: another stretch"
        );
    }
}

#[test]
fn an_excerpt_at_another_rate_is_the_same_but_for_its_edges() {
    let file = noise_file("mp3", 44_100, 6.0, &["-b:a", "64k"]);
    let whole = decode(file.clone()).unwrap();
    let part = decoder()
        .decode_bytes(file.into(), excerpt(3.0, 1.5))
        .unwrap();
    assert_eq!(part.clip.len(), 24_000);
    for i in 400..23_600 {
        assert!(
            (part.clip[i] - whole.clip[48_000 + i]).abs() < 1e-4,
            "sample {i}"
        );
    }
}

#[test]
fn truncated_says_whether_audio_follows() {
    for extension in ["mp3", "flac", "wav", "ogg"] {
        let file = bytes::Bytes::from(sine_file(extension, 44_100, 2.0, &[]));
        let part = |from, len| {
            decoder()
                .decode_bytes(file.clone(), excerpt(from, len))
                .unwrap()
        };
        let case = |decoded: songkin::audio::Decoded| (decoded.clip.len(), decoded.truncated);
        assert_eq!(case(part(0.0, 1.0)), (16_000, true), "{extension}");
        assert_eq!(case(part(0.0, 2.0)), (32_000, false), "{extension}");
        assert_eq!(case(part(0.0, 9.0)), (32_000, false), "{extension}");
        assert_eq!(case(part(1.5, 9.0)), (8_000, false), "{extension}");
    }
}

#[test]
fn sixteen_kilohertz_pass_bit_by_bit() {
    let samples: Vec<i16> = (0..20_000)
        .map(|i| (i * 7_919 % 65_536 - 32_768) as i16)
        .collect();
    let decoded = decode(Wav::of_ints(1, 16_000, &samples)).unwrap();
    let expected: Vec<f32> = samples
        .iter()
        .map(|&sample| f32::from(sample) / 32_768.0)
        .collect();
    assert_eq!(decoded.clip, expected);
}

#[test]
fn channels_are_averaged() {
    let frames = [[0.5, -0.5], [0.5, 0.25], [-1.0, -1.0]].concat();
    let decoded = decode(Wav::of_floats(2, 16_000, &frames)).unwrap();
    assert_eq!(decoded.clip, [0.0, 0.375, -1.0]);
    let six: Vec<f32> = (0..6).map(|channel| channel as f32 * 0.125).collect();
    let decoded = decode(Wav::of_floats(6, 16_000, &six)).unwrap();
    assert_eq!(decoded.clip, [0.3125]);
}

#[test]
fn every_sample_rate_keeps_length_and_pitch_at_bounded_cost() {
    // 383,987 and 44,101 have no divisor in common with 16,000.
    for rate in [
        4_000, 8_000, 11_025, 22_050, 32_000, 44_101, 48_000, 96_000, 383_987,
    ] {
        let samples: Vec<f32> = (0..rate * 2)
            .map(|i| (i as f32 / rate as f32 * 440.0 * std::f32::consts::TAU).sin() * 0.5)
            .collect();
        let file = Wav::of_floats(1, rate, &samples);
        let decoded = within(Duration::from_secs(2), || decode(file)).unwrap();
        assert_eq!(decoded.clip.len(), 32_000, "{rate} Hz");
        let tone = strength(&decoded.clip[8_000..24_000], 440.0);
        assert!((tone - 0.5).abs() < 0.005, "{rate} Hz: {tone}");
    }
}

#[test]
fn the_name_of_a_file_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, sine_file("flac", 44_100, 0.5, &[])).unwrap();
    let decoded = decoder().decode_file(&path, excerpt(0.0, 10.0)).unwrap();
    assert_eq!(decoded.source.container, "flac");

    let path = dir.path().join("song.mp3");
    fs::write(&path, "It was the nightingale, and not the lark.\n").unwrap();
    let error = decoder()
        .decode_file(&path, excerpt(0.0, 10.0))
        .unwrap_err();
    assert!(
        matches!(error, AudioError::Unsupported { found: Found::Text }),
        "{error:?}"
    );
}

#[test]
fn chained_ogg_streams_are_joined_while_the_rate_stays() {
    let first = noise_file("ogg", 16_000, 2.0, &["-c:a", "libvorbis"]);
    let second = sine_file("ogg", 16_000, 1.0, &["-c:a", "libvorbis"]);
    let alone = decode(first.clone()).unwrap();
    let joined = decode([first.clone(), second].concat()).unwrap();
    assert_eq!((seconds(&joined), joined.truncated), (3.0, false));
    assert_eq!(joined.clip[..32_000], alone.clip);
    assert!(strength(&joined.clip[34_000..46_000], 440.0) > 0.24);

    let other_rate = sine_file("ogg", 44_100, 1.0, &["-c:a", "libvorbis"]);
    let cut = decode([first, other_rate].concat()).unwrap();
    assert_eq!((cut.clip, cut.truncated), (alone.clip, true));
}

#[test]
fn of_several_tracks_the_first_is_taken_wherever_the_excerpt_starts() {
    let mut args = super::sine(16_000, 4.0);
    args.extend(["-f", "lavfi", "-i", "anoisesrc=r=16000:d=4:seed=3"].map(String::from));
    args.extend(["-map", "0", "-map", "1", "-c:a", "libvorbis"].map(String::from));
    let file = ffmpeg("ogg", &args);
    let work = move || decoder().decode_bytes(file.into(), excerpt(2.0, 1.0));
    let decoded = within(Duration::from_secs(5), work).unwrap();
    assert_eq!(decoded.clip.len(), 16_000);
}

#[test]
fn joined_mp3s_are_heard_to_the_end_even_when_mono_follows_stereo() {
    let stereo = sine_file("mp3", 44_100, 2.0, &["-b:a", "128k"]);
    let mono = sine_file("mp3", 44_100, 2.0, &["-b:a", "64k", "-ac", "1"]);
    let joined = decode([stereo.clone(), mono].concat()).unwrap();
    assert!(
        (seconds(&joined) - 4.0).abs() < 0.1,
        "{} s",
        seconds(&joined)
    );
    assert!(strength(&joined.clip[36_000..60_000], 440.0) > 0.2);

    // At another rate the clip ends.
    let slower = sine_file("mp3", 22_050, 2.0, &["-b:a", "64k"]);
    let cut = decode([stereo, slower].concat()).unwrap();
    assert!(
        (seconds(&cut) - 2.0).abs() < 0.1 && cut.truncated,
        "{} s",
        seconds(&cut)
    );
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let mut zeros_and_junk = vec![0; 100];
    zeros_and_junk.extend(junk(100_000));
    let cases: Vec<(Vec<u8>, Found)> = vec![
        (
            sine_file("opus", 48_000, 0.5, &["-c:a", "libopus"]),
            Found::Opus,
        ),
        (
            sine_file("mka", 44_100, 0.5, &["-c:a", "flac"]),
            Found::Matroska,
        ),
        (sine_file("aiff", 44_100, 0.5, &[]), Found::Aiff),
        (sine_file("wma", 44_100, 0.5, &[]), Found::WindowsMedia),
        (
            sine_file("wav", 44_100, 0.5, &["-c:a", "adpcm_ms"]),
            Found::UnknownInWav,
        ),
        (ogg_head(b"\x80theora\x03\x02\x01"), Found::Video),
        (ogg_head(b"Speex   1.2"), Found::Speex),
        (ogg_head(b"\x01other"), Found::UnknownOgg),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), Found::Png),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0".to_vec(), Found::Jpeg),
        (b"RIFF\x24\0\0\0WEBPVP8 ".to_vec(), Found::Webp),
        (b"RIFF\x24\0\0\0AVI LIST".to_vec(), Found::Avi),
        (b"RIFF\x24\0\0\0ACON".to_vec(), Found::UnknownRiff),
        (b"\0\0\0\x18ftypheic\0\0\0\0".to_vec(), Found::Heif),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3".to_vec(), Found::Pdf),
        (b"PK\x03\x04\x14\0\0\0".to_vec(), Found::Zip),
        (b"MThd\0\0\0\x06".to_vec(), Found::Midi),
        (
            "Fröhlich klingt's. ".repeat(10_000).into_bytes(),
            Found::Text,
        ),
        ([0xff, 0xff, 0x50, 0xc0].repeat(52 * 3), Found::Mp1),
        (vec![0; 4096], Found::Unknown),
        (junk(3 << 20), Found::Unknown),
        (zeros_and_junk, Found::Unknown),
        (b"ID3\x04\0\0\0\0\0\x05hello".to_vec(), Found::Unknown),
    ];
    for (bytes, expected) in cases {
        match decode(bytes) {
            Err(error @ AudioError::Unsupported { found }) => {
                assert_eq!(found, expected);
                let message = error.to_string();
                assert!(
                    message.contains(expected.name()) && message.contains("MP3"),
                    "{message}"
                );
            }
            other => panic!("{expected:?}: {other:?}"),
        }
    }
}
