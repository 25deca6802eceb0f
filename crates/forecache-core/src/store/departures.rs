//! Why entries aren't there any more: the last removals, in a ring that is made when the first entry leaves.

use crate::policy::{Cause, Standing};

/// Why something isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It left.
    Left(Cause),
    /// It wasn't taken: heavier than all that isn't pinned together.
    TooLarge,
    /// It wasn't taken: the policy preferred what is there, or its owner comes after the others.
    NotAdmitted,
}

/// What is noted of something that isn't there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Departure {
    /// Why.
    pub ending: Ending,
    /// When, in [`ticks`].
    pub tick: u32,
    /// How it stood with the policy that evicted it.
    pub standing: Option<Standing>,
}

/// Times are noted in units of 2^24 nanoseconds, a sixtieth of a second.
const TICK: u32 = 24;

/// Nanoseconds by the store's clock as ticks, modulo 2^32, which is two years.
pub fn ticks(time: u64) -> u32 {
    (time >> TICK) as u32
}

/// Removals that are remembered: four to an entry, but within these bounds.
const BOUNDS: (usize, usize) = (256, 4096);

/// In 24 bytes.
#[derive(Debug, Clone, Copy)]
struct Noted {
    hash: u64,
    tick: u32,
    worth: f32,
    age: u32,
    class: u16,
    uses: u8,
    /// The lower bits are the ending, the uppermost whether there is a standing.
    ending: u8,
}

const _: () = assert!(size_of::<Noted>() == 24);
const STANDING: u8 = 1 << 7;
const ENDINGS: [Ending; 7] = {
    let [one, two, three, four, five] = Cause::ALL;
    let left = [Ending::Left(one), Ending::Left(two), Ending::Left(three), Ending::Left(four), Ending::Left(five)];
    [left[0], left[1], left[2], left[3], left[4], Ending::TooLarge, Ending::NotAdmitted]
};

impl Departure {
    /// Nanoseconds since, at a time by the store's clock.
    pub fn ago(&self, now: u64) -> u64 {
        u64::from(ticks(now).wrapping_sub(self.tick)) << TICK
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Departures {
    ring: Vec<Noted>,
    /// Where the oldest is.
    oldest: usize,
    /// Whether any was forgotten.
    forgot: bool,
}

impl Departures {
    /// Notes what became of the key of this hash, in a store that has places for so many entries.
    pub fn note(&mut self, hash: u64, departure: &Departure, places: usize) {
        let Departure { ending, tick, standing } = *departure;
        let number = match ending {
            Ending::Left(cause) => cause as u8,
            Ending::TooLarge => 5,
            Ending::NotAdmitted => 6,
        };
        let Standing { worth, age, class, uses } = standing.unwrap_or(Standing { worth: 0.0, age: 0, class: 0, uses: 0 });
        let ending = number | if standing.is_some() { STANDING } else { 0 };
        let noted = Noted { hash, tick, worth, age, class, uses, ending };
        if self.ring.len() < places.saturating_mul(4).clamp(BOUNDS.0, BOUNDS.1) {
            self.ring.rotate_left(self.oldest);
            self.oldest = 0;
            self.ring.push(noted);
        } else {
            self.forgot = true;
            self.ring[self.oldest] = noted;
            self.oldest = (self.oldest + 1) % self.ring.len();
        }
    }

    /// What became of the key of this hash last, if that is remembered.
    pub fn of(&self, hash: u64) -> Option<Departure> {
        let (later, earlier) = self.ring.split_at(self.oldest);
        let noted = later.iter().rev().chain(earlier.iter().rev()).find(|noted| noted.hash == hash)?;
        let Noted { tick, worth, age, class, uses, ending, .. } = *noted;
        Some(Departure {
            ending: ENDINGS[usize::from(ending & !STANDING)],
            tick,
            standing: (ending & STANDING != 0).then_some(Standing { worth, age, class, uses }),
        })
    }

    /// How many are remembered, if any was forgotten: then a key that isn't among them may have left before.
    pub fn most(&self) -> Option<usize> {
        self.forgot.then_some(self.ring.len())
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.ring.capacity() * size_of::<Noted>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn departure(number: usize) -> Departure {
        let standing = Standing { worth: number as f32, age: number as u32, class: 7, uses: number as u8 };
        let standing = (number % 2 == 0).then_some(standing);
        Departure { ending: ENDINGS[number % ENDINGS.len()], tick: number as u32, standing }
    }

    #[test]
    fn how_long_ago_is_right_by_any_clock() {
        for time in [0, 99 << TICK, u64::MAX >> 8, 31 * 365 * 86_400 * 1_000_000_000] {
            let departure = Departure { tick: ticks(time), ..departure(0) };
            assert_eq!(departure.ago(time), 0);
            assert_eq!(departure.ago(time + (5 << TICK)), 5 << TICK);
        }
    }

    proptest! {
        #[test]
        fn the_latest_are_remembered_as_they_were(hashes in prop::collection::vec(0u64..600, 1..2000), places in prop::collection::vec(0usize..2000, 1..8)) {
            let mut departures = Departures::default();
            let mut least = usize::MAX;
            for (number, &hash) in hashes.iter().enumerate() {
                let room = places[number * places.len() / hashes.len()];
                least = least.min(room.saturating_mul(4).clamp(BOUNDS.0, BOUNDS.1));
                departures.note(hash, &departure(number), room);
            }
            for (number, &hash) in hashes.iter().enumerate().rev().take(least) {
                let latest = hashes.iter().rposition(|&other| other == hash).unwrap_or(number);
                prop_assert_eq!(departures.of(hash), Some(departure(latest)));
            }
            prop_assert_eq!(departures.of(600), None);
            prop_assert_eq!(departures.most().is_none(), departures.ring.len() == hashes.len());
            prop_assert!(departures.allocated() <= 2 * BOUNDS.1 * 24);
        }
    }
}
