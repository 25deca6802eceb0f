//! The model: counts, chances and worths at one scale.

use super::features::{BEFORES, CLASSES, GAPS, Scale, parts};
use super::hazard::Hazard;
use super::index::{chance_within, index, index_within};
use super::outcome::Outcomes;
use super::prior::Prior;
use std::sync::Arc;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Model {
    /// What lengths are relative to.
    pub scale: Scale,
    /// What was seen.
    pub outcomes: Outcomes,
    prior: Arc<Prior>,
    hazard: Hazard,
    /// By class and age.
    worths: Vec<f32>,
    /// The age up to which an entry that is worth so much is kept; by class and age.
    ends: Vec<u8>,
    /// How often conclusions were drawn.
    turn: usize,
}

/// Conclusions from one estimate of a class of which nothing was seen to the next.
const TURNS: usize = 8;
/// In the first so many every class is due.
const SURE: usize = 16;

impl Model {
    /// One that has seen nothing.
    pub fn new(prior: Arc<Prior>, scale: Scale) -> Self {
        let (outcomes, hazard) = (Outcomes::new(scale.ages), Hazard::new(&prior, &scale));
        let mut model = Model { scale, outcomes, prior, hazard, worths: Vec::new(), ends: Vec::new(), turn: 0 };
        model.make_tables();
        model.conclude(true);
        model
    }

    /// What it began with.
    pub fn prior(&self) -> &Arc<Prior> {
        &self.prior
    }

    /// Draws conclusions from what was seen, which then counts for less by `fade`.
    pub fn learn(&mut self, fade: f32) {
        self.outcomes.settle();
        self.conclude(false);
        self.outcomes.fade(fade);
    }

    /// Estimates classes of which nothing was seen only now and then, unless `all` are due: nearly nobody is of them.
    fn conclude(&mut self, all: bool) {
        self.turn += 1;
        let turn = self.turn;
        let due = |class: usize| all || turn < SURE || class % TURNS == turn % TURNS;
        self.hazard.estimate(&self.outcomes, due);
        let ages = self.scale.ages;
        let tables = self.worths.chunks_exact_mut(ages).zip(self.ends.chunks_exact_mut(ages));
        for (class, (worths, ends)) in tables.enumerate() {
            if self.outcomes.tells(class) || due(class) {
                index(self.hazard.of(class), worths, ends);
            }
        }
    }

    /// Goes over to another scale with what was seen.
    pub fn rescale(&mut self, scale: Scale) {
        self.outcomes.settle();
        let shift = self.scale.octave - scale.octave;
        self.outcomes = self.outcomes.moved(scale.ages, |class| shifted(class, shift));
        self.hazard = Hazard::new(&self.prior, &scale);
        self.scale = scale;
        self.make_tables();
        self.conclude(true);
    }

    fn make_tables(&mut self) {
        let cells = CLASSES * self.scale.ages;
        (self.worths, self.ends) = (vec![0.0; cells], vec![0; cells]);
    }

    /// What an entry of this class and age is worth, in hits a request.
    #[inline(always)]
    pub fn worth(&self, class: u16, age: u32) -> f32 {
        self.worths[usize::from(class) * self.scale.ages + self.scale.bucket(age)]
    }

    /// The same if it will be gone after `horizon` requests.
    pub fn worth_within(&self, class: u16, age: u32, horizon: f32) -> f32 {
        let row = usize::from(class) * self.scale.ages..(usize::from(class) + 1) * self.scale.ages;
        let (worths, ends) = (&self.worths[row.clone()], &self.ends[row]);
        index_within(self.hazard.of(class.into()), worths, ends, self.scale.bucket(age), horizon)
    }

    /// The chance that an entry of this class and age is asked for within so many requests.
    pub fn chance_within(&self, class: u16, age: u32, requests: u32) -> f32 {
        let class = usize::from(class).min(CLASSES - 1);
        chance_within(self.hazard.of(class), age, requests)
    }

    /// The chance of a hit, and the worth, in each bucket of age.
    pub fn of(&self, class: usize) -> (&[f32], &[f32]) {
        (self.hazard.of(class), &self.worths[class * self.scale.ages..][..self.scale.ages])
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.outcomes.allocated() + self.hazard.allocated() + self.worths.capacity() * size_of::<f32>() + self.ends.capacity()
    }
}

/// The class whose gap is so many octaves longer.
fn shifted(class: usize, octaves: i32) -> usize {
    let (frequency, gap, before) = parts(class);
    if frequency == 0 {
        return class;
    }
    let moved = (gap as i32 + octaves).clamp(1, GAPS as i32) - gap as i32;
    let width = if before == 0 { 1 } else { BEFORES as i32 };
    (class as i32 + moved * width) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::features::History;

    #[test]
    fn a_class_moves_as_gaps_do() {
        for entries in [1000, 64_000] {
            let scale = Scale::of(entries);
            for class in 0..CLASSES {
                let (uses, gap, before) = parts(class);
                let uses = [0, 1, 2, 3, 5, 9, 17, 33, 81][uses];
                let octave = gap as i32 - 9 + scale.octave;
                if gap > 0 && octave < 0 {
                    continue;
                }
                let gaps = (before.saturating_sub(1) as u8) << 5 | octave.max(0) as u8;
                let history = History { last: 0, class: 0, uses, gaps };
                assert_eq!(usize::from(scale.class(&history)), class);
                for other in [4 * entries, entries / 2] {
                    let other = Scale::of(other);
                    assert_eq!(shifted(class, scale.octave - other.octave), usize::from(other.class(&history)));
                }
            }
        }
    }
}
