//! The parent's side: start, watch, kill, and believe nothing.

use std::{
    fs::File,
    io::Read,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{
    IsolatedCommand, IsolatedError,
    protocol::{Answer, Task},
};
use crate::audio::{AudioError, DecodeLimits, Decoded, MAX_SAMPLE, SAMPLE_RATE, Tags};

/// Longest first line of an answer.
const MAX_LINE_BYTES: u64 = 256 << 10;
/// Wall time that the child gets beyond its CPU time, to start and to answer.
const GRACE: Duration = Duration::from_secs(2);

/// Signals of POSIX, as Linux numbers them on all its usual platforms.
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// Decodes an MP4 file in a child.
pub(in crate::audio) fn decode(
    command: &IsolatedCommand,
    file: File,
    task: &Task,
    limits: &DecodeLimits,
) -> Result<Decoded, AudioError> {
    // One second more than the limit, for rounding at both ends.
    let max_samples = ((limits.max_seconds + 1.0) * f64::from(SAMPLE_RATE)) as u64;
    let max_bytes = max_samples.saturating_mul(4).saturating_add(MAX_LINE_BYTES);
    let output = run(command, file, task, limits, max_bytes)?;
    let (answer, rest) = split_answer(&output)?;
    match answer {
        Answer::Clip {
            samples,
            source,
            truncated,
            bad_packets,
        } => {
            let (chunks, []) = rest.as_chunks::<4>() else {
                return Err(IsolatedError::Answer.into());
            };
            let clip: Vec<f32> = chunks
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect();
            let sound = clip
                .iter()
                .all(|sample| (-MAX_SAMPLE..=MAX_SAMPLE).contains(sample));
            if clip.len() != samples || clip.is_empty() || !sound {
                return Err(IsolatedError::Answer.into());
            }
            Ok(Decoded {
                clip,
                source,
                truncated,
                bad_packets,
            })
        }
        Answer::Fault { fault } => Err(fault.into()),
        Answer::Tags { .. } => Err(IsolatedError::Answer.into()),
    }
}

/// Reads an MP4 file's tags in a child.
pub(in crate::audio) fn read_tags(
    command: &IsolatedCommand,
    file: File,
    limits: &DecodeLimits,
) -> Result<Tags, AudioError> {
    let task = Task::ReadTags {
        limits: limits.into(),
    };
    let output = run(command, file, &task, limits, MAX_LINE_BYTES)?;
    match split_answer(&output)? {
        (Answer::Tags { tags }, []) => Ok(tags),
        (Answer::Fault { fault }, []) => Err(fault.into()),
        _ => Err(IsolatedError::Answer.into()),
    }
}

/// Runs the child to its end and gives what it wrote.
fn run(
    command: &IsolatedCommand,
    file: File,
    task: &Task,
    limits: &DecodeLimits,
    max_bytes: u64,
) -> Result<Vec<u8>, IsolatedError> {
    let task = serde_json::to_string(task).map_err(|_| IsolatedError::Answer)?;
    let mut process = Command::new(&command.program);
    process.args(&command.args).arg(task).env_clear();
    // A program that links to libraries outside the system's path needs to find them again.
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        process.env("LD_LIBRARY_PATH", path);
    }
    process
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = KillOnDrop(process.spawn().map_err(IsolatedError::Start)?);
    let stdout = child.0.stdout.take().ok_or(IsolatedError::Answer)?;

    // Reading blocks for as long as the child pleases; only another thread can wait with a time limit.
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(max_bytes + 1).read_to_end(&mut output);
        // The receiver is gone once the time is up.
        let _ = sender.send(read.map(|_| output));
    });
    let output = match receiver.recv_timeout(limits.deadline + GRACE) {
        Ok(output) => output.map_err(|_| IsolatedError::Answer)?,
        Err(_) => {
            let seconds = (limits.deadline + GRACE).as_secs_f64();
            return Err(IsolatedError::TimedOut { seconds });
        }
    };
    if output.len() as u64 > max_bytes {
        return Err(IsolatedError::Answer);
    }
    let status = child.0.wait().map_err(IsolatedError::Start)?;
    check(status).map(|()| output)
}

/// A child that does not outlive the call, whatever way the call ends.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Both fail where the child has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells from how the child ended which limit it hit.
fn check(status: ExitStatus) -> Result<(), IsolatedError> {
    match status.signal() {
        None if status.success() => Ok(()),
        None => Err(IsolatedError::Answer),
        // SIGKILL comes from the hard CPU limit, when SIGXCPU did not end the process.
        Some(SIGXCPU | SIGKILL) => Err(IsolatedError::CpuLimit),
        // Rust aborts where an allocation fails.
        Some(SIGABRT) => Err(IsolatedError::MemoryLimit),
        Some(signal) => Err(IsolatedError::Signal { signal }),
    }
}

/// The first line of the output, and what follows it.
fn split_answer(output: &[u8]) -> Result<(Answer, &[u8]), IsolatedError> {
    let end = output
        .iter()
        .position(|&byte| byte == b'\n')
        .ok_or(IsolatedError::Answer)?;
    let answer = serde_json::from_slice(&output[..end]).map_err(|_| IsolatedError::Answer)?;
    Ok((answer, &output[end + 1..]))
}
