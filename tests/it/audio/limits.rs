//! Time, memory and length are bounded, whatever a header claims.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use songkin::audio::{AudioError, Corruption, DecodeLimits, Excerpt, Found, LimitExceeded};

use super::{
    decode, decoder, decoder_within, excerpt,
    forge::{Wav, junk, silent_flac},
    seconds, sine_file, within,
};

#[test]
fn ten_hours_of_silence_in_a_small_flac_cost_no_more_than_the_limit() {
    let bomb = bytes::Bytes::from(silent_flac(24_226));
    assert!(bomb.len() < 500_000, "{} bytes", bomb.len());
    let decoded = within(Duration::from_secs(10), || decode(bomb.clone())).unwrap();
    assert_eq!(
        (decoded.clip.len(), decoded.truncated),
        (600 * 16_000, true)
    );
    assert!(decoded.source.duration_seconds.unwrap() > 35_990.0);

    // Nine hours and more in, nothing before it is decoded.
    let late = within(Duration::from_secs(2), || {
        decoder()
            .decode_bytes(bomb.clone(), excerpt(35_000.0, 10.0))
            .unwrap()
    });
    assert_eq!((late.clip.len(), late.truncated), (160_000, true));
    let limits = DecodeLimits {
        max_seconds: 2.5,
        ..DecodeLimits::default()
    };
    let short = decoder_within(limits)
        .decode_bytes(bomb, Excerpt::ALL)
        .unwrap();
    assert_eq!((short.clip.len(), short.truncated), (40_000, true));
}

#[test]
fn twenty_megabytes_of_false_syncs_are_over_soon() {
    // Frame headers whose frame would be 417 bytes long: none of them is followed by another.
    let mut syncs = [0xff, 0xfb, 0x90, 0x64].repeat(5 << 20);
    let result = within(Duration::from_secs(5), || decode(syncs.clone()));
    assert!(
        matches!(
            result,
            Err(AudioError::Unsupported {
                found: Found::Unknown
            })
        ),
        "{result:?}"
    );

    // Behind a second of real audio they reach the reader itself.
    let mut file = sine_file("mp3", 44_100, 1.0, &["-b:a", "128k"]);
    file.append(&mut syncs);
    let decoded = within(Duration::from_secs(10), || decode(file)).unwrap();
    assert!(
        seconds(&decoded) >= 1.0 && decoded.bad_packets > 0,
        "{} s",
        seconds(&decoded)
    );
}

#[test]
fn two_hundred_megabytes_of_noise_are_refused_after_their_first() {
    let noise = junk(200 << 20);
    let result = within(Duration::from_secs(5), || decode(noise));
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
fn a_file_beyond_the_size_limit_is_not_opened() {
    let limits = DecodeLimits {
        max_body_bytes: 1_000,
        ..DecodeLimits::default()
    };
    let result = decoder_within(limits).decode_bytes(vec![0; 1_001].into(), Excerpt::ALL);
    let expected = LimitExceeded::Bytes {
        bytes: 1_001,
        max_bytes: 1_000,
    };
    assert!(
        matches!(&result, Err(AudioError::Limit(limit)) if *limit == expected),
        "{result:?}"
    );
}

#[test]
fn the_deadline_ends_a_long_decoding() {
    let limits = DecodeLimits {
        deadline: Duration::ZERO,
        ..DecodeLimits::default()
    };
    let file = sine_file("mp3", 44_100, 5.0, &[]);
    let result = decoder_within(limits).decode_bytes(file.into(), Excerpt::ALL);
    assert!(
        matches!(
            result,
            Err(AudioError::Limit(LimitExceeded::Deadline { .. }))
        ),
        "{result:?}"
    );
}

#[test]
fn a_wav_that_claims_four_gigabytes_holds_what_it_holds() {
    let second = Wav {
        format: Wav::PCM,
        channels: 1,
        rate: 16_000,
        bits: 16,
        claimed_bytes: Some(0xffff_fff0),
    };
    let decoded = decode(second.write(&[0x10; 32_000])).unwrap();
    assert_eq!((decoded.clip.len(), decoded.truncated), (16_000, false));
    // The size that a pipe's writer leaves, since it cannot know better.
    let piped = Wav {
        claimed_bytes: Some(u32::MAX),
        ..second
    };
    let decoded = decode(piped.write(&[0x10; 32_000])).unwrap();
    assert_eq!((decoded.clip.len(), decoded.truncated), (16_000, false));
}

#[test]
fn rates_and_channels_out_of_range_are_named() {
    for rate in [0, 1, 3_999, 384_001, u32::MAX] {
        let result = decode(Wav::of_floats(1, rate, &[0.0; 100]));
        assert!(
            matches!(
                result,
                Err(AudioError::Limit(LimitExceeded::SampleRate { .. })
                    | AudioError::Corrupt(_)
                    | AudioError::Unsupported {
                        found: Found::UnknownInWav
                    })
            ),
            "{rate} Hz: {result:?}"
        );
    }
    let result = decode(Wav::of_floats(1, 3_999, &[0.0; 100]));
    let expected = LimitExceeded::SampleRate {
        rate: 3_999,
        min: 4_000,
        max: 384_000,
    };
    assert!(
        matches!(&result, Err(AudioError::Limit(limit)) if *limit == expected),
        "{result:?}"
    );
    let result = decode(Wav::of_floats(9, 16_000, &[0.0; 900]));
    let expected = LimitExceeded::Channels {
        channels: 9,
        max_channels: 8,
    };
    assert!(
        matches!(&result, Err(AudioError::Limit(limit)) if *limit == expected),
        "{result:?}"
    );
}

#[test]
fn no_sample_is_an_error_and_not_an_empty_clip() {
    assert!(matches!(decode(Vec::new()), Err(AudioError::Empty)));
    let result = decode(Wav::of_floats(1, 16_000, &[]));
    assert!(matches!(result, Err(AudioError::NoAudio)), "{result:?}");
    let result = decode(silent_flac(0));
    assert!(
        matches!(
            result,
            Err(AudioError::NoAudio | AudioError::Corrupt(Corruption::Container(_)))
        ),
        "{result:?}"
    );
}

#[test]
fn an_excerpt_behind_the_end_says_so() {
    for extension in ["mp3", "wav", "flac", "ogg", "aac", "m4a"] {
        let file = sine_file(extension, 44_100, 1.0, &[]);
        let result = decoder().decode_bytes(file.into(), excerpt(30.0, 10.0));
        assert!(
            matches!(
                result,
                Err(AudioError::OffsetBeyondEnd {
                    offset_seconds: 30.0
                })
            ),
            "{extension}: {result:?}"
        );
    }
}

#[test]
fn an_excerpt_that_is_no_stretch_of_time_is_refused() {
    for (offset, len) in [
        (-1.0, 1.0),
        (f64::NAN, 1.0),
        (f64::INFINITY, 1.0),
        (0.0, 0.0),
    ] {
        let result = decoder().decode_bytes(vec![0; 8].into(), excerpt(offset, len));
        assert!(
            matches!(result, Err(AudioError::InvalidExcerpt { .. })),
            "{offset}, {len}"
        );
    }
    let result = decoder().decode_bytes(vec![0; 8].into(), excerpt(0.0, f64::NAN));
    assert!(matches!(result, Err(AudioError::InvalidExcerpt { .. })));
}

#[test]
fn a_decoder_that_is_told_to_stop_stops() {
    let stop = Arc::new(AtomicBool::new(false));
    let decoder = decoder().until(Arc::clone(&stop));
    let bomb = bytes::Bytes::from(silent_flac(24_226));
    let begin = excerpt(0.0, 1.0);
    assert!(decoder.decode_bytes(bomb.clone(), begin).is_ok());
    stop.store(true, Ordering::Relaxed);
    let stopped = within(Duration::from_secs(2), || {
        decoder.decode_bytes(bomb.clone(), Excerpt::ALL)
    });
    assert!(matches!(stopped, Err(AudioError::Limit(_))), "{stopped:?}");
}
