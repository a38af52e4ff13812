//! The f32 values of tensors on the CPU.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};

/// Whether the kernels take this tensor: f32 on the CPU. Others go the plain way.
pub(in crate::model) fn fits(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The values of an operation's argument.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the kernels take contiguous tensors, not {layout:?}"),
    }
}

/// The values of a contiguous tensor on the CPU, locked for reading.
pub(super) fn values(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("the kernels take contiguous tensors, not {layout:?}");
    };
    match &*storage {
        Storage::Cpu(values) => values.as_slice::<f32>()?,
        _ => bail!("the kernels take tensors on the CPU"),
    };
    Ok(Values {
        storage,
        start,
        end,
    })
}

struct Values<G> {
    storage: G,
    start: usize,
    end: usize,
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            // `values` has looked.
            _ => &[],
        }
    }
}
