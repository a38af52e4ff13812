//! A stream that stops giving bytes when time is up.

use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use symphonia::core::io::MediaSource;

/// Fails every read after the deadline, or once it is told to stop.
///
/// A third-party reader may loop for long inside one call in search of the next packet; it cannot do so
/// without reading, and this is where it is stopped.
#[derive(Debug)]
pub(in crate::audio) struct Bounded<R> {
    inner: R,
    deadline: Instant,
    stop: Option<Arc<AtomicBool>>,
}

impl<R> Bounded<R> {
    pub(in crate::audio) fn new(inner: R, deadline: Instant) -> Self {
        Self {
            inner,
            deadline,
            stop: None,
        }
    }

    pub(in crate::audio) fn or_when(self, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { stop, ..self }
    }

    fn check(&self) -> io::Result<()> {
        let stopped = self
            .stop
            .as_ref()
            .is_some_and(|stop| stop.load(Ordering::Relaxed));
        if stopped || Instant::now() > self.deadline {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        Ok(())
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.check()?;
        self.inner.seek(position)
    }
}

impl<R: MediaSource> MediaSource for Bounded<R> {
    fn is_seekable(&self) -> bool {
        self.inner.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.inner.byte_len()
    }
}
