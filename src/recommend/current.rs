//! The generation that answers are made from right now.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::generation::Generation;

/// A slot that readers never wait for. A request takes the generation once and holds it to its
/// end, so a swap in between changes nothing for it.
#[derive(Default)]
pub struct Current(ArcSwapOption<Generation>);

impl Current {
    /// The loaded generation.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Generation>> {
        self.0.load_full()
    }

    /// Puts a generation in and gives back the former one, whose last reference is best dropped
    /// off the async runtime.
    pub fn swap(&self, generation: Arc<Generation>) -> Option<Arc<Generation>> {
        self.0.swap(Some(generation))
    }
}
