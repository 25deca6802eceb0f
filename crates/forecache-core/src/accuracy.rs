//! How often an eviction was right: nobody asked for the object within as many requests as the cache holds entries.
//!
//! So long an entry stays, on average, in a cache where nothing is hit: a place that was kept for longer would rather have served another. A
//! wrong eviction isn't always a mistake, for something has to leave: where all that is there comes back soon, Belady's
//! optimum errs too. It is the measure beside which others stand.

use crate::trace::Trace;

/// An entry that made room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// The row of the trace that needed the room.
    pub row: u32,
    /// The number of the key that left.
    pub id: u32,
    /// Entries that the cache held then.
    pub held: u32,
}

/// How many of the evictions were right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Those that could be judged: the trace goes on for as many requests as it takes.
    pub judged: u64,
    /// Those of them that were right.
    pub right: u64,
}

/// Judges the evictions of a replay of `trace`, in order. What is deleted or stored anew before anybody asks was right to leave.
pub fn judge(trace: &Trace, evictions: &[Eviction]) -> Accuracy {
    let counts = |row: usize| trace.operations.at(row).counts();
    let all = (0..trace.len()).filter(|&row| counts(row)).count() as u64;
    // By key: the last request that proves its eviction wrong; 0 where there is nothing to prove.
    let mut until = vec![0; trace.unique()];
    let (mut requests, mut wrong) = (0, 0);
    let mut accuracy = Accuracy::default();
    let mut evictions = evictions.iter().peekable();
    for (row, &id) in trace.ids.iter().enumerate() {
        requests += u64::from(counts(row));
        wrong += u64::from(counts(row) && requests <= until[id as usize]);
        until[id as usize] = 0;
        while let Some(eviction) = evictions.next_if(|eviction| eviction.row as usize == row) {
            let end = requests + u64::from(eviction.held);
            if end <= all {
                accuracy.judged += 1;
                until[eviction.id as usize] = end;
            }
        }
    }
    accuracy.right = accuracy.judged - wrong;
    accuracy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::belady;
    use crate::policy::AnyPolicy;
    use crate::simulate::{Limit, simulate, watch};
    use crate::trace::{Builder, Facts, Key, Operation, Row};
    use proptest::prelude::*;
    use std::path::Path;
    use std::time::Duration;

    /// One letter a request; `-` before one makes it a delete.
    fn trace(letters: &str) -> Trace {
        let mut builder = Builder::new(Path::new("letters"), Facts::default());
        let mut operation = Operation::Get;
        for (time, letter) in letters.bytes().enumerate() {
            if letter == b'-' {
                operation = Operation::Delete;
                continue;
            }
            let row = Row::get(time as u64, Key::Number(letter.into()), 1);
            builder.push(&Row { operation: std::mem::take(&mut operation), ..row });
        }
        builder.finish()
    }

    fn of(letters: &str, policy: &str, most: usize) -> (u64, u64) {
        let trace = trace(letters);
        let evictions = match policy {
            "belady" => belady::watch(&trace, most).1,
            _ => watch(&trace, AnyPolicy::named(policy).unwrap(), Limit::Entries(most), 0, false).unwrap().evictions,
        };
        let Accuracy { judged, right } = judge(&trace, &evictions);
        (judged, right)
    }

    #[test]
    fn an_eviction_is_wrong_if_the_object_is_asked_for_within_as_many_requests_as_there_are_entries() {
        // c evicts a, which comes one, two and three requests later; whatever else leaves doesn't come back.
        assert_eq!(of("abcaxyz", "lru", 2), (3, 2));
        assert_eq!(of("abcxayz", "lru", 2), (3, 2));
        assert_eq!(of("abcwxayz", "lru", 2), (4, 4));
    }

    #[test]
    fn the_end_judges_nothing_that_it_does_not_show() {
        assert_eq!(of("abc", "lru", 2), (0, 0));
        assert_eq!(of("abcde", "lru", 2), (1, 1));
    }

    #[test]
    fn what_is_deleted_was_right_to_leave() {
        assert_eq!(of("abcaxy", "lru", 2).1, 1);
        assert_eq!(of("abc-aaxy", "lru", 2).1, 2);
    }

    #[test]
    fn belady_errs_only_where_all_come_back() {
        assert_eq!(of("abcabcabcxyz", "lru", 2), (8, 2));
        assert_eq!(of("abcabcabcxyz", "belady", 2), (5, 2));
        assert_eq!(of("abcdabcdabcdwxyz", "belady", 2).1, of("abcdabcdabcdwxyz", "belady", 2).0);
    }

    proptest! {
        #[test]
        fn watching_changes_nothing_and_counts_what_the_definition_says(letters in "(-?[a-k]){1,120}", most in 1usize..8) {
            let trace = trace(&letters);
            for name in AnyPolicy::NAMES {
                let made = || AnyPolicy::named(name).unwrap();
                let watched = watch(&trace, made(), Limit::Entries(most), 3, false).unwrap();
                let plain = simulate(&trace, made(), Limit::Entries(most), 3).unwrap();
                let timeless = |tally| crate::simulate::Tally { took: Duration::ZERO, ..tally };
                prop_assert_eq!(timeless(watched.tally), timeless(plain));
                prop_assert_eq!(judge(&trace, &watched.evictions), slowly(&trace, &watched.evictions));
            }
            let (tally, evictions) = belady::watch(&trace, most);
            prop_assert_eq!(tally.misses, belady::belady(&trace, most).misses);
            prop_assert_eq!(judge(&trace, &evictions), slowly(&trace, &evictions));
        }
    }

    fn slowly(trace: &Trace, evictions: &[Eviction]) -> Accuracy {
        let mut accuracy = Accuracy::default();
        for eviction in evictions {
            let coming = eviction.row as usize + 1..trace.len();
            let requests: Vec<usize> = coming.filter(|&row| trace.operations.at(row) == Operation::Get).collect();
            if requests.len() < eviction.held as usize {
                continue;
            }
            let mut rows = eviction.row as usize + 1..trace.len();
            let again = rows.find(|&row| trace.ids[row] == eviction.id);
            let asked = again.is_some_and(|row| requests[..eviction.held as usize].contains(&row));
            accuracy.judged += 1;
            accuracy.right += u64::from(!asked);
        }
        accuracy
    }
}
