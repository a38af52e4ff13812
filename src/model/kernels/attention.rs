//! The attention half of a transformer block, `x + output(attention(qkv(norm(x))))`.
//!
//! The scores of a block of queries against all keys stay in a core's cache; none are kept for
//! the backward pass, which computes them again from the logarithms of their sums (Dao et al.
//! 2022, "FlashAttention", arXiv:2205.14135, section 3.1 and appendix B).

use rayon::prelude::*;

use super::{
    blocks::{Partials, WeightGradient, height, weight_gradients},
    buffers::{Buffer, Buffers},
    layer::{Layer, StackShape},
    matrix::{Held, Matrix, MatrixMut, multiply},
    norm::Standard,
    panels::{Panels, product},
    rows,
};

/// Most queries whose scores are computed at once.
const QUERIES: usize = 128;

/// Queries of a block: blocks are nearly equal, and whole tiles of a product.
fn block(tokens: usize) -> usize {
    tokens
        .div_ceil(tokens.div_ceil(QUERIES))
        .next_multiple_of(8)
        .min(tokens)
}

/// What the backward pass needs of the forward pass.
pub(super) struct Kept {
    standard: Standard,
    /// `[windows, tokens, 3 hidden]`: queries, keys, values.
    qkv: Buffer,
    /// `[windows, tokens, hidden]`: what the heads read, before the output projection.
    context: Buffer,
    /// `[windows, heads, tokens]`: logarithms of the softmax's sums.
    log_sums: Buffer,
}

impl Kept {
    pub(super) fn new(shape: &StackShape, rows: usize, buffers: &Buffers) -> Self {
        Self {
            standard: Standard::new(rows, shape.hidden, buffers),
            qkv: buffers.take(rows * 3 * shape.hidden),
            context: buffers.take(rows * shape.hidden),
            log_sums: buffers.take(rows * shape.heads),
        }
    }
}

/// Computes the half in place on `x`, `[windows, tokens, hidden]`.
pub(super) fn forward(
    shape: &StackShape,
    layer: &Layer<&[f32]>,
    tokens: usize,
    buffers: &Buffers,
    x: &mut [f32],
    kept: &mut Kept,
) {
    let hidden = shape.hidden;
    let (qkv_layer, output) = rayon::join(
        || layer.qkv.forward(hidden, buffers),
        || layer.output.forward(hidden, buffers),
    );
    let block = height(x.len() / hidden);
    x.par_chunks(block * hidden)
        .zip(kept.standard.blocks(block))
        .zip(kept.qkv.par_chunks_mut(block * 3 * hidden))
        .for_each_init(
            || vec![0.0; block * hidden],
            |normed, ((x, mut standard), qkv)| {
                let normed = &mut normed[..x.len()];
                standard.norm(x, shape.epsilon, &layer.norm_before, normed);
                qkv_layer.apply(normed, qkv, Held::Replaced);
            },
        );
    heads(shape, tokens, buffers, kept);
    x.par_chunks_mut(block * hidden)
        .zip(kept.context.par_chunks(block * hidden))
        .for_each(|(x, context)| output.apply(context, x, Held::Kept));
}

/// A head's queries, keys and values in one window, `[tokens, head]` each.
fn parts<'a>(shape: &StackShape, tokens: usize, qkv: &'a [f32], head: usize) -> [Matrix<'a>; 3] {
    let (width, stride) = (shape.head(), 3 * shape.hidden);
    [0, 1, 2].map(|part| {
        let first = part * shape.hidden + head * width;
        Matrix::strip(&qkv[first..], tokens, width, stride)
    })
}

/// Reads the context out of queries, keys and values: one task a window, head and block of queries.
fn heads(shape: &StackShape, tokens: usize, buffers: &Buffers, kept: &mut Kept) {
    let hidden = shape.hidden;
    let scale = (shape.head() as f32).powf(-0.5);
    let window = tokens * 3 * hidden;
    let windows = kept.qkv.len() / window;
    let sides: Vec<[Panels; 2]> = (0..windows * shape.heads)
        .into_par_iter()
        .map(|number| {
            let qkv = &kept.qkv[number / shape.heads * window..][..window];
            let [_, keys, values] = parts(shape, tokens, qkv, number % shape.heads);
            [
                Panels::transposed(keys, buffers),
                Panels::of(values, buffers),
            ]
        })
        .collect();
    let block = block(tokens);
    let mut tasks = Vec::new();
    for (((qkv, sides), context), log_sums) in kept
        .qkv
        .chunks_exact(window)
        .zip(sides.chunks_exact(shape.heads))
        .zip(kept.context.chunks_exact_mut(tokens * hidden))
        .zip(kept.log_sums.chunks_exact_mut(tokens * shape.heads))
    {
        let contexts = MatrixMut::new(context, hidden).split_columns(shape.head());
        for (((head, [keys, values]), context), log_sums) in (0..)
            .zip(sides)
            .zip(contexts)
            .zip(log_sums.chunks_exact_mut(tokens))
        {
            let [queries, ..] = parts(shape, tokens, qkv, head);
            for ((first, context), log_sums) in (0..tokens)
                .step_by(block)
                .zip(context.split_rows(block))
                .zip(log_sums.chunks_mut(block))
            {
                let queries = queries.rows(first, log_sums.len());
                tasks.push((queries, keys, values, context, log_sums));
            }
        }
    }
    tasks.into_par_iter().with_max_len(1).for_each_init(
        || (vec![0.0; block * tokens], vec![0.0; block]),
        |(scores, inverse_sums), (queries, keys, values, mut context, log_sums)| {
            let scores = &mut scores[..log_sums.len() * tokens];
            product(
                &mut MatrixMut::new(scores, tokens),
                Held::Replaced,
                queries,
                keys,
            );
            rows::exponentials(scores, scale, log_sums, &mut inverse_sums[..log_sums.len()]);
            product(
                &mut context,
                Held::Replaced,
                Matrix::new(scores, tokens),
                values,
            );
            // The rows of the context are shorter than those of the scores.
            for (row, inverse_sum) in (0..log_sums.len()).zip(inverse_sums) {
                for value in context.row(row) {
                    *value *= *inverse_sum;
                }
            }
        },
    );
}

/// Buffers of the backward pass, used by one layer after another.
pub(super) struct Scratch {
    qkv: Buffer,
    context: Buffer,
    buffers: Buffers,
}

impl Scratch {
    pub(super) fn new(shape: &StackShape, rows: usize, buffers: &Buffers) -> Self {
        Self {
            qkv: buffers.take(rows * 3 * shape.hidden),
            context: buffers.take(rows * shape.hidden),
            buffers: buffers.clone(),
        }
    }
}

/// Turns `gradient`, that of the half's output, into that of its input, and writes those of its weights.
pub(super) fn backward(
    shape: &StackShape,
    layer: &Layer<&[f32]>,
    tokens: usize,
    mut kept: Kept,
    scratch: &mut Scratch,
    gradient: &mut [f32],
    weights: &mut Layer<&mut [f32]>,
) {
    let hidden = shape.hidden;
    let count = gradient.len() / hidden;
    let block = height(count);
    let (qkv_layer, output_layer) = rayon::join(
        || layer.qkv.backward(hidden, &scratch.buffers),
        || layer.output.backward(hidden, &scratch.buffers),
    );

    let mut biases = Partials::new(count, hidden);
    gradient
        .par_chunks(block * hidden)
        .zip(scratch.context.par_chunks_mut(block * hidden))
        .zip(biases.blocks())
        .for_each(|((gradient, context), bias)| {
            rows::add_columns(gradient, bias);
            output_layer.multiply(gradient, context, Held::Replaced);
        });
    weights.output.bias.copy_from_slice(&biases.total());
    let output = WeightGradient::of(
        weights.output.weight,
        (gradient, hidden),
        (&kept.context, hidden),
    );
    rayon::join(
        || heads_backward(shape, tokens, &kept, scratch),
        || weight_gradients([output]),
    );

    let mut sums = Partials::new(count, 5 * hidden);
    gradient
        .par_chunks_mut(block * hidden)
        .zip(scratch.qkv.par_chunks(block * 3 * hidden))
        .zip(kept.standard.blocks(block))
        .zip(sums.blocks())
        .for_each_init(
            || vec![0.0; block * hidden],
            |normed, (((gradient, qkv), mut standard), sums)| {
                let normed = &mut normed[..gradient.len()];
                let (bias, norm) = sums.split_at_mut(3 * hidden);
                rows::add_columns(qkv, bias);
                qkv_layer.multiply(qkv, normed, Held::Replaced);
                standard.norm_gradient(&layer.norm_before, normed, gradient, norm);
            },
        );
    let sums = sums.total();
    let (bias, norm) = sums.split_at(3 * hidden);
    let len = weights.qkv.bias.len();
    weights.qkv.bias.copy_from_slice(&bias[..len]);
    weights.norm_before.set(norm);
    weight_gradients([WeightGradient::of(
        weights.qkv.weight,
        (&scratch.qkv, 3 * hidden),
        (kept.standard.normed(), hidden),
    )]);
}

/// From the context's gradient to that of queries, keys and values: one task a window and head.
fn heads_backward<'a>(shape: &StackShape, tokens: usize, kept: &'a Kept, scratch: &'a mut Scratch) {
    let (hidden, width) = (shape.hidden, shape.head());
    let mut tasks = Vec::new();
    for ((((qkv, context), log_sums), qkv_gradient), context_gradient) in kept
        .qkv
        .chunks_exact(tokens * 3 * hidden)
        .zip(kept.context.chunks_exact(tokens * hidden))
        .zip(kept.log_sums.chunks_exact(tokens * shape.heads))
        .zip(scratch.qkv.chunks_exact_mut(tokens * 3 * hidden))
        .zip(scratch.context.chunks_exact(tokens * hidden))
    {
        let mut queries = MatrixMut::new(qkv_gradient, 3 * hidden).split_columns(width);
        let mut keys = queries.split_off(shape.heads);
        let values = keys.split_off(shape.heads);
        for (head, ((queries, keys), values)) in
            queries.into_iter().zip(keys).zip(values).enumerate()
        {
            let strip =
                |rows: &'a [f32]| Matrix::strip(&rows[head * width..], tokens, width, hidden);
            tasks.push(Head {
                parts: parts(shape, tokens, qkv, head),
                log_sums: &log_sums[head * tokens..][..tokens],
                context: strip(context),
                context_gradient: strip(context_gradient),
                gradients: [queries, keys, values],
            });
        }
    }
    let block = QUERIES.min(tokens);
    tasks.into_par_iter().with_max_len(1).for_each_init(
        || [vec![0.0; block * tokens], vec![0.0; block * tokens]],
        |[scores, gradient], head| head.backward(scores, gradient),
    );
}

/// One head in one window.
struct Head<'a> {
    /// Queries, keys, values.
    parts: [Matrix<'a>; 3],
    log_sums: &'a [f32],
    context: Matrix<'a>,
    context_gradient: Matrix<'a>,
    /// Of queries, keys, values.
    gradients: [MatrixMut<'a>; 3],
}

impl Head<'_> {
    fn backward(self, scores: &mut [f32], gradient: &mut [f32]) {
        let [queries, keys, values] = self.parts;
        let [query_gradients, mut key_gradient, mut value_gradient] = self.gradients;
        let tokens = self.log_sums.len();
        let scale = (query_gradients.width() as f32).powf(-0.5);
        let mut along = [0.0; QUERIES];
        let mut held = Held::Replaced;
        for ((first, mut query_gradient), log_sums) in (0..tokens)
            .step_by(QUERIES)
            .zip(query_gradients.split_rows(QUERIES))
            .zip(self.log_sums.chunks(QUERIES))
        {
            let count = log_sums.len();
            let queries = queries.rows(first, count);
            let context = self.context.rows(first, count);
            let context_gradient = self.context_gradient.rows(first, count);
            let scores = &mut scores[..count * tokens];
            let gradient = &mut gradient[..count * tokens];
            let product = |out: &mut [f32], lhs, rhs: Matrix<'_>| {
                multiply(
                    &mut MatrixMut::new(out, tokens),
                    Held::Replaced,
                    lhs,
                    rhs.t(),
                );
            };
            product(scores, queries, keys);
            product(gradient, context_gradient, values);
            // The sum of p times its gradient over a row of scores is what context and its
            // gradient give over a row of theirs, which is shorter.
            for (row, along) in along[..count].iter_mut().enumerate() {
                *along = rows::dot(context.row(row), context_gradient.row(row));
            }
            rows::softmax_gradient(scores, gradient, scale, log_sums, &along[..count]);
            let (p, gradient) = (Matrix::new(scores, tokens), Matrix::new(gradient, tokens));
            multiply(&mut value_gradient, held, p.t(), context_gradient);
            multiply(&mut key_gradient, held, gradient.t(), queries);
            multiply(&mut query_gradient, Held::Replaced, gradient, keys);
            held = Held::Kept;
        }
    }
}
