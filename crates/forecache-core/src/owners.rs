//! Who stored what: owners are interned per namespace and can be emptied in O(1).

use crate::groups::Pattern;
use hashbrown::HashMap;

/// What an owner may claim of a store that is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim {
    /// Entries of owners of a lower priority leave first; 0 unless said.
    pub priority: i16,
    /// Weight from which on its entries leave before those of owners that are within theirs; none unless said.
    pub budget: Option<u64>,
}

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
    /// Where its entries are kept: see [`Rooms`](crate::rooms::Rooms).
    pub room: u16,
    /// Entries of older generations that are still there.
    dead: usize,
}

/// When it is a room's turn to give a victim: the least comes first. A number, for of many rooms each is looked at, and kept with each.
///
/// Owners over their budgets come before all others, then those of the lowest priority; among equals those without a budget, and then
/// whoever has used the most of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u64);

impl Turn {
    /// Of a room whose owners claim this and, if that is a budget, have this weight.
    fn of(claim: Claim, used: u64) -> Turn {
        let priority = u64::from(claim.priority as u16 ^ 1 << 15);
        let Some(budget) = claim.budget else { return Turn(1 << 63 | priority << 40) };
        let within = u64::from(used <= budget.max(1));
        // The bits of a share are in the order of shares.
        let unused = u32::MAX - (used as f32 / budget.max(1) as f32).to_bits();
        Turn(within << 63 | priority << 40 | 1 << 32 | u64::from(unused))
    }

    /// Whether it has to give before `other` may be asked to.
    pub fn yields_to(self, other: Turn) -> bool {
        self.0 >> 40 < other.0 >> 40
    }
}

/// Whose entries a room keeps: those of all owners of one claim without a budget, or of one owner with a budget.
#[derive(Debug, Clone, Copy)]
struct Tenancy {
    claim: Claim,
    owner: Option<u32>,
    turn: Turn,
}

impl Tenancy {
    fn new(claim: Claim, owner: Option<u32>) -> Self {
        Tenancy { claim, owner, turn: Turn::of(claim, 0) }
    }
}

impl Default for Tenancy {
    fn default() -> Self {
        Tenancy::new(Claim::default(), None)
    }
}

/// All owners of a store. Number 0 is the default owner of namespace 0.
#[derive(Debug)]
pub struct Owners {
    list: Vec<Owner>,
    numbers: HashMap<(u32, Box<str>), u32, xxhash_rust::xxh3::Xxh3DefaultBuilder>,
    /// Numbers that nobody has, and how many there have to be before others are looked for.
    free: Vec<u32>,
    look_at: usize,
    /// Which names claim what; the first pattern that matches counts.
    claims: Vec<(Pattern, Claim)>,
    /// By the number of the room; room 0 is of who claims nothing.
    rooms: Vec<Tenancy>,
    empty_rooms: Vec<u16>,
}

/// Owners from which on those without entries are forgotten.
const MANY: usize = 1024;
/// Rooms beside room 0 at most; owners that come later are kept with those that claim nothing.
const MOST_ROOMS: usize = 4096;

impl Default for Owners {
    fn default() -> Self {
        Owners::new([])
    }
}

impl Owners {
    /// None but the default owner. Names that match a pattern (the first one that does) have its claim.
    pub fn new<'a>(claims: impl IntoIterator<Item = (&'a str, Claim)>) -> Self {
        let mut owners = Owners {
            list: Vec::new(),
            numbers: HashMap::default(),
            free: Vec::new(),
            look_at: MANY,
            claims: claims.into_iter().map(|(pattern, claim)| (Pattern::new(pattern), claim)).collect(),
            rooms: vec![Tenancy::default()],
            empty_rooms: Vec::new(),
        };
        owners.number(0, "");
        owners
    }

    /// The number of the owner of that name, made if it is new. It holds until the next call, and as long as the owner has entries.
    pub fn number(&mut self, namespace: u32, name: &str) -> u32 {
        if let Some(number) = self.known(namespace, name) {
            return number;
        }
        if self.free.is_empty() && self.list.len() >= self.look_at {
            self.forget_idle();
        }
        let number = self.free.pop().unwrap_or(self.list.len() as u32);
        let owner = Owner { namespace, name: name.into(), room: self.room_for(number, name), ..Owner::default() };
        match self.list.get_mut(number as usize) {
            Some(place) => *place = owner,
            None => self.list.push(owner),
        }
        self.numbers.insert((namespace, name.into()), number);
        number
    }

    /// A room for an owner that is new: one of its own if it has a budget, else that of its priority.
    fn room_for(&mut self, owner: u32, name: &str) -> u16 {
        let claim = self.claims.iter().find(|(pattern, _)| pattern.matches(name)).map_or(Claim::default(), |&(_, claim)| claim);
        let tenancy = Tenancy::new(claim, claim.budget.map(|_| owner));
        let shared = || self.rooms.iter().position(|room| room.owner.is_none() && room.claim == claim);
        if let Some(room) = claim.budget.is_none().then(shared).flatten() {
            return room as u16;
        }
        if let Some(room) = self.empty_rooms.pop() {
            self.rooms[room as usize] = tenancy;
            return room;
        }
        if self.rooms.len() > MOST_ROOMS {
            return 0;
        }
        self.rooms.push(tenancy);
        self.rooms.len() as u16 - 1
    }

    /// When it is the turn of a room.
    pub fn turn(&self, room: u16) -> Turn {
        self.rooms[room as usize].turn
    }

    /// When it would be, if its owner had `more` than it has.
    pub fn turn_with(&self, room: u16, more: u64) -> Turn {
        let Tenancy { claim, owner, .. } = self.rooms[room as usize];
        Turn::of(claim, owner.map_or(0, |owner| self.list[owner as usize].weight.saturating_add(more)))
    }

    /// Works out the turn of an owner's room anew.
    fn settle(&mut self, owner: u32) {
        let Owner { room, weight, .. } = self.list[owner as usize];
        let tenancy = &mut self.rooms[room as usize];
        if tenancy.owner == Some(owner) {
            tenancy.turn = Turn::of(tenancy.claim, weight);
        }
    }

    /// Forgets those without entries, live or dead: whoever passes through must not stay for ever. The default owner stays.
    fn forget_idle(&mut self) {
        for (number, owner) in self.list.iter_mut().enumerate().skip(1) {
            if owner.entries == 0 && owner.dead == 0 {
                self.numbers.remove(&(owner.namespace, std::mem::take(&mut owner.name)));
                self.free.push(number as u32);
                let room = std::mem::take(&mut owner.room);
                if self.rooms[room as usize].owner == Some(number as u32) {
                    self.rooms[room as usize] = Tenancy::default();
                    self.empty_rooms.push(room);
                }
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

    /// Where its entries are kept.
    #[inline]
    pub fn room_of(&self, owner: u32) -> u16 {
        self.list[owner as usize].room
    }

    /// The generation that new entries get, and live ones have.
    #[inline]
    pub fn generation(&self, owner: u32) -> u32 {
        self.list[owner as usize].generation
    }

    /// One more entry.
    pub fn add(&mut self, owner: u32, weight: u64) {
        let known = &mut self.list[owner as usize];
        known.entries += 1;
        known.weight += weight;
        self.settle(owner);
    }

    /// One entry less. Of those that died with their generation nothing is left to subtract.
    pub fn subtract(&mut self, owner: u32, generation: u32, weight: u64) {
        let known = &mut self.list[owner as usize];
        if known.generation == generation {
            known.entries -= 1;
            known.weight -= weight;
            self.settle(owner);
        } else {
            known.dead -= 1;
        }
    }

    /// Declares all entries of `owner` dead, and says how many they are.
    pub fn empty(&mut self, owner: u32) -> usize {
        let known = &mut self.list[owner as usize];
        known.generation = known.generation.wrapping_add(1);
        known.weight = 0;
        let dead = std::mem::take(&mut known.entries);
        known.dead += dead;
        self.settle(owner);
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
