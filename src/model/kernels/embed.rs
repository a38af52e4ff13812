//! From windows to tokens: patches are cut out, projected and told where they come from.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{
    super::AstConfig,
    blocks::height,
    buffers::Buffers,
    matrix::{Held, Matrix, MatrixMut, multiply},
    panels::Panels,
    storage::{slice, values},
};

/// Cuts `[windows, frames, mel_bins]` into `[windows, patches, size * size]`: for every mel
/// position, every time position; within a patch every mel bin, every frame, as the kernel of a
/// convolution lies. Windows are data: there is no backward pass.
pub(super) struct Patches {
    /// First mel bin of each row of patches.
    pub(super) mel: Vec<usize>,
    /// First frame of each column of patches.
    pub(super) time: Vec<usize>,
    /// Side of a patch.
    pub(super) size: usize,
}

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, windows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (count, frames, bins) = layout.shape().dims3()?;
        let windows = slice(windows, layout)?;
        let size = self.size;
        let end = |firsts: &[usize]| firsts.iter().max().map_or(0, |first| first + size);
        if end(&self.mel) > bins || end(&self.time) > frames {
            bail!("a window of {frames} frames and {bins} mel bins does not hold all patches");
        }
        let row_len = self.time.len() * size * size;
        let mut out = vec![0.0; count * self.mel.len() * row_len];
        out.par_chunks_mut(row_len.max(1))
            .enumerate()
            .for_each(|(number, row)| {
                let window = &windows[number / self.mel.len() * frames * bins..];
                let mel = self.mel[number % self.mel.len()];
                for (patch, time) in row.chunks_exact_mut(size * size).zip(&self.time) {
                    cut(&window[time * bins..], bins, mel, size, patch);
                }
            });
        Ok((
            CpuStorage::F32(out),
            (count, self.mel.len() * self.time.len(), size * size).into(),
        ))
    }
}

impl AstConfig {
    /// Cuts a few patches out of each window of `max_length` frames: `kept[window]` numbers them row
    /// by row in the grid, as many in every window. `[windows, patches, patch_size * patch_size]`,
    /// for [`super::super::Ast::forward_scattered`]. Cheaper than to bring whole windows to the
    /// device of which little is seen.
    ///
    /// # Errors
    ///
    /// When a window is not whole, or `kept` does not fit the windows or the grid.
    pub fn cut_patches(
        &self,
        windows: &[&[f32]],
        kept: &[Vec<u32>],
        device: &Device,
    ) -> Result<Tensor> {
        let (rows, columns) = self.patch_grid();
        let (size, bins) = (self.patch_size, self.num_mel_bins);
        let count = kept.first().map_or(0, Vec::len);
        let whole = windows
            .iter()
            .all(|window| window.len() == self.window_len());
        let in_grid = |own: &Vec<u32>| own.iter().all(|&number| (number as usize) < rows * columns);
        if !whole
            || kept.len() != windows.len()
            || count == 0
            || !kept.iter().all(|own| own.len() == count && in_grid(own))
        {
            bail!(
                "{} whole windows, and as many patches of each, are needed",
                windows.len()
            );
        }
        let mut values = vec![0.0; windows.len() * count * size * size];
        values
            .par_chunks_mut(count * size * size)
            .zip(windows)
            .zip(kept)
            .for_each(|((patches, window), kept)| {
                for (patch, &number) in patches.chunks_exact_mut(size * size).zip(kept) {
                    let (row, column) = (number as usize / columns, number as usize % columns);
                    let frames = &window[column * self.time_stride * bins..];
                    cut(frames, bins, row * self.frequency_stride, size, patch);
                }
            });
        Tensor::from_vec(values, (windows.len(), count, size * size), device)
    }
}

/// Cuts the patch whose first mel bin is `mel` out of the first frames.
fn cut(frames: &[f32], bins: usize, mel: usize, size: usize, patch: &mut [f32]) {
    for (bin, row) in patch.chunks_exact_mut(size).enumerate() {
        let values = frames[mel + bin..].iter().step_by(bins);
        for (out, value) in row.iter_mut().zip(values) {
            *out = *value;
        }
    }
}

/// Projects patches `[windows, patches, inputs]` by a weight `[hidden, inputs]` and adds a table
/// `[extra + patches, hidden]`, whose first `extra` rows become tokens of their own:
/// `[windows, extra + patches, hidden]`.
pub(super) struct Embed;

impl CustomOp3 for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(
        &self,
        patches: &CpuStorage,
        patches_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        table: &CpuStorage,
        table_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (windows, count, inputs) = patches_layout.shape().dims3()?;
        let (hidden, columns) = weight_layout.shape().dims2()?;
        let (tokens, width) = table_layout.shape().dims2()?;
        if columns != inputs || width != hidden || tokens < count || count == 0 {
            bail!("patches, projection and table do not fit each other");
        }
        let patches = slice(patches, patches_layout)?;
        let weight = Matrix::new(slice(weight, weight_layout)?, inputs);
        let weight = Panels::transposed(weight, &Buffers::default());
        let (extra, table) = slice(table, table_layout)?.split_at((tokens - count) * hidden);
        let mut out = vec![0.0; windows * tokens * hidden];
        let block = height(count);
        out.par_chunks_mut(tokens * hidden)
            .zip(patches.par_chunks(count * inputs))
            .for_each(|(out, patches)| {
                let (first, out) = out.split_at_mut(extra.len());
                first.copy_from_slice(extra);
                out.copy_from_slice(table);
                out.par_chunks_mut(block * hidden)
                    .zip(patches.par_chunks(block * inputs))
                    .for_each(|(out, patches)| weight.multiply(patches, out, Held::Kept));
            });
        Ok((CpuStorage::F32(out), (windows, tokens, hidden).into()))
    }

    fn bwd(
        &self,
        patches: &Tensor,
        weight: &Tensor,
        table: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (_, count, inputs) = patches.dims3()?;
        let (tokens, hidden) = table.dims2()?;
        let (patch_values, gradient) = (values(patches)?, values(&gradient)?);
        let extra = (tokens - count) * hidden;

        let mut table_gradient = vec![0.0; tokens * hidden];
        table_gradient
            .par_chunks_mut(hidden)
            .enumerate()
            .for_each(|(token, sum)| {
                for gradient in gradient.chunks_exact(tokens * hidden) {
                    for (sum, value) in sum.iter_mut().zip(&gradient[token * hidden..]) {
                        *sum += value;
                    }
                }
            });

        // The rows of one window's patches lie next to each other, those of two windows do not.
        let mut weight_gradient = vec![0.0; hidden * inputs];
        let blocks = height(hidden);
        MatrixMut::new(&mut weight_gradient, inputs)
            .split_rows(blocks)
            .into_iter()
            .zip((0..hidden).step_by(blocks))
            .collect::<Vec<_>>()
            .into_par_iter()
            .for_each(|(mut block, first)| {
                let mut held = Held::Replaced;
                for (gradient, patches) in gradient
                    .chunks_exact(tokens * hidden)
                    .zip(patch_values.chunks_exact(count * inputs))
                {
                    let gradient =
                        Matrix::new(&gradient[extra..], hidden).columns(first, block.rows());
                    multiply(&mut block, held, gradient.t(), Matrix::new(patches, inputs));
                    held = Held::Kept;
                }
            });
        let device = weight.device();
        // Patches are cut from data. If they were not, their gradient would be missed here.
        if patches.track_op() {
            bail!("there is no gradient with respect to patches");
        }
        Ok((
            None,
            Some(Tensor::from_vec(weight_gradient, weight.shape(), device)?),
            Some(Tensor::from_vec(table_gradient, table.shape(), device)?),
        ))
    }
}
