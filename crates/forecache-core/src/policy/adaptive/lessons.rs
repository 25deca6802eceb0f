//! What the traffic teaches about the worth of entries.
//!
//! Hits are counted by class and age, whether the entry was there or had left and came back; how many entries of each class were at
//! each age, and for how long, is estimated from small samples of both. Hits over time at risk is the rate at which such entries
//! are asked for. A cell alone has seen little, so the rates are a product of few factors, each learnt from all that share it:
//! recency (age), frequency and age, gap and age. Each factor is the hits that were seen over those that the factors before it
//! foretold, with [`DOUBT`] added to both: without evidence it is 1, and what remains is the prior.

use super::score::{AGES, CLASSES, FREQUENCIES, GAPS, Kind, Table, Weights, begin, frequency_and_gap};

/// Hits that it takes to move a factor half the way to what was seen. Recency has all the hits to learn from, others a part.
const DOUBT: [f32; 3] = [2.0, 8.0, 8.0];
/// What a class of age lends to the next.
const LEND: f32 = 0.5;
/// What is left of the counts after an epoch: the last twenty epochs teach.
pub const KEEP: f32 = 0.95;
/// What is believed at first: hits a turnover of an entry unused for about one. The older the fewer, as LRU has it.
const PRIOR: f32 = 0.3;
/// Turnovers below which age says nothing more.
const FRESH: f32 = 1.0 / 16.0;
/// The index looks no further than where so few are still waiting for their hit.
const FEW: f32 = 0.05;

/// See the head of this file.
#[derive(Debug)]
pub struct Lessons {
    hits: Table,
    turnovers: Table,
}

impl Default for Lessons {
    fn default() -> Self {
        Lessons { hits: [[0.0; AGES]; CLASSES], turnovers: [[0.0; AGES]; CLASSES] }
    }
}

impl Lessons {
    /// An entry of this kind was asked for.
    #[inline]
    pub fn hit(&mut self, kind: Kind) {
        self.hits[kind.class][kind.age] += 1.0;
    }

    /// An entry of this kind was there, or might have been, for so many turnovers; several for a shorter time add up.
    #[inline]
    pub fn wait(&mut self, kind: Kind, turnovers: f32) {
        self.turnovers[kind.class][kind.age] += turnovers;
    }

    /// Ends an epoch: puts what was learnt into the weights, and fades it.
    pub fn conclude(&mut self, weights: &mut Weights) {
        self.weigh(weights);
        self.counts_mut().for_each(|count| *count *= KEEP);
    }

    /// Puts what was learnt into the weights.
    pub fn weigh(&self, weights: &mut Weights) {
        let mut rates = prior();
        self.correct(&mut rates, DOUBT[0], |_| 0);
        self.correct(&mut rates, DOUBT[1], |class| frequency_and_gap(class).0);
        self.correct(&mut rates, DOUBT[2], |class| frequency_and_gap(class).1);
        for (worth, rates) in weights.worth.iter_mut().zip(&rates) {
            *worth = indices(rates);
        }
    }

    /// All that was counted, always in the same order.
    pub fn counts(&self) -> impl Iterator<Item = &f32> {
        self.hits.iter().chain(&self.turnovers).flatten()
    }

    /// The same, to be changed.
    pub fn counts_mut(&mut self) -> impl Iterator<Item = &mut f32> {
        self.hits.iter_mut().chain(&mut self.turnovers).flatten()
    }

    /// Multiplies the rates by a factor for each group of classes and age.
    fn correct(&self, rates: &mut Table, doubt: f32, group: impl Fn(usize) -> usize) {
        const GROUPS: usize = 1 + if GAPS > FREQUENCIES { GAPS } else { FREQUENCIES };
        let (mut seen, mut foretold) = ([[0.0; AGES]; GROUPS], [[0.0; AGES]; GROUPS]);
        for (class, rates) in rates.iter().enumerate() {
            let group = group(class);
            for (age, rate) in rates.iter().enumerate() {
                seen[group][age] += self.hits[class][age];
                foretold[group][age] += self.turnovers[class][age] * rate;
            }
        }
        seen.iter_mut().chain(&mut foretold).for_each(lend);
        for (class, rates) in rates.iter_mut().enumerate() {
            let group = group(class);
            for (age, rate) in rates.iter_mut().enumerate() {
                *rate *= (seen[group][age] + doubt) / (foretold[group][age] + doubt);
            }
        }
    }
}

/// Hits a turnover before anything is learnt. They fall with age and rise with each doubling of the uses.
fn prior() -> Table {
    std::array::from_fn(|class| {
        std::array::from_fn(|age| {
            let middle = (begin(age) + begin(age + 1)) / 2.0;
            PRIOR * (1 + frequency_and_gap(class).0) as f32 / (middle + FRESH)
        })
    })
}

/// Adds to each number what the others lend, a share that falls with the distance.
fn lend(row: &mut [f32; AGES]) {
    let own = *row;
    let (mut up, mut down) = (0.0, 0.0);
    for age in 0..AGES {
        row[age] += up;
        up = (up + own[age]) * LEND;
        let mirrored = AGES - 1 - age;
        row[mirrored] += down;
        down = (down + own[mirrored]) * LEND;
    }
}

/// The Gittins index at each age: the best ratio of hits to turnovers waited, over all ages at which one could give up.
fn indices(rates: &[f32; AGES]) -> [f32; AGES] {
    let length: [f32; AGES] = std::array::from_fn(|age| begin(age + 1) - begin(age));
    let stays: [f32; AGES] = std::array::from_fn(|age| 1.0 / (1.0 + rates[age] * length[age]));
    std::array::from_fn(|age| {
        let (mut waiting, mut hits, mut time) = (1.0, 0.0, 0.0);
        let (mut best_hits, mut best_time) = (0.0, 1.0);
        for later in age..AGES {
            time += waiting * length[later] * stays[later];
            hits += waiting * (1.0 - stays[later]);
            if hits * best_time > best_hits * time {
                (best_hits, best_time) = (hits, time);
            }
            waiting *= stays[later];
            if waiting < FEW {
                break;
            }
        }
        best_hits / best_time
    })
}
