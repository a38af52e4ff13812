//! The MLP half of a transformer block, `x + fc2(gelu(fc1(norm(x))))`, in bytes.

use rayon::prelude::*;

use super::{
    super::{
        blocks::height,
        buffers::Pools,
        layer::StackShape,
        matrix::MatrixMut,
        sink::{Added, Written},
    },
    Byte, Ready,
    linear::{Gelu, LeftBuffer},
};

/// Most rows whose activations are between the two layers at once: as whole rows are quantised, these are not cut into
/// strips, and they have to stay in a core's cache.
const ROWS: usize = 64;

/// Computes the half in place on `x`, `[rows, hidden]`.
pub(super) fn forward(shape: &StackShape, layer: &Ready, pools: &Pools<Byte>, x: &mut [f32]) {
    let (hidden, wide) = (shape.hidden, shape.intermediate);
    let block = height(x.len() / hidden).min(ROWS);
    x.par_chunks_mut(block * hidden).for_each_init(
        || {
            (
                LeftBuffer::new(block, hidden, pools),
                LeftBuffer::new(block, wide, pools),
                pools.values.take(block * wide),
            )
        },
        |(normed, activated, activations), x| {
            let activations = &mut activations[..x.len() / hidden * wide];
            let normed = normed.norm(x, &layer.norm_after, shape.epsilon);
            let out = MatrixMut::new(activations, wide);
            layer.fc1.product(normed, Gelu(Written(out)));
            let activated = activated.quantise(activations);
            let out = MatrixMut::new(x, hidden);
            layer.fc2.product(activated, Added { out, bias: &[] });
        },
    );
}
