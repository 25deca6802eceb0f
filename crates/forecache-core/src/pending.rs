//! What is not yet written to a tier: the latest operation of each key, in the order in which the keys came.
//!
//! An operation waits until someone takes it to the tier, is in flight until that is done, and can be read all the while. One that
//! comes for a key whose last is in flight waits for that: the tier sees the operations of a key one after the other, and of those
//! that nobody has taken only the latest.

use crate::list::{Links, List, Slot};
use crate::store::{Key, Lookup};
use hashbrown::HashTable;

/// See the head of this file.
#[derive(Debug)]
pub struct Pending<K, O> {
    index: HashTable<Slot>,
    places: Vec<Option<Place<K, O>>>,
    free: Vec<Slot>,
    links: Links,
    /// Places with an operation that may be taken now.
    ready: List,
    bytes: u64,
    flying: usize,
}

#[derive(Debug)]
struct Place<K, O> {
    key: K,
    waiting: Option<(O, u64)>,
    flying: Option<(O, u64)>,
}

/// What came of an attempt to take the operation of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<'a, O> {
    /// There is none.
    Nothing,
    /// Another is in flight.
    Busy,
    /// It is in flight now.
    Taken(&'a O),
}

impl<K, O> Default for Pending<K, O> {
    fn default() -> Self {
        Pending {
            index: HashTable::new(),
            places: Vec::new(),
            free: Vec::new(),
            links: Links::default(),
            ready: List::default(),
            bytes: 0,
            flying: 0,
        }
    }
}

impl<K: Key, O> Pending<K, O> {
    /// Keys with an operation that waits or is in flight.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Keys whose operation may be taken now, the one that has been ready longest first.
    pub fn ready(&self) -> impl Iterator<Item = &K> {
        self.links.iter(&self.ready).map(|slot| &self.place(slot).key)
    }

    /// The bytes that came with the operations that wait or are in flight.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    fn find(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<Slot> {
        if self.index.is_empty() {
            return None;
        }
        let equal = |&slot: &Slot| self.places[slot as usize].as_ref().is_some_and(|place| (lookup.equal)(&place.key));
        self.index.find(lookup.hash, equal).copied()
    }

    fn place(&self, slot: Slot) -> &Place<K, O> {
        self.places[slot as usize].as_ref().expect("the index names filled places only")
    }

    fn place_mut(&mut self, slot: Slot) -> &mut Place<K, O> {
        self.places[slot as usize].as_mut().expect("the index names filled places only")
    }

    /// Has `operation` wait in the place of the one that waits, which is given back. A key that waits keeps its turn.
    pub fn put(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, key: K, operation: O, bytes: u64) -> Option<O> {
        self.bytes += bytes;
        let Some(slot) = self.find(lookup) else {
            let slot = self.free.pop().unwrap_or(self.places.len() as Slot);
            let place = Some(Place { key, waiting: Some((operation, bytes)), flying: None });
            match self.places.get_mut(slot as usize) {
                Some(free) => *free = place,
                None => self.places.push(place),
            }
            let places = &self.places;
            self.index
                .insert_unique(lookup.hash, slot, |&slot| places[slot as usize].as_ref().map_or(0, |place| place.key.hash()));
            self.links.push_back(&mut self.ready, slot);
            return None;
        };
        let place = self.place_mut(slot);
        let old = place.waiting.replace((operation, bytes));
        if old.is_none() && place.flying.is_none() {
            self.links.push_back(&mut self.ready, slot);
        }
        old.map(|(operation, bytes)| {
            self.bytes -= bytes;
            operation
        })
    }

    /// The latest operation of a key.
    #[inline]
    pub fn get(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<&O> {
        let place = self.place(self.find(lookup)?);
        place.waiting.as_ref().or(place.flying.as_ref()).map(|(operation, _)| operation)
    }

    /// The operation of a key that waits.
    pub fn waiting(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<&O> {
        self.place(self.find(lookup)?).waiting.as_ref().map(|(operation, _)| operation)
    }

    /// The operation of a key that is in flight.
    pub fn flying(&self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<&O> {
        self.place(self.find(lookup)?).flying.as_ref().map(|(operation, _)| operation)
    }

    /// Takes the operation of a key, unless another of it is in flight. [`Pending::done`] or [`Pending::put_back`] has to follow.
    pub fn take(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Taken<'_, O> {
        let Some(slot) = self.find(lookup) else { return Taken::Nothing };
        if self.place(slot).flying.is_some() {
            return Taken::Busy;
        }
        self.links.unlink(&mut self.ready, slot);
        self.flying += 1;
        let place = self.place_mut(slot);
        place.flying = place.waiting.take();
        Taken::Taken(&place.flying.as_ref().expect("a place that is ready has an operation that waits").0)
    }

    /// What was taken has been done; gives it back. What came for the key meanwhile is ready now.
    pub fn done(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>) -> Option<O> {
        let slot = self.find(lookup)?;
        let place = self.place_mut(slot);
        let (operation, bytes) = place.flying.take()?;
        let waits = place.waiting.is_some();
        self.flying -= 1;
        self.bytes -= bytes;
        if waits {
            self.links.push_back(&mut self.ready, slot);
        } else {
            self.vacate(slot, lookup.hash);
        }
        Some(operation)
    }

    /// What was taken isn't done: it waits again. If something newer waits, that is told by `onto`, and what was taken is given back.
    pub fn put_back(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, onto: impl FnOnce(&mut O)) -> Option<O> {
        let slot = self.find(lookup)?;
        let place = self.place_mut(slot);
        let (operation, bytes) = place.flying.take()?;
        let old = match &mut place.waiting {
            Some((newer, _)) => {
                onto(newer);
                Some(operation)
            }
            waiting => {
                *waiting = Some((operation, bytes));
                None
            }
        };
        self.flying -= 1;
        self.bytes -= if old.is_some() { bytes } else { 0 };
        self.links.push_back(&mut self.ready, slot);
        old
    }

    fn vacate(&mut self, slot: Slot, hash: u64) {
        if let Ok(found) = self.index.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.places[slot as usize] = None;
        self.free.push(slot);
    }

    /// Drops the operation of a key that waits, if it is one of `those`, and gives it back. What is in flight stays.
    pub fn withdraw(&mut self, lookup: &Lookup<impl Fn(&K) -> bool>, those: impl Fn(&O) -> bool) -> Option<O> {
        let slot = self.find(lookup)?;
        let place = self.place_mut(slot);
        let (operation, bytes) = place.waiting.take_if(|(operation, _)| those(operation))?;
        let alone = place.flying.is_none();
        self.bytes -= bytes;
        if alone {
            self.links.unlink(&mut self.ready, slot);
            self.vacate(slot, lookup.hash);
        }
        Some(operation)
    }

    /// Gives operations that wait another in their place, and gives them back. `other` says which, and what; its bytes are none.
    pub fn replace(&mut self, other: impl Fn(&K, &O) -> Option<O>) -> Vec<O> {
        let mut old = Vec::new();
        for place in self.places.iter_mut().flatten() {
            let Some((waiting, bytes)) = &mut place.waiting else { continue };
            if let Some(operation) = other(&place.key, waiting) {
                self.bytes -= std::mem::take(bytes);
                old.push(std::mem::replace(waiting, operation));
            }
        }
        old
    }

    /// Drops what waits, and gives it back. What is in flight stays.
    pub fn clear(&mut self) -> Vec<O> {
        let mut old = Vec::new();
        for slot in 0..self.places.len() as Slot {
            let Some(place) = &mut self.places[slot as usize] else { continue };
            let Some((operation, bytes)) = place.waiting.take() else { continue };
            let (alone, hash) = (place.flying.is_none(), place.key.hash());
            self.bytes -= bytes;
            old.push(operation);
            if alone {
                self.links.unlink(&mut self.ready, slot);
                self.vacate(slot, hash);
            }
        }
        old
    }

    /// Everything that waits or is in flight, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &O)> {
        self.places
            .iter()
            .flatten()
            .flat_map(|place| place.flying.iter().chain(&place.waiting).map(move |(operation, _)| (&place.key, operation)))
    }

    /// Keys with an operation that waits or is in flight, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.places.iter().flatten().map(|place| &place.key)
    }

    /// All operations.
    pub fn into_operations(self) -> impl Iterator<Item = O> {
        self.places
            .into_iter()
            .flatten()
            .flat_map(|place| place.flying.into_iter().chain(place.waiting))
            .map(|(operation, _)| operation)
    }

    /// Keys whose operation is in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &K> {
        self.places.iter().flatten().filter(|place| place.flying.is_some()).map(|place| &place.key).take(self.flying)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Hashed;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, VecDeque};

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Name(u8);

    impl Key for Name {
        type Index = Hashed;
        fn hash(&self) -> u64 {
            u64::from(self.0) % 3
        }
    }

    fn lookup(key: u8) -> Lookup<impl Fn(&Name) -> bool> {
        Lookup { namespace: 0, hash: Name(key).hash(), equal: move |other: &Name| other.0 == key }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u64),
        Take(u8),
        Done(u8),
        PutBack(u8),
        Replace(u8),
        Withdraw(u8),
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0..6u8;
        let step = prop_oneof![
            6 => (key.clone(), 0..100u64).prop_map(|(key, bytes)| Step::Put(key, bytes)),
            3 => key.clone().prop_map(Step::Take),
            6 => key.clone().prop_map(Step::Done),
            2 => key.clone().prop_map(Step::PutBack),
            1 => key.clone().prop_map(Step::Replace),
            2 => key.prop_map(Step::Withdraw),
            1 => Just(Step::Clear),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// The same in the plainest form.
    #[derive(Default)]
    struct Model {
        waiting: BTreeMap<u8, (usize, u64)>,
        flying: BTreeMap<u8, (usize, u64)>,
        ready: VecDeque<u8>,
    }

    impl Model {
        fn fly(&mut self, key: u8) -> usize {
            self.ready.retain(|&other| other != key);
            let taken = self.waiting.remove(&key).unwrap();
            self.flying.insert(key, taken);
            taken.0
        }
    }

    proptest! {
        #[test]
        fn it_is_two_maps_and_a_queue(steps in steps()) {
            let (mut pending, mut model) = (Pending::default(), Model::default());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(key, bytes) => {
                        let old = model.waiting.insert(key, (number, bytes));
                        prop_assert_eq!(pending.put(&lookup(key), Name(key), number, bytes), old.map(|(old, _)| old));
                        if old.is_none() && !model.flying.contains_key(&key) {
                            model.ready.push_back(key);
                        }
                    }
                    Step::Take(key) => {
                        let expected = match (model.flying.contains_key(&key), model.waiting.contains_key(&key)) {
                            (true, _) => Taken::Busy,
                            (_, false) => Taken::Nothing,
                            _ => { prop_assert_eq!(pending.take(&lookup(key)), Taken::Taken(&model.fly(key))); continue }
                        };
                        prop_assert_eq!(pending.take(&lookup(key)), expected);
                    }
                    Step::Done(key) => {
                        let done = model.flying.remove(&key);
                        prop_assert_eq!(pending.done(&lookup(key)), done.map(|(done, _)| done));
                        if done.is_some() && model.waiting.contains_key(&key) {
                            model.ready.push_back(key);
                        }
                    }
                    Step::PutBack(key) => {
                        let back = model.flying.remove(&key);
                        let mut told = None;
                        let old = pending.put_back(&lookup(key), |newer| told = Some(*newer));
                        if back.is_some() {
                            model.ready.push_back(key);
                        }
                        let newer = back.and(model.waiting.get(&key)).map(|&(newer, _)| newer);
                        prop_assert_eq!((old, told), (newer.and(back).map(|(back, _)| back), newer));
                        if let (Some(back), None) = (back, newer) {
                            model.waiting.insert(key, back);
                        }
                    }
                    Step::Replace(key) => {
                        let old = model.waiting.get_mut(&key).map(|waiting| std::mem::replace(waiting, (number, 0)).0);
                        prop_assert_eq!(pending.replace(|other, _| (other.0 == key).then_some(number)), Vec::from_iter(old));
                    }
                    Step::Withdraw(key) => {
                        let even = |number: &usize| number % 2 == 0;
                        let old = model.waiting.get(&key).filter(|(number, _)| even(number)).map(|&(old, _)| old);
                        if old.is_some() {
                            model.waiting.remove(&key);
                            model.ready.retain(|&other| other != key);
                        }
                        prop_assert_eq!(pending.withdraw(&lookup(key), even), old);
                    }
                    Step::Clear => {
                        let mut cleared = pending.clear();
                        cleared.sort_unstable();
                        let mut waiting: Vec<_> = std::mem::take(&mut model.waiting).into_values().map(|(old, _)| old).collect();
                        waiting.sort_unstable();
                        prop_assert_eq!(cleared, waiting);
                        model.ready.clear();
                    }
                }
                for key in 0..6 {
                    let latest = model.waiting.get(&key).or(model.flying.get(&key)).map(|(operation, _)| operation);
                    prop_assert_eq!(pending.get(&lookup(key)), latest);
                    prop_assert_eq!(pending.waiting(&lookup(key)), model.waiting.get(&key).map(|(operation, _)| operation));
                    prop_assert_eq!(pending.flying(&lookup(key)), model.flying.get(&key).map(|(operation, _)| operation));
                }
                let all = || model.waiting.values().chain(model.flying.values());
                prop_assert_eq!(pending.bytes(), all().map(|(_, bytes)| bytes).sum::<u64>());
                prop_assert_eq!(pending.iter().count(), all().count());
                prop_assert_eq!(pending.ready().map(|key| key.0).collect::<VecDeque<_>>(), model.ready.clone());
                prop_assert_eq!(pending.in_flight().count(), model.flying.len());
                let keys: std::collections::BTreeSet<_> = model.waiting.keys().chain(model.flying.keys()).collect();
                prop_assert_eq!((pending.len(), pending.is_empty()), (keys.len(), keys.is_empty()));
            }
        }
    }
}
