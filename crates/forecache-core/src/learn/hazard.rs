//! The chance of a hit at each age of each class: the prior, corrected by what was seen.
//!
//! A correction is the ratio of seen to expected hits of a group of classes at an age, shrunk towards 1 by adding the same number of
//! hits to both: the mean of a gamma distribution of rates after Poisson counts (Clayton and Kaldor, "Empirical Bayes
//! estimates of age-standardized relative risks", Biometrics 1987). Corrections follow each other from coarse to fine, so a class of
//! which little was seen is at least corrected as those like it were. Neighbouring ages lend each other evidence, less the farther they
//! are.

use super::ablation;
use super::features::{AGES, CLASSES, Scale, base, parts};
use super::outcome::Outcomes;
use super::prior::Prior;

/// A round of corrections.
struct Level {
    /// Classes that share one; `None` has no share in this round.
    group: fn(usize) -> Option<usize>,
    /// Hits added to both sides.
    shrink: f32,
    /// What an age lends the next.
    lend: f32,
}

const LEVELS: [Level; 6] = [
    Level { group: |_| Some(0), shrink: 0.5, lend: 0.65 },
    Level { group: |class| Some(parts(class).0), shrink: 60.0, lend: 0.65 },
    Level { group: |class| parts(class).1.checked_sub(1), shrink: 20.0, lend: 0.55 },
    Level { group: |class| Some(base(class)), shrink: 10.0, lend: 0.45 },
    Level { group: |class| parts(class).2.checked_sub(1), shrink: 30.0, lend: 0.65 },
    Level { group: |class| (parts(class).2 > 0).then_some(class), shrink: 30.0, lend: 0.65 },
];

/// No chance is greater: a class may change.
const MOST: f32 = 0.98;

/// Chances by class and age.
#[derive(Debug, Clone)]
pub struct Hazard {
    ages: usize,
    /// By class and age, as all of these.
    prior: Vec<f32>,
    chances: Vec<f32>,
    /// Seen and expected hits by group and age: room for a round.
    sums: Vec<f32>,
}

impl Hazard {
    /// The prior at this scale.
    pub fn new(prior: &Prior, scale: &Scale) -> Self {
        let chance = |at: usize| prior.chance(at / scale.ages, at % scale.ages, scale.entries);
        Hazard::from_chances((0..CLASSES * scale.ages).map(chance).collect())
    }

    /// Any chances, by class and age.
    pub fn from_chances(prior: Vec<f32>) -> Self {
        let room = vec![0.0; 2 * prior.len()];
        Hazard { ages: prior.len() / CLASSES, chances: prior.clone(), prior, sums: room }
    }

    /// The chances of a class, by age.
    pub fn of(&self, class: usize) -> &[f32] {
        &self.chances[class * self.ages..(class + 1) * self.ages]
    }

    /// Estimates the classes of which something was seen, and those that are `due`, anew.
    pub fn estimate(&mut self, outcomes: &Outcomes, due: impl Fn(usize) -> bool) {
        let classes: Vec<_> = (0..CLASSES).filter(|&class| outcomes.tells(class) || due(class)).collect();
        for class in &classes {
            let row = class * self.ages..(class + 1) * self.ages;
            self.chances[row.clone()].copy_from_slice(&self.prior[row]);
        }
        LEVELS[..ablation::rounds(LEVELS.len())].iter().for_each(|level| self.correct(level, outcomes, &classes));
    }

    fn correct(&mut self, level: &Level, outcomes: &Outcomes, classes: &[usize]) {
        let ages = self.ages;
        let (seen, expected) = self.sums.split_at_mut(CLASSES * ages);
        // Where the sums of the groups of which something was seen are, and whose.
        let (mut rows, mut told) = (Vec::with_capacity(CLASSES), [false; CLASSES]);
        for &class in classes {
            let Some(group) = (level.group)(class).filter(|_| outcomes.tells(class)) else { continue };
            let row = group * ages;
            if !std::mem::replace(&mut told[group], true) {
                rows.push(row);
                seen[row..][..ages].fill(0.0);
                expected[row..][..ages].fill(0.0);
            }
            let (hits, exposure) = outcomes.of(class);
            let (seen, expected) = (&mut seen[row..][..ages], &mut expected[row..][..ages]);
            let chances = &self.chances[class * ages..][..ages];
            for age in 0..ages {
                seen[age] += hits[age];
                expected[age] += exposure[age] * chances[age];
            }
        }
        for rows in rows.chunks(LANES) {
            ratios(seen, expected, ages, std::array::from_fn(|lane| rows[lane.min(rows.len() - 1)]), level);
        }
        for &class in classes {
            let Some(group) = (level.group)(class).filter(|&group| told[group]) else { continue };
            let chances = &mut self.chances[class * ages..][..ages];
            for (chance, ratio) in chances.iter_mut().zip(&seen[group * ages..][..ages]) {
                *chance = (*chance * ratio).min(MOST);
            }
        }
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        (self.prior.capacity() + self.chances.capacity() + self.sums.capacity()) * size_of::<f32>()
    }
}

/// Rows that are worked on side by side, for each number waits for the one before.
const LANES: usize = 4;

/// Puts the shrunk ratio at each age in the place of the hits seen there, for the rows that begin there. An age lends to both sides.
fn ratios(seen: &mut [f32], expected: &[f32], ages: usize, rows: [usize; LANES], level: &Level) {
    let lend = ablation::lent(level.lend);
    let mut from_younger = [[(0.0, 0.0); LANES]; AGES];
    let mut lent = [(0.0, 0.0); LANES];
    for age in 0..ages {
        from_younger[age] = lent;
        for (lent, row) in lent.iter_mut().zip(rows) {
            *lent = ((lent.0 + seen[row + age]) * lend, (lent.1 + expected[row + age]) * lend);
        }
    }
    lent = [(0.0, 0.0); LANES];
    for age in (0..ages).rev() {
        let here = rows.map(|row| (seen[row + age], expected[row + age]));
        for lane in 0..LANES {
            let ((hits, chances), younger, older) = (here[lane], from_younger[age][lane], &mut lent[lane]);
            seen[rows[lane] + age] = (hits + younger.0 + older.0 + level.shrink) / (chances + younger.1 + older.1 + level.shrink);
            *older = ((older.0 + hits) * lend, (older.1 + chances) * lend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimated(hits: u32) -> (Scale, Hazard) {
        let scale = Scale::of(1000);
        let mut outcomes = Outcomes::new(scale.ages);
        for _ in 0..hits {
            outcomes.expose(0, 0, 100, &scale);
            outcomes.hit(0, 100, &scale);
        }
        outcomes.settle();
        let mut hazard = Hazard::new(&Prior::none(), &scale);
        hazard.estimate(&outcomes, |_| true);
        (scale, hazard)
    }

    #[test]
    fn without_evidence_the_prior_holds() {
        let (_, hazard) = estimated(0);
        assert_eq!(hazard.chances, hazard.prior);
    }

    #[test]
    fn evidence_moves_the_chance_where_it_was_seen() {
        let (scale, few) = estimated(5);
        let (_, many) = estimated(5000);
        let (at, before) = (scale.bucket(100), scale.bucket(50));
        assert!(few.prior[at] < few.of(0)[at] && few.of(0)[at] < many.of(0)[at]);
        assert!(many.of(0)[at] > 0.9);
        assert!(many.of(0)[before] < many.prior[before]);
    }

    #[test]
    fn chances_are_chances() {
        let (_, many) = estimated(100_000);
        assert!(many.chances.iter().all(|chance| (0.0..=MOST).contains(chance)));
    }
}
