//! Songkin's side of the benchmarks against other programs: a process that does a piece of work for every line on
//! standard input.

use std::{fmt::Display, fs, io, time::Instant};

/// What the script that starts this process names, as it has written it; none, and a word to whoever
/// started it by hand, where nothing is named.
pub(crate) fn input(written_by: &str) -> Option<String> {
    // `cargo bench` adds flags of its own.
    let input = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    if input.is_none() {
        println!("name what {written_by} writes");
    }
    input
}

/// Says `ready`; then answers each line by what `work` made of it, wall seconds, processor seconds, and the
/// process's peak memory in MiB.
pub(crate) fn answer<T: Display>(mut work: impl FnMut(&str) -> T) {
    println!("ready");
    for line in io::stdin().lines() {
        let line = line.unwrap();
        let (started, processor) = (Instant::now(), processor_seconds());
        let result = work(&line);
        println!(
            "{result} {} {} {}",
            started.elapsed().as_secs_f64(),
            processor_seconds() - processor,
            peak_mebibytes()
        );
    }
}

/// Processor time of all threads so far; 0 where the system has no `/proc`.
fn processor_seconds() -> f64 {
    // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second; the second field may hold spaces.
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// Largest resident memory so far; 0 where the system has no `/proc`.
fn peak_mebibytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) / 1024
}
