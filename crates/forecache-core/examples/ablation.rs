//! What helps the policy `learned`, and by how much: `ablation FOLDER GROUP...`, a group being beginnings of traces' names with commas.
//!
//! Leaves out one part after the other, trains anew, and replays each group of traces with a prior of all others. Prints, as a table in
//! Markdown, the mean share of LRU's misses saved, that of the way from LRU to Belady's optimum (where there are more than 0.002), and the
//! worst cell, over 0.1, 1, 5 and 10 % of the unique objects where these are at least 50.

use forecache_core::bare;
use forecache_core::belady::belady;
use forecache_core::learn::ablation::{Part, leave_out};
use forecache_core::learn::prior::Prior;
use forecache_core::learn::train::{Evidence, FEWEST, WEIGHT, prior};
use forecache_core::policy::AnyPolicy;
use forecache_core::policy::learned::{Learned, Settings};
use forecache_core::simulate::Limit;
use forecache_core::trace::Trace;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const SHARES: [f64; 4] = [0.001, 0.01, 0.05, 0.1];

struct Subject {
    trace: Trace,
    group: usize,
    entries: Vec<usize>,
    /// Miss ratios by size.
    lru: Vec<f64>,
    belady: Vec<f64>,
}

/// The results of `work` on all, in their order.
fn on_all<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let take = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return };
            let result = work(one);
            results.lock().unwrap().push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(take);
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn ratios(subject: &Subject, policy: impl Fn() -> AnyPolicy) -> Vec<f64> {
    let limits: Vec<_> = subject.entries.iter().map(|&entries| Limit::Entries(entries)).collect();
    let tallies = bare::replay(&subject.trace, policy, &limits, 0).unwrap_or_else(|error| panic!("{error}"));
    tallies.iter().map(|tally| tally.misses as f64 / tally.accesses as f64).collect()
}

fn subject(path: &Path, groups: &[String]) -> Subject {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let is_of = |group: &String| group.split(',').any(|begin| name.starts_with(begin));
    let group = groups.iter().position(is_of).unwrap_or_else(|| panic!("{name} is of no group"));
    let trace = Trace::open(path, None).unwrap_or_else(|error| panic!("{error}"));
    let entries = SHARES.map(|share| (trace.unique() as f64 * share) as usize).into_iter().filter(|&entries| entries >= FEWEST);
    let mut subject = Subject { entries: entries.collect(), trace, group, lru: Vec::new(), belady: Vec::new() };
    subject.lru = ratios(&subject, || AnyPolicy::named("lru").expect("a policy"));
    let optimum = |&entries: &usize| belady(&subject.trace, entries).misses as f64 / subject.trace.len() as f64;
    subject.belady = subject.entries.iter().map(optimum).collect();
    subject
}

fn evidence(subject: &Subject) -> Option<Evidence> {
    let unique = subject.trace.unique() as f64;
    let sizes: Vec<_> = (0..13).map(|step| (unique * 0.002 * 2f64.powf(f64::from(step) / 2.0)) as usize).collect();
    Evidence::of(&subject.trace, subject.trace.len(), &sizes, WEIGHT)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A row of the table.
fn row(name: &str, subjects: &[Subject], priors: &[Arc<Prior>], settings: &Settings) {
    let all = on_all(subjects, |subject| {
        let prior = &priors[subject.group];
        ratios(subject, || AnyPolicy::Learned(Learned::with(prior.clone(), settings.clone())))
    });
    let (mut cuts, mut gaps) = (Vec::new(), Vec::new());
    for (subject, ratios) in subjects.iter().zip(all) {
        for ((ratio, lru), belady) in ratios.iter().zip(&subject.lru).zip(&subject.belady) {
            cuts.push(1.0 - ratio / lru);
            gaps.extend((lru - belady > 0.002).then(|| (lru - ratio) / (lru - belady)));
        }
    }
    let worst = cuts.iter().copied().fold(f64::INFINITY, f64::min);
    println!("| {name} | {:.2} % | {:.1} % | {:.2} % |", 100.0 * mean(&cuts), 100.0 * mean(&gaps), 100.0 * worst);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder of traces");
    let groups: Vec<String> = arguments.collect();
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "zst"));
    files.sort_by_key(|file| std::cmp::Reverse(file.metadata().map_or(0, |file| file.len())));
    let subjects = on_all(&files, |file| subject(file, &groups));
    let trained = || {
        let seen = on_all(&subjects, evidence);
        let others = |group| subjects.iter().zip(&seen).filter(move |(subject, _)| subject.group != group);
        let prior = |group| Arc::new(prior(&Prior::none(), others(group).filter_map(|(_, seen)| seen.as_ref())));
        (0..groups.len()).map(prior).collect::<Vec<_>>()
    };
    let usual = Settings::default();
    println!("| left out | mean cut | mean gap | worst cell |\n|---|--:|--:|--:|");
    let whole = trained();
    row("nothing", &subjects, &whole, &usual);
    for (name, part) in [("how often used", Part::Frequency), ("the last gap", Part::Gap), ("the gap before", Part::Before)] {
        leave_out(part);
        row(name, &subjects, &trained(), &usual);
    }
    let learning = [
        ("what ages lend each other", Part::Neighbours),
        ("corrections of single classes", Part::Classes),
        ("all corrections: the prior alone", Part::Corrections),
    ];
    for (name, part) in learning {
        leave_out(part);
        row(name, &subjects, &whole, &usual);
    }
    leave_out(Part::None);
    let none: Vec<_> = groups.iter().map(|_| Arc::new(Prior::none())).collect();
    row("the prior: corrections alone", &subjects, &none, &usual);
    for (name, ghosts) in [("more than three ghosts to an entry", 3), ("more than one ghost to an entry", 1)] {
        row(name, &subjects, &whole, &Settings { ghosts, ..usual.clone() });
    }
}
