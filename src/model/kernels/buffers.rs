//! Large buffers that are used again.
//!
//! What a training step keeps for its backward pass is some hundred MiB. Fresh from the system,
//! every page of it would be cleared at its first touch, which takes as long as a sixth of the
//! step's arithmetic.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Buffers that nobody uses at the moment. Clones share them.
#[derive(Clone, Default)]
pub(in crate::model) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Buffers {
    /// A buffer of `len` values, whatever they are.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let mut idle = self.idle();
        // One of twice the size would be missed by who needs that size.
        let fitting = idle
            .iter()
            .enumerate()
            .filter(|(_, buffer)| (len..=2 * len).contains(&buffer.capacity()))
            .min_by_key(|(_, buffer)| buffer.capacity());
        let mut values = match fitting.map(|(place, _)| place) {
            Some(place) => idle.swap_remove(place),
            None => Vec::new(),
        };
        drop(idle);
        if values.capacity() < len {
            values = vec![0.0; len];
        }
        values.resize(len, 0.0);
        Buffer {
            values,
            home: self.clone(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer in use. It goes back when it is dropped.
pub(super) struct Buffer {
    values: Vec<f32>,
    home: Buffers,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.idle().push(std::mem::take(&mut self.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_where_it_fits() {
        let buffers = Buffers::default();
        let place = |buffer: &Buffer| buffer.values.as_ptr();
        let (large, small) = (buffers.take(1000), buffers.take(600));
        let (large_place, small_place) = (place(&large), place(&small));
        drop((large, small));
        let again = buffers.take(550);
        assert_eq!((again.len(), place(&again)), (550, small_place));
        let other = buffers.take(550);
        assert_eq!((other.len(), place(&other)), (550, large_place));
        assert_eq!(buffers.take(100).len(), 100);
        drop((again, other));
        assert_eq!(buffers.idle().len(), 3);
    }
}
