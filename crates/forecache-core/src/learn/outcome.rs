//! What became of entries: hits, and how long was waited for them, by class and age.
//!
//! The actuary's way to a hazard: the chance of a hit at an age is the hits seen there over the entries that were watched
//! there, their *exposure* (Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA 1958). An entry that left is
//! watched on as a ghost, so what is counted doesn't depend on what the policy decided; one that is forgotten was
//! watched up to then, and no wrong is done to it.

use super::features::{AGES, CLASSES, LOW, Scale};

/// Hits and exposure, in `ages` columns a class.
#[derive(Debug, Clone)]
pub struct Outcomes {
    ages: usize,
    hits: Vec<f32>,
    exposure: Vec<f32>,
    /// Exposure of whole buckets, as differences from one to the next: an entry that waited long crosses many.
    steps: Vec<f32>,
    /// How often something was seen, by class.
    seen: Vec<f32>,
}

const INVERSE: [f32; AGES] = {
    let mut table = [0.0; AGES];
    let mut bucket = 0;
    while bucket < AGES {
        table[bucket] = 1.0 / (LOW[bucket + 1] - LOW[bucket]);
        bucket += 1;
    }
    table
};

impl Outcomes {
    /// Nothing seen yet.
    pub fn new(ages: usize) -> Self {
        let empty = vec![0.0; CLASSES * ages];
        Outcomes { ages, hits: empty.clone(), exposure: empty.clone(), steps: empty, seen: vec![0.0; CLASSES] }
    }

    /// An entry of this class was asked for at this age.
    #[inline]
    pub fn hit(&mut self, class: u16, age: u32, scale: &Scale) {
        self.hits[usize::from(class) * self.ages + scale.bucket(age)] += 1.0;
        self.seen[usize::from(class)] += 1.0;
    }

    /// An entry of this class was watched from one age to another.
    #[inline]
    pub fn expose(&mut self, class: u16, from: u32, to: u32, scale: &Scale) {
        if to <= from {
            return;
        }
        let (first, last) = (scale.bucket(from), scale.bucket(to));
        let row = usize::from(class) * self.ages;
        self.seen[usize::from(class)] += 1.0;
        let (from, to) = (from as f32, to as f32);
        if first == last {
            self.exposure[row + first] += ((to - from) * INVERSE[first]).min(1.0);
            return;
        }
        self.exposure[row + first] += (LOW[first + 1] - from) * INVERSE[first];
        self.exposure[row + last] += ((to - LOW[last]) * INVERSE[last]).min(1.0);
        self.steps[row + first + 1] += 1.0;
        self.steps[row + last] -= 1.0;
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, class: usize, age: usize, hits: f32, exposure: f32) {
        self.hits[class * self.ages + age] += hits;
        self.exposure[class * self.ages + age] += exposure;
        self.seen[class] += hits + exposure;
    }

    /// Whether anything worth mentioning was seen of a class.
    pub fn tells(&self, class: usize) -> bool {
        self.seen[class] > 0.5
    }

    /// Counts whole buckets in, so that `of` tells all.
    pub fn settle(&mut self) {
        for (steps, exposure) in self.steps.chunks_exact_mut(self.ages).zip(self.exposure.chunks_exact_mut(self.ages)) {
            let mut waiting = 0.0;
            for (step, exposure) in steps.iter_mut().zip(exposure) {
                waiting += std::mem::take(step);
                *exposure += waiting;
            }
        }
    }

    /// Hits and exposure of a class, by age.
    pub fn of(&self, class: usize) -> (&[f32], &[f32]) {
        let row = class * self.ages..(class + 1) * self.ages;
        (&self.hits[row.clone()], &self.exposure[row])
    }

    /// What was seen so far counts for this share of it from now on.
    pub fn fade(&mut self, share: f32) {
        for counts in [&mut self.hits, &mut self.exposure, &mut self.seen] {
            counts.iter_mut().for_each(|count| *count *= share);
        }
    }

    /// The same counts for a cache of another size: each class goes where `place` says, ages beyond the last to the last.
    pub fn moved(&self, ages: usize, place: impl Fn(usize) -> usize) -> Self {
        let mut moved = Outcomes::new(ages);
        for class in 0..CLASSES {
            let row = place(class) * ages;
            for age in 0..self.ages {
                let (from, to) = (class * self.ages + age, row + age.min(ages - 1));
                moved.hits[to] += self.hits[from];
                moved.exposure[to] += self.exposure[from];
            }
            moved.seen[place(class)] += self.seen[class];
        }
        moved
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        (self.hits.capacity() + self.exposure.capacity() + self.steps.capacity() + self.seen.capacity()) * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Waits age by age.
    fn slowly(waits: &[(u16, u32, u32)], scale: &Scale) -> Vec<f64> {
        let mut exposure = vec![0.0; CLASSES * scale.ages];
        for &(class, from, to) in waits {
            for age in from..to.max(from) {
                let bucket = scale.bucket(age);
                exposure[usize::from(class) * scale.ages + bucket] += f64::from(INVERSE[bucket]);
            }
        }
        exposure
    }

    proptest! {
        #[test]
        fn exposure_is_what_was_waited(waits in prop::collection::vec((0..CLASSES as u16, 0u32..3000, 0u32..3000), 1..30)) {
            let scale = Scale::of(100);
            let mut outcomes = Outcomes::new(scale.ages);
            waits.iter().for_each(|&(class, from, to)| outcomes.expose(class, from, to, &scale));
            outcomes.settle();
            for (one, other) in outcomes.exposure.iter().zip(slowly(&waits, &scale)) {
                prop_assert!((f64::from(*one) - other).abs() < 1e-3 * (1.0 + other), "{} instead of {}", one, other);
            }
        }
    }

    #[test]
    fn what_is_moved_is_all_there() {
        let scale = Scale::of(1000);
        let mut outcomes = Outcomes::new(scale.ages);
        for class in 0..CLASSES as u16 {
            outcomes.hit(class, u32::from(class) * 300, &scale);
            outcomes.expose(class, 3, 50, &scale);
        }
        outcomes.settle();
        let total = |outcomes: &Outcomes| -> (f32, f32) { (outcomes.hits.iter().sum(), outcomes.exposure.iter().sum()) };
        let moved = outcomes.moved(20, |class| class / 2);
        assert_eq!(total(&moved).0, total(&outcomes).0);
        assert!((total(&moved).1 - total(&outcomes).1).abs() < 1.0);
    }
}
