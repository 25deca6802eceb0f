//! What an entry is worth: Gittins' index of its hazard curve.
//!
//! Keeping an entry costs a place for as long as it is kept and earns a hit if it is asked for. One can stop at any age. The index is the best
//! ratio of expected hits to expected time over all ages at which one could stop (Gittins, "Bandit processes and dynamic
//! allocation indices", JRSS B 1979); the entry with the least index leaves. So an entry of a loop whose turn comes soon is worth
//! much though it is the one unused for longest, and one whose chance has passed is worth little though it was just used.

use super::features::{AGES, LOW, bucket};

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

    /// Of a bucket that isn't seen to its end, what is; all that comes after lies beyond.
    #[inline]
    fn part(self, part: f32) -> Self {
        let part = part.min(1.0);
        Stretch { hits: self.hits * part, time: self.time * part, rest: self.rest }
    }

    #[inline]
    fn worth(self) -> f32 {
        self.hits / self.time
    }
}

/// The index at each age from the chance of a hit in each bucket, at most [`AGES`], and the age up to which it is best to keep it. From the last
/// age back: a stretch takes in the next one as long as that is worth more, so each is looked at once or twice (pool-adjacent-violators).
pub fn index(hazard: &[f32], index: &mut [f32], ends: &mut [u8]) {
    let mut stretches = [(Stretch { hits: 0.0, time: 1.0, rest: 1.0 }, 0); AGES + 1];
    // Below all lies one that is worth nothing, and is never taken in.
    let mut top = 0;
    for (age, ((&hazard, index), end)) in hazard.iter().zip(index).zip(ends).enumerate().rev() {
        let mut stretch = Stretch::bucket(age, hazard);
        *end = age as u8 + 1;
        while stretches[top].0.hits * stretch.time > stretch.hits * stretches[top].0.time {
            stretch = stretch.then(stretches[top].0);
            *end = stretches[top].1;
            top -= 1;
        }
        *index = stretch.worth();
        top += 1;
        stretches[top] = (stretch, *end);
    }
}

/// The index of an entry in bucket `age` that will be gone after `horizon` requests, where `index` and `ends` are those of entries that
/// stay. Who is worth most for a stretch that ends before that is worth as much; else no later age is looked at than those that can add to
/// the best that was found.
#[inline]
pub fn index_within(hazard: &[f32], index: &[f32], ends: &[u8], age: usize, horizon: f32) -> f32 {
    if LOW[usize::from(ends[age])] - LOW[age] <= horizon {
        return index[age];
    }
    let mut whole = Stretch { hits: 0.0, time: 0.0, rest: 1.0 };
    let (mut best, begin) = (0f32, LOW[age]);
    for (age, (&hazard, &index)) in hazard.iter().zip(index).enumerate().skip(age) {
        let left = horizon - (LOW[age] - begin);
        if left <= 0.0 || index <= best {
            break;
        }
        whole = whole.then(Stretch::bucket(age, hazard).part(left / (LOW[age + 1] - LOW[age])));
        best = best.max(whole.worth());
    }
    best
}

/// The chance that an entry is asked for within the next `horizon` requests, from the chances of its class by age.
pub fn chance_within(hazard: &[f32], age: u32, horizon: u32) -> f32 {
    let (mut from, mut left, mut waits) = (age as f32, horizon as f32, 1.0);
    let first = bucket(age).min(hazard.len() - 1);
    for (at, chance) in hazard.iter().enumerate().skip(first) {
        // Past the last bucket it is as it was there.
        let (width, last) = (LOW[at + 1] - LOW[at], at + 1 == hazard.len());
        let part = if last { left.min(width) } else { (LOW[at + 1] - from).clamp(0.0, left) };
        waits *= 1.0 - chance * part / width;
        (from, left) = (LOW[at + 1], left - part);
        if left <= 0.0 {
            break;
        }
    }
    (1.0 - waits).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::super::features::Scale;
    use super::*;
    use proptest::prelude::*;

    fn tables(hazard: &[f32]) -> (Vec<f32>, Vec<u8>) {
        let (mut all, mut ends) = (vec![0.0; hazard.len()], vec![0; hazard.len()]);
        index(hazard, &mut all, &mut ends);
        (all, ends)
    }

    fn indices(hazard: &[f32]) -> Vec<f32> {
        tables(hazard).0
    }

    fn within(hazard: &[f32], age: usize, horizon: f32) -> f32 {
        let (all, ends) = tables(hazard);
        index_within(hazard, &all, &ends, age, horizon)
    }

    /// Each age at which one could stop is tried.
    fn slowly(hazard: &[f32], age: usize, horizon: f32) -> f32 {
        let (mut hits, mut time, mut rest, mut left, mut best) = (0.0, 0.0, 1.0, f64::from(horizon), 0f64);
        for (age, &hazard) in hazard.iter().enumerate().skip(age).take_while(|_| horizon > 0.0) {
            let (hazard, width) = (f64::from(hazard), f64::from(LOW[age + 1] - LOW[age]));
            let part = (left / width).min(1.0);
            hits += rest * hazard * part;
            time += rest * width * (1.0 - 0.5 * hazard) * part;
            rest *= 1.0 - hazard;
            (left, best) = (left - width, best.max(hits / time));
            if left <= 0.0 {
                break;
            }
        }
        best as f32
    }

    fn hazards() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(prop_oneof![Just(0.0), 0f32..0.05, 0f32..0.98], 1..100)
    }

    proptest! {
        #[test]
        fn the_index_is_the_best_of_all_ages_to_stop_at(hazard in hazards()) {
            for (age, index) in indices(&hazard).into_iter().enumerate() {
                let best = slowly(&hazard, age, f32::INFINITY);
                prop_assert!((index - best).abs() <= 1e-4 * best, "{} instead of {} at {}", index, best, age);
            }
        }

        #[test]
        fn an_end_is_seen_as_if_each_age_were_tried(hazard in hazards(), age in 0usize..100, octave in 0f32..30.0) {
            let (age, horizon) = (age % hazard.len(), octave.exp2());
            let (quick, slow) = (within(&hazard, age, horizon), slowly(&hazard, age, horizon));
            prop_assert!((quick - slow).abs() <= 1e-4 * slow, "{} instead of {}", quick, slow);
        }

        #[test]
        fn a_longer_wait_is_no_less_likely_to_end(chances in prop::collection::vec(0f32..0.98, 1..124), age in any::<u32>(), near in 0u32..1 << 30, more in 0u32..1 << 30) {
            let (near, far) = (chance_within(&chances, age, near), chance_within(&chances, age, near + more));
            prop_assert!((0.0..=1.0).contains(&near) && near <= far + 1e-6);
        }

        #[test]
        fn a_nearer_end_is_worth_no_more(hazard in hazards(), age in 0usize..100, near in 1f32..1e4, more in 1f32..1e4) {
            let age = age % hazard.len();
            prop_assert!(within(&hazard, age, near) <= within(&hazard, age, near + more) * 1.0001);
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

    #[test]
    fn a_wait_over_whole_buckets_multiplies_what_each_leaves() {
        let chances = vec![0.5; Scale::of(100).ages];
        assert_eq!(chance_within(&chances, 0, 3), 1.0 - 0.125);
        assert_eq!(chance_within(&chances, 16, 16), 1.0 - 0.0625);
        assert_eq!(chance_within(&chances, 16, 2), 0.25);
    }
}
