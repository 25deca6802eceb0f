//! Makes a prior from traces.
//!
//! For each trace and some numbers of entries it is counted what became of each key at each age, as the policy does, but of all keys, and
//! by ages relative to the number of entries. Each trace weighs the same, however long it is. The counts of all, put together,
//! correct chances that say only that hits become rarer with age, by the same estimate that corrects the prior later.

use super::features::{CLASSES, History, LOW, Scale};
use super::hazard::Hazard;
use super::outcome::Outcomes;
use super::prior::{COLUMNS, Prior, column};
use crate::trace::{Operation, Trace};

/// A cache remembers what left for some turnovers; a key that comes after so many is a new one.
const REMEMBERED: u32 = 16;
/// Accesses that the counts of a trace stand for.
const WEIGHT: f32 = 100_000.0;
/// Smaller caches are none.
pub const FEWEST: usize = 50;

/// What became of the keys of one trace, by class and column of the prior.
#[derive(Debug, Clone)]
pub struct Evidence(Outcomes);

impl Evidence {
    /// Of `trace`, pooled over caches of so many entries; `None` if nothing can be learned from it.
    pub fn of(trace: &Trace, entries: &[usize]) -> Option<Self> {
        let accesses = (0..trace.len()).filter(|&row| trace.operations.at(row).counts()).count();
        let sizes: Vec<_> = entries.iter().filter(|&&entries| entries >= FEWEST).collect();
        let mut pooled = Outcomes::new(COLUMNS);
        for &&entries in &sizes {
            let scale = Scale::of(entries);
            let share = WEIGHT / accesses as f32 / sizes.len() as f32;
            pool(&watch(trace, &scale), &scale, share, &mut pooled);
        }
        (accesses > 0 && !sizes.is_empty()).then_some(Evidence(pooled))
    }
}

/// What became of all keys.
fn watch(trace: &Trace, scale: &Scale) -> Outcomes {
    let mut outcomes = Outcomes::new(scale.ages);
    let longest = scale.entries.saturating_mul(REMEMBERED);
    let mut histories: Vec<Option<History>> = vec![None; trace.unique()];
    let mut now = 0u32;
    for (row, &id) in trace.ids.iter().enumerate() {
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

/// The prior of all these.
pub fn prior<'a>(all: impl IntoIterator<Item = &'a Evidence>) -> Prior {
    let mut pooled = Outcomes::new(COLUMNS);
    for Evidence(outcomes) in all {
        for class in 0..CLASSES {
            let (hits, exposure) = outcomes.of(class);
            (0..COLUMNS).for_each(|column| pooled.add(class, column, hits[column], exposure[column]));
        }
    }
    let none = Prior::none();
    let chance = |at: usize| 1.0 - (-none.rate(at / COLUMNS, at % COLUMNS) / 2.0).exp();
    let mut hazard = Hazard::from_chances((0..CLASSES * COLUMNS).map(chance).collect());
    hazard.estimate(&pooled, |_| true);
    let rates: Vec<f32> = (0..CLASSES).flat_map(|class| hazard.of(class)).map(|chance| -2.0 * (1.0 - chance).ln()).collect();
    Prior::of(&rates)
}
