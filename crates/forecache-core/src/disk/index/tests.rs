use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn slot(fingerprint: u64, version: u64) -> Slot {
    let place = Place { class: 3, number: version % 1000, pinned: version % 2 == 0, epoch: 7 };
    Slot {
        fingerprint,
        place,
        version,
        expiry: NEVER,
        namespace: 5,
        immutable: version % 3 == 0,
        labels: 6,
        length: 77,
        access: [8, 9],
    }
}

fn index(slots: u64) -> (tempfile::TempDir, Index) {
    let directory = tempfile::tempdir().unwrap();
    let index = Index::create(&directory.path().join("index"), slots).unwrap();
    (directory, index)
}

fn held(index: &Index) -> HashMap<u64, u64> {
    let (all, end) = index.range(0, usize::MAX);
    assert_eq!(end, None);
    all.into_iter().map(|(_, slot)| (slot.fingerprint, slot.version)).collect()
}

/// Few homes, so that many meet: at both ends of the table too.
fn crowded(number: u8) -> u64 {
    [1 << 58, u64::MAX - 300, 1, 1 << 63][usize::from(number % 4)] + u64::from(number / 4)
}

proptest! {
    #[test]
    fn it_is_a_map(operations in prop::collection::vec((any::<u8>(), any::<bool>()), 0..400)) {
        let (_directory, index) = index(384);
        let mut model = HashMap::new();
        for (version, (number, put)) in operations.into_iter().enumerate() {
            let (fingerprint, version) = (crowded(number), version as u64);
            if put {
                let before = index.put(&slot(fingerprint, version)).map(|before| before.version);
                prop_assert_eq!(before, model.insert(fingerprint, version));
            } else if let Some(position) = index.find(fingerprint) {
                index.remove(position);
                prop_assert!(model.remove(&fingerprint).is_some());
            }
            prop_assert_eq!(index.find(fingerprint).is_some(), model.contains_key(&fingerprint));
        }
        prop_assert_eq!(index.filled(), model.len() as u64);
        for (&fingerprint, &version) in &model {
            prop_assert_eq!(index.get(fingerprint).1, Found::Entry(slot(fingerprint, version)));
        }
        prop_assert_eq!(held(&index), model);
    }

    #[test]
    fn a_walk_in_parts_meets_everything_once(numbers in prop::collection::hash_set(any::<u64>(), 0..200), most in 1usize..50) {
        let numbers: Vec<u64> = numbers.into_iter().map(|number| number.max(1)).collect();
        let (_directory, index) = index(320);
        numbers.iter().for_each(|&fingerprint| assert_eq!(index.put(&slot(fingerprint, 1)), None));
        let (mut met, mut from) = (Vec::new(), Some(0));
        while let Some(cursor) = from {
            let (part, next) = index.range(cursor, most);
            met.extend(part.iter().map(|(_, slot)| slot.fingerprint));
            from = next;
        }
        met.sort();
        let mut numbers = numbers;
        numbers.sort();
        prop_assert_eq!(met, numbers);
    }

    #[test]
    fn a_repair_makes_it_right_whatever_was_done(
        numbers in prop::collection::vec(any::<u8>(), 0..200), harm in prop::collection::vec((0u64..384, 0usize..8, 0u32..64), 0..60),
    ) {
        let (_directory, index) = index(384);
        let mut model = HashMap::new();
        for (version, number) in numbers.into_iter().enumerate() {
            index.put(&slot(crowded(number), version as u64));
            model.insert(crowded(number), version as u64);
        }
        let mut harmed = 0;
        for (position, word, bit) in harm {
            harmed += u64::from(index.at(position)[0].load(Relaxed) != 0);
            index.at(position)[word].fetch_xor(1 << bit, Relaxed);
        }
        index.repair(|_| true);
        let now = held(&index);
        prop_assert_eq!(index.filled(), now.len() as u64);
        prop_assert!(now.len() as u64 + harmed >= model.len() as u64);
        for (&fingerprint, &version) in &now {
            prop_assert_eq!(model.get(&fingerprint), Some(&version));
            prop_assert!(index.find(fingerprint).is_some());
        }
    }
}

#[test]
fn a_hit_puts_the_expiry_off_without_harm() {
    let (_directory, index) = index(64);
    index.put(&slot(9, 1));
    let (position, Found::Entry(found)) = index.get(9) else { panic!() };
    index.expire_at(position, &found, 1000);
    index.stamp(position, &found, [1, 2]);
    assert_eq!(index.get(9).1, Found::Entry(Slot { expiry: 1000, access: [1, 2], ..found }));
    // Someone else was first.
    index.expire_at(position, &found, 2000);
    assert_eq!(index.get(9).1, Found::Entry(Slot { expiry: 1000, access: [1, 2], ..found }));
}

#[test]
fn a_hit_found_in_a_larger_index_does_no_harm() {
    let (_directory, index) = index(64);
    index.put(&slot(9, 1));
    let (position, Found::Entry(found)) = index.get(9) else { panic!() };
    for elsewhere in [position + 1, 64, u64::MAX] {
        index.stamp(elsewhere, &found, [1, 2]);
        index.expire_at(elsewhere, &found, 1000);
    }
    assert_eq!(index.get(9).1, Found::Entry(found));
}

#[test]
fn a_damaged_head_is_no_index() {
    let (directory, index) = index(64);
    let path = directory.path().join("index");
    assert!(Index::open(&path).unwrap().is_some());
    index.head(Head::Slots).store(65, Relaxed);
    assert!(Index::open(&path).unwrap().is_none());
    File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert!(Index::open(&path).unwrap().is_none());
    assert!(Index::open(&directory.path().join("none")).unwrap().is_none());
}

#[test]
fn readers_find_what_is_there_while_others_come_and_go() {
    let (_directory, index) = index(256);
    let stays: Vec<u64> = (0..40).map(|number| crowded(number as u8 * 4)).collect();
    stays.iter().for_each(|&fingerprint| assert_eq!(index.put(&slot(fingerprint, 1)), None));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20_000u64 {
                let fingerprint = (1 << 58) - 1 - round % 20;
                match index.find(fingerprint) {
                    Some(position) => index.remove(position),
                    None => assert_eq!(index.put(&slot(fingerprint, 2)), None),
                }
            }
            done.store(true, Relaxed);
        });
        while !done.load(Relaxed) {
            stays.iter().for_each(|&fingerprint| assert_eq!(index.get(fingerprint).1, Found::Entry(slot(fingerprint, 1))));
        }
    });
}
