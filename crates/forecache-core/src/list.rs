//! Doubly linked lists threaded through slots: one pair of links a slot, any number of lists over them.

/// The number of an entry's place in its store; reused after the entry left.
pub type Slot = u32;

/// No slot: the end of a list.
pub const NONE: Slot = Slot::MAX;

/// Grows `vec` so that index `slot` exists. In steps of a sixteenth instead of doubling: a cache's bookkeeping is
/// part of its budget, and half-empty vectors would be charged to no one. Large blocks are moved by the kernel's page tables.
#[inline]
pub fn grow<T: Clone>(vec: &mut Vec<T>, slot: Slot, fill: T) {
    if slot as usize >= vec.len() {
        lengthen(vec, slot as usize + 1, fill);
    }
}

#[cold]
#[inline(never)]
fn lengthen<T: Clone>(vec: &mut Vec<T>, wanted: usize, fill: T) {
    if wanted > vec.capacity() {
        vec.reserve_exact(wanted - vec.len() + (wanted / 16).max(16));
    }
    vec.resize(wanted, fill);
}

/// The links of all slots. A slot is in at most one list at a time.
#[derive(Debug, Default, Clone)]
pub struct Links(Vec<[Slot; 2]>);

/// One list: where it begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    front: Slot,
    back: Slot,
}

impl Default for List {
    fn default() -> Self {
        List { front: NONE, back: NONE }
    }
}

impl List {
    /// The first slot, if any.
    pub fn front(&self) -> Option<Slot> {
        (self.front != NONE).then_some(self.front)
    }

    /// Whether nothing is in the list.
    pub fn is_empty(&self) -> bool {
        self.front == NONE
    }
}

impl Links {
    /// Appends `slot`, which must be in no list.
    #[inline]
    pub fn push_back(&mut self, list: &mut List, slot: Slot) {
        grow(&mut self.0, slot, [NONE; 2]);
        self.append(list, slot);
    }

    #[inline]
    fn append(&mut self, list: &mut List, slot: Slot) {
        self.0[slot as usize] = [list.back, NONE];
        match list.back {
            NONE => list.front = slot,
            back => self.0[back as usize][1] = slot,
        }
        list.back = slot;
    }

    /// Takes `slot` out of `list`, which must hold it.
    #[inline]
    pub fn unlink(&mut self, list: &mut List, slot: Slot) {
        let [before, after] = self.0[slot as usize];
        match before {
            NONE => list.front = after,
            _ => self.0[before as usize][1] = after,
        }
        match after {
            NONE => list.back = before,
            _ => self.0[after as usize][0] = before,
        }
    }

    /// Moves `slot` to the end of the list that holds it.
    #[inline]
    pub fn move_to_back(&mut self, list: &mut List, slot: Slot) {
        if list.back != slot {
            self.unlink(list, slot);
            self.append(list, slot);
        }
    }

    /// The slot behind `slot` in its list, if any.
    #[inline]
    pub fn after(&self, slot: Slot) -> Option<Slot> {
        let [_, after] = self.0[slot as usize];
        (after != NONE).then_some(after)
    }

    /// Walks `list` from its front.
    pub fn iter(&self, list: &List) -> impl Iterator<Item = Slot> + '_ {
        let mut next = list.front;
        std::iter::from_fn(move || {
            let slot = (next != NONE).then_some(next)?;
            next = self.0[slot as usize][1];
            Some(slot)
        })
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        self.0.capacity() * size_of::<[Slot; 2]>()
    }
}
