//! What is kept of what was learned: a table to begin with the next time, and a report of how it went.

use super::Learned;
use crate::learn::judge::{Judge, Verdict};
use crate::learn::model::Model;
use crate::learn::prior::Prior;
use crate::learn::train::Evidence;
use crate::policy::AnyPolicy;
use std::sync::Arc;
use std::time::Duration;

/// How it went; of several rooms together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// Evictions and predictions, held against what came.
    pub verdict: Verdict,
    /// Conclusions drawn.
    pub updates: u64,
    /// The time that drawing them took, with all that is done at those times.
    pub spent: Duration,
    /// Whether it learns.
    pub online: bool,
}

impl Report {
    /// Of these policies; `None` if none of them learns.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a AnyPolicy>) -> Option<Self> {
        let mut all: Option<Report> = None;
        for policy in policies.into_iter().filter_map(AnyPolicy::as_learned) {
            let all = all.get_or_insert_default();
            all.verdict.add(policy.judge.verdict());
            all.updates += policy.updates;
            all.spent += policy.spent;
            all.online = policy.settings.online;
        }
        all
    }
}

/// What these policies have seen, and what they began with, which is the same for all: [`prior`](crate::learn::train::prior) makes a model of both. `None` if none of
/// them learns.
pub fn learned<'a>(policies: impl IntoIterator<Item = &'a AnyPolicy>) -> Option<(Arc<Prior>, Evidence)> {
    let mut policies = policies.into_iter().filter_map(AnyPolicy::as_learned).peekable();
    let base = policies.peek()?.model.prior().clone();
    let mut evidence = Evidence::default();
    for policy in policies {
        let mut outcomes = policy.model.outcomes.clone();
        policy.watch_all(&mut outcomes);
        outcomes.settle();
        evidence.add(&outcomes, &policy.model.scale);
    }
    Some((base, evidence))
}

impl Learned {
    /// An empty one with the same settings and this prior.
    pub fn trying(&self, prior: Arc<Prior>) -> Self {
        Learned::with(prior, self.settings.clone())
    }

    /// Forgets what was learned and goes by this from now on. What it knows of entries and of keys that left stays.
    pub fn begin_with(&mut self, prior: Arc<Prior>) {
        *self.model = Model::new(prior, self.model.scale);
        self.judge = Judge::default();
        (self.begin, self.clock.1) = (self.now, self.clock.0);
        self.epoch = self.settings.epochs.0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::tests::{count, play};
    use super::*;
    use crate::learn::features::CLASSES;
    use crate::learn::prior::{BEGIN, COLUMNS};
    use crate::learn::train::prior;
    use proptest::prelude::*;

    const CAPACITY: u32 = 500;

    /// Keys that are asked for twice, longer apart than the cache is large, and never again: not what most traffic is. The best that can be
    /// had is a hit for every other request, by whoever evicts what was used twice.
    fn turns(from: u32, to: u32) -> impl Iterator<Item = u32> {
        (from..to).map(|turn| if turn % 2 == 0 { turn } else { turn.saturating_sub(701) })
    }

    fn kept(policy: Learned) -> Prior {
        let (base, evidence) = learned([&AnyPolicy::Learned(policy)]).unwrap();
        prior(&base, [&evidence])
    }

    #[test]
    fn what_was_learned_is_there_after_a_restart() {
        let mut first = Learned::default();
        play(&mut first, CAPACITY, 100_000, turns(0, 60_000));
        // The first 1,000 fill the cache.
        let hits = |mut policy: Learned| {
            let all = play(&mut policy, CAPACITY, 100_000, turns(60_000, 67_000));
            (count(&all[1000..4000]), count(&all[4000..]))
        };
        let (again, new) = (hits(Learned::with_prior(Arc::new(kept(first)))), hits(Learned::default()));
        assert!(again.0 * 5 > new.0 * 7 && again.1 == 1500, "{again:?} of 1500 that can be had, {new:?} without");
    }

    #[test]
    fn who_learns_nothing_goes_by_what_it_began_with() {
        let begun = Arc::new(Prior::shipped());
        let mut policy = Learned::with(begun.clone(), Settings { online: false, ..Settings::default() });
        play(&mut policy, CAPACITY, 100_000, turns(0, 60_000));
        let chances = |policy: &Learned| (0..CLASSES).map(|class| policy.model.of(class).0.to_vec()).collect::<Vec<_>>();
        let mut fresh = Learned::with_prior(begun);
        *fresh.model = Model::new(fresh.model.prior().clone(), policy.model.scale);
        assert_eq!(chances(&policy), chances(&fresh));
        let policy = AnyPolicy::Learned(policy);
        assert_eq!(Report::of([&policy]).unwrap(), Report { spent: Report::of([&policy]).unwrap().spent, ..Report::default() });
    }

    #[test]
    fn a_report_tells_of_evictions_predictions_and_time() {
        let mut policy = Learned::default();
        play(&mut policy, CAPACITY, 100_000, turns(0, 60_000));
        let report = Report::of([&AnyPolicy::named("lru").unwrap(), &AnyPolicy::Learned(policy)]).unwrap();
        let Verdict { judged, right, wrong, bins } = report.verdict;
        assert!(report.online && report.updates > 5 && report.spent > Duration::ZERO);
        assert!(judged > 1000 && right > 20.0 * wrong, "{judged} {right} {wrong}");
        let error: f64 = bins.iter().map(|bin| (bin.predicted - bin.seen).abs()).sum();
        let weight: f64 = bins.iter().map(|bin| bin.weight).sum();
        assert!(error / weight < 0.25, "{bins:?}");
    }

    #[test]
    fn who_begins_anew_has_forgotten_what_it_learned_and_nothing_of_its_entries() {
        let mut policy = Learned::default();
        play(&mut policy, CAPACITY, 100_000, turns(0, 60_000));
        let histories = policy.histories.clone();
        let shipped = Arc::new(Prior::shipped());
        policy.begin_with(shipped.clone());
        assert_eq!(policy.histories, histories);
        assert_eq!(kept(policy), prior(&shipped, []));
    }

    proptest! {
        /// A model in which nothing was seen is the same again, so saving and loading it any number of times changes nothing.
        #[test]
        fn without_evidence_nothing_changes(rates in prop::collection::vec(0f32..50.0, 50), at in 0usize..CLASSES * COLUMNS) {
            let table: Vec<f32> = (0..CLASSES * COLUMNS).map(|place| rates[(place + at) % 50].powi((BEGIN - at as i32) % 9)).collect();
            let once = prior(&Prior::of(&table), []);
            prop_assert!(prior(&once, []) == once);
        }
    }
}
