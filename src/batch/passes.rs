//! Cuts what has queued into forward passes that the device has room for.

use std::sync::atomic::{AtomicU64, Ordering};

use super::queue::Embeddings;
use crate::model::{DeviceMemory, EncodeWindows, ModelError};

/// After so many full passes at a lowered limit twice as many windows are tried again: whoever
/// took the memory may be gone.
const PASSES_BEFORE_GROWTH: u32 = 256;

/// The sizes of forward passes. Lives on the device thread.
pub(super) struct Passes {
    /// Windows in a pass at most.
    most: usize,
    /// Windows in a pass as far as the device had room for them.
    limit: usize,
    /// Full passes since the limit was set.
    full: u32,
    /// Bytes that encoder and pass may take on the device.
    budget: Option<u64>,
    /// Whether passes have only the sizes 1, 2, 4, 8, .. `most`, the last window standing in for
    /// those that lack: for devices that keep memory and choose kernels by shape.
    padded: bool,
}

impl Passes {
    pub(super) fn new(max_batch: usize, budget: Option<u64>, padded: bool) -> Self {
        let most = max_batch.max(1);
        Self {
            most,
            limit: most,
            full: 0,
            budget,
            padded,
        }
    }

    /// Takes account of an encoder that has been loaded: from here on passes are so small that it
    /// stays within the budget. The bound of an encoder that is gone stays.
    ///
    /// # Errors
    ///
    /// [`ModelError::DeviceBudget`] when the budget has no room for one window.
    pub(super) fn admit(&mut self, memory: DeviceMemory) -> Result<(), ModelError> {
        let Some(budget) = self.budget else {
            return Ok(());
        };
        let fitting = usize::try_from(memory.batch_within(budget)).unwrap_or(usize::MAX);
        if fitting == 0 {
            return Err(ModelError::DeviceBudget {
                needed: memory.needed(1).div_ceil(1 << 20),
                budget: budget >> 20,
            });
        }
        if fitting < self.most {
            tracing::info!(
                max_batch = self.most,
                windows = fitting,
                window_mib = memory.window >> 20,
                "model.max_device_mib makes forward passes smaller"
            );
            self.most = fitting;
            self.limit = self.limit.min(fitting);
        }
        Ok(())
    }

    /// Computes an empty pass of each size there will be, so that no request pays for what is set
    /// up lazily.
    ///
    /// # Errors
    ///
    /// As the encoder's; [`ModelError::OutOfMemory`] only when one window is too much.
    pub(super) fn warm_up(&mut self, encoder: &dyn EncodeWindows) -> Result<(), ModelError> {
        let window = vec![0.0; encoder.window_len()];
        let mut size = 1;
        loop {
            match encoder.encode(&vec![&window[..]; size]) {
                Err(ModelError::OutOfMemory(_)) if size > 1 => {
                    self.lower(size);
                    return Ok(());
                }
                embedded => drop(embedded?),
            }
            if !self.padded || size == self.limit {
                return Ok(());
            }
            size = self.size(size + 1).min(self.limit);
        }
    }

    /// Embeds windows in as few passes as the device has room for, and counts them. Ends early,
    /// with the embeddings there are, once nobody wants them.
    ///
    /// # Errors
    ///
    /// As the encoder's; [`ModelError::OutOfMemory`] only when one window is too much.
    pub(super) fn encode(
        &mut self,
        encoder: &dyn EncodeWindows,
        windows: &[&[f32]],
        passes: &AtomicU64,
        wanted: impl Fn() -> bool,
    ) -> Result<Embeddings, ModelError> {
        let mut embeddings = Vec::with_capacity(windows.len());
        let mut rest = windows;
        while let Some(last) = rest.len().min(self.limit).checked_sub(1) {
            if !wanted() {
                break;
            }
            let (now, later) = rest.split_at(last + 1);
            let size = self.size(now.len());
            let mut pass = now.to_vec();
            pass.resize(size, now[last]);
            match encoder.encode(&pass) {
                Ok(computed) => {
                    passes.fetch_add(1, Ordering::Relaxed);
                    embeddings.extend(computed.into_iter().take(now.len()));
                    rest = later;
                    self.raise(size);
                }
                Err(ModelError::OutOfMemory(_)) if size > 1 => self.lower(size),
                Err(error) => {
                    if matches!(error, ModelError::OutOfMemory(_)) {
                        tracing::warn!("the device has no room for a single window");
                    }
                    return Err(error);
                }
            }
        }
        Ok(embeddings)
    }

    /// Windows that a pass of so many is padded to.
    fn size(&self, windows: usize) -> usize {
        if self.padded {
            windows.next_power_of_two().min(self.most)
        } else {
            windows
        }
    }

    /// Halves the limit after a pass of a size, at least 2, that the device had no room for.
    fn lower(&mut self, size: usize) {
        let half = size / 2;
        self.limit = if self.padded { 1 << half.ilog2() } else { half };
        self.full = 0;
        tracing::warn!(
            windows = size,
            limit = self.limit,
            "the device has no room for a forward pass of so many windows, going on with fewer"
        );
    }

    /// Notes a pass that went well, and doubles a lowered limit after many.
    fn raise(&mut self, size: usize) {
        if size < self.limit || self.limit == self.most {
            return;
        }
        self.full += 1;
        if self.full == PASSES_BEFORE_GROWTH {
            self.full = 0;
            self.limit = (2 * self.limit).min(self.most);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Mutex, atomic::AtomicUsize};

    use super::*;
    use crate::batch::tests::out_of_memory;

    /// Embeds a window as itself on a device with room for some windows; notes each pass's size.
    struct Device {
        room: AtomicUsize,
        passes: Mutex<Vec<usize>>,
    }

    impl Device {
        fn with_room(windows: usize) -> Self {
            Self {
                room: AtomicUsize::new(windows),
                passes: Mutex::default(),
            }
        }

        /// Sizes of the passes since the last call, those that failed included.
        fn passes(&self) -> Vec<usize> {
            std::mem::take(&mut self.passes.lock().unwrap())
        }
    }

    impl EncodeWindows for Device {
        fn window_len(&self) -> usize {
            1
        }
        fn dim(&self) -> usize {
            1
        }
        fn encode(&self, windows: &[&[f32]]) -> Result<Embeddings, ModelError> {
            self.passes.lock().unwrap().push(windows.len());
            if windows.len() > self.room.load(Ordering::SeqCst) {
                return Err(out_of_memory());
            }
            Ok(windows.iter().map(|window| window.to_vec()).collect())
        }
    }

    fn embed(passes: &mut Passes, device: &Device, count: usize) -> Result<Embeddings, ModelError> {
        let windows: Vec<Vec<f32>> = (0..count).map(|value| vec![value as f32]).collect();
        let views: Vec<&[f32]> = windows.iter().map(Vec::as_slice).collect();
        let embedded = passes.encode(device, &views, &AtomicU64::new(0), || true)?;
        assert_eq!(embedded, windows, "each window once, in the order given");
        Ok(embedded)
    }

    #[test]
    fn a_batch_is_halved_until_it_fits_and_stays_so() {
        let device = Device::with_room(3);
        let mut passes = Passes::new(8, None, false);
        embed(&mut passes, &device, 11).unwrap();
        assert_eq!(device.passes(), [8, 4, 2, 2, 2, 2, 2, 1]);
        embed(&mut passes, &device, 5).unwrap();
        assert_eq!(device.passes(), [2, 2, 1]);
    }

    #[test]
    fn a_window_that_does_not_fit_is_an_error_and_the_next_may_fit() {
        let device = Device::with_room(0);
        let mut passes = Passes::new(4, None, true);
        let error = embed(&mut passes, &device, 4).unwrap_err();
        assert!(matches!(error, ModelError::OutOfMemory(_)), "{error:?}");
        assert_eq!(device.passes(), [4, 2, 1]);
        device.room.store(1, Ordering::SeqCst);
        embed(&mut passes, &device, 2).unwrap();
        assert_eq!(device.passes(), [1, 1]);
    }

    #[test]
    fn memory_that_is_free_again_is_used_again() {
        let device = Device::with_room(2);
        let mut passes = Passes::new(4, None, false);
        embed(&mut passes, &device, 4).unwrap();
        assert_eq!(device.passes(), [4, 2, 2]);
        device.room.store(4, Ordering::SeqCst);
        for _ in 0..PASSES_BEFORE_GROWTH {
            // A pass that is not full says nothing of a larger one.
            embed(&mut passes, &device, 1).unwrap();
        }
        embed(&mut passes, &device, 4).unwrap();
        for _ in 4..PASSES_BEFORE_GROWTH {
            embed(&mut passes, &device, 2).unwrap();
        }
        device.passes();
        embed(&mut passes, &device, 4).unwrap();
        assert_eq!(device.passes(), [4]);
    }

    #[test]
    fn passes_have_the_sizes_that_were_warmed_up() {
        let device = Device::with_room(99);
        let mut passes = Passes::new(12, None, true);
        passes.warm_up(&device).unwrap();
        let warm = device.passes();
        assert_eq!(warm, [1, 2, 4, 8, 12]);
        for count in 1..=30 {
            embed(&mut passes, &device, count).unwrap();
            assert!(device.passes().iter().all(|size| warm.contains(size)));
        }
        // Where nothing is kept by shape, padding would only cost.
        let mut passes = Passes::new(12, None, false);
        passes.warm_up(&device).unwrap();
        embed(&mut passes, &device, 5).unwrap();
        assert_eq!(device.passes(), [1, 5]);
    }

    #[test]
    fn a_warm_up_finds_out_what_fits() {
        let device = Device::with_room(5);
        let mut passes = Passes::new(12, None, true);
        passes.warm_up(&device).unwrap();
        assert_eq!(device.passes(), [1, 2, 4, 8]);
        embed(&mut passes, &device, 12).unwrap();
        assert_eq!(device.passes(), [4, 4, 4]);
    }

    #[test]
    fn a_budget_bounds_the_batch() {
        let memory = DeviceMemory {
            weights: 10 << 20,
            window: 4 << 20,
        };
        let mut passes = Passes::new(8, Some(33 << 20), true);
        passes.admit(memory).unwrap();
        let device = Device::with_room(99);
        passes.warm_up(&device).unwrap();
        assert_eq!(device.passes(), [1, 2, 3]);
        embed(&mut passes, &device, 8).unwrap();
        assert_eq!(device.passes(), [3, 3, 2]);
        let error = Passes::new(8, Some(23 << 20), true).admit(memory);
        assert!(matches!(
            error,
            Err(ModelError::DeviceBudget {
                needed: 24,
                budget: 23
            })
        ));
        Passes::new(8, None, true).admit(memory).unwrap();
    }
}
