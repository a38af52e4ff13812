//! The child's side: limit oneself, read, answer.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::fd::AsFd,
    process::ExitCode,
    time::Instant,
};

use rlimit::Resource;

use super::protocol::{Answer, Fault, Task};
use crate::audio::{
    AudioError, DecodeLimits,
    decode::{Bounded, Container, decode_packets, guarded, open_mp4},
    tags,
};

/// Address space that the child may take beyond what it has when it starts.
///
/// The allocator may have reserved a gigabyte of addresses by then without using them, so a limit on
/// the total would say little.
const EXTRA_MEMORY_BYTES: u64 = 512 << 20;
/// Open files: the three standard ones and a few to spare.
const MAX_FILES: u64 = 16;

/// Entry point of the hidden subcommand [`SUBCOMMAND`](super::SUBCOMMAND).
///
/// `task` is the argument that the parent appended. Limits this process, reads the MP4 file on standard
/// input, and answers on standard output. To be called first thing in `main`, before any thread is
/// started; the process must end with the exit code that it gives.
#[must_use]
pub fn run_isolated_child(task: &str) -> ExitCode {
    let Ok(task) = serde_json::from_str::<Task>(task) else {
        return ExitCode::FAILURE;
    };
    let limits = DecodeLimits::from(task.limits());
    let (answer, clip) = match limit_self(&limits) {
        Ok(()) => work(&task, &limits).unwrap_or_else(|error| fault(error.into())),
        Err(error) => fault(Fault::Limits {
            message: error.to_string(),
        }),
    };
    match send(&answer, &clip) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fault(fault: Fault) -> (Answer, Vec<f32>) {
    (Answer::Fault { fault }, Vec::new())
}

/// Takes away what a hijacked or runaway reader could use.
fn limit_self(limits: &DecodeLimits) -> io::Result<()> {
    let cpu_seconds = limits.deadline.as_secs_f64().ceil().max(1.0) as u64;
    let memory = address_space_bytes()? + EXTRA_MEMORY_BYTES;
    // The soft CPU limit sends SIGXCPU; should that be blocked, the hard one kills.
    set(Resource::CPU, cpu_seconds, cpu_seconds + 1)?;
    set(Resource::AS, memory, memory)?;
    set(Resource::FSIZE, 0, 0)?;
    set(Resource::NOFILE, MAX_FILES, MAX_FILES)?;
    set(Resource::CORE, 0, 0)
}

/// Sets a limit, at most to what the process was started with.
fn set(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let (_, ceiling) = resource.get()?;
    resource.set(soft.min(ceiling), hard.min(ceiling))
}

/// Address space in use now (Linux: `/proc/self/statm`, first field, in pages).
fn address_space_bytes() -> io::Result<u64> {
    /// Pages are 4 KiB on x86-64 and mostly on ARM; where they are larger, the limit is only tighter.
    const PAGE_BYTES: u64 = 4096;
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .next()
        .and_then(|field| field.parse::<u64>().ok());
    pages
        .map(|pages| pages * PAGE_BYTES)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn work(task: &Task, limits: &DecodeLimits) -> Result<(Answer, Vec<f32>), AudioError> {
    let deadline = Instant::now() + limits.deadline;
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    guarded(|| {
        let mut reader = open_mp4(Box::new(Bounded::new(input, deadline)))?;
        match task {
            Task::ReadTags { .. } => Ok((
                Answer::Tags {
                    tags: tags::of_reader(&mut *reader),
                },
                Vec::new(),
            )),
            Task::Decode { excerpt, .. } => {
                let listen = &mut |_: &[f32]| {};
                let decoded =
                    decode_packets(Container::Mp4, reader, *excerpt, limits, deadline, listen)?;
                let answer = Answer::Clip {
                    samples: decoded.clip.len(),
                    source: decoded.source,
                    truncated: decoded.truncated,
                    bad_packets: decoded.bad_packets,
                };
                Ok((answer, decoded.clip))
            }
        }
    })
}

fn send(answer: &Answer, clip: &[f32]) -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut output, answer)?;
    output.write_all(b"\n")?;
    for sample in clip {
        output.write_all(&sample.to_le_bytes())?;
    }
    output.flush()
}
