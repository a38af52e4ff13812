//! Large buffers that are used again.
//!
//! What a training step keeps for its backward pass is some hundred MiB. Fresh from the system,
//! every page of it would be cleared at its first touch, which takes as long as a sixth of the
//! step's arithmetic.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::element::Element;

/// Buffers that nobody uses at the moment. Clones share them.
pub(in crate::model) struct Buffers<T = f32> {
    idle: Arc<Mutex<Vec<Vec<T>>>>,
}

impl<T> Clone for Buffers<T> {
    fn clone(&self) -> Self {
        Self {
            idle: Arc::clone(&self.idle),
        }
    }
}

impl<T> Default for Buffers<T> {
    fn default() -> Self {
        Self {
            idle: Arc::default(),
        }
    }
}

impl<T: Copy + Default> Buffers<T> {
    /// A buffer of `len` values, whatever they are.
    pub(super) fn take(&self, len: usize) -> Buffer<T> {
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
            values = vec![T::default(); len];
        }
        values.resize(len, T::default());
        Buffer {
            values,
            home: self.clone(),
        }
    }
}

impl<T> Buffers<T> {
    fn idle(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buffers of all that a forward pass puts down.
pub(in crate::model) struct Pools<T: Element> {
    pub(super) values: Buffers,
    pub(super) elements: Buffers<T>,
    pub(super) cells: Buffers<T::Cell>,
}

impl<T: Element> Default for Pools<T> {
    fn default() -> Self {
        Self {
            values: Buffers::default(),
            elements: Buffers::default(),
            cells: Buffers::default(),
        }
    }
}

impl Pools<f32> {
    /// All out of the same buffers.
    pub(super) fn shared(buffers: &Buffers) -> Self {
        Self {
            values: buffers.clone(),
            elements: buffers.clone(),
            cells: buffers.clone(),
        }
    }
}

/// A buffer in use. It goes back when it is dropped.
pub(super) struct Buffer<T = f32> {
    values: Vec<T>,
    home: Buffers<T>,
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.home.idle().push(std::mem::take(&mut self.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_where_it_fits() {
        let buffers = Buffers::<f32>::default();
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
