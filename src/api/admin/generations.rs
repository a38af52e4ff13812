//! `/v1/admin/generations`: what there is, how good it is, and which of it answers.

use std::{io::ErrorKind, path::Path, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    jobs::object,
    path::{GenerationPath, is_generation_id},
};
use crate::{
    api::{App, Kind, Problem, params::quoted, problem::ParameterFault},
    catalog::{self, CatalogError, GenerationState},
    clock::Timestamp,
    generation::{Generation, GenerationError, GenerationStore, Manifest, ModelCard},
    text::Chain,
    train::evaluate::REPORT_JSON,
};

/// The figures that are listed with every generation: task and measure.
const MAIN_FIGURES: [(&str, &str); 4] = [
    ("crop_to_track", "recall_at_1"),
    ("same_album", "mean_average_precision"),
    ("same_artist_other_albums", "mean_average_precision"),
    ("genre", "precision_at_10"),
];

/// All generations.
#[derive(Serialize)]
pub(crate) struct Listed {
    generations: Vec<GenerationView>,
}

/// A generation; what its directory says is null where there is none any more.
#[derive(Serialize)]
struct GenerationView {
    id: String,
    state: &'static str,
    active: bool,
    created_at: Timestamp,
    model: Option<ModelCard>,
    dimension: Option<usize>,
    tracks: Option<usize>,
    figures: Option<Vec<MainFigure>>,
}

/// One of [`MAIN_FIGURES`].
#[derive(Serialize, Deserialize)]
struct MainFigure {
    task: String,
    measure: String,
    values: Vec<FigureValue>,
}

/// A figure of one representation: the generation's model or a baseline.
#[derive(Serialize, Deserialize)]
struct FigureValue {
    representation: String,
    /// Null where it could not be measured.
    estimate: Option<Estimate>,
}

/// A number with its 95 % interval.
#[derive(Serialize, Deserialize)]
struct Estimate {
    value: f64,
    low: f64,
    high: f64,
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<Listed>, Problem> {
    let known = generations(&app).await?;
    let views = blocking(move || {
        let view = |known| GenerationView::new(known, &app.generations);
        known.into_iter().map(view).collect()
    });
    Ok(Json(Listed {
        generations: views.await?,
    }))
}

pub(crate) async fn report(
    State(app): State<Arc<App>>,
    GenerationPath(id): GenerationPath,
) -> Result<Response, Problem> {
    find(&app, &id).await?;
    report_in(&app.generations.report_dir(&id), || {
        format!("generation {id} has no report; those that a job of kind `train` built have one")
    })
    .await
}

/// Answers with the report in a directory, or says why there is none.
pub(super) async fn report_in(
    dir: &Path,
    absent: impl FnOnce() -> String,
) -> Result<Response, Problem> {
    match tokio::fs::read(dir.join(REPORT_JSON)).await {
        Ok(report) => Ok(([(header::CONTENT_TYPE, "application/json")], report).into_response()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Problem::with(Kind::NoReport, absent()))
        }
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// The answer to an activation.
#[derive(Serialize)]
pub(crate) struct Activated {
    active: String,
    former: Option<String>,
}

pub(crate) async fn activate(
    State(app): State<Arc<App>>,
    GenerationPath(id): GenerationPath,
    request: Request,
) -> Result<Json<Activated>, Problem> {
    let expected = expected(request).await?;
    let former = activate_expecting(&app, &id, expected).await?;
    Ok(Json(Activated { active: id, former }))
}

/// What is to be active before, if that was said: a generation, or none.
type Expected = Option<Option<String>>;

async fn expected(request: Request) -> Result<Expected, Problem> {
    let mut body = object(request.into_body()).await?;
    let given = body.remove("expected");
    let mut faults: Vec<ParameterFault> = body
        .keys()
        .map(|name| ParameterFault::new(name, "no such field"))
        .collect();
    let expected = match given {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(id)) if is_generation_id(&id) => Some(Some(id)),
        Some(other) => {
            let detail = format!(
                "{} is neither the id of a generation nor null",
                quoted(&other.to_string())
            );
            faults.push(ParameterFault::new("expected", detail));
            None
        }
    };
    if faults.is_empty() {
        Ok(expected)
    } else {
        Err(Problem::parameters(faults))
    }
}

/// Makes a generation the active one if it passes every check and the active one is the expected
/// one. Gives the former one.
async fn activate_expecting(
    app: &Arc<App>,
    id: &str,
    expected: Expected,
) -> Result<Option<String>, Problem> {
    let generation = find(app, id).await?;
    let catalog = app.recommender.catalog();
    let active = async || {
        let active = catalog.active_generation().await;
        active
            .map(|active| active.map(|active| active.id))
            .map_err(|error| Problem::internal(&error))
    };
    let former = active().await?;
    // Asked again after an answer that got lost: it is as it was to be.
    if former.as_deref() == Some(id) {
        return Ok(former);
    }
    let expected = expected.unwrap_or_else(|| former.clone());
    if expected != former {
        return Err(changed(former.as_deref()));
    }
    if generation.state != GenerationState::Ready {
        return Err(Problem::with(
            Kind::GenerationUnfit,
            format!("generation {id} is {}, not ready", generation.state),
        ));
    }
    check(app, id).await?;
    match catalog.activate(expected.as_deref(), id).await {
        Ok(true) => Ok(former),
        Ok(false) => Err(changed(active().await?.as_deref())),
        // Retired since it was looked at.
        Err(CatalogError::GenerationNotReady(_)) => Err(Problem::with(
            Kind::GenerationUnfit,
            format!("generation {id} is no longer ready"),
        )),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn changed(active: Option<&str>) -> Problem {
    let active = active.map_or_else(
        || "no generation is active".to_owned(),
        |active| format!("generation {active} is active"),
    );
    Problem::with(
        Kind::ActiveGenerationChanged,
        format!("{active} now; look at it and ask again with it as `expected`"),
    )
}

/// Loads the generation once with all checks: hashes, parts that fit, self-check.
async fn check(app: &Arc<App>, id: &str) -> Result<(), Problem> {
    let dir = app.generations.path(id);
    let owned = Arc::clone(app);
    let loaded: Result<(), GenerationError> =
        blocking(move || Generation::load(&dir, owned.recommender.batcher()).map(drop)).await?;
    loaded.map_err(|error| {
        tracing::warn!(generation = id, error = %Chain(&error), "not fit to serve");
        Problem::with(
            Kind::GenerationUnfit,
            format!("generation {id} fails a check: {}", Chain(&error)),
        )
    })
}

/// Runs what reads files for long off the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::internal(&error))
}

async fn generations(app: &App) -> Result<Vec<catalog::Generation>, Problem> {
    let generations = app.recommender.catalog().generations().await;
    generations.map_err(|error| Problem::internal(&error))
}

async fn find(app: &App, id: &str) -> Result<catalog::Generation, Problem> {
    let known = generations(app).await?;
    known
        .into_iter()
        .find(|generation| generation.id == id)
        .ok_or_else(|| {
            Problem::with(
                Kind::NoSuchGeneration,
                format!("there is no generation {id}"),
            )
        })
}

impl GenerationView {
    fn new(known: catalog::Generation, store: &GenerationStore) -> Self {
        let manifest = Manifest::read(&store.path(&known.id)).ok();
        let report = store.report_dir(&known.id).join(REPORT_JSON);
        Self {
            id: known.id,
            state: known.state.as_str(),
            active: known.active,
            created_at: Timestamp::from_unix_seconds(known.created_at),
            dimension: manifest.as_ref().map(|manifest| manifest.dimension),
            tracks: manifest.as_ref().map(|manifest| manifest.tracks),
            model: manifest.map(|manifest| manifest.model),
            figures: main_figures(&report),
        }
    }
}

/// The main figures of a report; none where there is no report that can be read.
fn main_figures(path: &Path) -> Option<Vec<MainFigure>> {
    #[derive(Deserialize)]
    struct Report {
        figures: Vec<MainFigure>,
    }
    let text = std::fs::read(path).ok()?;
    let report: Report = match serde_json::from_slice(&text) {
        Ok(report) => report,
        Err(error) => {
            tracing::warn!(report = %path.display(), error = %error, "cannot be read");
            return None;
        }
    };
    let mut figures = report.figures;
    figures.retain(|figure| MAIN_FIGURES.contains(&(&figure.task, &figure.measure)));
    Some(figures)
}
