//! The README says what is true.

use std::{fs, path::Path};

use songkin::config::{HELP, Settings};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_table_of_settings_is_complete() {
    let defaults = toml::Table::try_from(Settings::default()).unwrap();
    let mut table = String::from("| setting | default | |\n|---|---|---|\n");
    for (path, help) in HELP {
        let (section, key) = path.split_once('.').unwrap();
        let default = &defaults[section][key];
        table.push_str(&format!("| `{path}` | `{default}` | {help} |\n"));
    }
    assert!(
        readme().contains(&table),
        "README.md should hold this table:\n{table}"
    );
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = readme();
    assert!(readme.contains("scripts/test"));
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("scripts/test")
            .is_file()
    );
    let help = crate::support::worker()
        .arg("--help")
        .output()
        .unwrap()
        .stdout;
    let help = String::from_utf8(help).unwrap();
    for command in [
        "ingest",
        "build",
        "ledger",
        "generations",
        "activate",
        "export-model",
    ] {
        assert!(
            readme.contains(command) && help.contains(command),
            "{command}"
        );
    }
}
