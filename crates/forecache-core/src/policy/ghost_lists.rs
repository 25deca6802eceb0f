//! Entries that left, in two queues with their weights: what ARC remembers.

use super::history::Times;
use std::collections::VecDeque;

/// The weight of a ghost that was taken out of the middle of its queue.
const TAKEN: u32 = u32::MAX;
/// A queue's places are numbered modulo this: the other bit of a time is the queue's.
const NUMBERS: u32 = 1 << 31;

#[derive(Debug, Default)]
struct Queue {
    /// The longest gone in front.
    weights: VecDeque<u32>,
    /// The number of the front.
    first: u32,
    weight: u64,
    ghosts: usize,
}

impl Queue {
    fn push(&mut self, weight: u32) -> u32 {
        if self.weights.len() == self.weights.capacity() {
            self.weights.reserve_exact((self.weights.len() / 16).max(16));
        }
        self.weights.push_back(weight);
        self.weight += u64::from(weight);
        self.ghosts += 1;
        (self.first + self.weights.len() as u32 - 1) % NUMBERS
    }

    /// Takes the ghost at `place`, if any, and where it is the front what was taken behind it. Gives its weight.
    fn take(&mut self, place: usize) -> Option<u64> {
        let weight = std::mem::replace(self.weights.get_mut(place)?, TAKEN);
        if weight == TAKEN {
            return None;
        }
        self.weight -= u64::from(weight);
        self.ghosts -= 1;
        while self.weights.front() == Some(&TAKEN) {
            self.weights.pop_front();
            self.first = (self.first + 1) % NUMBERS;
        }
        Some(u64::from(weight))
    }
}

/// Two queues of ghosts, known by 32 bits of their fingerprints, 21 to 33 bytes a ghost.
///
/// Unlike [`super::history::Ghosts`] it knows what its ghosts weighed, up to 2^32 - 2 each. Up to three ghosts in a hundred can't be found
/// before their turn to be forgotten, and one look-up in 2^32 / ghosts takes a stranger for a ghost.
#[derive(Debug, Default)]
pub struct GhostLists {
    /// A ghost's time is twice its number in its queue, and one more in the second.
    times: Times,
    queues: [Queue; 2],
}

impl GhostLists {
    /// What the ghosts of a list weigh.
    pub fn weight(&self, list: usize) -> u64 {
        self.queues[list].weight
    }

    /// Ghosts in both lists.
    pub fn len(&self) -> usize {
        self.queues[0].ghosts + self.queues[1].ghosts
    }

    /// Appends a ghost to a list. There is room for `limit` ghosts.
    #[inline]
    pub fn push(&mut self, list: usize, fingerprint: u32, weight: u64, limit: usize) {
        if limit > self.times.room() {
            self.times.resize(limit, age(&self.queues));
        }
        let number = self.queues[list].push(u32::try_from(weight).unwrap_or(u32::MAX).min(TAKEN - 1));
        self.times.put_over_oldest(fingerprint, number * 2 + list as u32, age(&self.queues));
        if self.queues[list].weights.len() > 2 * limit {
            self.drop_oldest(list);
        }
    }

    /// Forgets the ghost that has this fingerprint; its list and weight, if there is one.
    #[inline]
    pub fn take(&mut self, fingerprint: u32) -> Option<(usize, u64)> {
        let time = self.times.take(fingerprint, age(&self.queues))?;
        let queue = &mut self.queues[time as usize % 2];
        let weight = queue.take(((time / 2).wrapping_sub(queue.first) % NUMBERS) as usize)?;
        Some((time as usize % 2, weight))
    }

    /// Forgets the ghost of a list that left first; false if the list is empty.
    #[inline]
    pub fn drop_oldest(&mut self, list: usize) -> bool {
        self.queues[list].take(0).is_some()
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.times.allocated() + self.queues.iter().map(|queue| queue.weights.capacity() * 4).sum::<usize>()
    }
}

/// How near a ghost is to being forgotten, if it isn't yet. The first list's, which has more coming and going, come before the other's.
#[inline]
fn age(queues: &[Queue; 2]) -> impl Fn(u32) -> Option<u32> {
    let [(first_once, once), (first_again, again)] = [0, 1].map(|list| (queues[list].first, queues[list].weights.len() as u32));
    move |time| {
        let (first, length, more) = if time % 2 == 0 { (first_once, once, NUMBERS) } else { (first_again, again, 0) };
        let place = (time / 2).wrapping_sub(first) % NUMBERS;
        (place < length).then(|| more + (length - place - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize, u32, u64),
        Take(u32),
        Drop(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let fingerprint = 1u32..30;
        prop_oneof![
            3 => (0usize..2, fingerprint.clone(), 1u64..9).prop_map(|(list, fingerprint, weight)| Step::Push(list, fingerprint, weight)),
            2 => fingerprint.prop_map(Step::Take),
            1 => (0usize..2).prop_map(Step::Drop),
        ]
    }

    proptest! {
        #[test]
        fn they_are_two_queues_with_an_index(steps in prop::collection::vec(step(), 1..300)) {
            let mut lists = GhostLists::default();
            let mut plain = [VecDeque::new(), VecDeque::new()];
            for step in steps {
                match step {
                    Step::Push(list, fingerprint, weight) => {
                        if plain.iter().flatten().all(|&(other, _)| other != fingerprint) {
                            lists.push(list, fingerprint, weight, 300);
                            plain[list].push_back((fingerprint, weight));
                        }
                    }
                    Step::Take(fingerprint) => {
                        let found = (0..2).find_map(|list| {
                            let at = plain[list].iter().position(|&(other, _)| other == fingerprint)?;
                            Some((list, plain[list].remove(at)?.1))
                        });
                        prop_assert_eq!(lists.take(fingerprint), found);
                    }
                    Step::Drop(list) => prop_assert_eq!(lists.drop_oldest(list), plain[list].pop_front().is_some()),
                }
                prop_assert_eq!(lists.len(), plain[0].len() + plain[1].len());
                for (list, queue) in plain.iter().enumerate() {
                    prop_assert_eq!(lists.weight(list), queue.iter().map(|&(_, weight)| weight).sum::<u64>());
                }
            }
        }
    }

    #[test]
    fn nearly_all_are_found_however_long_the_others_come_and_go_and_memory_is_bounded() {
        const HELD: u32 = 3000;
        let mut lists = GhostLists::default();
        let fingerprint = |number: u32| super::super::history::short(crate::fingerprint::fingerprint(&number.to_le_bytes(), 7));
        (0..HELD / 2).for_each(|number| lists.push(1, fingerprint(number), 1, HELD as usize));
        let coming = HELD / 2..20 * HELD;
        for number in coming.clone() {
            lists.push(0, fingerprint(number), 1, HELD as usize);
            while lists.len() > HELD as usize {
                lists.drop_oldest(0);
            }
        }
        let stayed = (0..HELD / 2).filter(|&number| lists.take(fingerprint(number)) == Some((1, 1))).count();
        let latest =
            (coming.end - HELD / 2..coming.end).filter(|&number| lists.take(fingerprint(number)) == Some((0, 1))).count();
        assert!(stayed.min(latest) >= 1440, "{stayed} and {latest} of 1500");
        assert!(lists.allocated() <= HELD as usize * 24, "{} bytes", lists.allocated());
    }
}
