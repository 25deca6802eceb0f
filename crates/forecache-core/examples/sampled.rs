//! What the disk tier's way to evict gets: `sampled TRACE... `.
//!
//! A cache in memory that evicts as the disk tier does, by samples that a judge ranks, replays a trace beside the exact policies.
//! Prints CSV: the misses of both at several sizes, and with the doorkeeper the bytes written.

use forecache_core::disk::doorkeeper::Doorkeeper;
use forecache_core::disk::judge::{Access, Judge};
use forecache_core::fingerprint::fingerprint;
use forecache_core::policy::AnyPolicy;
use forecache_core::simulate::{Limit, simulate};
use forecache_core::trace::Trace;
use std::path::Path;
use std::sync::atomic::AtomicU32;

const NONE: u32 = u32::MAX;

fn var(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Misses and entries written.
fn sampled(trace: &Trace, policy: &str, capacity: usize, words: Option<usize>) -> (u64, u64) {
    let judge = Judge::named(policy).expect("a policy of the disk tier");
    let (sample, newcomers, runners) = (var("SAMPLE", 16), var("NEWCOMERS", 1), var("RUNNERS", 4));
    let ghosts = var("GHOSTS", 0);
    let table: Vec<AtomicU32> = (0..Doorkeeper::words(words.unwrap_or(capacity * ghosts))).map(|_| AtomicU32::new(0)).collect();
    let prints: Vec<u64> = (0..trace.unique() as u32).map(|id| fingerprint(trace.key(id).text().as_bytes(), 0)).collect();
    let mut place = vec![NONE; trace.unique()];
    let mut held: Vec<(u32, Access)> = Vec::new();
    let (mut misses, mut written, mut random) = (0, 0, 0x9E37_79B9_7F4A_7C15u64);
    let mut pool: Vec<u32> = Vec::new();
    let mut newest: Vec<u32> = Vec::new();
    for (row, &id) in trace.ids.iter().enumerate() {
        let (tick, print) = (row as u32, prints[id as usize]);
        let entries = held.len() as u64;
        if place[id as usize] != NONE {
            judge.request(print, 1, true, entries);
            held[place[id as usize] as usize].1.touch(tick);
            continue;
        }
        misses += 1;
        judge.request(print, 0, false, entries);
        judge.request(print, 1, false, entries);
        let mut access = Access::new(tick, 1, 1.0, u64::MAX);
        let seen = match ghosts {
            0 => words.is_none() || Doorkeeper::seen(&table, print),
            _ => Doorkeeper::recall(&table, print, &mut access) || words.is_none(),
        };
        if ghosts > 0 && (words.is_some() && !seen) {
            Doorkeeper::remember(&table, print, &access)
        }
        if held.len() >= capacity {
            if !seen {
                continue;
            }
            let mut ids: Vec<u32> = pool.iter().chain(&newest).copied().filter(|&id| place[id as usize] != NONE).collect();
            for _ in 0..sample {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ids.push(held[(((random >> 32) * entries) >> 32) as usize].0);
            }
            ids.sort();
            ids.dedup();
            let mut ranked: Vec<(f32, u32)> =
                ids.iter().map(|&id| (judge.worth(&held[place[id as usize] as usize].1, tick, 0), id)).collect();
            ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
            pool = ranked[1..].iter().take(runners).map(|&(_, id)| id).collect();
            let victim = ranked[0].1;
            if ghosts > 0 {
                Doorkeeper::remember(&table, prints[victim as usize], &held[place[victim as usize] as usize].1);
            }
            let at = std::mem::replace(&mut place[victim as usize], NONE);
            held.swap_remove(at as usize);
            if let Some(moved) = held.get(at as usize) {
                place[moved.0 as usize] = at;
            }
        }
        written += 1;
        place[id as usize] = held.len() as u32;
        held.push((id, access));
        newest = if newcomers > 0 { vec![id] } else { vec![] };
    }
    (misses, written)
}

fn main() {
    println!("trace,share,entries,policy,exact,sampled,admit quarter,,admit once,,admit four times,");
    for path in std::env::args().skip(1) {
        let trace = Trace::open(Path::new(&path), None).unwrap_or_else(|error| panic!("{error}"));
        for share in [0.01, 0.1] {
            let capacity = (trace.unique() as f64 * share) as usize;
            if capacity < 50 {
                continue;
            }
            for policy in Judge::NAMES {
                let all = trace.len() as f64 / 100.0;
                let exact = simulate(&trace, AnyPolicy::named(policy).unwrap(), Limit::Entries(capacity), 0).unwrap();
                let (misses, written) = sampled(&trace, policy, capacity, None);
                let name = Path::new(&path).file_stem().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
                print!("{name:16},{share},{capacity:7},{policy:8},{:6.2},{:6.2}", exact.misses as f64 / all, misses as f64 / all);
                if var("ADMIT", 0) == 1 {
                    for size in [capacity / 4, capacity, capacity * 4] {
                        let (missed, wrote) = sampled(&trace, policy, capacity, Some(size));
                        print!(",{:6.2},{:4.0}%", missed as f64 / all, 100.0 - wrote as f64 / written as f64 * 100.0);
                    }
                }
                println!();
            }
        }
    }
}
