//! What an entry is worth: Gittins' index of its hazard curve.
//!
//! Keeping an entry costs a place for as long as it is kept and earns a hit if it is asked for. One can stop at any age. The index is the best
//! ratio of expected hits to expected time over all ages at which one could stop (Gittins, "Bandit processes and dynamic
//! allocation indices", JRSS B 1979); the entry with the least index leaves. So an entry of a loop whose turn comes soon is worth
//! much though it is the one unused for longest, and one whose chance has passed is worth little though it was just used.

use super::features::{AGES, LOW};

/// A stretch of ages that it is best to keep through to the end: hits, time and the chance to wait on, each from its begin.
#[derive(Clone, Copy)]
struct Stretch {
    hits: f32,
    time: f32,
    rest: f32,
}

impl Stretch {
    #[inline]
    fn bucket(age: usize, hazard: f32) -> Self {
        // A hit comes, on average, in the middle.
        Stretch { hits: hazard, time: (LOW[age + 1] - LOW[age]) * (1.0 - 0.5 * hazard), rest: 1.0 - hazard }
    }

    #[inline]
    fn then(self, next: Stretch) -> Self {
        Stretch { hits: self.hits + self.rest * next.hits, time: self.time + self.rest * next.time, rest: self.rest * next.rest }
    }

    fn worth(self) -> f32 {
        self.hits / self.time
    }
}

/// The index at each age from the chance of a hit in each bucket, at most [`AGES`]. From the last age back: a stretch takes in the next one
/// as long as that is worth more, so each is looked at once or twice (pool-adjacent-violators).
pub fn index(hazard: &[f32], index: &mut [f32]) {
    let mut stretches = [Stretch { hits: 0.0, time: 1.0, rest: 1.0 }; AGES + 1];
    // Below all lies one that is worth nothing, and is never taken in.
    let mut top = 0;
    for (age, (&hazard, index)) in hazard.iter().zip(index).enumerate().rev() {
        let mut stretch = Stretch::bucket(age, hazard);
        while stretches[top].hits * stretch.time > stretch.hits * stretches[top].time {
            stretch = stretch.then(stretches[top]);
            top -= 1;
        }
        *index = stretch.worth();
        top += 1;
        stretches[top] = stretch;
    }
}

/// The index of an entry in bucket `age` that will be gone after `horizon` requests.
pub fn index_within(hazard: &[f32], age: usize, horizon: f32) -> f32 {
    let mut whole = Stretch { hits: 0.0, time: 0.0, rest: 1.0 };
    let (mut best, mut left) = (0f32, horizon);
    for (age, &hazard) in hazard.iter().enumerate().skip(age) {
        let width = LOW[age + 1] - LOW[age];
        let part = (left / width).min(1.0);
        let bucket = Stretch::bucket(age, hazard);
        // Of a bucket that it doesn't see the end of, the part that it does.
        whole = whole.then(Stretch { hits: bucket.hits * part, time: bucket.time * part, rest: bucket.rest });
        best = best.max(whole.worth());
        left -= width;
        if left <= 0.0 {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn indices(hazard: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; hazard.len()];
        index(hazard, &mut all);
        all
    }

    fn hazards() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(prop_oneof![Just(0.0), 0f32..0.05, 0f32..0.98], 1..100)
    }

    proptest! {
        #[test]
        fn the_index_is_the_best_of_all_ages_to_stop_at(hazard in hazards()) {
            for (age, index) in indices(&hazard).into_iter().enumerate() {
                let best = index_within(&hazard, age, f32::INFINITY);
                prop_assert!((index - best).abs() <= 1e-4 * best, "{} instead of {} at {}", index, best, age);
            }
        }

        #[test]
        fn a_nearer_end_is_worth_no_more(hazard in hazards(), age in 0usize..100, near in 1f32..1e4, more in 1f32..1e4) {
            let age = age % hazard.len();
            prop_assert!(index_within(&hazard, age, near) <= index_within(&hazard, age, near + more) * 1.0001);
        }

        #[test]
        fn more_hits_are_worth_no_less(hazard in hazards(), at in 0usize..100) {
            let mut more = hazard.clone();
            let at = at % hazard.len();
            more[at] = (more[at] + 0.01).min(0.98);
            prop_assert!(indices(&hazard).iter().zip(indices(&more)).all(|(less, more)| *less <= more * 1.0001));
        }
    }

    #[test]
    fn the_turn_that_comes_soon_is_worth_more_than_one_far_off() {
        let mut hazard = [0.0; 40];
        hazard[30] = 0.9;
        let indices = indices(&hazard);
        assert!(indices[..=30].windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(indices[31..], [0.0; 9]);
    }
}
