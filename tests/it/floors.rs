//! The floors of the house: imports go down only.

use std::{collections::BTreeSet, fs, path::Path};

/// From the ground up; floors of one line do not import each other.
const FLOORS: &[&[&str]] = &[
    &["text", "track", "clock"],
    &["audio", "database"],
    &["model"],
    &["index", "catalog", "jobs", "keys", "config"],
    &["batch"],
    &["extract"],
    &["train"],
    &["generation"],
    &["recommend", "ingest", "backup"],
    &["api"],
    &["program"],
];

/// Arrows that the order above forbids and that are wanted all the same.
const ALLOWED: &[(&str, &str)] = &[];

fn height(floor: &str) -> usize {
    FLOORS
        .iter()
        .position(|line| line.contains(&floor))
        .unwrap_or_else(|| panic!("floor {floor} is not in the list of floors"))
}

/// The floors that a source text imports: what follows `crate::`, inside braces too.
fn imports(source: &str) -> BTreeSet<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let identifier = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = BTreeSet::new();
    for (at, marker) in code.match_indices("crate::") {
        let rest = &code[at + marker.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(identifier(rest));
            continue;
        };
        let mut depth = 1;
        let mut start = 0;
        for (offset, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                found.insert(identifier(group[start..offset].trim_start()));
                start = offset + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn imports_go_down_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows = 0;
    for entry in walkdir::WalkDir::new(&source) {
        let path = entry.unwrap().into_path();
        let relative = path.strip_prefix(&source).unwrap();
        let first = relative
            .components()
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        let Some(floor) = first.map(|first| first.trim_end_matches(".rs").to_owned()) else {
            continue;
        };
        if path.extension().is_none_or(|extension| extension != "rs")
            || ["lib", "bin"].contains(&floor.as_str())
        {
            continue;
        }
        for target in imports(&fs::read_to_string(&path).unwrap()) {
            if target == floor || ALLOWED.contains(&(floor.as_str(), target.as_str())) {
                continue;
            }
            arrows += 1;
            assert!(
                height(&target) < height(&floor),
                "{} imports {target}, which is not below {floor}",
                relative.display()
            );
        }
    }
    assert!(
        arrows > 50,
        "only {arrows} imports were found: the walk is broken"
    );
}

#[test]
fn the_walk_sees_groups_and_paths() {
    let source = "use crate::{\n    audio::{Decoder, Fbank},\n    model,\n};\n// crate::api\nfn f() { crate::track::x() }";
    let found: Vec<String> = imports(source).into_iter().collect();
    assert_eq!(found, ["audio", "model", "track"]);
}
