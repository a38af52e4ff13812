//! Triangular mel filters, stored sparsely.

/// Kaldi's mel scale (`mel-computations.h`): `1127 ln(1 + f / 700)`.
fn mel(hertz: f64) -> f64 {
    1127.0 * (hertz / 700.0).ln_1p()
}

/// Frames that the filters are applied to at once.
pub(super) const LANES: usize = 16;

/// One filter: the weights of a run of neighbouring FFT bins.
#[derive(Debug)]
struct Filter {
    first_bin: usize,
    weights: Vec<f32>,
}

/// A bank of triangles, equally wide on the mel scale, each half overlapping its neighbours.
///
/// A triangle that falls between two FFT bins has no weights at all and yields 0 for every frame (bin
/// 3 of AST's default bank is one), exactly as in the reference.
#[derive(Debug)]
pub(super) struct MelBank {
    filters: Vec<Filter>,
}

impl MelBank {
    /// `mel_bins` filters between `low` and `high` hertz over the first `fft_size / 2` bins of a
    /// spectrum of `fft_size` points. The Nyquist bin belongs to no filter, as in Kaldi.
    pub(super) fn new(
        mel_bins: usize,
        fft_size: usize,
        sample_rate: u32,
        low: f64,
        high: f64,
    ) -> Self {
        let (low, high) = (mel(low), mel(high));
        let step = (high - low) / (mel_bins + 1) as f64;
        let bin_width = f64::from(sample_rate) / fft_size as f64;
        let bin_mels: Vec<f64> = (0..fft_size / 2)
            .map(|bin| mel(bin_width * bin as f64))
            .collect();

        let filter = |index: usize| {
            let left = low + index as f64 * step;
            let (center, right) = (left + step, left + 2.0 * step);
            let weight =
                |m: f64| ((m - left) / (center - left)).min((right - m) / (right - center));
            let first_bin = bin_mels.iter().position(|&m| weight(m) > 0.0).unwrap_or(0);
            let weights = bin_mels[first_bin..]
                .iter()
                .map(|&m| weight(m) as f32)
                .take_while(|&w| w > 0.0)
                .collect();
            Filter { first_bin, weights }
        };
        Self {
            filters: (0..mel_bins).map(filter).collect(),
        }
    }

    /// Energy in each filter for [`LANES`] frames side by side, given the power in each FFT bin.
    pub(super) fn apply<'a>(
        &'a self,
        power: &'a [[f32; LANES]],
    ) -> impl Iterator<Item = [f32; LANES]> + 'a {
        self.filters.iter().map(|filter| {
            let mut energies = [0.0; LANES];
            for (power, weight) in power[filter.first_bin..].iter().zip(&filter.weights) {
                for (energy, power) in energies.iter_mut().zip(power) {
                    *energy += power * weight;
                }
            }
            energies
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_filter_between_two_bins_is_empty() {
        let bank = MelBank::new(128, 512, 16_000, 20.0, 8_000.0);
        let empty: Vec<usize> = (0..128)
            .filter(|&i| bank.filters[i].weights.is_empty())
            .collect();
        assert_eq!(empty, [3]);
    }

    #[test]
    fn weights_of_neighbours_sum_to_one_between_the_outer_centers() {
        let bank = MelBank::new(40, 512, 16_000, 20.0, 8_000.0);
        let mut sums = vec![0.0f32; 256];
        for filter in &bank.filters {
            for (offset, weight) in filter.weights.iter().enumerate() {
                sums[filter.first_bin + offset] += weight;
            }
        }
        for (bin, sum) in sums.iter().enumerate().take(230).skip(10) {
            assert!((sum - 1.0).abs() < 1e-5, "bin {bin}: {sum}");
        }
    }
}
