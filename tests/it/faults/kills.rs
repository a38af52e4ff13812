//! SIGKILL at random points; after each one nothing that was acknowledged is lost.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use songkin::{backup::BackupManifest, track::TrackId};

use super::{asked, seed};
use crate::running::{PATIENCE, Process, Running, SERVER, Site, WORKER, demo_files, write_music};

/// Kills in the ordinary run.
const FEW: u64 = 8;
/// Jobs that wait before no more are asked for.
const MOST_WAITING: usize = 3;

/// How long what is to be cut off may take, milliseconds, before anything is known of this machine.
const FIRST_GUESS: f64 = 250.0;

/// What is killed, and at what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scene {
    /// A worker that ingests, builds and activates.
    Ingest,
    /// A worker that builds and activates.
    Build,
    /// A server that activates.
    Activation,
    /// A server that takes uploads.
    Upload,
    /// A server that takes jobs.
    Jobs,
    /// A backup.
    Backup,
}

/// What was acknowledged.
#[derive(Default)]
struct Promised {
    /// Jobs with the keys that they were asked for under.
    jobs: Vec<(String, u64)>,
    recorded: BTreeSet<TrackId>,
}

struct House {
    site: Site,
    rng: ChaCha8Rng,
    server: Option<Running>,
    worker: Option<Process>,
    promised: Promised,
    /// Files written so far.
    files: usize,
    asked: usize,
    slowest: Duration,
    /// Kills that found the program at work.
    at_work: u64,
    /// A kill of each kind comes at a random moment before this, milliseconds; kills that come too late bring it down.
    latest: HashMap<Scene, f64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_to_kills() {
    let wanted = asked("FAULT_KILLS").unwrap_or(FEW);
    let mut house = House::new().await;
    let scenes = [
        Scene::Ingest,
        Scene::Build,
        Scene::Activation,
        Scene::Upload,
        Scene::Jobs,
        Scene::Ingest,
        Scene::Build,
        Scene::Backup,
    ];
    for number in 0..wanted {
        let scene = scenes[number as usize % scenes.len()];
        house.play(scene).await;
        house.check().await;
        if number % 20 == 19 {
            println!(
                "{} kills, {} tracks",
                number + 1,
                house.promised.recorded.len()
            );
        }
    }
    house.settle().await;
    println!(
        "{wanted} kills, {} of them in the middle of work; {} jobs acknowledged, {} tracks recorded; slowest restart {:.2} s",
        house.at_work,
        house.promised.jobs.len(),
        house.promised.recorded.len(),
        house.slowest.as_secs_f64(),
    );
    // A few kills are too few to learn how fast the machine is.
    assert!(
        wanted < 100 || house.at_work * 2 > wanted,
        "most kills came too late"
    );
}

impl House {
    async fn new() -> Self {
        let site = Site::new();
        write_music(&site.path("music/0"), 0..4);
        site.succeed(WORKER, &["ingest", site.path("music/0").to_str().unwrap()]);
        let server = site.serve().await;
        let mut house = Self {
            site,
            rng: ChaCha8Rng::seed_from_u64(seed()),
            server: Some(server),
            worker: None,
            promised: Promised::default(),
            files: 4,
            asked: 0,
            slowest: Duration::ZERO,
            at_work: 0,
            latest: HashMap::new(),
        };
        house.start_worker();
        house
    }

    fn address(&self) -> String {
        self.server.as_ref().unwrap().address.clone()
    }

    fn start_worker(&mut self) {
        let mut command = self.site.command(WORKER, &self.site.data(), &["run"]);
        self.worker = Some(Process::start(&mut command));
    }

    /// Waits for a random moment of what is going on.
    async fn wait(&mut self, scene: Scene) {
        let latest = *self.latest.entry(scene).or_insert(FIRST_GUESS);
        let moment = self.rng.random_range(0.0..latest);
        tokio::time::sleep(Duration::from_secs_f64(moment / 1e3)).await;
    }

    /// Says whether the kill after [`Self::wait`] found the program at work.
    fn caught(&mut self, scene: Scene, at_work: bool) {
        self.at_work += u64::from(at_work);
        // Balanced where two of three come in time.
        let factor = if at_work { 1.1 } else { 0.8 };
        self.latest
            .entry(scene)
            .and_modify(|latest| *latest *= factor);
    }

    async fn play(&mut self, scene: Scene) {
        match scene {
            Scene::Ingest => self.kill_worker_at(scene, "ingest").await,
            Scene::Build => self.kill_worker_at(scene, "build").await,
            Scene::Activation => self.kill_activating_server().await,
            Scene::Upload => self.kill_receiving_server().await,
            Scene::Jobs => self.kill_asked_server().await,
            Scene::Backup => self.kill_backup().await,
        }
    }

    /// Parameters of a job that has something to do.
    fn job(&mut self, kind: &str) -> Value {
        if kind == "build" {
            return json!({"kind": "build", "parameters": {}});
        }
        let dir = self.site.path(&format!("music/{}", self.files));
        write_music(&dir, self.files..self.files + 2);
        self.files += 2;
        // A build has something to do where files were recorded that are in no generation yet.
        json!({"kind": "ingest", "parameters": {"dir": dir, "build": self.rng.random_bool(0.5)}})
    }

    /// Asks for a job; it is promised once it is acknowledged.
    async fn ask(&mut self, wanted: &Value) -> Option<u64> {
        self.asked += 1;
        let key = format!("key-{}", self.asked);
        self.ask_as(key, wanted).await
    }

    async fn ask_as(&mut self, key: String, wanted: &Value) -> Option<u64> {
        let answer = self.site.ask(&self.address(), &key, wanted).await?;
        let id = answer.expect(202)["id"].as_u64().unwrap();
        self.promised.jobs.push((key, id));
        Some(id)
    }

    async fn jobs_in(&self, state: &str) -> Vec<Value> {
        let path = format!("/v1/admin/jobs?state={state}&limit=100");
        let page = self.site.get(&self.address(), &path).await.expect(200);
        page["jobs"].as_array().unwrap().clone()
    }

    /// Whether the worker that lives has a job: one that was killed seems to have one for a while.
    async fn worker_is_at_work(&self) -> bool {
        let name = format!("worker-{}", self.worker.as_ref().unwrap().id());
        let jobs = self.jobs_in("running").await;
        jobs.iter().any(|job| job["worker"] == name.as_str())
    }

    async fn kill_worker_at(&mut self, scene: Scene, kind: &str) {
        if self.jobs_in("queued").await.len() < MOST_WAITING {
            let wanted = self.job(kind);
            self.ask(&wanted).await.unwrap();
        }
        let began = Instant::now();
        while !self.worker_is_at_work().await {
            assert!(began.elapsed() < PATIENCE, "no job begins");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.wait(scene).await;
        let at_work = self.worker_is_at_work().await;
        self.caught(scene, at_work);
        assert!(self.worker.take().unwrap().kill(), "the worker had ended");
    }

    async fn kill_server(&mut self) {
        assert!(self.server.take().unwrap().process.kill());
        let server = self.site.serve().await;
        self.slowest = self.slowest.max(server.took);
        assert_eq!(self.site.spooled(), 0, "the spool keeps what a kill left");
        self.server = Some(server);
    }

    async fn kill_activating_server(&mut self) {
        // A worker could put another one into service meanwhile.
        if let Some(worker) = self.worker.take() {
            worker.kill();
        }
        let (known, _) = self.site.generations();
        let active = self.active().await;
        let other = known.iter().find(|id| Some(*id) != active.as_ref());
        let target = other.or(known.first()).unwrap().clone();
        let path = format!("/v1/admin/generations/{target}/activate");
        let request = self
            .site
            .request(reqwest::Method::POST, &self.address(), &path)
            .json(&json!({}));
        let sent = tokio::spawn(request.send());
        self.wait(Scene::Activation).await;
        self.caught(Scene::Activation, !sent.is_finished());
        self.kill_server().await;
        let acknowledged = matches!(sent.await.unwrap(), Ok(answer) if answer.status() == 200);
        let now = self.active().await;
        if acknowledged {
            assert_eq!(now, Some(target), "an acknowledged activation is lost");
        } else {
            assert!(
                now == Some(target) || now == active,
                "{now:?} was never asked for"
            );
        }
    }

    async fn active(&self) -> Option<String> {
        let path = "/v1/admin/generations";
        let page = self.site.get(&self.address(), path).await.expect(200);
        let generations = page["generations"].as_array().unwrap().iter();
        generations
            .filter(|generation| generation["active"] == true)
            .map(|generation| generation["id"].as_str().unwrap().to_owned())
            .next()
    }

    async fn kill_receiving_server(&mut self) {
        // Above what is kept in memory, and in pieces: the spool is in use for a while.
        let clip: Vec<u8> = demo_files()
            .iter()
            .take(8)
            .flat_map(|path| fs::read(path).unwrap())
            .collect();
        let sent: Vec<_> = (0..3)
            .map(|_| {
                let pieces: Vec<_> = clip.chunks(64 << 10).map(<[u8]>::to_vec).collect();
                let stream = futures_util::stream::unfold(pieces.into_iter(), |mut left| async {
                    tokio::time::sleep(Duration::from_millis(8)).await;
                    Some((Ok::<_, std::io::Error>(left.next()?), left))
                });
                let request = self
                    .site
                    .request(
                        reqwest::Method::POST,
                        &self.address(),
                        "/v1/recommendations",
                    )
                    .header("content-type", "audio/mpeg")
                    .body(reqwest::Body::wrap_stream(stream));
                tokio::spawn(request.send())
            })
            .collect();
        self.wait(Scene::Upload).await;
        let at_work = sent.iter().any(|sent| !sent.is_finished());
        self.caught(Scene::Upload, at_work);
        self.kill_server().await;
    }

    async fn kill_asked_server(&mut self) {
        let address = self.address();
        let wanted = json!({"kind": "build", "parameters": {"activate": false}});
        let mut sent = Vec::new();
        let room = 2 * MOST_WAITING > self.jobs_in("queued").await.len();
        for _ in 0..if room { 3 } else { 1 } {
            self.asked += 1;
            let key = format!("key-{}", self.asked);
            let request = self
                .site
                .request(reqwest::Method::POST, &address, "/v1/admin/jobs")
                .header("idempotency-key", &key)
                .json(&wanted);
            sent.push((key, tokio::spawn(request.send())));
        }
        self.wait(Scene::Jobs).await;
        let at_work = sent.iter().any(|(_, sent)| !sent.is_finished());
        self.caught(Scene::Jobs, at_work);
        self.kill_server().await;
        let mut lost = Vec::new();
        for (key, sent) in sent {
            match sent.await.unwrap() {
                Ok(answer) if answer.status() == 202 => match answer.json::<Value>().await {
                    Ok(job) => self.promised.jobs.push((key, job["id"].as_u64().unwrap())),
                    Err(_) => lost.push(key),
                },
                _ => lost.push(key),
            }
        }
        // Who got no answer asks again under the same key, and gets one job.
        for key in lost {
            let answer = self.site.ask(&self.address(), &key, &wanted).await.unwrap();
            let id = answer.json()["id"].as_u64().unwrap();
            self.promised.jobs.push((key, id));
        }
    }

    async fn kill_backup(&mut self) {
        let place = self.site.path("backups");
        let target = place.join(self.asked.to_string());
        self.asked += 1;
        let args = ["backup", target.to_str().unwrap()];
        let backup = Process::start(&mut self.site.command(SERVER, &self.site.data(), &args));
        self.wait(Scene::Backup).await;
        self.caught(Scene::Backup, backup.kill());
        if target.exists() {
            BackupManifest::verify(&target, &|_, _, _| true).unwrap();
            fs::remove_dir_all(&target).unwrap();
        }
        let left = fs::read_dir(&place).map_or(0, Iterator::count);
        assert!(left <= 1, "{left} backups that were cut off lie about");
    }

    /// Everything that has to hold after every kill.
    async fn check(&mut self) {
        let address = self.address();
        let recorded = self.site.analysed().await;
        let lost: Vec<_> = self.promised.recorded.difference(&recorded).collect();
        assert!(lost.is_empty(), "recorded tracks are lost: {lost:?}");
        self.promised.recorded = recorded;
        if self.worker.is_none() {
            let (seen, hidden) = self.site.generations();
            assert!(hidden <= 2, "{hidden} hidden directories");
            let active = self.active().await.unwrap();
            assert!(seen.contains(&active), "the active generation is not there");
            self.start_worker();
        }
        let ready = self.site.get(&address, "/readyz").await.expect(200);
        let track = *self.promised.recorded.first().unwrap();
        let path = format!("/v1/tracks/{track}/similar");
        let answer = self.site.get(&address, &path).await.expect(200);
        assert!(!answer["results"].as_array().unwrap().is_empty());
        assert!(ready["generation"].is_string());
        for (_, id) in self.promised.jobs.iter().rev().take(8) {
            let path = format!("/v1/admin/jobs/{id}");
            self.site.get(&address, &path).await.expect(200);
        }
    }

    /// Lets everything come to its end and looks at all of it.
    async fn settle(&mut self) {
        let address = self.address();
        for (key, id) in &self.promised.jobs {
            let ended = |job: &Value| job["finished_at"].is_string().then(|| job.clone());
            let job = self.site.until(&address, *id, ended).await;
            let exhausted = job["error"]["kind"] == "attempts_exhausted";
            assert!(job["state"] == "succeeded" || exhausted, "{key}: {job}");
        }
        let ids: BTreeSet<u64> = self.promised.jobs.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), self.promised.jobs.len(), "two keys have one job");
        let music = self.site.path("music");
        let wanted = json!({"kind": "ingest", "parameters": {"dir": music}});
        let last = self.ask(&wanted).await.unwrap();
        let ended = |job: &Value| job["finished_at"].is_string().then(|| job.clone());
        let job = self.site.until(&address, last, ended).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        let began = Instant::now();
        let generation = job["outcome"]["generation"]["id"].as_str().unwrap();
        while self.site.get(&address, "/readyz").await.json()["generation"] != generation {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let recorded = self.site.analysed().await;
        assert!(self.promised.recorded.is_subset(&recorded));
        assert_eq!(recorded.len(), self.files, "files without a track");
        let (seen, hidden) = self.site.generations();
        assert_eq!(hidden, 0, "hidden directories stay");
        assert!(seen.len() <= 4, "{} generations stay", seen.len());
        self.site.succeed(SERVER, &["verify"]);
        self.promised.recorded = recorded;
    }
}
