//! A set of small numbers: which tracks or vectors are allowed.

use std::ops::Range;

/// A set of numbers below a fixed bound, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bitmap {
    bound: usize,
    // Bits at and above `bound` stay 0.
    words: Vec<u64>,
}

const WORD: usize = u64::BITS as usize;

impl Bitmap {
    pub(super) fn empty(bound: usize) -> Self {
        Self {
            bound,
            words: vec![0; bound.div_ceil(WORD)],
        }
    }

    /// `number` must be below the bound.
    #[inline(always)]
    pub(super) fn contains(&self, number: u32) -> bool {
        let number = number as usize;
        self.words[number / WORD] >> (number % WORD) & 1 == 1
    }

    /// Puts a number in and says whether it was new.
    #[inline(always)]
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let number = number as usize;
        let word = &mut self.words[number / WORD];
        let bit = 1 << (number % WORD);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn insert_range(&mut self, range: Range<u32>) {
        for number in range {
            self.insert(number);
        }
    }

    pub(super) fn negate(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        if let Some(last) = self.words.last_mut()
            && !self.bound.is_multiple_of(WORD)
        {
            *last &= (1 << (self.bound % WORD)) - 1;
        }
    }

    /// Keeps what is in `other` too.
    pub(super) fn intersect(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Adds what is in `other`.
    pub(super) fn unite(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Drops what is in `other`.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The numbers, rising.
    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(position, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some((position * WORD) as u32 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    fn bitmap(numbers: &BTreeSet<u32>, bound: usize) -> Bitmap {
        let mut bitmap = Bitmap::empty(bound);
        for &number in numbers {
            assert!(bitmap.insert(number));
            assert!(!bitmap.insert(number));
        }
        bitmap
    }

    fn members(bitmap: &Bitmap) -> BTreeSet<u32> {
        assert_eq!(bitmap.iter().count(), bitmap.len());
        bitmap.iter().collect()
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(bound in 130usize..200, a in btree_set(0u32..130, 0..60), b in btree_set(0u32..130, 0..60)) {
            let (x, y) = (bitmap(&a, bound), bitmap(&b, bound));
            let with = |change: fn(&mut Bitmap, &Bitmap)| { let mut z = x.clone(); change(&mut z, &y); members(&z) };
            prop_assert_eq!(with(Bitmap::intersect), &a & &b);
            prop_assert_eq!(with(Bitmap::unite), &a | &b);
            prop_assert_eq!(with(Bitmap::subtract), &a - &b);
            prop_assert_eq!(with(|z, _| z.negate()), &(0..bound as u32).collect() - &a);
            prop_assert!((0..bound as u32).all(|number| x.contains(number) == a.contains(&number)));
        }
    }

    #[test]
    fn the_complement_of_nothing_is_everything_below_the_bound() {
        for bound in [0, 1, 63, 64, 65, 128] {
            let mut all = Bitmap::empty(bound);
            all.negate();
            assert_eq!(members(&all), (0..bound as u32).collect());
        }
    }
}
