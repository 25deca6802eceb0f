//! A logistic expert, taught one outcome at a time: the chance that an entry is asked for within the next turnover.
//!
//! Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization" (AdaGrad, JMLR 2011).
//! Each weight has a step of its own, that becomes the shorter the more was learned of its feature. Features lie within [-1, 1] and
//! weights within [-[`MOST`], [`MOST`]], so whatever is learned, the chance is a number.

/// The features of an entry, and 1 first, whose weight is the bias.
pub type Features = [f32; 10];

/// No weight is greater.
pub const MOST: f32 = 20.0;
const STEP: f32 = 0.1;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Expert {
    weights: Features,
    /// Sums of squared gradients.
    squares: Features,
}

impl Expert {
    /// One that begins with these weights.
    pub fn new(weights: Features) -> Self {
        Expert { weights, squares: [1.0; size_of::<Features>() / 4] }
    }

    /// The chance, before it is squeezed between 0 and 1: the order is the same.
    #[inline]
    pub fn score(&self, features: &Features) -> f32 {
        self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum()
    }

    /// The chance.
    pub fn chance(&self, features: &Features) -> f32 {
        1.0 / (1.0 + (-self.score(features)).exp())
    }

    /// Learns what became of an entry of these features. What isn't a number teaches nothing.
    pub fn learn(&mut self, features: &Features, asked_for: bool) {
        let error = self.chance(features) - f32::from(u8::from(asked_for));
        for ((weight, square), feature) in self.weights.iter_mut().zip(&mut self.squares).zip(features) {
            let gradient = error * feature.clamp(-1.0, 1.0);
            if gradient.is_finite() {
                *square += gradient * gradient;
                *weight = (*weight - STEP * gradient / square.sqrt()).clamp(-MOST, MOST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_feature() -> impl Strategy<Value = f32> {
        prop_oneof![-1f32..=1.0, Just(f32::NAN), Just(f32::INFINITY), any::<f32>()]
    }

    proptest! {
        #[test]
        fn whatever_is_learned_a_chance_is_a_number(lessons in prop::collection::vec((prop::array::uniform10(any_feature()), any::<bool>()), 0..300)) {
            let mut model = Expert::new([0.0; 10]);
            for (features, asked_for) in &lessons {
                model.learn(features, *asked_for);
            }
            let chance = model.chance(&[1.0; 10]);
            prop_assert!((0.0..=1.0).contains(&chance) && model.weights.iter().all(|weight| weight.abs() <= MOST));
        }
    }

    #[test]
    fn it_learns_which_feature_tells() {
        let mut model = Expert::new([0.0; 10]);
        let entry = |tells: f32, noise: f32| {
            let mut features = [0.0; 10];
            (features[0], features[1], features[2]) = (1.0, tells, noise);
            features
        };
        for turn in 0..4000 {
            let (tells, noise) = (if turn % 2 == 0 { 1.0 } else { -1.0 }, if turn / 2 % 2 == 0 { 1.0 } else { -1.0 });
            model.learn(&entry(tells, noise), turn % 2 == 0);
        }
        for noise in [-1.0, 1.0] {
            assert!(model.chance(&entry(1.0, noise)) > 0.9 && model.chance(&entry(-1.0, noise)) < 0.1, "{model:?}");
        }
    }
}
