//! What an evaluation found, as it is written and read.

mod figures;
mod markdown;
mod parts;
mod plots;
mod svg;

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

pub use parts::{
    Dataset, Difference, Estimate, Figure, GenreCount, Map, Panel, Skipped, Summary, Value,
};
pub use plots::Curves;

pub(super) use figures::{figures, round};

use super::{EvaluateError, EvaluationSettings, Measure, Task};

/// Version of `report.json`.
const FORMAT: u32 = 1;
/// The report for programs.
pub const REPORT_JSON: &str = "report.json";
/// The report for readers.
pub const REPORT_MARKDOWN: &str = "report.md";
/// The loss over the steps of training.
pub const LOSS_PLOT: &str = "loss.svg";
/// The t-SNE map.
pub const MAP_PLOT: &str = "tsne.svg";

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout; a reader refuses later ones.
    pub format: u32,
    /// What was evaluated on.
    pub dataset: Dataset,
    /// How it was evaluated.
    pub settings: EvaluationSettings,
    /// What was compared: the embedders in the caller's order, then the baselines.
    pub representations: Vec<Summary>,
    /// Every figure, whether it could be measured or not; always the same ones in the same order.
    pub figures: Vec<Figure>,
    /// The t-SNE map of the embedders, unless there are too few tracks or it was not wanted.
    pub map: Option<Map>,
}

impl Report {
    /// Puts a report together.
    pub(super) fn new(
        dataset: Dataset,
        settings: EvaluationSettings,
        representations: Vec<Summary>,
        figures: Vec<Figure>,
        map: Option<Map>,
    ) -> Self {
        Self {
            format: FORMAT,
            dataset,
            settings,
            representations,
            figures,
            map,
        }
    }

    /// A figure.
    #[must_use]
    pub fn figure(&self, task: Task, measure: Measure) -> Option<&Figure> {
        let mut figures = self.figures.iter();
        figures.find(|figure| figure.task == task && figure.measure == measure)
    }

    /// A figure of a representation; `None` where it was not measured.
    #[must_use]
    pub fn value(&self, task: Task, measure: Measure, representation: &str) -> Option<Estimate> {
        let mut values = self.figure(task, measure)?.values.iter();
        values
            .find(|value| value.representation == representation)?
            .estimate
    }

    /// A figure of one representation minus that of another; `None` where it was not measured, or both are
    /// baselines.
    #[must_use]
    pub fn difference(
        &self,
        task: Task,
        measure: Measure,
        representation: &str,
        minus: &str,
    ) -> Option<Estimate> {
        self.figure(task, measure)?
            .differences
            .iter()
            .find_map(|it| match (&*it.representation, &*it.minus) {
                pair if pair == (representation, minus) => Some(it.estimate),
                pair if pair == (minus, representation) => Some(it.estimate.negated()),
                _ => None,
            })
    }

    /// Writes `report.json`, `report.md`, the map's plot where there is a map, and the loss's where there are
    /// curves, into a directory that exists.
    ///
    /// # Errors
    /// [`EvaluateError::Io`] with the file that cannot be written.
    pub fn write(&self, dir: &Path, curves: &Curves) -> Result<(), EvaluateError> {
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|source| EvaluateError::Io { path, source })
        };
        let mut json =
            serde_json::to_string_pretty(self).map_err(|source| EvaluateError::Json {
                path: dir.join(REPORT_JSON),
                source,
            })?;
        json.push('\n');
        write(REPORT_JSON, json)?;
        if let Some(map) = &self.map {
            write(MAP_PLOT, plots::map(map))?;
        }
        if let Some(plot) = plots::loss(curves) {
            write(LOSS_PLOT, plot)?;
        }
        write(REPORT_MARKDOWN, markdown::render(self, curves))
    }

    /// Reads `report.json` from a directory.
    ///
    /// # Errors
    /// [`EvaluateError`] when it is missing, no report, or written by a later version.
    pub fn read(dir: &Path) -> Result<Self, EvaluateError> {
        let path = dir.join(REPORT_JSON);
        let text = fs::read(&path).map_err(|source| EvaluateError::Io {
            path: path.clone(),
            source,
        })?;
        let json = |source| EvaluateError::Json {
            path: path.clone(),
            source,
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(&text).map_err(json)?;
        if format > FORMAT {
            return Err(EvaluateError::NewerFormat {
                found: format,
                known: FORMAT,
            });
        }
        serde_json::from_slice(&text).map_err(json)
    }
}
