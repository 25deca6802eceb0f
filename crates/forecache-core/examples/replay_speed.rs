//! How fast the simulator is, beside the least that a cache could do: `replay_speed TRACE [SHARE] [ROUNDS]`.
//!
//! Prints nanoseconds a request, the best of some interleaved rounds, as CSV: the plain loop (a hashbrown map and a linked list,
//! nothing else, its misses counted) and every policy with its time relative to it.

use forecache_core::policy::AnyPolicy;
use forecache_core::simulate::{Limit, simulate};
use forecache_core::trace::{Key, Trace};
use std::path::Path;
use std::time::{Duration, Instant};

const NONE: u32 = u32::MAX;

struct Node {
    key: u64,
    before: u32,
    after: u32,
}

/// LRU by the book: the newest in front.
struct Plain {
    map: hashbrown::HashMap<u64, u32, foldhash::fast::RandomState>,
    nodes: Vec<Node>,
    front: u32,
    back: u32,
}

impl Plain {
    fn unlink(&mut self, at: u32) {
        let Node { before, after, .. } = self.nodes[at as usize];
        match before {
            NONE => self.front = after,
            _ => self.nodes[before as usize].after = after,
        }
        match after {
            NONE => self.back = before,
            _ => self.nodes[after as usize].before = before,
        }
    }

    fn push(&mut self, at: u32) {
        let front = self.front;
        let node = &mut self.nodes[at as usize];
        (node.before, node.after) = (NONE, front);
        match front {
            NONE => self.back = at,
            _ => self.nodes[front as usize].before = at,
        }
        self.front = at;
    }

    #[inline(never)]
    fn run(keys: &[u64], capacity: usize) -> (u64, Duration) {
        let begin = Instant::now();
        let mut cache = Plain { map: Default::default(), nodes: Vec::new(), front: NONE, back: NONE };
        let mut misses = 0;
        for &key in keys {
            if let Some(&at) = cache.map.get(&key) {
                if cache.front != at {
                    cache.unlink(at);
                    cache.push(at);
                }
                continue;
            }
            misses += 1;
            let at = if cache.nodes.len() == capacity {
                let at = cache.back;
                cache.unlink(at);
                cache.map.remove(&cache.nodes[at as usize].key);
                cache.nodes[at as usize].key = key;
                at
            } else {
                cache.nodes.push(Node { key, before: NONE, after: NONE });
                cache.nodes.len() as u32 - 1
            };
            cache.push(at);
            cache.map.insert(key, at);
        }
        (misses, begin.elapsed())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().expect("the path of a trace");
    let share: f64 = arguments.get(1).map_or(0.1, |share| share.parse().expect("a share of the unique objects"));
    let rounds: usize = arguments.get(2).map_or(5, |rounds| rounds.parse().expect("a number of rounds"));
    let trace = Trace::open(Path::new(path), None).unwrap_or_else(|error| panic!("{error}"));
    let capacity = (trace.unique() as f64 * share) as usize;
    let keys: Vec<u64> = trace
        .ids
        .iter()
        .map(|&id| match trace.key(id) {
            Key::Number(number) => number,
            Key::Text(_) => u64::from(id),
        })
        .collect();
    let mut best: Vec<(&str, Duration, u64)> = vec![("plain", Duration::MAX, 0)];
    let only = std::env::var("ONLY").ok();
    best.extend(
        AnyPolicy::NAMES
            .iter()
            .filter(|name| only.as_deref().is_none_or(|only| only == **name))
            .map(|&name| (name, Duration::MAX, 0)),
    );
    for _ in 0..rounds {
        for (name, time, misses) in &mut best {
            let (missed, took) = match AnyPolicy::named(name) {
                None => Plain::run(&keys, capacity),
                Some(policy) => {
                    let tally = simulate(&trace, policy, Limit::Entries(capacity), 0).unwrap_or_else(|error| panic!("{error}"));
                    (tally.misses, tally.took)
                }
            };
            (*time, *misses) = ((*time).min(took), missed);
        }
    }
    println!("policy,ns_a_request,of_plain,miss_ratio");
    let plain = best[0].1;
    for (name, time, misses) in best {
        let nanoseconds = time.as_nanos() as f64 / trace.len() as f64;
        let relative = time.as_secs_f64() / plain.as_secs_f64();
        println!("{name},{nanoseconds:.1},{relative:.2},{:.6}", misses as f64 / trace.len() as f64);
    }
}
