//! Who left, by class and age: where in the model's own map a policy, or Belady's optimum, takes its victims.

use super::features::{CLASSES, History, Scale};
use crate::accuracy::Eviction;
use crate::trace::{Operation, Trace};

/// How many of the evictions of a replay of `trace` through a cache of so many entries were of each class and age, in rows of `Scale::ages`.
/// Of keys nothing is forgotten here, so one that was away for long has uses that the policy may not know of.
pub fn census(trace: &Trace, evictions: &[Eviction], scale: &Scale) -> Vec<u32> {
    let mut counts = vec![0; CLASSES * scale.ages];
    let mut histories: Vec<Option<History>> = vec![None; trace.unique()];
    let mut evictions = evictions.iter().peekable();
    let mut now = 0;
    for (row, &id) in trace.ids.iter().enumerate() {
        if trace.operations.at(row) == Operation::Delete {
            continue;
        }
        now += 1;
        match &mut histories[id as usize] {
            Some(history) => history.touch(now, scale),
            unknown => *unknown = Some(History::new(now)),
        }
        while let Some(eviction) = evictions.next_if(|eviction| eviction.row as usize == row) {
            if let Some(history) = histories[eviction.id as usize] {
                counts[usize::from(history.class) * scale.ages + scale.bucket(now - history.last)] += 1;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::AnyPolicy;
    use crate::simulate::{Limit, watch};
    use crate::trace::{Builder, Facts, Key, Row};
    use std::path::Path;

    #[test]
    fn a_loop_under_lru_evicts_at_one_age_whatever_was_used_how_often() {
        let mut builder = Builder::new(Path::new("loop"), Facts::default());
        (0..90).for_each(|time| builder.push(&Row::get(time, Key::Number(time % 9), 1)));
        let (trace, scale) = (builder.finish(), Scale::of(8));
        let watched = watch(&trace, AnyPolicy::named("lru").unwrap(), Limit::Entries(8), 0, false).unwrap();
        let counts = census(&trace, &watched.evictions, &scale);
        let by_age = |age: usize| (0..CLASSES).map(|class| counts[class * scale.ages + age]).sum::<u32>();
        assert_eq!((by_age(scale.bucket(8)), counts.iter().sum::<u32>()), (82, 82));
        // Nine keys leave before their second request, as far as they come, and are of other classes later.
        assert_eq!(counts[..scale.ages].iter().sum::<u32>(), 9);
    }
}
