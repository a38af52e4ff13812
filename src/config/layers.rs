//! Laying file, environment and flags over the defaults.
//!
//! The defaults, serialised, are the list of all keys and of each key's type. A layer is a list of
//! `section.key` and value; every value is tried on its own against the defaults, so that all
//! faults of all layers come out in one go.

use std::{fmt, fs, path::Path};

use toml::{Table, Value};

use super::{HELP, Settings};

/// Everything that is wrong with the settings, each with where it came from.
#[derive(Debug, thiserror::Error)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings have {} fault(s)", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

struct Entry {
    origin: String,
    path: String,
    value: Value,
}

/// One flag a setting: `server.listen` is `--server-listen`.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags(Vec<(String, String)>);

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        let given = HELP.iter().filter_map(|(path, _)| {
            let text = matches.get_one::<String>(path)?;
            Some(((*path).to_owned(), text.clone()))
        });
        self.0.extend(given);
        Ok(())
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        HELP.iter().fold(command, |command, (path, help)| {
            let flag = clap::Arg::new(*path)
                .long(path.replace(['.', '_'], "-"))
                .value_name("VALUE")
                .help(*help)
                .help_heading("Settings")
                .global(true);
            command.arg(flag)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// The environment variable of a setting: `server.listen` is `SONGKIN_SERVER_LISTEN`.
fn variable(path: &str) -> String {
    format!("SONGKIN_{}", path.replace('.', "_").to_uppercase())
}

/// Reads the settings: defaults, then `file` if given, then `SONGKIN_*` variables, then flags.
///
/// # Errors
///
/// [`Faults`] with every unknown key, every value of the wrong type or out of range, each with the
/// layer that it came from.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &SettingFlags,
) -> Result<Settings, Faults> {
    let defaults = Table::try_from(Settings::default()).expect("the defaults are plain values");
    let mut faults = Vec::new();
    let mut entries = Vec::new();
    if let Some(file) = file {
        read_file(file, &mut entries, &mut faults);
    }
    read_environment(environment, &defaults, &mut entries, &mut faults);
    for (path, text) in &flags.0 {
        let origin = format!("--{}", path.replace(['.', '_'], "-"));
        entries.push(Entry {
            origin,
            path: path.clone(),
            value: typed(&defaults, path, text),
        });
    }

    let mut merged = defaults.clone();
    for entry in entries {
        match accept(&defaults, &entry) {
            Ok(()) => set(&mut merged, &entry.path, entry.value),
            Err(fault) => faults.push(format!("{}: {fault}", entry.origin)),
        }
    }
    // A fault above leaves the default in place, so that the rest can still be checked.
    match merged.try_into::<Settings>() {
        Ok(settings) => {
            faults.extend(settings.inconsistencies());
            if faults.is_empty() {
                Ok(settings)
            } else {
                Err(Faults(faults))
            }
        }
        Err(error) => {
            faults.push(error.message().to_owned());
            Err(Faults(faults))
        }
    }
}

fn read_file(file: &Path, entries: &mut Vec<Entry>, faults: &mut Vec<String>) {
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return faults.push(format!("{shown}: {error}")),
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return faults.push(format!("{shown}: {error}")),
    };
    for (section, value) in table {
        let Value::Table(keys) = value else {
            faults.push(format!("{shown}: {section} stands outside a [section]"));
            continue;
        };
        for (key, value) in keys {
            let path = format!("{section}.{key}");
            entries.push(Entry {
                origin: format!("{shown}: {path}"),
                path,
                value,
            });
        }
    }
}

fn read_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    defaults: &Table,
    entries: &mut Vec<Entry>,
    faults: &mut Vec<String>,
) {
    let mut given: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with("SONGKIN_") && name != "SONGKIN_CONFIG")
        .collect();
    given.sort();
    for (name, text) in given {
        match HELP.iter().find(|(path, _)| variable(path) == name) {
            Some((path, _)) => {
                let value = typed(defaults, path, &text);
                entries.push(Entry {
                    origin: name,
                    path: (*path).to_owned(),
                    value,
                });
            }
            None => faults.push(format!("{name}: no such setting")),
        }
    }
}

fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let (section, key) = path.split_once('.')?;
    table.get(section)?.get(key)
}

fn set(table: &mut Table, path: &str, value: Value) {
    if let Some((section, key)) = path.split_once('.')
        && let Some(Value::Table(keys)) = table.get_mut(section)
    {
        keys.insert(key.to_owned(), value);
    }
}

/// Text from the environment or a flag as the type that the setting has.
fn typed(defaults: &Table, path: &str, text: &str) -> Value {
    let parsed = match find(defaults, path) {
        Some(Value::Integer(_)) => text.parse().map(Value::Integer).ok(),
        Some(Value::Float(_)) => text.parse().map(Value::Float).ok(),
        Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).ok(),
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn accept(defaults: &Table, entry: &Entry) -> Result<(), String> {
    if find(defaults, &entry.path).is_none() {
        return Err("no such setting".to_owned());
    }
    let mut table = defaults.clone();
    set(&mut table, &entry.path, entry.value.clone());
    match table.try_into::<Settings>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.message().to_owned()),
    }
}

/// The settings as TOML, each with its purpose. No secret is among them: of keys they have hashes.
#[must_use]
pub fn render(settings: &Settings) -> String {
    let table = Table::try_from(settings).expect("the settings are plain values");
    let mut text = String::new();
    let mut section = "";
    for (path, help) in HELP {
        let (own, key) = path.split_once('.').unwrap_or(("", path));
        if own != section {
            if !section.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{own}]\n"));
            section = own;
        }
        if let Some(value) = find(&table, path) {
            text.push_str(&format!("# {help}\n{key} = {value}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Settings, Faults> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("songkin.toml");
        fs::write(&path, file).unwrap();
        let own = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect::<Vec<_>>()
        };
        load(Some(&path), own(environment), &SettingFlags(own(flags)))
    }

    #[test]
    fn help_names_every_setting_and_no_other() {
        let defaults = Table::try_from(Settings::default()).unwrap();
        let mut keys: Vec<String> = defaults
            .iter()
            .flat_map(|(section, value)| {
                value
                    .as_table()
                    .unwrap()
                    .keys()
                    .map(move |key| format!("{section}.{key}"))
            })
            .collect();
        let mut documented: Vec<String> = HELP.iter().map(|(path, _)| (*path).to_owned()).collect();
        keys.sort();
        documented.sort();
        assert_eq!(keys, documented);
    }

    #[test]
    fn each_layer_overrides_the_one_before() {
        let file = "[batch]\nmax_batch = 2\n[search]\nef_search = 3\n[ingest]\nthreads = 4";
        let environment = [
            ("SONGKIN_SEARCH_EF_SEARCH", "5"),
            ("SONGKIN_INGEST_THREADS", "6"),
            ("HOME", "/"),
        ];
        let settings = from(file, &environment, &[("ingest.threads", "7")]).unwrap();
        assert_eq!(settings.batch.max_batch, 2);
        assert_eq!(settings.search.ef_search, 5);
        assert_eq!(settings.ingest.threads, 7);
        assert_eq!(settings.server, super::super::Server::default());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let file = "[batch]\nmax_batch = \"many\"\nmax_bach = 1\n[server]\nlisten = \"nowhere\"";
        let environment = [("SONGKIN_SERVER_PORT", "1"), ("SONGKIN_SEARCH_MAX_K", "-1")];
        let text = from(file, &environment, &[("model.device", "tpu")])
            .unwrap_err()
            .to_string();
        for part in [
            "6 fault(s)",
            "batch.max_batch: invalid type",
            "batch.max_bach: no such setting",
            "server.listen: ",
            "SONGKIN_SERVER_PORT: no such setting",
            "SONGKIN_SEARCH_MAX_K: ",
            "--model-device: unknown variant `tpu`",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn values_that_do_not_fit_together_are_told() {
        let text = from(
            "[batch]\nmax_batch = 9\nmax_queue = 8\n[search]\ndefault_k = 200",
            &[],
            &[],
        )
        .unwrap_err()
        .to_string();
        assert!(
            text.contains("batch.max_queue: has to be at least"),
            "{text}"
        );
        assert!(text.contains("search.default_k: "), "{text}");
    }

    #[test]
    fn printed_settings_read_back() {
        let hash = "5f".repeat(32);
        let given = [("SONGKIN_SERVER_ADMIN_KEY_SHA256", hash.as_str())];
        let settings = from("[server]\nanonymous = true", &given, &[]).unwrap();
        assert_eq!(from(&render(&settings), &[], &[]).unwrap(), settings);
    }

    #[test]
    fn strangers_are_let_in_on_the_loopback_alone() {
        let with = |listen: &str| {
            let listen = [("SONGKIN_SERVER_LISTEN", listen)];
            from("[server]\nanonymous = true", &listen, &[])
        };
        for listen in ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1"] {
            assert!(with(listen).is_ok(), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:127.0.0.1]:1"] {
            let text = with(listen).unwrap_err().to_string();
            assert!(text.contains("server.anonymous: needs"), "{text}");
        }
    }
}
