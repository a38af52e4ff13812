//! The catalogue: its database on real files, the dataset's metadata, plain folders.

mod described;
mod fma;
mod folder;
mod generations;
mod ingest;
mod scan;
mod search;
mod store;
mod trainable;

use std::path::{Path, PathBuf};

use songkin::{
    catalog::{
        Analysis, AudioFile, Catalog, ContentHash, ExtractorId, FileStamp, FoundFile, LibraryId,
        LocalTrack, Metadata, Recorded, RelativePath, Subject, Subset, Windows, fma::read_metadata,
        folder::TrackTags,
    },
    track::TrackId,
};
use tempfile::TempDir;

/// A catalogue and a library on disk, both gone at the end of the test.
struct House {
    dir: TempDir,
    catalog: Catalog,
    library: LibraryId,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path().join("catalogue.db"))
            .await
            .unwrap();
        let root = dir.path().join("music");
        std::fs::create_dir(&root).unwrap();
        let library = catalog.library(&root).await.unwrap();
        Self {
            dir,
            catalog,
            library,
        }
    }

    /// With the fixture's metadata.
    async fn with_fma() -> Self {
        let house = Self::new().await;
        house
            .catalog
            .upsert_metadata(&fixture(), |_| {})
            .await
            .unwrap();
        house
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join("catalogue.db")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("music")
    }

    /// Writes a file into the library and describes it.
    fn write(&self, path: &str, content: &str) -> AudioFile {
        let full = self.root().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, content).unwrap();
        self.file(path)
    }

    /// Describes a file of the library as it lies there.
    fn file(&self, path: &str) -> AudioFile {
        let full = self.root().join(path);
        AudioFile {
            library: self.library,
            path: RelativePath::new(path).unwrap(),
            stamp: FileStamp::of(&full.metadata().unwrap()),
            hash: ContentHash::of_reader(std::fs::File::open(full).unwrap()).unwrap(),
        }
    }

    fn rename(&self, from: &str, to: &str) -> AudioFile {
        std::fs::rename(self.root().join(from), self.root().join(to)).unwrap();
        self.file(to)
    }

    fn found(&self, paths: &[&str]) -> Vec<FoundFile> {
        let found = |path: &&str| {
            let file = self.file(path);
            FoundFile {
                path: file.path,
                stamp: file.stamp,
            }
        };
        paths.iter().map(found).collect()
    }

    /// Records a file of the folder kind and returns its track.
    async fn add(&self, path: &str, content: &str) -> TrackId {
        let file = self.write(path, content);
        self.record(&file, &local(path)).await
    }

    async fn record(&self, file: &AudioFile, subject: &Subject) -> TrackId {
        let analysis = analysis(1.0);
        match self
            .catalog
            .record_analysed(file, subject, &extractor(), &analysis)
            .await
            .unwrap()
        {
            Recorded::Track(id) => id,
            Recorded::Duplicate(of) => panic!("a copy of {of}"),
        }
    }
}

fn fixture_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fma_metadata")
}

fn fixture() -> Metadata {
    read_metadata(&fixture_directory(), Subset::Full)
        .unwrap()
        .metadata
}

fn extractor() -> ExtractorId {
    ExtractorId::new("sha256:extractor-one")
}

fn local(path: &str) -> Subject {
    let title = path.rsplit('/').next().unwrap().split('.').next().unwrap();
    let tags = TrackTags {
        title: Some(title.to_owned()),
        ..TrackTags::default()
    };
    Subject::Local(LocalTrack {
        tags,
        duration_seconds: Some(30.0),
        bit_rate: None,
    })
}

/// Two windows of three numbers each, told apart by `value`.
fn analysis(value: f32) -> Analysis {
    Analysis {
        embedding: vec![value, 0.0, -value],
        windows: Windows {
            start_seconds: vec![0.0, 10.24],
            vectors: vec![value, 1.0, 2.0, value, 3.0, 4.0],
        },
        landmarks: vec![(7, 1), (u32::MAX, 2)],
        clip_seconds: 20.5,
    }
}
