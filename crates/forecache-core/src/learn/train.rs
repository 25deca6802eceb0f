//! Makes a prior from traces, or corrects one by them.
//!
//! For each trace and some numbers of entries it is counted what became of each key at each age, as the policy does, but of all keys, and
//! by ages relative to the number of entries. Each trace weighs the same, however long it is. The counts of all, put together,
//! correct a base, by the same estimate that corrects the prior later: one that says only that hits become rarer with age makes a prior,
//! a prior makes a model of the traffic at hand.

use super::features::{CLASSES, History, LOW, Scale};
use super::hazard::Hazard;
use super::outcome::Outcomes;
use super::prior::{COLUMNS, Prior, column};
use crate::trace::{Operation, Trace};

/// A cache remembers what left for some turnovers; a key that comes after so many is a new one.
const REMEMBERED: u32 = 16;
/// Accesses that the counts of a trace stand for in a prior.
pub const WEIGHT: f32 = 100_000.0;
/// Smaller caches are none.
pub const FEWEST: usize = 50;

/// What became of the keys of one trace, by class and column of the prior.
#[derive(Debug, Clone)]
pub struct Evidence(Outcomes);

impl Evidence {
    /// Of the first `rows` of `trace`, pooled over caches of so many entries, as if they were `weight` accesses; `None` if nothing can
    /// be learned from them.
    pub fn of(trace: &Trace, rows: usize, entries: &[usize], weight: f32) -> Option<Self> {
        let rows = rows.min(trace.len());
        let accesses = (0..rows).filter(|&row| trace.operations.at(row).counts()).count();
        let sizes: Vec<_> = entries.iter().filter(|&&entries| entries >= FEWEST).collect();
        let mut pooled = Outcomes::new(COLUMNS);
        for &&entries in &sizes {
            let scale = Scale::of(entries);
            let share = weight / accesses as f32 / sizes.len() as f32;
            pool(&watch(trace, rows, &scale), &scale, share, &mut pooled);
        }
        (accesses > 0 && !sizes.is_empty()).then_some(Evidence(pooled))
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence(Outcomes::new(COLUMNS))
    }
}

impl Evidence {
    /// Adds what a cache of this scale has seen.
    pub fn add(&mut self, outcomes: &Outcomes, scale: &Scale) {
        pool(outcomes, scale, 1.0, &mut self.0);
    }
}

/// What became of all keys.
fn watch(trace: &Trace, rows: usize, scale: &Scale) -> Outcomes {
    let mut outcomes = Outcomes::new(scale.ages);
    let longest = scale.entries.saturating_mul(REMEMBERED);
    let mut histories: Vec<Option<History>> = vec![None; trace.unique()];
    let mut now = 0u32;
    for (row, &id) in trace.ids[..rows].iter().enumerate() {
        now = now.wrapping_add(1);
        let history = &mut histories[id as usize];
        let known = history.take().map(|history| (history, now.wrapping_sub(history.last)));
        if let Some((history, age)) = known {
            outcomes.expose(history.class, 0, age.min(longest), scale);
        }
        *history = match known {
            _ if trace.operations.at(row) == Operation::Delete => None,
            Some((mut history, age)) if age < longest => {
                outcomes.hit(history.class, age, scale);
                history.touch(now, scale);
                Some(history)
            }
            _ => Some(History::new(now)),
        };
    }
    for history in histories.into_iter().flatten() {
        outcomes.expose(history.class, 0, now.wrapping_sub(history.last).min(longest), scale);
    }
    outcomes.settle();
    outcomes
}

/// Adds this share of the counts, by relative ages. Exposure becomes half octaves waited.
fn pool(outcomes: &Outcomes, scale: &Scale, share: f32, pooled: &mut Outcomes) {
    for class in 0..CLASSES {
        let (hits, exposure) = outcomes.of(class);
        for age in 0..scale.ages {
            let (low, high) = (LOW[age] + 0.5, LOW[age + 1] + 0.5);
            let relative = ((low + high) * 0.5 / scale.entries as f32).log2();
            let column = (column(relative) + 0.5).clamp(0.0, COLUMNS as f32 - 1.0) as usize;
            let halves = exposure[age] * (high / low).log2() * 2.0;
            pooled.add(class, column, hits[age] * share, halves * share);
        }
    }
}

/// `base`, corrected by all these.
pub fn prior<'a>(base: &Prior, all: impl IntoIterator<Item = &'a Evidence>) -> Prior {
    let mut pooled = Outcomes::new(COLUMNS);
    for Evidence(outcomes) in all {
        for class in 0..CLASSES {
            let (hits, exposure) = outcomes.of(class);
            (0..COLUMNS).for_each(|column| pooled.add(class, column, hits[column], exposure[column]));
        }
    }
    let chance = |at: usize| -(-base.rate(at / COLUMNS, at % COLUMNS) / 2.0).exp_m1();
    let mut hazard = Hazard::from_chances((0..CLASSES * COLUMNS).map(chance).collect());
    hazard.estimate(&pooled, |_| true);
    let rates: Vec<f32> = (0..CLASSES).flat_map(|class| hazard.of(class)).map(|chance| -2.0 * (-chance).ln_1p()).collect();
    Prior::of(&rates)
}
