//! What an entry is worth: a pure function of a stamp of 24 bytes, the moment, and weights.
//!
//! The worth is hits to come for the room and the time they take, as far as entries like this one earned them: the same number
//! of uses, gaps between accesses as long, unused for as long. Ages are in requests and, in the weights, in *turnovers*: as many
//! requests as there are entries. So weights learnt with few entries serve many, and those of a sample of the keys serve them all.

/// Classes of age: half octaves from 1/64 of a turnover to 32.
pub const AGES: usize = 22;
/// The class of age that begins at one turnover.
const TURNOVER: i32 = 12;
/// Classes of frequency: no use since the first access; 1; 2 to 3; 4 to 7; 8 to 15; more.
pub const FREQUENCIES: usize = 6;
/// Classes of gaps, in octaves: the same range as the ages.
pub const GAPS: usize = 9;
/// Each frequency with each gap.
pub const CLASSES: usize = FREQUENCIES * GAPS;

const NEVER: u64 = u64::MAX;

/// What is known of an entry: all that a sampled store need keep to judge it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamp {
    /// By the store's clock, in nanoseconds in memory and milliseconds on disk; `u64::MAX` for never.
    pub deadline: u64,
    /// The number of the request that used it last, modulo 2^32.
    pub last: u32,
    /// As its `Meta` has it.
    pub cost: f32,
    /// Cost for weight.
    pub density: f32,
    /// Accesses after the first, at most 255, those before an eviction included.
    pub uses: u8,
    /// Smoothed logarithm of the requests between accesses, in half octaves.
    pub gap: u8,
    /// The deadline may be put off by a hit.
    pub loose: bool,
}

const _: () = assert!(size_of::<Stamp>() == 24);

impl Stamp {
    /// An entry that came with the request `tick`.
    pub fn new(tick: u32, weight: u64, cost: f32, deadline: u64) -> Self {
        let mut stamp = Stamp { deadline, last: tick, cost, density: 0.0, uses: 0, gap: 0, loose: false };
        stamp.weigh(weight);
        stamp
    }

    /// The entry has this weight now.
    pub fn weigh(&mut self, weight: u64) {
        self.density = self.cost / weight.max(1) as f32;
    }

    /// The request `tick` used the entry.
    #[inline]
    pub fn touch(&mut self, tick: u32) {
        let gap = logarithm(tick.wrapping_sub(self.last));
        // The mean of the logarithms, the newer ones weighing more: even gaps are known soon, and one odd gap doesn't hide them.
        self.gap = if self.uses == 0 { gap } else { self.gap.saturating_add(gap).div_ceil(2) };
        self.uses = self.uses.saturating_add(1);
        self.last = tick;
        if self.deadline != NEVER && self.loose {
            self.deadline = NEVER;
        }
    }
}

/// Twice the logarithm to base 2, about: the exponent of a float and the first digit of its mantissa. Without a branch.
#[inline]
fn logarithm(requests: u32) -> u8 {
    const BITS: u32 = f32::MANTISSA_DIGITS - 2;
    (((requests.max(1) as f32).to_bits() >> BITS) - (1f32.to_bits() >> BITS)) as u8
}

/// When a worth is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    /// The number of the latest request, modulo 2^32.
    pub tick: u32,
    /// By the same clock.
    pub now: u64,
    /// What a turnover takes by it; 0 if unknown.
    pub turnover: f32,
}

/// Which class an entry is in, by frequency and gap, and by age.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub class: usize,
    pub age: usize,
}

/// A number for each class at each age.
pub type Table = [[f32; AGES]; CLASSES];

/// What entries of each class at each age are worth.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Entries in half octaves: the unit of ages.
    scale: u8,
    pub worth: Table,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { scale: logarithm(0), worth: [[0.0; AGES]; CLASSES] }
    }
}

impl Weights {
    /// Takes the length of a turnover from the number of entries.
    pub fn rescale(&mut self, entries: usize) {
        self.scale = logarithm(entries.min(u32::MAX as usize) as u32);
    }

    #[inline]
    pub fn kind(&self, stamp: &Stamp, tick: u32) -> Kind {
        let place = |logarithm: u8| (i32::from(logarithm) - i32::from(self.scale) + TURNOVER).clamp(0, AGES as i32 - 1) as usize;
        let frequency = (8 - stamp.uses.leading_zeros() as usize).min(FREQUENCIES - 1);
        let gap = (place(stamp.gap) / 2).min(GAPS - 1);
        Kind { class: frequency * GAPS + gap, age: place(logarithm(tick.wrapping_sub(stamp.last))) }
    }

    /// What the entry is worth at that moment; less than anything else once it has expired.
    ///
    /// An entry that expires before the cache turns over has less to give: its worth is multiplied by `rest / (rest + turnover)`.
    #[inline]
    pub fn worth(&self, stamp: &Stamp, moment: &Moment) -> f32 {
        let Kind { class, age } = self.kind(stamp, moment.tick);
        let worth = self.worth[class][age] * stamp.density;
        if stamp.deadline == NEVER {
            return worth;
        }
        if stamp.deadline <= moment.now {
            return f32::NEG_INFINITY;
        }
        let rest = (stamp.deadline - moment.now) as f32;
        worth * rest / (rest + moment.turnover)
    }
}

/// The frequency of a class, and its gap; an entry without a use has none, which counts as one of its own.
pub fn frequency_and_gap(class: usize) -> (usize, usize) {
    let frequency = class / GAPS;
    (frequency, if frequency == 0 { GAPS } else { class % GAPS })
}

/// Where a class of age begins, in turnovers.
pub fn begin(age: usize) -> f32 {
    if age == 0 { 0.0 } else { ((2 + (age & 1)) << (age / 2)) as f32 / (2 << (TURNOVER / 2)) as f32 }
}
