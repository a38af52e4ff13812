//! What a job works with.

mod faults;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use faults::Fault;

use super::job::JobKind;
use crate::text::words;
use faults::{Check, typed};

/// Parameters of a job of each kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    /// For [`JobKind::Ingest`].
    Ingest(IngestParameters),
    /// For [`JobKind::Train`].
    Train(TrainParameters),
    /// For [`JobKind::Build`].
    Build(BuildParameters),
    /// For [`JobKind::Evaluate`].
    Evaluate(EvaluateParameters),
}

/// Analyses a directory of music.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestParameters {
    /// The directory, absolute: the worker that reads it may have been started elsewhere.
    pub dir: PathBuf,
    /// Of the FMA: only this subset and the smaller ones inside it.
    pub subset: Option<IngestSubset>,
    /// Try the files of the ledger of bad files again.
    pub retry_bad: bool,
    /// Build and activate a generation afterwards.
    pub build: bool,
}

impl Default for IngestParameters {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            subset: None,
            retry_bad: false,
            build: true,
        }
    }
}

words! {
    /// A subset of the FMA, each inside the next.
    IngestSubset {
        /// 8,000 tracks.
        Small = "small",
        /// 25,000 tracks.
        Medium = "medium",
        /// 106,574 tracks.
        Large = "large",
        /// The same tracks in their full length.
        Full = "full",
    }
}

/// Trains an encoder on the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainParameters {
    /// Model and recipe; the other fields change single values of it.
    pub preset: TrainPreset,
    /// The new model's name: lower-case letters, digits and hyphens.
    pub name: Option<String>,
    /// Passes over the training split.
    pub epochs: Option<u32>,
    /// Tracks in a batch, each with two views.
    pub batch: Option<usize>,
    /// The optimiser's peak learning rate.
    pub learning_rate: Option<f64>,
    /// Temperature of the contrastive loss.
    pub temperature: Option<f64>,
    /// How views are changed on the waveform.
    pub augmentation: Option<TrainAugmentation>,
    /// Seed of weights, order, views and masks. At most 2^53, so that every JSON reader gets it.
    pub seed: Option<u64>,
    /// Fine-tunes this generation's model instead of starting from fresh weights.
    pub start_from: Option<String>,
    /// Tracks used of each split.
    pub limits: Option<TrainLimits>,
    /// Ends the training after this time, at the end of an epoch or within one.
    pub max_minutes: Option<f64>,
    /// Activate the new generation if it passes the gate.
    pub activate: bool,
}

impl Default for TrainParameters {
    fn default() -> Self {
        Self {
            preset: TrainPreset::Small,
            name: None,
            epochs: None,
            batch: None,
            learning_rate: None,
            temperature: None,
            augmentation: None,
            seed: None,
            start_from: None,
            limits: None,
            max_minutes: None,
            activate: true,
        }
    }
}

words! {
    /// A model with a recipe to train it.
    TrainPreset {
        /// What a CPU can finish.
        Small = "small",
        /// As the study describes it.
        Paper = "paper",
    }
}

words! {
    /// How the views of a track are changed before the model hears them.
    TrainAugmentation {
        /// Views differ only in where they are cut.
        None = "none",
        /// Noise, gain and band limit now and then, tempo and pitch seldom.
        Light = "light",
        /// The study's: noise, tempo and pitch, each for half of the views.
        Study = "study",
    }
}

/// How many tracks of each split are used; all where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainLimits {
    /// Of the training split.
    pub training: Option<usize>,
    /// Of the validation split.
    pub validation: Option<usize>,
    /// Of the test split.
    pub test: Option<usize>,
}

/// Builds a generation of all tracks that a model has analysed or is to analyse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildParameters {
    /// Whose model is used; the configured one where nothing is said.
    pub generation: Option<String>,
    /// Activate it.
    pub activate: bool,
}

impl Default for BuildParameters {
    fn default() -> Self {
        Self {
            generation: None,
            activate: true,
        }
    }
}

/// Measures how well a generation finds, beside the active one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateParameters {
    /// Which; the active one where nothing is said.
    pub generation: Option<String>,
    /// On which tracks.
    pub split: EvaluateSplit,
}

impl Default for EvaluateParameters {
    fn default() -> Self {
        Self {
            generation: None,
            split: EvaluateSplit::Test,
        }
    }
}

words! {
    /// Tracks that no training has heard.
    EvaluateSplit {
        /// To choose a recipe by.
        Validation = "validation",
        /// To report; what is chosen by it no longer says how good anything is.
        Test = "test",
    }
}

impl Parameters {
    /// Reads the parameters of a job from a JSON object; what is not said takes its default.
    ///
    /// # Errors
    /// Every fault: unknown fields, values of a wrong type or out of range.
    pub fn read(kind: JobKind, object: &Value) -> Result<Self, Vec<Fault>> {
        let parameters = match kind {
            JobKind::Ingest => Self::Ingest(typed(object)?),
            JobKind::Train => Self::Train(typed(object)?),
            JobKind::Build => Self::Build(typed(object)?),
            JobKind::Evaluate => Self::Evaluate(typed(object)?),
        };
        parameters.validate()?;
        Ok(parameters)
    }

    /// The kind of job that they are for.
    #[must_use]
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Ingest(_) => JobKind::Ingest,
            Self::Train(_) => JobKind::Train,
            Self::Build(_) => JobKind::Build,
            Self::Evaluate(_) => JobKind::Evaluate,
        }
    }

    /// The parameters as a JSON object, every field in it.
    ///
    /// Only valid ones can all be written: JSON knows neither NaN nor paths that are not UTF-8.
    pub(super) fn to_json(&self) -> Result<Value, Vec<Fault>> {
        self.validate()?;
        let object = match self {
            Self::Ingest(parameters) => serde_json::to_value(parameters),
            Self::Train(parameters) => serde_json::to_value(parameters),
            Self::Build(parameters) => serde_json::to_value(parameters),
            Self::Evaluate(parameters) => serde_json::to_value(parameters),
        };
        object.map_err(|error| {
            vec![Fault {
                path: String::new(),
                detail: error.to_string(),
            }]
        })
    }

    /// Checks what types alone do not say.
    ///
    /// # Errors
    /// Every field that is out of its range.
    pub fn validate(&self) -> Result<(), Vec<Fault>> {
        let mut check = Check::default();
        match self {
            Self::Ingest(parameters) => {
                let dir = &parameters.dir;
                let text = dir.to_str().filter(|text| !text.contains('\0'));
                let fine = dir.is_absolute() && text.is_some();
                check.that(fine, "dir", "has to be the absolute path of a directory");
            }
            Self::Train(parameters) => parameters.validate(&mut check),
            Self::Build(BuildParameters { generation, .. })
            | Self::Evaluate(EvaluateParameters { generation, .. }) => {
                check.generation("generation", generation.as_deref());
            }
        }
        check.finish()
    }
}

impl TrainParameters {
    fn validate(&self, check: &mut Check) {
        let name = |name: &String| {
            (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        check.that(
            self.name.as_ref().is_none_or(name),
            "name",
            "has to be 1 to 64 lower-case letters, digits and hyphens",
        );
        check.range("epochs", self.epochs, 1..=10_000);
        // The loss needs another track to tell a track from.
        check.range("batch", self.batch, 2..=4096);
        check.above_zero("learning_rate", self.learning_rate, 1.0);
        check.above_zero("temperature", self.temperature, 10.0);
        check.range("seed", self.seed, 0..=1 << 53);
        check.generation("start_from", self.start_from.as_deref());
        let limits = self.limits.unwrap_or_default();
        let tracks = 2..=100_000_000;
        check.range("limits.training", limits.training, tracks.clone());
        check.range("limits.validation", limits.validation, tracks.clone());
        check.range("limits.test", limits.test, tracks);
        // A month.
        check.above_zero("max_minutes", self.max_minutes, 43_200.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(kind: JobKind, object: &Value) -> Vec<String> {
        let faults = Parameters::read(kind, object).unwrap_err();
        assert!(faults.iter().all(|fault| !fault.detail.is_empty()));
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn what_is_not_said_takes_its_default() {
        let read = |kind, object| Parameters::read(kind, &object).unwrap();
        assert_eq!(
            read(JobKind::Train, json!({})),
            Parameters::Train(TrainParameters::default())
        );
        assert_eq!(
            read(JobKind::Build, json!({"activate": false})),
            Parameters::Build(BuildParameters {
                generation: None,
                activate: false
            })
        );
        assert_eq!(
            read(JobKind::Ingest, json!({"dir": "/music", "subset": "small"})),
            Parameters::Ingest(IngestParameters {
                dir: "/music".into(),
                subset: Some(IngestSubset::Small),
                retry_bad: false,
                build: true,
            })
        );
    }

    #[test]
    fn every_fault_of_type_is_told() {
        let object = json!({
            "epochs": "many", "batch": -1, "colour": "red", "seed": 3,
            "limits": {"training": "all", "tests": 5, "validation": 8}, "preset": "large",
        });
        let mut faults = paths(JobKind::Train, &object);
        faults.sort();
        assert_eq!(
            faults,
            [
                "batch",
                "colour",
                "epochs",
                "limits.tests",
                "limits.training",
                "preset"
            ]
        );
        for not_an_object in [json!([]), json!([null]), json!(null), json!("x")] {
            assert_eq!(paths(JobKind::Evaluate, &not_an_object), [""]);
        }
        assert_eq!(paths(JobKind::Train, &json!({"limits": 7})), ["limits"]);
    }

    #[test]
    fn every_value_out_of_range_is_told() {
        let object = json!({
            "name": "Größe", "epochs": 0, "batch": 1, "learning_rate": 0.0, "temperature": 11,
            "seed": (1_u64 << 53) + 1, "start_from": "../../etc", "max_minutes": -1.0,
            "limits": {"training": 1, "validation": 1, "test": 0},
        });
        assert_eq!(
            paths(JobKind::Train, &object),
            [
                "name",
                "epochs",
                "batch",
                "learning_rate",
                "temperature",
                "seed",
                "start_from",
                "limits.training",
                "limits.validation",
                "limits.test",
                "max_minutes"
            ]
        );
        for dir in ["", "music", "/mu\0sic"] {
            assert_eq!(paths(JobKind::Ingest, &json!({"dir": dir})), ["dir"]);
        }
        for id in [
            "",
            "0123456789ABCDEF",
            "0123456789abcde",
            "0123456789abcdef0",
        ] {
            assert_eq!(
                paths(JobKind::Build, &json!({"generation": id})),
                ["generation"]
            );
        }
        let nan = TrainParameters {
            learning_rate: Some(f64::NAN),
            ..TrainParameters::default()
        };
        assert!(Parameters::Train(nan).to_json().is_err());
    }

    #[test]
    fn written_parameters_read_back() {
        let object = json!({
            "preset": "paper", "name": "songkin-small", "epochs": 10, "batch": 8,
            "learning_rate": 3e-5, "temperature": 0.1, "seed": 1_u64 << 53,
            "start_from": "0123456789abcdef", "max_minutes": 90,
            "limits": {"training": 1000, "validation": 200, "test": 200}, "activate": false,
        });
        let read = Parameters::read(JobKind::Train, &object).unwrap();
        let written = read.to_json().unwrap();
        assert_eq!(Parameters::read(JobKind::Train, &written).unwrap(), read);
        let Parameters::Train(train) = read else {
            panic!("{written}")
        };
        assert_eq!(
            (train.preset, train.learning_rate),
            (TrainPreset::Paper, Some(3e-5))
        );
    }
}
