//! Changes to bytes.

use proptest::{prelude::*, sample::Index};

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Fill(Index, u8, u8),
    /// A number of four bytes, little-endian, where such numbers lie.
    Word(Index, u32),
    Cut(Index),
    Repeat(Index, u16),
    Drop(Index, u16),
    /// Another input in the middle of this one.
    Splice(Index, Index),
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let word = prop_oneof![
        Just(0),
        Just(u32::MAX),
        Just(i32::MAX as u32),
        Just(1 << 31),
        0..1_000_u32,
        any::<u32>()
    ];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        2 => (at(), any::<u8>(), any::<u8>()).prop_map(|(at, len, byte)| Mutation::Fill(at, len, byte)),
        2 => (at(), word).prop_map(|(at, word)| Mutation::Word(at, word)),
        1 => at().prop_map(Mutation::Cut),
        1 => (at(), any::<u16>()).prop_map(|(at, len)| Mutation::Repeat(at, len)),
        1 => (at(), any::<u16>()).prop_map(|(at, len)| Mutation::Drop(at, len)),
        1 => (at(), at()).prop_map(|(at, other)| Mutation::Splice(at, other)),
    ]
}

/// Half of all places lie in the first 128 bytes, where the headers are.
fn place(at: &Index, bytes: &[u8]) -> usize {
    let anywhere = at.index(bytes.len());
    if anywhere.is_multiple_of(2) {
        anywhere
    } else {
        at.index(bytes.len().min(128))
    }
}

/// Changes `bytes`; `others` are what may be put into them.
pub(crate) fn apply(bytes: &mut Vec<u8>, mutation: &Mutation, others: &[Vec<u8>]) {
    if bytes.is_empty() {
        return;
    }
    match mutation {
        Mutation::Set(at, byte) => {
            let at = place(at, bytes);
            bytes[at] = *byte;
        }
        Mutation::Flip(at, bit) => {
            let at = place(at, bytes);
            bytes[at] ^= 1 << bit;
        }
        Mutation::Fill(at, len, byte) => {
            let at = place(at, bytes);
            let end = bytes.len().min(at + usize::from(*len));
            bytes[at..end].fill(*byte);
        }
        Mutation::Word(at, word) => {
            let at = place(at, bytes) / 4 * 4;
            for (place, byte) in bytes[at..].iter_mut().zip(word.to_le_bytes()) {
                *place = byte;
            }
        }
        Mutation::Cut(at) => {
            let at = at.index(bytes.len());
            bytes.truncate(at);
        }
        Mutation::Repeat(at, len) => {
            let at = at.index(bytes.len());
            let part = bytes[at..bytes.len().min(at + usize::from(*len))].to_vec();
            bytes.splice(at..at, part);
        }
        Mutation::Drop(at, len) => {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + usize::from(*len));
            bytes.drain(at..end);
        }
        Mutation::Splice(at, other) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, other.get(others).iter().copied());
        }
    }
}
