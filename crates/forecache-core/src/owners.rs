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
}

/// All owners of a store. Number 0 is the default owner of namespace 0.
#[derive(Debug)]
pub struct Owners {
    list: Vec<Owner>,
    numbers: HashMap<(u32, Box<str>), u32, xxhash_rust::xxh3::Xxh3DefaultBuilder>,
}

impl Default for Owners {
    fn default() -> Self {
        let mut owners = Owners { list: Vec::new(), numbers: HashMap::default() };
        owners.number(0, "");
        owners
    }
}

impl Owners {
    /// The number of the owner of that name, made if it is new.
    pub fn number(&mut self, namespace: u32, name: &str) -> u32 {
        if let Some(number) = self.known(namespace, name) {
            return number;
        }
        let number = self.list.len() as u32;
        self.list.push(Owner { namespace, name: name.into(), ..Owner::default() });
        self.numbers.insert((namespace, name.into()), number);
        number
    }

    /// The number of the owner of that name, if there is one.
    pub fn known(&self, namespace: u32, name: &str) -> Option<u32> {
        self.numbers.get(&(namespace, name.into())).copied()
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
        }
    }

    /// Declares all entries of `owner` dead, and says how many they are.
    pub fn empty(&mut self, owner: u32) -> usize {
        let owner = &mut self.list[owner as usize];
        owner.generation = owner.generation.wrapping_add(1);
        owner.weight = 0;
        std::mem::take(&mut owner.entries)
    }
}
