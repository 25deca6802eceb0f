//! What the model is told of an entry.

use super::{Logistic, Resident};
use crate::learn::features::{History, bucket};
use crate::learn::logistic::Features;
use std::f32::consts::TAU;

/// Nanoseconds.
pub(super) const DAY: u64 = 86_400 * 1_000_000_000;

impl Logistic {
    pub(super) fn features(&self, resident: &Resident) -> Features {
        let History { last, uses, gaps, .. } = resident.history;
        let age = self.now.wrapping_sub(last);
        // Ages in quarter octaves.
        let (old, turnover) = (bucket(age) as f32, bucket(self.scale.entries) as f32);
        let pattern = if uses == 0 { 0.0 } else { (old - bucket(1 << (gaps & 31)) as f32) / 32.0 };
        let mean = (self.sizes / self.residents.len().max(1) as f64) as f32;
        let (sine, cosine) = self.hour(age);
        let features = [
            1.0,
            (old - turnover) / 32.0,
            f32::from(1 + uses).log2() / 7.0,
            (resident.size - mean) / 8.0,
            pattern,
            sine,
            cosine,
            f32::from(resident.tier) / 8.0,
            f32::from(resident.compression) / 32.0,
            f32::from(resident.references) / 16.0,
        ];
        features.map(|feature| feature.clamp(-1.0, 1.0))
    }

    /// The hour of the day, by the store's clock, so many requests ago, as a point of a circle.
    fn hour(&self, age: u32) -> (f32, f32) {
        let Some((request, time)) = self.first else { return (0.0, 0.0) };
        let pace = (self.clock - time) as f64 / f64::from(self.now.wrapping_sub(request).max(1));
        let then = self.clock.saturating_sub((pace * f64::from(age)) as u64);
        ((then % DAY) as f32 / DAY as f32 * TAU).sin_cos()
    }

    pub(super) fn worth(&self, resident: &Resident) -> f32 {
        self.model.score(&self.features(resident))
    }
}
