//! What callers say of an entry, and what holds where they say nothing.

use crate::errors::{config_error, parse_duration};
use crate::foreign;
use forecache_core::expiry::NEVER;
use forecache_core::groups::Class;
use forecache_core::store::Options;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyString};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seconds as nanoseconds; infinity is [`NEVER`].
pub fn seconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// A seed nobody chose.
pub fn random_seed() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// The keywords of `set` and its like.
#[derive(Default)]
pub struct Said {
    pub ttl: Option<u64>,
    pub tti: Option<u64>,
    pub owner: Option<Box<str>>,
    pub tags: Vec<Box<str>>,
    pub cost: f32,
    pub immutable: bool,
    pub pin: bool,
}

impl Said {
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    pub fn new(
        py: Python<'_>,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<Self> {
        let cost = cost.unwrap_or(1.0);
        if !(0.0..=f64::from(f32::MAX)).contains(&cost) {
            return Err(config_error(py, format!("cost: expected a number from 0 to 3.4e38, got {cost:?}")));
        }
        Ok(Said {
            ttl: ttl.map(|time| duration(time, "ttl")).transpose()?,
            tti: tti.map(|time| duration(time, "tti")).transpose()?,
            owner: owner.map(Into::into),
            tags: tags.map_or_else(|| Ok(Vec::new()), self::tags)?,
            cost: cost as f32,
            immutable,
            pin,
        })
    }
}

/// Bytes that an entry's tags cost beside their texts: a list of them and, for each, places in two tables. Entries share a text, but who
/// will share it isn't known, so each is charged for it.
const TAGGED: u64 = 64;
const TAG: u64 = 32;

impl Said {
    /// Bytes to charge for the tags.
    pub fn tags_weight(&self) -> u64 {
        let texts: usize = self.tags.iter().map(|tag| tag.len()).sum();
        if self.tags.is_empty() { 0 } else { TAGGED + TAG * self.tags.len() as u64 + texts as u64 }
    }
}

/// Tags from any iterable of `str` that isn't itself a `str`.
pub fn tags(tags: &Bound<'_, PyAny>) -> PyResult<Vec<Box<str>>> {
    if tags.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("tags: expected an iterable of str, got the str {tags}; write [{tags:?}]")));
    }
    let text = |tag: Bound<'_, PyAny>| match tag.cast::<PyString>() {
        Ok(text) => Ok(text.to_str()?.into()),
        Err(_) => Err(PyTypeError::new_err(format!("tags: expected str, got {}", foreign::repr(&tag)))),
    };
    foreign::list(tags)?.iter().map(text).collect()
}

/// Nanoseconds from a number of seconds, or from what Python's parser takes besides.
fn duration(time: &Bound<'_, PyAny>, field: &str) -> PyResult<u64> {
    let number = time.is_exact_instance_of::<PyFloat>() || time.is_exact_instance_of::<PyInt>();
    match time.extract::<f64>() {
        Ok(time) if number && time > 0.0 => Ok(seconds(time)),
        _ => parse_duration(time, field).map(seconds),
    }
}

/// What a cache was configured with.
pub struct Defaults {
    ttl: u64,
    tti: u64,
    jitter: f64,
    random: AtomicU64,
}

impl Defaults {
    pub fn new(config: &Bound<'_, PyAny>, seed: u64) -> PyResult<Self> {
        let time = |name: &str| config.getattr(name)?.extract::<Option<f64>>().map(|time| time.map_or(NEVER, seconds));
        Ok(Defaults {
            ttl: time("ttl")?,
            tti: time("tti")?,
            jitter: config.getattr("jitter")?.extract()?,
            random: AtomicU64::new(seed),
        })
    }

    /// What holds for an entry: the caller's word, then its group's, then the cache's.
    pub fn options<'a>(&self, said: &'a Said, class: Class, group: u16, owner: u32) -> Options<'a> {
        Options {
            time_to_live: self.shortened(said.ttl.or(class.time_to_live).unwrap_or(self.ttl)),
            time_to_idle: said.tti.or(class.time_to_idle).unwrap_or(self.tti),
            owner,
            group,
            cost: said.cost,
            immutable: said.immutable,
            pinned: said.pin,
            tags: &said.tags,
            ..Options::default()
        }
    }

    /// A time to live less up to the jitter's share of it, so that what was stored together doesn't expire together.
    pub fn shortened(&self, time: u64) -> u64 {
        if self.jitter == 0.0 || time == NEVER {
            return time;
        }
        // SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
        let mut bits = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        time - (time as f64 * self.jitter * share) as u64
    }
}
