//! Hash tables that stay as small as what they hold.

use hashbrown::HashTable;

/// Inserts `number`, which isn't in the table. `hash_of` gives the hash of any that is.
///
/// A removal can leave a mark that takes a place until the table is built anew. By itself the table doubles when marks have eaten up
/// its room, so under steady coming and going one that is more than half full ends at twice its size. Here it is built anew at the
/// same size as long as an eighth of it is free.
#[inline]
pub fn insert(table: &mut HashTable<u32>, hash: u64, number: u32, hash_of: impl Fn(&u32) -> u64) {
    if table.len() == table.capacity() {
        rebuild(table, &hash_of);
    }
    table.insert_unique(hash, number, hash_of);
}

#[cold]
fn rebuild(table: &mut HashTable<u32>, hash_of: &impl Fn(&u32) -> u64) {
    let room = table.num_buckets() / 8 * 7;
    if table.len() > room / 8 * 7 {
        return;
    }
    let mut fresh = HashTable::with_capacity(room);
    for &number in table.iter() {
        fresh.insert_unique(hash_of(&number), number, |_| unreachable!("it has room for all"));
    }
    *table = fresh;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: &u32) -> u64 {
        u64::from(*number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    }

    #[test]
    fn coming_and_going_does_not_double_a_table() {
        const HELD: u32 = 3000;
        let mut table = HashTable::new();
        (0..HELD).for_each(|number| insert(&mut table, hash(&number), number, hash));
        let size = table.allocation_size();
        for number in HELD..100 * HELD {
            table.find_entry(hash(&(number - HELD)), |&other| other == number - HELD).unwrap().remove();
            insert(&mut table, hash(&number), number, hash);
        }
        assert_eq!(table.len(), HELD as usize);
        assert!((99 * HELD..100 * HELD).all(|number| table.find(hash(&number), |&other| other == number).is_some()));
        assert_eq!(table.allocation_size(), size);
    }
}
