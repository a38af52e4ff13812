//! From spectrogram windows to embeddings.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::{Ast, AstConfig, ModelError, Precision};

/// What the device thread runs: windows in, embeddings out.
pub trait EncodeWindows: Send + Sync {
    /// Values of one window, `max_length * num_mel_bins`.
    fn window_len(&self) -> usize;

    /// Values of one embedding.
    fn dim(&self) -> usize;

    /// Embeds windows as one batch. Each window holds [`EncodeWindows::window_len`] normalised
    /// values, frame after frame; each embedding has unit length.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when a window has another size or the device fails.
    fn encode(&self, windows: &[&[f32]]) -> Result<Vec<Vec<f32>>, ModelError>;
}

/// An AST on its device.
pub struct Encoder {
    config: AstConfig,
    ast: Ast,
    device: Device,
    precision: Precision,
}

impl Encoder {
    /// Puts the weights, by their canonical names, onto the device, one after another.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when weights are missing or do not fit, or the device does not compute in that precision.
    pub fn new(
        config: AstConfig,
        weights: impl IntoIterator<Item = (String, Tensor)>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let vb = VarBuilder::from_tensors(weights.into_iter().collect(), DType::F32, device);
        let ast = Ast::with_products_in(precision.dtype(), &config, vb)?;
        Ok(Self {
            config,
            ast,
            device: device.clone(),
            precision,
        })
    }

    /// The encoder's settings.
    #[must_use]
    pub fn config(&self) -> &AstConfig {
        &self.config
    }

    /// The network, for callers that need more than the embedding.
    #[must_use]
    pub fn ast(&self) -> &Ast {
        &self.ast
    }

    /// The device that the weights are on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the encoder computes in.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

impl EncodeWindows for Encoder {
    fn window_len(&self) -> usize {
        self.config.window_len()
    }

    fn dim(&self) -> usize {
        self.config.hidden_size
    }

    fn encode(&self, windows: &[&[f32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        let expected = self.window_len();
        if let Some(window) = windows.iter().find(|window| window.len() != expected) {
            return Err(ModelError::WindowSize {
                found: window.len(),
                expected,
            });
        }
        let shape = (
            windows.len(),
            self.config.max_length,
            self.config.num_mel_bins,
        );
        let input = Tensor::from_vec(windows.concat(), shape, &self.device)?;
        let mut embeddings = self.ast.embed(&input)?.to_vec2::<f32>()?;
        for embedding in &mut embeddings {
            normalise(embedding)?;
        }
        Ok(embeddings)
    }
}

/// Scales a vector to unit length (L2).
///
/// # Errors
///
/// [`ModelError::DegenerateEmbedding`] when it is zero or not finite.
pub fn normalise(vector: &mut [f32]) -> Result<(), ModelError> {
    let norm = vector
        .iter()
        .map(|&value| f64::from(value).powi(2))
        .sum::<f64>()
        .sqrt();
    if !norm.is_finite() || norm < 1e-12 {
        return Err(ModelError::DegenerateEmbedding);
    }
    let scale = (1.0 / norm) as f32;
    vector.iter_mut().for_each(|value| *value *= scale);
    Ok(())
}

/// Cosine of two vectors of any length; 0 where one of them is zero or not finite.
#[must_use]
pub fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        let products = left.iter().zip(right);
        products.map(|(&l, &r)| f64::from(l) * f64::from(r)).sum()
    };
    let norms = dot(left, left) * dot(right, right);
    match norms > 0.0 && norms.is_finite() {
        true => (dot(left, right) / norms.sqrt()).clamp(-1.0, 1.0),
        false => 0.0,
    }
}

/// The track embedding: the mean of the embeddings of its windows, at unit length again.
///
/// # Errors
///
/// [`ModelError::DegenerateEmbedding`] when there are no windows or they cancel each other out.
pub fn mean_embedding(windows: &[Vec<f32>]) -> Result<Vec<f32>, ModelError> {
    let Some(first) = windows.first() else {
        return Err(ModelError::DegenerateEmbedding);
    };
    let mut mean = vec![0.0; first.len()];
    for window in windows {
        for (sum, value) in mean.iter_mut().zip(window) {
            *sum += value;
        }
    }
    normalise(&mut mean)?;
    Ok(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_of_vectors_of_any_length() {
        assert!((cosine(&[3.0, 0.0], &[1.0, 1.0]) - 0.5f64.sqrt()).abs() < 1e-7);
        assert_eq!(cosine(&[0.0], &[1.0]), 0.0);
        for spoiled in [f32::NAN, f32::INFINITY] {
            assert_eq!(cosine(&[1.0, spoiled], &[1.0, 1.0]), 0.0);
        }
    }
}
