//! Who stored what: owners are interned per namespace and can be emptied in O(1).

use hashbrown::HashMap;

/// What is known of an owner.
#[derive(Debug, Clone, Default)]
pub struct Owner {
    /// The namespace it belongs to.
    pub namespace: u32,
    /// Its name; empty for a namespace's default owner.
    pub name: Box<str>,
    /// Entries of an older generation are dead.
    pub generation: u32,
    /// Live entries.
    pub entries: usize,
    /// Their weight.
    pub weight: u64,
    /// Entries of older generations that are still there.
    dead: usize,
}

/// All owners of a store. Number 0 is the default owner of namespace 0.
#[derive(Debug)]
pub struct Owners {
    list: Vec<Owner>,
    numbers: HashMap<(u32, Box<str>), u32, xxhash_rust::xxh3::Xxh3DefaultBuilder>,
    /// Numbers that nobody has, and how many there have to be before others are looked for.
    free: Vec<u32>,
    look_at: usize,
}

/// Owners from which on those without entries are forgotten.
const MANY: usize = 1024;

impl Default for Owners {
    fn default() -> Self {
        let mut owners = Owners { list: Vec::new(), numbers: HashMap::default(), free: Vec::new(), look_at: MANY };
        owners.number(0, "");
        owners
    }
}

impl Owners {
    /// The number of the owner of that name, made if it is new. It holds until the next call, and as long as the owner has entries.
    pub fn number(&mut self, namespace: u32, name: &str) -> u32 {
        if let Some(number) = self.known(namespace, name) {
            return number;
        }
        if self.free.is_empty() && self.list.len() >= self.look_at {
            self.forget_idle();
        }
        let number = self.free.pop().unwrap_or(self.list.len() as u32);
        let owner = Owner { namespace, name: name.into(), ..Owner::default() };
        match self.list.get_mut(number as usize) {
            Some(place) => *place = owner,
            None => self.list.push(owner),
        }
        self.numbers.insert((namespace, name.into()), number);
        number
    }

    /// Forgets those without entries, live or dead: whoever passes through must not stay for ever. The default owner stays.
    fn forget_idle(&mut self) {
        for (number, owner) in self.list.iter_mut().enumerate().skip(1) {
            if owner.entries == 0 && owner.dead == 0 {
                self.numbers.remove(&(owner.namespace, std::mem::take(&mut owner.name)));
                self.free.push(number as u32);
            }
        }
        self.look_at = MANY.max(2 * (self.list.len() - self.free.len()));
    }

    /// The number of the owner of that name, if there is one.
    pub fn known(&self, namespace: u32, name: &str) -> Option<u32> {
        self.numbers.get(&(namespace, name.into())).copied()
    }

    /// The name of that number.
    pub fn name(&self, owner: u32) -> &str {
        &self.list[owner as usize].name
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Owner> {
        self.list.iter()
    }

    /// The generation that new entries get, and live ones have.
    #[inline]
    pub fn generation(&self, owner: u32) -> u32 {
        self.list[owner as usize].generation
    }

    /// One more entry.
    pub fn add(&mut self, owner: u32, weight: u64) {
        let owner = &mut self.list[owner as usize];
        owner.entries += 1;
        owner.weight += weight;
    }

    /// One entry less. Of those that died with their generation nothing is left to subtract.
    pub fn subtract(&mut self, owner: u32, generation: u32, weight: u64) {
        let owner = &mut self.list[owner as usize];
        if owner.generation == generation {
            owner.entries -= 1;
            owner.weight -= weight;
        } else {
            owner.dead -= 1;
        }
    }

    /// Declares all entries of `owner` dead, and says how many they are.
    pub fn empty(&mut self, owner: u32) -> usize {
        let owner = &mut self.list[owner as usize];
        owner.generation = owner.generation.wrapping_add(1);
        owner.weight = 0;
        let dead = std::mem::take(&mut owner.entries);
        owner.dead += dead;
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_who_pass_through_are_forgotten_and_those_with_entries_are_not() {
        let mut owners = Owners::default();
        let stays = owners.number(0, "stays");
        owners.add(stays, 5);
        let dying = owners.number(0, "dying");
        owners.add(dying, 7);
        assert_eq!(owners.empty(dying), 1);
        for passing in 0..100_000 {
            let number = owners.number(0, &passing.to_string());
            owners.add(number, 1);
            owners.subtract(number, owners.generation(number), 1);
        }
        assert!(owners.list.len() <= MANY + 2, "{}", owners.list.len());
        assert_eq!((owners.known(0, "stays"), owners.known(0, "dying")), (Some(stays), Some(dying)));
        assert_eq!((owners.known(0, ""), owners.known(0, "1")), (Some(0), None));
    }
}
