//! Latencies counted in buckets whose width grows with the value: eight a power of two, so a quantile is within 6 % of the truth.

const BITS: u32 = 3;
const BUCKETS: usize = 64 << BITS;

/// How often which latency was seen, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: Box::new([0; BUCKETS]) }
    }
}

fn bucket(value: u64) -> usize {
    let value = value.max(1);
    let octave = value.ilog2();
    let within = if octave >= BITS { value >> (octave - BITS) } else { value << (BITS - octave) };
    ((octave as usize) << BITS) | (within as usize & ((1 << BITS) - 1))
}

/// The middle of a bucket.
fn value(bucket: usize) -> f64 {
    let octave = (bucket >> BITS) as i32;
    let within = (bucket & ((1 << BITS) - 1)) as f64;
    2f64.powi(octave) * (1.0 + (within + 0.5) / f64::from(1 << BITS))
}

fn width(bucket: usize) -> f64 {
    2f64.powi((bucket >> BITS) as i32) / f64::from(1 << BITS)
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets in use: the value that all in one lie below, and how many there are.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let used = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        used.map(|(bucket, &count)| (value(bucket) + width(bucket) / 2.0, count))
    }

    /// The value that a share `quantile` (0-1) of all stays at or below; `None` without values.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = (quantile * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |&count: &u64| {
            seen += count;
            seen >= rank
        };
        self.counts.iter().position(reached).map(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_bucket_of_the_truth(mut values in prop::collection::vec(16u64..1 << 40, 1..300), share in 0.0f64..1.0) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            values.sort_unstable();
            let exact = values[((share * values.len() as f64).ceil() as usize).max(1) - 1] as f64;
            let found = histogram.quantile(share).unwrap();
            let below = histogram.buckets().find(|&(end, _)| exact < end).unwrap().0;
            prop_assert!(exact >= below * 0.88 - 1.0, "{} is not in the bucket below {}", exact, below);
            prop_assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), values.len() as u64);
            prop_assert!((found / exact - 1.0).abs() < 0.0715, "{} for {}", found, exact);
        }
    }
}
