//! What may happen to a clip, how often, and how strongly.

use std::fmt;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{AugmentPlan, Noise};

/// Every kind of change with its own probability; a field's name says the unit.
///
/// [`Default`] is the recipe's three changes (tempo, pitch, noise), each half of the time; the others
/// are off until their probability is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentSettings {
    /// How much faster the music plays, at its own pitch: 0.8 lasts 1.25 times as long.
    pub tempo: Chance,
    /// How far the pitch moves, at its own tempo.
    pub semitones: Choice,
    /// White Gaussian noise: power of the clip over power of the noise.
    pub noise_snr_db: Chance,
    /// Louder or softer.
    pub gain_db: Chance,
    /// Less treble: 12 dB an octave above the cut-off.
    pub low_pass_hertz: Chance,
    /// Less bass: 12 dB an octave below the cut-off.
    pub high_pass_hertz: Chance,
    /// No treble at all, as after a lossy codec: nothing is left above the cut-off.
    pub band_limit_hertz: Chance,
}

/// Something that happens with a probability, as strongly as an even draw from a range says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// From 0, never, to 1, always.
    pub probability: f64,
    /// Lowest and highest.
    pub range: [f64; 2],
}

/// Something that happens with a probability, one of several with equal chances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// From 0, never, to 1, always.
    pub probability: f64,
    /// What is drawn from.
    pub among: Vec<i8>,
}

impl Default for AugmentSettings {
    fn default() -> Self {
        let chance = |probability, range| Chance { probability, range };
        Self {
            tempo: chance(0.5, [0.8, 1.2]),
            semitones: Choice {
                probability: 0.5,
                among: vec![-2, -1, 0, 1, 2],
            },
            noise_snr_db: chance(0.5, [10.0, 40.0]),
            gain_db: chance(0.0, [-12.0, 3.0]),
            low_pass_hertz: chance(0.0, [2_000.0, 7_500.0]),
            high_pass_hertz: chance(0.0, [40.0, 400.0]),
            band_limit_hertz: chance(0.0, [4_000.0, 7_500.0]),
        }
    }
}

impl AugmentSettings {
    /// Nothing ever happens.
    #[must_use]
    pub fn none() -> Self {
        let never = |chance: Chance| Chance {
            probability: 0.0,
            ..chance
        };
        let usual = Self::default();
        Self {
            tempo: never(usual.tempo),
            semitones: Choice {
                probability: 0.0,
                ..usual.semitones
            },
            noise_snr_db: never(usual.noise_snr_db),
            gain_db: never(usual.gain_db),
            low_pass_hertz: never(usual.low_pass_hertz),
            high_pass_hertz: never(usual.high_pass_hertz),
            band_limit_hertz: never(usual.band_limit_hertz),
        }
    }

    /// What recordings of one piece differ in, now and then. Much of it costs time and takes away what
    /// tells tracks apart.
    #[must_use]
    pub fn light() -> Self {
        let chance = |probability, range| Chance { probability, range };
        Self {
            tempo: chance(0.05, [0.8, 1.2]),
            semitones: Choice {
                probability: 0.05,
                among: vec![-2, -1, 1, 2],
            },
            noise_snr_db: chance(0.2, [10.0, 40.0]),
            gain_db: chance(0.3, [-12.0, 6.0]),
            band_limit_hertz: chance(0.1, [4_000.0, 7_500.0]),
            ..Self::none()
        }
    }

    /// Decides what happens to one clip.
    ///
    /// It takes the same numbers from the generator whatever the settings are: with another probability
    /// for one change, all others stay as they were.
    pub fn draw(&self, rng: &mut impl Rng) -> AugmentPlan {
        let tempo = self.tempo.draw(rng);
        let semitones = self.semitones.draw(rng);
        let high_pass = self.high_pass_hertz.draw(rng);
        let low_pass = self.low_pass_hertz.draw(rng);
        let gain_db = self.gain_db.draw(rng);
        let snr_db = self.noise_snr_db.draw(rng);
        let seed = rng.random();
        let band_limit = self.band_limit_hertz.draw(rng);
        AugmentPlan {
            tempo: tempo.unwrap_or(1.0),
            semitones: semitones.unwrap_or(0),
            high_pass,
            low_pass,
            gain_db,
            noise: snr_db.map(|snr_db| Noise { snr_db, seed }),
            band_limit,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// All faults at once.
    pub fn validate(&self) -> Result<(), SettingFaults> {
        let mut faults = SettingFaults::default();
        for (key, chance, [lowest, highest]) in self.chances() {
            faults.check_probability(key, chance.probability);
            let [low, high] = chance.range;
            // Written so that a range with NaN is a fault.
            let inside = lowest <= low && low <= high && high <= highest;
            faults.check(inside, format!("{key}.range"), || {
                (
                    format!("[{low}, {high}]"),
                    format!("two numbers from {lowest} to {highest}, the lower one first"),
                )
            });
        }
        let Choice { probability, among } = &self.semitones;
        faults.check_probability("semitones", *probability);
        let known = !among.is_empty() && among.iter().all(|step| (-12..=12).contains(step));
        faults.check(known, "semitones.among".to_owned(), || {
            (
                format!("{among:?}"),
                "one or more whole numbers from -12 to 12".to_owned(),
            )
        });
        faults.into_result()
    }

    /// Every range with its key and the widest range that makes sense.
    fn chances(&self) -> [(&'static str, Chance, [f64; 2]); 6] {
        [
            ("tempo", self.tempo, [0.5, 2.0]),
            ("noise_snr_db", self.noise_snr_db, [-20.0, 100.0]),
            ("gain_db", self.gain_db, [-60.0, 20.0]),
            ("low_pass_hertz", self.low_pass_hertz, [20.0, 7_900.0]),
            ("high_pass_hertz", self.high_pass_hertz, [20.0, 7_900.0]),
            (
                "band_limit_hertz",
                self.band_limit_hertz,
                [1_000.0, 7_900.0],
            ),
        ]
    }
}

impl Chance {
    fn draw(&self, rng: &mut impl Rng) -> Option<f64> {
        let (gate, place): (f64, f64) = (rng.random(), rng.random());
        let [low, high] = self.range;
        (gate < self.probability).then_some(low + (high - low) * place)
    }
}

impl Choice {
    fn draw(&self, rng: &mut impl Rng) -> Option<i8> {
        let (gate, place): (f64, f64) = (rng.random(), rng.random());
        let index = (place * self.among.len() as f64) as usize;
        self.among
            .get(index)
            .copied()
            .filter(|_| gate < self.probability)
    }
}

/// A setting whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: has to be {allowed}")]
pub struct SettingFault {
    /// The setting, with dots between levels.
    pub key: String,
    /// What it is set to.
    pub value: String,
    /// What it may be.
    pub allowed: String,
}

/// Everything that is wrong with some settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingFaults(pub Vec<SettingFault>);

impl std::error::Error for SettingFaults {}

impl fmt::Display for SettingFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings have {} fault(s)", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl SettingFaults {
    /// Notes a fault where a setting is not `fine`; `found` gives its value and what it may be.
    pub fn check(&mut self, fine: bool, key: String, found: impl FnOnce() -> (String, String)) {
        if !fine {
            let (value, allowed) = found();
            self.0.push(SettingFault {
                key,
                value,
                allowed,
            });
        }
    }

    fn check_probability(&mut self, key: &str, probability: f64) {
        let fine = (0.0..=1.0).contains(&probability);
        self.check(fine, format!("{key}.probability"), || {
            (probability.to_string(), "a number from 0 to 1".to_owned())
        });
    }

    /// The faults as an error, if there are any.
    ///
    /// # Errors
    /// `self`, unless it is empty.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}
