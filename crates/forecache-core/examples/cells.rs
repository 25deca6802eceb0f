//! Replays traces with the policy `learned`, and settings from the environment: `cells FOLDER [SHARES] [byte]`. For experiments with constants.
//!
//! Prints a CSV that score programs read: `trace,size_fraction,policy,miss_ratio,byte_miss_ratio,ns`.

use forecache_core::bare;
use forecache_core::learn::prior::Prior;
use forecache_core::policy::AnyPolicy;
use forecache_core::policy::learned::{Learned, Settings};
use forecache_core::simulate::{Limit, Tally};
use forecache_core::trace::Trace;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn knob<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text} is no number")))
}

fn policy(prior: &Arc<Prior>) -> AnyPolicy {
    if let Ok(name) = std::env::var("POLICY") {
        return AnyPolicy::named(&name).expect("the name of a policy");
    }
    let usual = Settings::default();
    let settings = Settings {
        candidates: knob("CANDIDATES", usual.candidates),
        ghosts: knob("GHOSTS", usual.ghosts),
        counted: knob("COUNTED", usual.counted),
        epochs: (knob("FIRST", usual.epochs.0), knob("EPOCH", usual.epochs.1)),
        fades: knob("FADES", usual.fades),
        size: knob("SIZE", usual.size),
        ..usual
    };
    AnyPolicy::Learned(Learned::with(prior.clone(), settings))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let shares = arguments.get(1).map_or("0.001,0.01,0.05,0.1", |shares| shares);
    let shares: Vec<f64> = shares.split(',').map(|share| share.parse().expect("a share")).collect();
    let by_bytes = arguments.get(2).is_some_and(|mode| mode == "byte");
    let prior = Arc::new(match std::env::var("PRIOR").as_deref() {
        Ok("none") => Prior::none(),
        Ok(path) => Prior::read(&std::fs::read(path).expect("a file")).expect("a prior"),
        Err(_) => Prior::shipped(),
    });
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&arguments[0]).expect("a folder").map(|file| file.unwrap().path()).collect();
    files.retain(|file| {
        file.extension().is_some_and(|end| end == "zst") && only.split(',').any(|only| file.to_string_lossy().contains(only))
    });
    files.sort_by_key(|file| std::cmp::Reverse(file.metadata().map_or(0, |file| file.len())));
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = file.file_name().unwrap().to_string_lossy().split('.').next().unwrap().to_owned();
            let trace = Trace::open(file, None).unwrap_or_else(|error| panic!("{error}"));
            for &share in &shares {
                let capacity = if by_bytes { trace.footprint as f64 * share } else { trace.unique() as f64 * share };
                let limit = if by_bytes { Limit::Bytes(capacity as u64) } else { Limit::Entries(capacity as usize) };
                if !by_bytes && capacity < 50.0 {
                    continue;
                }
                let Tally { accesses, misses, bytes, missed_bytes, took, .. } =
                    bare::replay(&trace, || policy(&prior), &[limit], knob("SEED", 0)).unwrap_or_else(|error| panic!("{error}"))
                        [0];
                let (ratio, byte_ratio) = (misses as f64 / accesses as f64, missed_bytes as f64 / bytes as f64);
                let nanoseconds = took.as_nanos() as f64 / accesses as f64;
                rows.lock().unwrap().push(format!("{name},{share},learned,{ratio:.6},{byte_ratio:.6},{nanoseconds:.0}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..knob("THREADS", 2) {
            scope.spawn(work);
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort();
    println!("trace,size_fraction,policy,miss_ratio,byte_miss_ratio,ns");
    rows.iter().for_each(|row| println!("{row}"));
}
