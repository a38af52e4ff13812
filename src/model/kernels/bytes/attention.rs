//! The attention half of a transformer block, `x + output(attention(qkv(norm(x))))`, in bytes.

use rayon::prelude::*;

use super::{
    super::{
        attention::queries_at_once,
        blocks::height,
        buffers::{Buffer, Pools},
        element::Element,
        layer::StackShape,
        matrix::{Matrix, MatrixMut},
        sink::{Added, Written},
    },
    Byte, Ready,
    linear::{Left, LeftBuffer, Right},
    rows::{self, Side},
};

/// What lies between the parts of the half.
pub(in super::super) struct Between {
    /// `[tokens, hidden]`, each row's heads with units of their own.
    queries: Buffer<Byte>,
    /// `[tokens, heads]`.
    query_units: Buffer,
    /// `[tokens, hidden]`.
    keys: Buffer,
    /// `[tokens, hidden]`.
    values: Buffer,
    /// `[tokens, hidden]`: what the heads read, before the output projection.
    context: Buffer,
}

impl Between {
    pub(super) fn new(shape: &StackShape, tokens: usize, pools: &Pools<Byte>) -> Self {
        let values = || pools.values.take(tokens * shape.hidden);
        Self {
            queries: pools.elements.take(tokens * shape.hidden),
            query_units: pools.values.take(tokens * shape.heads),
            keys: values(),
            values: values(),
            context: values(),
        }
    }
}

/// Computes the half in place on `x`, `[tokens, hidden]` of one window, for its first `read` tokens: no
/// others are read afterwards.
pub(super) fn forward(
    shape: &StackShape,
    layer: &Ready,
    read: usize,
    pools: &Pools<Byte>,
    x: &mut [f32],
    between: &mut Between,
) {
    let tokens = x.len() / shape.hidden;
    project(shape, layer, read, pools, x, between);
    heads(shape, tokens, read, pools, between);
    output(shape, layer, pools, between, &mut x[..read * shape.hidden]);
}

/// Keys and values of all tokens, queries of the blocks with one that is read.
fn project(
    shape: &StackShape,
    layer: &Ready,
    read: usize,
    pools: &Pools<Byte>,
    x: &[f32],
    between: &mut Between,
) {
    let (hidden, heads) = (shape.hidden, shape.heads);
    let block = height(x.len() / hidden);
    x.par_chunks(block * hidden)
        .zip(between.queries.par_chunks_mut(block * hidden))
        .zip(between.query_units.par_chunks_mut(block * heads))
        .zip(between.keys.par_chunks_mut(block * hidden))
        .zip(between.values.par_chunks_mut(block * hidden))
        .enumerate()
        .for_each_init(
            || {
                (
                    LeftBuffer::new(block, hidden, pools),
                    pools.values.take(block * hidden),
                )
            },
            |(normed, wide), (number, ((((x, queries), units), keys), values))| {
                let normed = normed.norm(x, &layer.norm_before, shape.epsilon);
                let out = |values| Written(MatrixMut::new(values, hidden));
                layer.key.product(normed, out(keys));
                layer.value.product(normed, out(values));
                if number * block < read {
                    let wide = &mut wide[..x.len()];
                    layer.query.product(normed, out(wide));
                    let rows = wide.chunks_exact(shape.head());
                    rows::quantise(rows, Side::Left, queries, units);
                }
            },
        );
}

/// Reads the context of the first `read` tokens: one task a head and block of queries.
fn heads(
    shape: &StackShape,
    tokens: usize,
    read: usize,
    pools: &Pools<Byte>,
    between: &mut Between,
) {
    let (hidden, heads, width) = (shape.hidden, shape.heads, shape.head());
    let scale = (width as f32).powf(-0.5);
    let sides: Vec<[Right; 2]> = (0..heads)
        .into_par_iter()
        .map(|head| {
            let keys = Matrix::strip(&between.keys[head * width..], tokens, width, hidden);
            let values = Matrix::strip(&between.values[head * width..], tokens, width, hidden);
            let rows = (0..tokens).map(|row| keys.row(row));
            [
                Right::transposed(rows, width, &[], pools),
                Right::of(values, pools),
            ]
        })
        .collect();
    let block = queries_at_once(tokens);
    let mut tasks = Vec::new();
    let contexts = MatrixMut::new(&mut between.context[..read * hidden], hidden);
    for ((head, sides), context) in sides.iter().enumerate().zip(contexts.split_columns(width)) {
        let queries = Matrix::strip(&between.queries[head * width..], tokens, width, hidden);
        let units = between.query_units.iter().skip(head).step_by(heads);
        let units: Vec<f32> = units.copied().take(read).collect();
        for (first, context) in (0..read).step_by(block).zip(context.split_rows(block)) {
            let count = context.rows();
            let units = units[first..][..count].to_vec();
            tasks.push((queries.rows(first, count), units, sides, context));
        }
    }
    // What the values are multiplied with: whole cells, beyond the tokens zeros.
    let padded = tokens.next_multiple_of(Byte::DEPTH);
    tasks.into_par_iter().with_max_len(1).for_each_init(
        || {
            (
                pools.values.take(block * tokens),
                pools.elements.take(block * padded),
                vec![0.0; block],
            )
        },
        |(scores, weights, inverse_sums), (queries, units, [keys, values], context)| {
            let count = units.len();
            let scores = &mut scores[..count * tokens];
            let weights = &mut weights[..count * padded];
            let inverse_sums = &mut inverse_sums[..count];
            let queries = Left {
                bytes: queries,
                units: &units,
            };
            keys.product(queries, Written(MatrixMut::new(scores, tokens)));
            rows::exponentials(scores, scale, weights, inverse_sums);
            let weights = Left {
                bytes: Matrix::new(weights, padded),
                units: inverse_sums,
            };
            values.product(weights, Written(context));
        },
    );
}

/// Adds the projected context to the first tokens, as many as `x` has.
fn output(
    shape: &StackShape,
    layer: &Ready,
    pools: &Pools<Byte>,
    between: &Between,
    x: &mut [f32],
) {
    let hidden = shape.hidden;
    let (block, len) = (height(x.len() / hidden), x.len());
    x.par_chunks_mut(block * hidden)
        .zip(between.context[..len].par_chunks(block * hidden))
        .for_each_init(
            || LeftBuffer::new(block, hidden, pools),
            |left, (x, context)| {
                let context = left.quantise(context);
                let out = MatrixMut::new(x, hidden);
                layer.output.product(context, Added { out, bias: &[] });
            },
        );
}
