//! Rotary position embeddings as configuration: base, scaling, and the frequencies that follow from them.
//!
//! A head of `dims` elements is rotated in `dims / 2` pairs; pair i turns by `position * frequency_i`, frequency_i = theta^(-2i / dims).
//! Scaling changes the frequencies: `linear` divides all by a factor; `llama3` divides the slow ones, leaves the fast ones and blends between.

/// How the frequencies are stretched for contexts past the trained one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3.1's: wavelengths above `original_context / low` are stretched by `factor`, those below `original_context / high` are kept.
    Llama3 {
        /// The stretch of the slow frequencies.
        factor: f32,
        /// `low_freq_factor`.
        low: f32,
        /// `high_freq_factor`.
        high: f32,
        /// `original_max_position_embeddings`, tokens.
        original_context: f32,
    },
}

/// The rotation of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// The base, `rope_theta` or `rope.freq_base`.
    pub theta: f32,
    /// Elements of a head that are rotated, even.
    pub dims: usize,
    /// True: pair i is `(x[2i], x[2i+1])`, as GGUF's permuted rows want it. False: `(x[i], x[i + dims/2])`, as Hugging Face stores the rows.
    pub interleaved: bool,
    /// The stretching.
    pub scaling: RopeScaling,
}

impl Rope {
    /// The frequencies before any scaling, radians a position, one per pair. Computed in double precision and rounded once, which is within one
    /// unit in the last place of what transformers computes in single precision.
    fn base(&self) -> Vec<f32> {
        (0..self.dims / 2)
            .map(|i| {
                let exponent = (2 * i) as f32 / self.dims as f32;
                1.0 / (self.theta as f64).powf(exponent as f64) as f32
            })
            .collect()
    }

    /// The divisors of the frequencies that `llama3` scaling means, as GGUF's `rope_freqs.weight` stores them; `None` for other scalings.
    pub fn factors(&self) -> Option<Vec<f32>> {
        let RopeScaling::Llama3 { factor, low, high, original_context } = self.scaling else { return None };
        // In single precision throughout, as llama.cpp's converter computes the tensor, so that the files are the same byte for byte.
        let divide = |freq: f32| {
            let wavelength = 2.0 * std::f32::consts::PI / freq;
            if wavelength < original_context / high {
                1.0
            } else if wavelength > original_context / low {
                factor
            } else {
                let smooth = (original_context / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        Some(self.base().into_iter().map(divide).collect())
    }

    /// The scaled frequencies, radians a position, `dims / 2` of them. `stored` are the divisors of a GGUF's `rope_freqs.weight`, which stand in
    /// the place of any scaling by configuration but the linear one.
    pub fn frequencies(&self, stored: Option<&[f32]>) -> Vec<f32> {
        let mut freqs = self.base();
        if let RopeScaling::Linear { factor } = self.scaling {
            freqs.iter_mut().for_each(|f| *f /= factor);
        }
        let computed = self.factors();
        if let Some(divisors) = stored.or(computed.as_deref()) {
            freqs.iter_mut().zip(divisors).for_each(|(f, d)| *f /= d);
        }
        freqs
    }
}

/// The angles of a position, computed as the program does that the file was made for: the rounding of an angle grows with the position, and logits
/// agree with a program's only when it is the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    /// Radians a position, `dims / 2`.
    frequencies: Vec<f32>,
    /// GGUF: each pair's angle is the one before it times this, then divided by its divisor, as llama.cpp does it.
    chain: Option<(f32, Vec<f32>)>,
}

impl Angles {
    /// For Hugging Face files position * frequency, as transformers; for GGUF (`stored`: its `rope_freqs.weight`) the chain.
    pub fn new(rope: &Rope, stored: Option<&[f32]>) -> Angles {
        let ratio = (rope.theta as f64).powf(-2.0 / rope.dims as f64) as f32;
        let linear = if let RopeScaling::Linear { factor } = rope.scaling { factor } else { 1.0 };
        let divisors = (0..rope.dims / 2).map(|i| stored.map_or(1.0, |s| s[i]) * linear).collect();
        Angles { frequencies: rope.frequencies(stored), chain: rope.interleaved.then_some((ratio, divisors)) }
    }

    /// Calls `each` with the angles of a position, in order.
    pub fn at(&self, position: usize, mut each: impl FnMut(f32)) {
        let mut angle = position as f32;
        match &self.chain {
            None => self.frequencies.iter().for_each(|f| each(angle * f)),
            Some((ratio, divisors)) => divisors.iter().for_each(|d| {
                each(angle / d);
                angle *= ratio;
            }),
        }
    }
}
