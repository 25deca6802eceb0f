//! What a policy makes of entries that are dear to load: the cost of all misses, by simulation.

use forecache_core::fingerprint::fingerprint;
use forecache_core::policy::{AnyPolicy, Cause, Change, Meta, Policy};
use std::collections::{BTreeSet, HashMap};

const KEYS: u32 = 4000;
const CAPACITY: usize = 400;
const REQUESTS: usize = 100_000;

fn hashed(number: u32, seed: u64) -> u64 {
    fingerprint(&number.to_le_bytes(), seed)
}

/// A number from 0 to 1.
fn share(number: u32, seed: u64) -> f64 {
    hashed(number, seed) as f64 / u64::MAX as f64
}

/// From 1 to 1000, as likely in each octave, whoever asks how often.
fn cost(key: u32) -> f32 {
    1000f64.powf(share(key, 7)) as f32
}

/// Keys by a Zipf law with exponent 0.8, in an order of chance, and a scan of keys that nobody asks for again in each tenth request.
fn requests(seed: u64) -> Vec<u32> {
    let sums: Vec<f64> = (1..=KEYS)
        .scan(0.0, |sum, rank| {
            *sum += f64::from(rank).powf(-0.8);
            Some(*sum)
        })
        .collect();
    let key = |turn: u32| match turn % 10 {
        0 => KEYS + turn,
        _ => sums.partition_point(|&sum| sum < share(turn, seed) * sums[sums.len() - 1]) as u32,
    };
    (0..REQUESTS as u32).map(key).collect()
}

/// The cost of the misses of one of the core's policies.
fn paid(policy: &str, keys: &[u32]) -> f64 {
    let mut policy = AnyPolicy::named(policy).unwrap();
    policy.configure(Change::Capacity(CAPACITY as u64));
    let (mut slots, mut held) = (HashMap::new(), Vec::new());
    let mut paid = 0.0;
    for &key in keys {
        if let Some(&slot) = slots.get(&key) {
            policy.on_hit(slot);
            continue;
        }
        paid += f64::from(cost(key));
        let (meta, print) = (Meta { cost: cost(key), ..Meta::of_weight(1) }, hashed(key, 1));
        let slot = if held.len() < CAPACITY {
            held.push(key);
            held.len() as u32 - 1
        } else {
            let victim = policy.victim(Some(print)).unwrap();
            assert!(policy.admit(print, &meta, victim), "one entry takes the room of one");
            policy.on_remove(victim, Cause::Size);
            slots.remove(&std::mem::replace(&mut held[victim as usize], key));
            victim
        };
        policy.on_insert(slot, print, &meta);
        slots.insert(key, slot);
    }
    paid
}

/// The same of GreedyDual-Size with Frequency (Cherkasova, "Improving WWW proxies performance with greedy-dual-size-frequency caching
/// policy", HP Labs 1998): by frequency times cost, above the rank of what left last.
fn paid_by_gdsf(keys: &[u32]) -> f64 {
    let mut ranks: BTreeSet<(u64, u32)> = BTreeSet::new();
    let mut entries: HashMap<u32, (f64, u64)> = HashMap::new();
    let (mut clock, mut paid) = (0.0, 0.0);
    for &key in keys {
        let frequency = match entries.get(&key) {
            Some(&(frequency, rank)) => {
                ranks.remove(&(rank, key));
                frequency + 1.0
            }
            None => {
                paid += f64::from(cost(key));
                if entries.len() == CAPACITY {
                    let (rank, victim) = ranks.pop_first().unwrap();
                    clock = f64::from_bits(rank);
                    entries.remove(&victim);
                }
                1.0
            }
        };
        // Numbers above 0 have the order of their bits.
        let rank = (clock + frequency * f64::from(cost(key))).to_bits();
        ranks.insert((rank, key));
        entries.insert(key, (frequency, rank));
    }
    paid
}

#[test]
fn the_policy_that_learns_pays_less_than_those_that_do_not_learn() {
    for seed in 1..4 {
        let keys = requests(seed);
        let [learned, s3fifo, lru] = ["learned", "s3fifo", "lru"].map(|policy| paid(policy, &keys));
        let gdsf = paid_by_gdsf(&keys);
        println!("seed {seed}: learned {learned:.0}, GDSF {gdsf:.0}, s3fifo {s3fifo:.0}, lru {lru:.0}");
        assert!(learned < gdsf && learned < 0.8 * s3fifo && s3fifo < lru, "{learned} {gdsf} {s3fifo} {lru}");
    }
}
