//! The attention half of a transformer block, `x + output(attention(qkv(norm(x))))`.
//!
//! The scores of a block of queries against all keys stay in a core's cache; none are kept for
//! the backward pass, which computes them again from the logarithms of their sums (Dao et al.
//! 2022, "FlashAttention", arXiv:2205.14135, section 3.1 and appendix B).

use rayon::prelude::*;

use super::{
    blocks::{Partials, WeightGradient, height, weight_gradients},
    buffers::{Buffer, Buffers, Pools},
    element::Element,
    layer::{Layer, Ready, StackShape},
    matrix::{Held, Matrix, MatrixMut, multiply},
    norm::Standard,
    panels::{Panels, product},
    rounded::{exponentials, layer_norm},
    rows,
    sink::{Scaled, Written},
};

/// Most queries whose scores the backward pass computes at once.
const QUERIES: usize = 128;

/// Queries whose scores the forward pass computes at once: whole tiles, and so many that their scores, 160 KiB
/// at most, stay in a core's cache beside keys and values.
pub(super) fn queries_at_once(tokens: usize) -> usize {
    const SCORES: usize = 40 << 10;
    (SCORES / tokens / 8 * 8).clamp(8, QUERIES)
}

/// What the backward pass needs of the forward pass.
pub(super) struct Kept {
    standard: Standard,
    between: Between<f32>,
}

impl Kept {
    pub(super) fn new(shape: &StackShape, rows: usize, buffers: &Buffers) -> Self {
        Self {
            standard: Standard::new(rows, shape.hidden, buffers),
            between: Between::new(shape, rows, &Pools::shared(buffers)),
        }
    }
}

/// What lies between the parts of the half.
pub(super) struct Between<T: Element> {
    /// `[windows, tokens, 3 hidden]`: queries, keys, values.
    qkv: Buffer<T>,
    /// `[windows, tokens, hidden]`: what the heads read, before the output projection.
    context: Buffer<T>,
    /// `[windows, heads, tokens]`: logarithms of the softmax's sums.
    log_sums: Buffer,
}

impl<T: Element> Between<T> {
    pub(super) fn new(shape: &StackShape, rows: usize, pools: &Pools<T>) -> Self {
        Self {
            qkv: pools.elements.take(rows * 3 * shape.hidden),
            context: pools.elements.take(rows * shape.hidden),
            log_sums: pools.values.take(rows * shape.heads),
        }
    }
}

/// Computes the half in place on `x`, `[tokens, hidden]` of one window, for its first `read` tokens: no
/// others are read afterwards.
pub(super) fn forward<T: Element>(
    shape: &StackShape,
    layer: &Ready<T>,
    read: usize,
    pools: &Pools<T>,
    x: &mut [f32],
    between: &mut Between<T>,
) {
    let hidden = shape.hidden;
    let block = height(x.len() / hidden);
    x.par_chunks(block * hidden)
        .zip(between.qkv.par_chunks_mut(block * 3 * hidden))
        .for_each_init(
            || pools.elements.take(block * hidden),
            |normed, (x, qkv)| {
                let normed = &mut normed[..x.len()];
                let norm = &layer.norm_before;
                layer_norm(x, norm.slices(), shape.epsilon, normed);
                layer.qkv.write(normed, qkv);
            },
        );
    let tokens = x.len() / hidden;
    heads(shape, tokens, read, pools, between);
    output(shape, layer, between, &mut x[..read * hidden]);
}

/// [`forward`], of all tokens of `x`, `[windows, tokens, hidden]`, that keeps what [`backward`] needs.
pub(super) fn forward_kept(
    shape: &StackShape,
    layer: &Ready<f32>,
    tokens: usize,
    buffers: &Buffers,
    x: &mut [f32],
    kept: &mut Kept,
) {
    let hidden = shape.hidden;
    let block = height(x.len() / hidden);
    x.par_chunks(block * hidden)
        .zip(kept.standard.blocks(block))
        .zip(kept.between.qkv.par_chunks_mut(block * 3 * hidden))
        .for_each_init(
            || buffers.take(block * hidden),
            |normed, ((x, mut standard), qkv)| {
                let normed = &mut normed[..x.len()];
                standard.norm(x, shape.epsilon, &layer.norm_before, normed);
                layer.qkv.write(normed, qkv);
            },
        );
    let pools = Pools::shared(buffers);
    heads(shape, tokens, tokens, &pools, &mut kept.between);
    output(shape, layer, &kept.between, x);
}

/// Adds the projected context to the first tokens, as many as `x` has.
fn output<T: Element>(shape: &StackShape, layer: &Ready<T>, between: &Between<T>, x: &mut [f32]) {
    let hidden = shape.hidden;
    let (block, x_len) = (height(x.len() / hidden), x.len());
    x.par_chunks_mut(block * hidden)
        .zip(between.context[..x_len].par_chunks(block * hidden))
        .for_each(|(x, context)| layer.output.add(context, x));
}

/// A head's queries, keys and values in one window, `[tokens, head]` each.
fn parts<'a, T: Element>(
    shape: &StackShape,
    tokens: usize,
    qkv: &'a [T],
    head: usize,
) -> [Matrix<'a, T>; 3] {
    let (width, stride) = (shape.head(), 3 * shape.hidden);
    [0, 1, 2].map(|part| {
        let first = part * shape.hidden + head * width;
        Matrix::strip(&qkv[first..], tokens, width, stride)
    })
}

/// Reads the context of each window's first `read` tokens out of queries, keys and values: one task a window, head
/// and block of queries.
fn heads<T: Element>(
    shape: &StackShape,
    tokens: usize,
    read: usize,
    pools: &Pools<T>,
    between: &mut Between<T>,
) {
    let hidden = shape.hidden;
    let scale = (shape.head() as f32).powf(-0.5);
    let window = tokens * 3 * hidden;
    let windows = between.qkv.len() / window;
    let sides: Vec<[Panels<T>; 2]> = (0..windows * shape.heads)
        .into_par_iter()
        .map(|number| {
            let qkv = &between.qkv[number / shape.heads * window..][..window];
            let [_, keys, values] = parts(shape, tokens, qkv, number % shape.heads);
            [
                Panels::transposed(keys, &pools.cells),
                Panels::of(values, &pools.cells),
            ]
        })
        .collect();
    let block = queries_at_once(tokens);
    let mut tasks = Vec::new();
    for (((qkv, sides), context), log_sums) in between
        .qkv
        .chunks_exact(window)
        .zip(sides.chunks_exact(shape.heads))
        .zip(between.context.chunks_exact_mut(tokens * hidden))
        .zip(between.log_sums.chunks_exact_mut(tokens * shape.heads))
    {
        let context = &mut context[..read * hidden];
        let contexts = MatrixMut::new(context, hidden).split_columns(shape.head());
        for (((head, [keys, values]), context), log_sums) in (0..)
            .zip(sides)
            .zip(contexts)
            .zip(log_sums.chunks_exact_mut(tokens))
        {
            let [queries, ..] = parts(shape, tokens, qkv, head);
            for ((first, context), log_sums) in (0..read)
                .step_by(block)
                .zip(context.split_rows(block))
                .zip(log_sums[..read].chunks_mut(block))
            {
                let queries = queries.rows(first, log_sums.len());
                tasks.push((queries, keys, values, context, log_sums));
            }
        }
    }
    // What the values are multiplied with: whole cells, beyond the tokens zeros.
    let width = tokens.next_multiple_of(T::DEPTH);
    tasks.into_par_iter().with_max_len(1).for_each_init(
        || {
            (
                pools.values.take(block * tokens),
                pools.elements.take(block * width),
                [0.0; QUERIES],
            )
        },
        |(scores, weights, inverse_sums), (queries, keys, values, context, log_sums)| {
            let count = log_sums.len();
            let scores = &mut scores[..count * tokens];
            let weights = &mut weights[..count * width];
            let inverse_sums = &mut inverse_sums[..count];
            product(queries, keys, Written(MatrixMut::new(scores, tokens)));
            exponentials(scores, scale, weights, log_sums, inverse_sums);
            let context = Scaled {
                out: context,
                factors: inverse_sums,
            };
            product(Matrix::new(weights, width), values, context);
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
        (&kept.between.context, hidden),
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
    let between = &kept.between;
    for ((((qkv, context), log_sums), qkv_gradient), context_gradient) in between
        .qkv
        .chunks_exact(tokens * 3 * hidden)
        .zip(between.context.chunks_exact(tokens * hidden))
        .zip(between.log_sums.chunks_exact(tokens * shape.heads))
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
