//! What the disk tier's way to evict is worth (`sampled TRACE...`), each entry weighing 1.
//!
//! A cache in memory that evicts as the disk tier does, the worst of a random sample by a judge's word, replays traces beside the exact
//! policies. Prints CSV, at 1 % and 10 % of a trace's keys: the miss ratios (in per cent) of the exact policy, of the samples, of samples
//! with a table that knows who left, and of the same with admission, with the share of writes (in per cent) that admission saves.

use forecache_core::disk::doorkeeper::{Doorkeeper, buckets};
use forecache_core::disk::judge::{Access, Judge, LESSONS, Seen};
use forecache_core::fingerprint::fingerprint;
use forecache_core::policy::AnyPolicy;
use forecache_core::simulate::{Limit, simulate};
use forecache_core::trace::Trace;
use std::path::Path;
use std::sync::atomic::AtomicU32;

const SAMPLE: usize = 16;
const NONE: u32 = u32::MAX;

struct Sampled {
    judge: Judge,
    capacity: usize,
    table: Vec<AtomicU32>,
    lessons: Vec<AtomicU32>,
    admits_all: bool,
    /// Where in `held` a key is.
    places: Vec<u32>,
    held: Vec<(u32, Access)>,
    random: u64,
    misses: u64,
    written: u64,
}

impl Sampled {
    /// Replays a trace; `known` is the number of keys in the table, for each that the cache holds.
    fn run(trace: &Trace, prints: &[u64], policy: &str, capacity: usize, known: usize, admits_all: bool) -> Self {
        let mut cache = Sampled {
            judge: Judge::named(policy).expect("a policy of the disk tier"),
            capacity,
            table: (0..Doorkeeper::words(known * capacity)).map(|_| AtomicU32::new(0)).collect(),
            lessons: (0..LESSONS).map(|_| AtomicU32::new(0)).collect(),
            admits_all,
            places: vec![NONE; trace.unique()],
            held: Vec::new(),
            random: 1,
            misses: 0,
            written: 0,
        };
        trace.ids.iter().zip(0..).for_each(|(&id, tick)| cache.get(id, prints, tick));
        cache
    }

    fn get(&mut self, id: u32, prints: &[u64], tick: u32) {
        let print = prints[id as usize];
        if let Some((_, access)) = self.held.get_mut(self.places[id as usize] as usize) {
            self.judge.request(Some(access), tick);
            return access.touch(tick);
        }
        self.misses += 1;
        let mut access = Access::new(tick, 1, 1.0, u64::MAX);
        let before = Doorkeeper::recall(&self.table, print, &access);
        self.judge.request(before.as_ref(), tick);
        if let Some(before) = before {
            access = before;
            access.touch(tick);
        }
        if self.held.len() == self.capacity {
            if before.is_none() && !self.admits_all {
                return Doorkeeper::remember(&self.table, print, &access);
            }
            self.evict(prints, tick);
        }
        self.written += 1;
        self.places[id as usize] = self.held.len() as u32;
        self.held.push((id, access));
    }

    fn evict(&mut self, prints: &[u64], tick: u32) {
        let drawn: [usize; SAMPLE] = std::array::from_fn(|_| {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (((self.random >> 32) * self.held.len() as u64) >> 32) as usize
        });
        let ghosts = Doorkeeper::sample(&self.table, (self.random >> 16) as u32);
        let seen = Seen { tick, entries: self.held.len() as u64, lessons: &self.lessons };
        self.judge.sampled(&drawn.map(|at| self.held[at].1), ghosts, buckets(&self.table) as u64, &seen);
        let worths = drawn.map(|at| (self.judge.worth(&self.held[at].1, tick, 0), at));
        let (_, at) = worths.into_iter().min_by(|left, right| left.0.total_cmp(&right.0)).expect("the sample isn't empty");
        let (id, access) = self.held.swap_remove(at);
        Doorkeeper::remember(&self.table, prints[id as usize], &access);
        self.places[id as usize] = NONE;
        if let Some(moved) = self.held.get(at) {
            self.places[moved.0 as usize] = at as u32;
        }
    }
}

fn main() {
    println!("trace,share,entries,policy,exact,sampled,knowing,admitting,saved,admitting_of_four,saved");
    for path in std::env::args().skip(1) {
        let trace = Trace::open(Path::new(&path), None).unwrap_or_else(|error| panic!("{error}"));
        let prints: Vec<u64> = (0..trace.unique() as u32).map(|id| fingerprint(trace.key(id).text().as_bytes(), 0)).collect();
        let name = Path::new(&path).file_name().expect("a file").to_string_lossy();
        let percent = |part: u64, of: u64| 100.0 * part as f64 / of as f64;
        for (share, policy) in [0.01, 0.1].into_iter().flat_map(|share| Judge::NAMES.map(|name| (share, name))) {
            let (capacity, all) = ((trace.unique() as f64 * share).max(50.0) as usize, trace.len() as u64);
            let exact = AnyPolicy::named(policy).expect("a policy of memory as well");
            let exact = simulate(&trace, exact, Limit::Entries(capacity), 0).unwrap_or_else(|error| panic!("{error}"));
            print!("{name},{share},{capacity},{policy},{:.2}", percent(exact.misses, all));
            let run = |known, admits_all| Sampled::run(&trace, &prints, policy, capacity, known, admits_all);
            let [plain, knowing] = [run(0, true), run(2, true)];
            print!(",{:.2},{:.2}", percent(plain.misses, all), percent(knowing.misses, all));
            for admitting in [run(1, false), run(4, false)] {
                let saved = 100.0 - percent(admitting.written, knowing.written);
                print!(",{:.2},{saved:.0}", percent(admitting.misses, all));
            }
            println!();
        }
    }
}
