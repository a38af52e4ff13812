//! Walking plain folders.

use std::{fs, path::Path};

use songkin::catalog::folder::{SkipReason, walk};

fn touch(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn audio_is_listed_in_a_fixed_order() {
    let dir = tempfile::tempdir().unwrap();
    for path in [
        "b/2.mp3",
        "b/10.MP3",
        "a/x.flac",
        "a/cover.jpg",
        "a/noextension",
        "a/mp3",
        ".hidden/h.mp3",
        "a/.h.mp3",
        "z.Opus",
        "a.mp3/inside.ogg",
        "ünï/cödé.wav",
    ] {
        touch(dir.path(), path);
    }
    let walked = walk(dir.path());
    let paths: Vec<_> = walked.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "a/x.flac",
            "a.mp3/inside.ogg",
            "b/10.MP3",
            "b/2.mp3",
            "z.Opus",
            "ünï/cödé.wav"
        ]
    );
    assert!(walked.skipped.is_empty());
    assert!(
        walked
            .files
            .iter()
            .all(|file| file.stamp.size == 1 && file.stamp.mtime_ns > 0)
    );
    assert_eq!(walk(dir.path()).files, walked.files);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt, fs::symlink},
    };

    let outside = tempfile::tempdir().unwrap();
    touch(outside.path(), "linked.mp3");
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), "a/one.mp3");
    symlink(dir.path(), dir.path().join("a/loop")).unwrap();
    symlink(outside.path(), dir.path().join("b")).unwrap();
    symlink("nowhere", dir.path().join("broken.mp3")).unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(b"latin\xe9.mp3")), "x").unwrap();

    let walked = walk(dir.path());
    let paths: Vec<_> = walked.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a/one.mp3", "b/linked.mp3"]);
    let reasons: Vec<_> = walked
        .skipped
        .iter()
        .map(|skipped| &skipped.source)
        .collect();
    assert!(
        matches!(
            reasons.as_slice(),
            [SkipReason::Loop(_), SkipReason::Io(_), SkipReason::NotUtf8]
        ),
        "{reasons:?}"
    );
}

#[test]
fn a_folder_that_is_not_there_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let walked = walk(&dir.path().join("nowhere"));
    assert!(walked.files.is_empty());
    assert!(matches!(walked.skipped[0].source, SkipReason::Io(_)));
}
