//! What a replay counts, held against caches that count by themselves.

use super::*;
use crate::bare;
use crate::belady::{belady, belady_by_size};
use crate::curve;
use crate::lockstep;
use crate::trace::{Builder, Facts, Row};
use proptest::prelude::*;
use std::path::Path;

const SECOND: u64 = 1_000_000_000;

/// One letter an access, one second apart: small ones are gets, capitals sets; `-` before one makes it a delete, `+` a fill, `?` a
/// look, `&` one of the same request as the next.
fn trace(letters: &str) -> Trace {
    let mut builder = Builder::new(Path::new("letters"), Facts::default());
    let mut sign = b' ';
    for (time, letter) in letters.bytes().enumerate() {
        if letter.is_ascii_alphabetic() {
            let key = crate::trace::Key::Number(letter.to_ascii_lowercase().into());
            let operation = match sign {
                b'-' => Operation::Delete,
                b'+' => Operation::Fill,
                b'?' => Operation::Look,
                _ if letter.is_ascii_uppercase() => Operation::Set,
                _ => Operation::Get,
            };
            let continues = sign == b'&';
            let size = u64::from(letter & 7);
            builder.push(&Row { operation, continues, ..Row::get(time as u64 * SECOND, key, size) });
        }
        sign = letter;
    }
    builder.finish()
}

fn lru(trace: &Trace, limit: Limit) -> (u64, u64) {
    let tally = simulate(trace, AnyPolicy::named("lru").unwrap(), limit, 0).unwrap();
    (tally.accesses, tally.misses)
}

#[test]
fn gets_fill_and_sets_count_as_accesses() {
    assert_eq!(lru(&trace("abab"), Limit::Entries(2)), (4, 2));
    assert_eq!(lru(&trace("ABab"), Limit::Entries(2)), (4, 2));
    assert_eq!(lru(&trace("abAcb"), Limit::Entries(2)), (5, 4));
}

#[test]
fn deletes_remove_and_do_not_count() {
    assert_eq!(lru(&trace("ab-aab"), Limit::Entries(2)), (4, 3));
    assert_eq!(lru(&trace("ab-aca"), Limit::Entries(2)), (4, 4));
}

#[test]
fn fills_store_uncounted_and_looks_store_nothing() {
    assert_eq!(lru(&trace("+aab+bb"), Limit::Entries(2)), (3, 1));
    assert_eq!(lru(&trace("?a?aa?a"), Limit::Entries(2)), (4, 3));
    assert_eq!(belady(&trace("+aab+bb"), 2).misses, 1);
    assert_eq!(belady(&trace("?a?aa?a"), 2).misses, 3);
}

#[test]
fn a_request_is_whole_if_all_its_accesses_hit() {
    let whole = |letters: &str| {
        let tally = simulate(&trace(letters), AnyPolicy::named("lru").unwrap(), Limit::Entries(9), 0).unwrap();
        (tally.requests, tally.whole_requests)
    };
    assert_eq!(whole("abab"), (4, 2));
    assert_eq!(whole("&ab&ab"), (2, 1));
    assert_eq!(whole("&ab&ac-a"), (2, 0));
}

#[test]
fn policies_are_told_addresses_only_where_they_were_asked_for() {
    let trace = trace("aczaz");
    for (addresses, expected) in
        [(None, [None; 3]), (Some(trace.addresses().unwrap()), [b'a', b'c', b'z'].map(|n| Some(n.into())))]
    {
        let (replay, _) = Replay::begin(&trace, AnyPolicy::named("lru").unwrap(), Limit::Entries(2), 0, addresses).unwrap();
        assert_eq!([0, 1, 2].map(|row| replay.store.meta_of(1, &replay.options(row, row as u32)).address), expected);
    }
    for name in AnyPolicy::NAMES {
        let [plain, addressed] = [simulate, simulate_with_addresses].map(|simulate| {
            let tally = simulate(&trace, AnyPolicy::named(name).unwrap(), Limit::Entries(2), 3).unwrap();
            Tally { took: Duration::ZERO, ..tally }
        });
        assert_eq!(plain, addressed, "{name}");
    }
}

#[test]
fn rows_that_only_fill_the_cache_are_not_counted() {
    let trace = trace(&"abcadba-bcdab&acab".repeat(3));
    let counted = |first| simulate_from(&trace, AnyPolicy::named("lru").unwrap(), Limit::Entries(2), 0, first).unwrap();
    let whole = simulate(&trace, AnyPolicy::named("lru").unwrap(), Limit::Entries(2), 0).unwrap();
    assert_eq!(Tally { took: Duration::ZERO, ..counted(0) }, Tally { took: Duration::ZERO, ..whole });
    for first in 1..trace.len() {
        let (more, less) = (counted(first - 1), counted(first));
        let accesses = u64::from(trace.operations.at(first - 1).counts());
        assert_eq!(more.accesses, less.accesses + accesses);
        assert!(more.misses - less.misses <= accesses);
    }
    assert_eq!(counted(usize::MAX).accesses, 0);
}

#[test]
fn costs_reach_the_policy() {
    let mut trace = trace("ab");
    trace.costs = Column::Each(vec![1.0, 2.5]);
    let (replay, _) = Replay::begin(&trace, AnyPolicy::named("lru").unwrap(), Limit::Entries(2), 0, None).unwrap();
    assert_eq!(replay.store.meta_of(1, &replay.options(1, 1)).cost, 2.5);
}

#[test]
fn what_has_expired_is_a_miss() {
    let mut trace = trace("aaaaaa");
    trace.times_to_live = Column::Same(2 * SECOND);
    assert_eq!(lru(&trace, Limit::Entries(2)), (6, 3));
}

#[test]
fn by_size_fills_are_no_misses_and_looks_keep_what_is_there_as_it_is() {
    let mut trace = trace(&format!("a?a{}", "ba".repeat(50)));
    trace.sizes = Column::Each((0..102).map(|row| if row == 1 { 0 } else { 10 }).collect());
    let known = belady_by_size(&trace, 10).unwrap();
    // Each evicts the other, but for the last b, which is not asked for again.
    assert_eq!((known.accesses, known.misses), (102, 100));
    let looked = "+a+b+c?x?aab?x".repeat(9);
    let mut trace = self::trace(&looked);
    trace.sizes = Column::Same(5);
    assert_eq!(belady_by_size(&trace, 15).unwrap().misses, 18);
    assert_eq!(lru(&trace, Limit::Bytes(15)).1, 18);
}

#[test]
fn a_look_that_found_nothing_says_nothing_of_the_size() {
    let mut trace = trace(&format!("?a?b{}", "abc".repeat(20)));
    trace.sizes = Column::Each((0..62).map(|row| if row < 2 { 0 } else { 10 }).collect());
    let limits = [10, 20, 30].map(Limit::Bytes);
    let curve: Vec<u64> = curve::lru(&trace, &limits).unwrap().iter().map(|tally| tally.misses).collect();
    assert_eq!(curve, limits.map(|limit| lru(&trace, limit).1));
}

#[test]
fn sums_of_weights_may_be_beyond_64_bits() {
    let mut trace = trace(&"abcd".repeat(10));
    trace.sizes = Column::Same(1 << 63);
    let limits = [Limit::Bytes(u64::MAX)];
    let simulated = lru(&trace, limits[0]).1;
    assert_eq!(curve::lru(&trace, &limits).unwrap()[0].misses, simulated);
    assert_eq!(bare::replay(&trace, || AnyPolicy::named("lru").unwrap(), &limits, 0).unwrap()[0].misses, simulated);
}

#[test]
fn curves_tell_where_they_are_not_exact() {
    let (mut timed, plain) = (trace("abab"), trace("ab?ab"));
    timed.times_to_live = Column::Same(SECOND);
    let mut resized = trace("abab");
    resized.sizes = Column::Each(vec![1, 2, 3, 2]);
    let exact = |trace: &Trace| [false, true].map(|by_bytes| (bare::is_exact(trace, by_bytes), curve::is_exact(trace, by_bytes)));
    assert_eq!(exact(&timed), [(false, false); 2]);
    assert_eq!(exact(&plain), [(true, false); 2]);
    assert_eq!(exact(&resized), [(true, true), (false, false)]);
}

#[test]
fn about_the_share_of_keys_asked_for_is_sampled_whatever_they_are() {
    for keys in
        [crate::trace::Key::Number, |number| crate::trace::Key::parse(["x", "y", "z"][number as usize % 3])] as [fn(u64) -> _; 2]
    {
        let mut builder = Builder::new(Path::new("many"), Facts::default());
        (0..9_000).for_each(|number| builder.push(&Row::get(number, keys(number), 1)));
        let trace = builder.finish();
        let sample = trace.sample(0.25);
        assert!(sample.len() <= trace.len() && sample.unique().abs_diff(trace.unique() / 4) <= 150, "{}", sample.unique());
        assert_eq!(trace.sample(1.0), trace);
    }
}

#[test]
fn bytes_are_weighed_and_none_may_weigh_nothing() {
    // a weighs 1, b 2, c 3, d 4.
    assert_eq!(lru(&trace("abcabc"), Limit::Bytes(6)), (6, 3));
    assert_eq!(lru(&trace("abcabc"), Limit::Bytes(5)), (6, 6));
    assert_eq!(lru(&trace("dada"), Limit::Bytes(3)), (4, 3));
    let error = simulate(&trace("ah"), AnyPolicy::named("lru").unwrap(), Limit::Bytes(9), 0).unwrap_err();
    assert_eq!(error.place, Place::Row(1));
}

#[test]
fn bytes_beyond_64_bits_are_as_many_as_can_be() {
    let mut trace = trace("abc");
    trace.sizes = Column::Same(u64::MAX);
    let tally = simulate(&trace, AnyPolicy::named("lru").unwrap(), Limit::Entries(2), 0).unwrap();
    assert_eq!((tally.bytes, tally.missed_bytes), (u64::MAX, u64::MAX));
    assert_eq!(belady(&trace, 2).missed_bytes, u64::MAX);
}

/// The fewest misses that any choice of victims leads to, by trying them all. Every miss is stored.
fn fewest(trace: &Trace, most: usize, row: usize, cache: &mut Vec<u32>) -> u64 {
    let Some(&id) = trace.ids.get(row) else { return 0 };
    if trace.operations.at(row) == Operation::Delete {
        let mut left: Vec<u32> = cache.iter().copied().filter(|&other| other != id).collect();
        return fewest(trace, most, row + 1, &mut left);
    }
    if cache.contains(&id) {
        return fewest(trace, most, row + 1, cache);
    }
    if cache.len() < most {
        let mut more = cache.clone();
        more.push(id);
        return 1 + fewest(trace, most, row + 1, &mut more);
    }
    let choices = (0..most).map(|victim| {
        let mut other = cache.clone();
        other[victim] = id;
        1 + fewest(trace, most, row + 1, &mut other)
    });
    choices.min().unwrap_or(u64::MAX)
}

proptest! {
    #[test]
    fn belady_is_the_optimum(letters in "(-?[a-e]){1,12}", most in 1usize..4) {
        let trace = trace(&letters);
        prop_assert_eq!(belady(&trace, most).misses, fewest(&trace, most, 0, &mut Vec::new()));
    }

    #[test]
    fn curves_are_what_the_simulator_counts(letters in "([-+?]?[a-gi-oA-GI-O]){1,160}", by_bytes: bool) {
        let trace = trace(&letters);
        prop_assert!(bare::is_exact(&trace, by_bytes));
        let limit = |most: usize| if by_bytes { Limit::Bytes(most as u64) } else { Limit::Entries(most) };
        let limits: Vec<Limit> = [9, 1, 2, 3, 4, 5, 7, 14, 30].map(limit).into();
        let made = |name: &'static str| move || AnyPolicy::named(name).unwrap();
        for name in AnyPolicy::NAMES {
            let mut curves = vec![bare::replay(&trace, made(name), &limits, 3).unwrap()];
            if *name == "lru" && curve::is_exact(&trace, by_bytes) {
                curves.push(curve::lru(&trace, &limits).unwrap());
            }
            if lockstep::applies(&trace, name, by_bytes) {
                curves.push(lockstep::replay(&trace, name, &limits, 3).unwrap());
            }
            for (at, &limit) in limits.iter().enumerate() {
                let full = simulate(&trace, made(name)(), limit, 3).unwrap();
                for tally in curves.iter().map(|curve| curve[at]) {
                    prop_assert_eq!((tally.misses, tally.missed_bytes), (full.misses, full.missed_bytes), "{} {:?}", name, limit);
                    prop_assert_eq!((tally.accesses, tally.bytes), (full.accesses, full.bytes));
                }
            }
        }
    }

    #[test]
    fn lockstep_counts_what_the_simulator_counts(keys in prop::collection::vec((0u64..90).prop_map(|key| key * key / 90), 1..3000)) {
        let mut builder = Builder::new(Path::new("keys"), Facts::default());
        keys.iter().for_each(|&key| builder.push(&Row::get(0, crate::trace::Key::Number(key), key)));
        let trace = builder.finish();
        let limits: Vec<Limit> = (1..=40).chain([55, 70, 99]).map(Limit::Entries).collect();
        for name in ["sieve", "s3fifo", "clock2q+"] {
            prop_assert!(lockstep::applies(&trace, name, false));
            for (tally, &limit) in lockstep::replay(&trace, name, &limits, 3).unwrap().iter().zip(&limits) {
                let full = simulate(&trace, AnyPolicy::named(name).unwrap(), limit, 3).unwrap();
                prop_assert_eq!((tally.misses, tally.missed_bytes), (full.misses, full.missed_bytes), "{} {:?}", name, limit);
            }
        }
    }

    #[test]
    fn a_sample_has_all_rows_of_some_keys(letters in "(-?[a-oA-O]){1,80}", keys in 0.05f64..0.95) {
        let trace = trace(&letters);
        let sample = trace.sample(keys);
        let chosen: Vec<_> = (0..sample.unique() as u32).map(|id| sample.key(id)).collect();
        let expected: Vec<_> = (0..trace.len()).map(|row| trace.row(row)).filter(|row| chosen.contains(&row.key)).collect();
        prop_assert_eq!((0..sample.len()).map(|row| sample.row(row)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_policy_beats_belady(letters in "(-?[a-lA-L]){1,80}", most in 1usize..8) {
        let trace = trace(&letters);
        let best = belady(&trace, most);
        for name in AnyPolicy::NAMES {
            let tally = simulate(&trace, AnyPolicy::named(name).unwrap(), Limit::Entries(most), 1).unwrap();
            prop_assert!(tally.misses >= best.misses, "{name}");
            prop_assert_eq!((tally.accesses, tally.bytes), (best.accesses, best.bytes));
        }
    }
}
