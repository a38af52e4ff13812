//! Augmentations, measured on what comes out.

use std::{f64::consts::PI, path::Path};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use realfft::RealFftPlanner;
use songkin::audio::{
    DecodeLimits, Decoder, Excerpt, Fbank, FeatureConfig, Spectrogram,
    augment::{AugmentPlan, AugmentSettings, Chance, Noise},
};

const RATE: f64 = 16_000.0;
/// Ten seconds.
const TEN: usize = 160_000;

fn plan(tempo: f64, semitones: i8) -> AugmentPlan {
    AugmentPlan {
        tempo,
        semitones,
        ..AugmentPlan::default()
    }
}

/// A signal of as many samples as the plan needs, run through it.
fn run(plan: &AugmentPlan, output_len: usize, signal: impl Fn(f64) -> f64) -> Vec<f32> {
    let input: Vec<f32> = (0..plan.input_len(output_len))
        .map(|i| signal(i as f64 / RATE) as f32)
        .collect();
    let output = plan.apply(&input, output_len);
    assert_eq!(output.len(), output_len);
    output
}

fn sine(hertz: f64) -> impl Fn(f64) -> f64 {
    move |t| 0.2 * (2.0 * PI * hertz * t).sin()
}

/// White noise of deviation 0.1.
fn white(samples: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let uniform = |_| (rng.random::<f32>() - 0.5) * 0.1 * 12f32.sqrt();
    (0..samples).map(uniform).collect()
}

/// 30 s of music.
fn music() -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/fma_demo/014/014018.mp3");
    let decoder = Decoder::new(DecodeLimits::default(), None);
    decoder.decode_file(&path, Excerpt::ALL).unwrap().clip
}

fn power(clip: &[f32]) -> f64 {
    let sum: f64 = clip.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    sum / clip.len() as f64
}

fn decibels(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}

/// Power spectrum under a Hann window, of all samples at once.
fn spectrum(clip: &[f32]) -> Vec<f64> {
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(clip.len());
    let hann = |i: usize| 0.5 - 0.5 * (2.0 * PI * i as f64 / clip.len() as f64).cos();
    let mut time: Vec<f64> = (0..clip.len())
        .map(|i| f64::from(clip[i]) * hann(i))
        .collect();
    let mut bins = fft.make_output_vec();
    fft.process(&mut time, &mut bins).unwrap();
    bins.iter().map(|bin| bin.norm_sqr()).collect()
}

/// The strongest frequency within a quarter tone of `near`, hertz: a parabola through the logarithms of
/// the highest bin and its neighbours.
fn peak(clip: &[f32], near: f64) -> f64 {
    let spectrum = spectrum(clip);
    let width = RATE / clip.len() as f64;
    let bin = |hertz: f64| (hertz / width) as usize;
    let quarter_tone = 2f64.powf(0.5 / 12.0);
    let highest = (bin(near / quarter_tone)..=bin(near * quarter_tone))
        .max_by(|&a, &b| spectrum[a].total_cmp(&spectrum[b]))
        .unwrap();
    let [before, at, after] = [highest - 1, highest, highest + 1].map(|i| spectrum[i].ln());
    (highest as f64 + 0.5 * (before - after) / (before - 2.0 * at + after)) * width
}

fn cents(ratio: f64) -> f64 {
    1200.0 * ratio.log2()
}

/// Where strokes begin, seconds: rises of the energy over 4 ms, at least 60 ms apart.
fn onsets(clip: &[f32]) -> Vec<f64> {
    let energy: Vec<f64> = clip.chunks(64).map(power).collect();
    let mut onsets: Vec<f64> = vec![];
    for (index, pair) in energy.windows(2).enumerate() {
        let at = (index + 1) as f64 * 64.0 / RATE;
        let rises = pair[1] > 2e-4 && pair[1] > 4.0 * pair[0];
        if rises && onsets.last().is_none_or(|last| at - last > 0.06) {
            onsets.push(at);
        }
    }
    onsets
}

/// A stroke every quarter of a second: 70 ms of a falling 330 Hz tone with an overtone.
fn strokes(t: f64) -> f64 {
    let since = t % 0.25;
    let tone = (2.0 * PI * 330.0 * since).sin() + 0.5 * (2.0 * PI * 990.0 * since).sin();
    0.4 * tone * (-since / 0.02).exp()
}

#[test]
fn a_stretch_changes_the_tempo_and_neither_loses_nor_doubles_strokes() {
    for tempo in [0.8, 0.9, 1.1, 1.2] {
        for semitones in [0, -2, 2] {
            let output = run(&plan(tempo, semitones), TEN, strokes);
            let onsets = onsets(&output);
            let spacing = (onsets[onsets.len() - 1] - onsets[0]) / (onsets.len() - 1) as f64;
            let expected = 0.25 / tempo;
            assert!(
                (spacing / expected - 1.0).abs() < 0.01,
                "tempo {tempo}, {semitones} semitones: {spacing} s, expected {expected} s"
            );
            let count = (10.0 / expected) as usize;
            assert!(
                onsets.len().abs_diff(count) <= 1,
                "{} strokes",
                onsets.len()
            );
        }
    }
}

/// How far the peaks of a sound of these tones are from where they should be, cents.
fn off(plan: &AugmentPlan, tones: &[f64]) -> Vec<f64> {
    let output = run(plan, TEN, |t| {
        tones.iter().map(|&hertz| sine(hertz)(t)).sum()
    });
    let shift = 2f64.powf(f64::from(plan.semitones) / 12.0);
    let off = |hertz: &f64| cents(peak(&output, hertz * shift) / (hertz * shift)).abs();
    tones.iter().map(off).collect()
}

#[test]
fn a_stretch_keeps_the_pitch_and_a_shift_moves_it() {
    let overtones: Vec<f64> = (1..8).map(|number| 155.6 * f64::from(number)).collect();
    let sounds = [
        &[110.0],
        &[196.0],
        &[440.0],
        &[1_318.5],
        &[3_001.0],
        &overtones[..],
    ];
    for tempo in [0.8, 0.93, 1.0, 1.2] {
        for semitones in -2..=2 {
            for tones in sounds {
                for off in off(&plan(tempo, semitones), tones) {
                    assert!(
                        off < 5.0,
                        "tempo {tempo}, {semitones} semitones, {tones:?} Hz: {off:.2} cents off"
                    );
                }
            }
        }
    }
}

#[test]
fn the_tones_of_a_chord_stay_near_their_pitch() {
    let chord = [196.0, 246.9, 293.7, 1_318.5];
    let mut all = vec![];
    for tempo in [0.8, 0.93, 1.0, 1.2] {
        for semitones in -2..=2 {
            all.extend(off(&plan(tempo, semitones), &chord));
        }
    }
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    println!("a chord's tones are {mean:.1} cents off on average");
    assert!(mean < 15.0, "{all:.1?}");
    assert!(all.iter().all(|&off| off < 45.0), "{all:.1?}");
}

/// Mean distance of log-mel energies between the frames of `stretched` and the places of `original` that
/// they show, between whose frames it is interpolated. A frame's place is that of its middle, 1.25 frames
/// after its start.
fn log_mel_distance(original: &Spectrogram, stretched: &Spectrogram, tempo: f64) -> f64 {
    let bins = original.mel_bins;
    let (mut sum, mut count) = (0.0, 0);
    for (frame, values) in stretched.data.chunks(bins).enumerate() {
        let place = ((frame as f64 + 1.25) * tempo - 1.25).max(0.0);
        let (before, share) = (place as usize, (place % 1.0) as f32);
        let Some(pair) = original.data.get(before * bins..(before + 2) * bins) else {
            break;
        };
        let (left, right) = pair.split_at(bins);
        for ((left, right), value) in left.iter().zip(right).zip(values) {
            sum += f64::from((left + (right - left) * share - value).abs());
            count += 1;
        }
    }
    sum / f64::from(count)
}

/// Log energies as they are, not normalised.
fn fbank() -> Fbank {
    let config = FeatureConfig {
        do_normalize: false,
        ..FeatureConfig::default()
    };
    Fbank::new(&config).unwrap()
}

#[test]
fn stretched_music_is_the_same_music_at_another_tempo() {
    let (music, fbank) = (music(), fbank());
    let original = fbank.spectrogram(&music).unwrap();
    for tempo in [0.8, 0.9, 1.1, 1.2] {
        let stretched = plan(tempo, 0).apply(&music, TEN);
        let stretched = fbank.spectrogram(&stretched).unwrap();
        let distance = |tempo| log_mel_distance(&original, &stretched, tempo);
        println!("tempo {tempo}: log-mel distance {:.3}", distance(tempo));
        assert!(distance(tempo) < 0.55, "{}", distance(tempo));
        let best = (-60..=60)
            .map(|step| tempo * (1.0 + 0.0005 * f64::from(step)))
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
            .unwrap();
        assert!(
            (best / tempo - 1.0).abs() < 0.01,
            "tempo {tempo}: is {best}"
        );
    }
}

/// Mean power of music on an axis of 2 cents a step from 250 to 2500 Hz, decibels, less its local mean: a
/// comb of the tones that it holds.
fn tone_comb(clip: &[f32]) -> Vec<f64> {
    const FRAME: usize = 32_768;
    let mut mean = vec![0.0; FRAME / 2 + 1];
    for frame in clip.windows(FRAME).step_by(FRAME / 4) {
        for (sum, power) in mean.iter_mut().zip(spectrum(frame)) {
            *sum += power;
        }
    }
    let level = |hertz: f64| {
        let place = hertz * FRAME as f64 / RATE;
        let (bin, share) = (place as usize, place % 1.0);
        decibels(mean[bin] * (1.0 - share) + mean[bin + 1] * share)
    };
    let levels: Vec<f64> = (0..1_993)
        .map(|step| level(250.0 * 2f64.powf(f64::from(step) / 600.0)))
        .collect();
    let local = |at: usize| {
        let around = &levels[at.saturating_sub(50)..(at + 50).min(levels.len())];
        around.iter().sum::<f64>() / around.len() as f64
    };
    (0..levels.len()).map(|at| levels[at] - local(at)).collect()
}

#[test]
fn shifted_music_is_the_same_music_at_another_pitch() {
    let music = music();
    let before = tone_comb(&music[..TEN]);
    for (tempo, semitones) in [(1.0, -2), (1.0, -1), (1.0, 1), (1.0, 2), (0.9, 0), (0.9, 2)] {
        let output_len = plan(tempo, semitones).output_len(TEN);
        let after = tone_comb(&plan(tempo, semitones).apply(&music, output_len));
        let likeness = |shift: i32| -> f64 {
            let pairs = before.iter().enumerate().filter_map(|(at, value)| {
                let other = after.get(usize::try_from(at as i32 + shift).ok()?)?;
                Some((value * other, 1.0))
            });
            let (sum, count) = pairs.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
            sum / count
        };
        let shift = (-150..=150)
            .max_by(|&a, &b| likeness(a).total_cmp(&likeness(b)))
            .unwrap();
        let off = f64::from(2 * shift) - 100.0 * f64::from(semitones);
        assert!(
            off.abs() <= 6.0,
            "{semitones} semitones, tempo {tempo}: {off} cents off"
        );
    }
}

#[test]
fn noise_has_the_asked_distance_and_nothing_else_changes() {
    let music = music();
    let white = white(TEN);
    for clip in [&white[..], &music[..TEN]] {
        for snr_db in [0.0, 10.0, 37.5] {
            let plan = AugmentPlan {
                noise: Some(Noise { snr_db, seed: 11 }),
                ..AugmentPlan::default()
            };
            let noisy = plan.apply(clip, TEN);
            let noise: Vec<f32> = noisy.iter().zip(clip).map(|(a, b)| a - b).collect();
            let measured = decibels(power(clip) / power(&noise));
            assert!(
                (measured - snr_db).abs() < 0.2,
                "{measured} dB instead of {snr_db}"
            );
            let mean = noise.iter().sum::<f32>() / TEN as f32;
            assert!(f64::from(mean).abs() < 0.01 * power(&noise).sqrt());
        }
    }
    let plan = AugmentPlan {
        noise: Some(Noise {
            snr_db: 0.0,
            seed: 1,
        }),
        ..AugmentPlan::default()
    };
    assert_eq!(plan.apply(&[0.0; 800], 800), [0.0; 800]);
}

/// What a plan does to a tone, decibels, after the filters have settled.
fn response(plan: &AugmentPlan, hertz: f64) -> f64 {
    let output = run(plan, TEN, sine(hertz));
    decibels(power(&output[8_000..TEN - 8_000]) / (0.2 * 0.2 / 2.0))
}

#[test]
fn filters_are_3_db_down_at_their_cutoff_and_steep_beyond() {
    for hertz in [120.0, 1_000.0, 4_321.0] {
        let low_pass = AugmentPlan {
            low_pass: Some(hertz),
            ..AugmentPlan::default()
        };
        let high_pass = AugmentPlan {
            high_pass: Some(hertz),
            ..AugmentPlan::default()
        };
        for plan in [&low_pass, &high_pass] {
            let at = response(plan, hertz);
            assert!((at + 3.01).abs() < 0.05, "{at} dB at {hertz} Hz");
        }
        assert!(response(&low_pass, hertz / 8.0).abs() < 0.05);
        assert!(response(&high_pass, 7_900.0_f64.min(hertz * 8.0)).abs() < 0.3);
        // An octave beyond: at least the 12.3 dB of the analogue filter, less a little.
        assert!(response(&high_pass, hertz / 2.0) < -11.0);
        if hertz < 3_000.0 {
            assert!(response(&low_pass, hertz * 2.0) < -12.0);
        }
    }
}

#[test]
fn a_band_limit_leaves_nothing_above_it_and_everything_below() {
    for hertz in [4_000.0, 5_513.0, 7_500.0] {
        let plan = AugmentPlan {
            band_limit: Some(hertz),
            ..AugmentPlan::default()
        };
        for below in [50.0, 1_000.0, hertz - 170.0] {
            let change = response(&plan, below);
            assert!(change.abs() < 0.02, "{change} dB at {below} Hz");
        }
        assert!((response(&plan, hertz) + 6.02).abs() < 0.1);
        for above in [hertz + 170.0, 7_950.0] {
            let change = response(&plan, above);
            assert!(change < -75.0, "{change} dB at {above} Hz");
        }
        let before = spectrum(&white(TEN));
        let after = spectrum(&plan.apply(&white(TEN), TEN));
        let share = |range: std::ops::Range<f64>| {
            let bins = (range.start * 10.0) as usize..(range.end * 10.0) as usize;
            decibels(after[bins.clone()].iter().sum::<f64>() / before[bins].iter().sum::<f64>())
        };
        assert!(share(0.0..hertz - 200.0).abs() < 0.02);
        assert!(share(hertz + 200.0..8_000.0) < -75.0);
    }
}

#[test]
fn gain_is_in_decibels() {
    for gain_db in [-12.0, 2.5] {
        let plan = AugmentPlan {
            gain_db: Some(gain_db),
            ..AugmentPlan::default()
        };
        let change = response(&plan, 700.0);
        assert!((change - gain_db).abs() < 1e-3, "{change} dB");
    }
}

#[test]
fn every_length_comes_out_exactly_whatever_goes_in() {
    let white = white(60_000);
    for tempo in [0.8, 1.0, 1.2, 4.0, 0.0, f64::NAN] {
        for semitones in [-128, -2, 0, 1] {
            let plan = plan(tempo, semitones);
            for output_len in [0, 1, 511, 512, 513, 40_001] {
                for input_len in [0, 1, 1_000, 60_000] {
                    let output = plan.apply(&white[..input_len], output_len);
                    assert_eq!(output.len(), output_len);
                    assert!(output.iter().all(|sample| sample.is_finite()));
                }
            }
        }
    }
}

#[test]
fn nothing_infinite_comes_out() {
    let everything = AugmentPlan {
        tempo: 0.9,
        semitones: 2,
        high_pass: Some(0.0),
        low_pass: Some(1e9),
        gain_db: Some(300.0),
        noise: Some(Noise {
            snr_db: -300.0,
            seed: 2,
        }),
        band_limit: Some(-4.0),
    };
    let loud = [f32::NAN, f32::INFINITY, -1e38, 2.0, 0.0].repeat(4_000);
    for plan in [everything, AugmentPlan::default()] {
        let output = plan.apply(&loud, 10_000);
        assert!(output.iter().all(|sample| sample.abs() <= 2.0));
    }
}

/// Settings under which everything happens.
fn always() -> AugmentSettings {
    let mut settings = AugmentSettings::default();
    for chance in [
        &mut settings.tempo,
        &mut settings.noise_snr_db,
        &mut settings.gain_db,
        &mut settings.low_pass_hertz,
        &mut settings.high_pass_hertz,
        &mut settings.band_limit_hertz,
    ] {
        chance.probability = 1.0;
    }
    settings.semitones.probability = 1.0;
    settings
}

#[test]
fn a_plan_gives_the_same_bits_again_and_its_input_is_all_that_it_reads() {
    let music = music();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..5 {
        let plan = always().draw(&mut rng);
        let needed = plan.input_len(TEN);
        let once = plan.apply(&music[7_000..7_000 + needed], TEN);
        let again = plan.apply(&music[7_000..], TEN);
        assert!(
            once.iter()
                .zip(&again)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
        assert_ne!(once, always().draw(&mut rng).apply(&music[7_000..], TEN));
    }
}

#[test]
fn draws_are_as_often_and_as_strong_as_the_settings_say() {
    let mut settings = always();
    settings.noise_snr_db.probability = 0.25;
    settings.semitones.among = vec![-2, 0, 2];
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let plans: Vec<AugmentPlan> = (0..4_000).map(|_| settings.draw(&mut rng)).collect();
    let noisy = plans.iter().filter(|plan| plan.noise.is_some()).count();
    assert!(noisy.abs_diff(1_000) < 120, "{noisy}");
    for semitones in [-2, 0, 2] {
        let count = plans.iter().filter(|p| p.semitones == semitones).count();
        assert!(count.abs_diff(1_333) < 130, "{semitones}: {count}");
    }
    let mean = plans.iter().map(|plan| plan.tempo).sum::<f64>() / 4_000.0;
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    assert!(plans.iter().all(|plan| (0.8..=1.2).contains(&plan.tempo)));
    let limits = plans.iter().map(|plan| plan.band_limit.unwrap());
    assert!(
        limits
            .clone()
            .all(|hertz| (4_000.0..=7_500.0).contains(&hertz))
    );
    assert!(limits.fold(0.0, f64::max) > 7_400.0);
    let none = AugmentSettings::none();
    assert_eq!(none.draw(&mut rng), AugmentPlan::default());
}

#[test]
fn one_probability_does_not_move_the_other_draws() {
    let draw = |settings: &AugmentSettings| settings.draw(&mut ChaCha8Rng::seed_from_u64(4));
    let all = draw(&always());
    let mut settings = always();
    settings.tempo.probability = 0.0;
    let without = draw(&settings);
    assert_eq!(without, AugmentPlan { tempo: 1.0, ..all });
}

#[test]
fn faulty_settings_are_all_told() {
    let mut settings = AugmentSettings::default();
    settings.validate().unwrap();
    AugmentSettings::none().validate().unwrap();
    settings.tempo.range = [1.2, 0.8];
    settings.gain_db = Chance {
        probability: 1.5,
        range: [f64::NAN, 0.0],
    };
    settings.semitones.among = vec![0, 13];
    let faults = settings.validate().unwrap_err();
    let keys: Vec<&str> = faults.0.iter().map(|fault| &*fault.key).collect();
    assert_eq!(
        keys,
        [
            "tempo.range",
            "gain_db.probability",
            "gain_db.range",
            "semitones.among"
        ]
    );
    assert!(
        faults
            .to_string()
            .contains("tempo.range = [1.2, 0.8]: has to be")
    );
    settings.draw(&mut ChaCha8Rng::seed_from_u64(0));
}

#[test]
fn settings_are_read_strictly() {
    let parse = |text: &str| toml::from_str::<AugmentSettings>(text);
    let settings = parse("tempo = { probability = 0.3, range = [0.9, 1.1] }").unwrap();
    assert_eq!(settings.tempo.range, [0.9, 1.1]);
    assert_eq!(settings.semitones, AugmentSettings::default().semitones);
    parse("temp = { probability = 0.3, range = [0.9, 1.1] }").unwrap_err();
    parse("tempo = { probability = 0.3, range = [0.9, 1.1], often = true }").unwrap_err();
    let text = toml::to_string(&settings).unwrap();
    assert_eq!(parse(&text).unwrap(), settings);
}
