//! What a directory does when it is full, and with the space that it has.

use super::*;

#[test]
fn a_batch_in_a_full_directory_is_taken_or_refused_whole_records_only() {
    let directory = directory();
    let disk = open(directory.path());
    let payload = noise(5000, 1);
    for round in 0..40 {
        let keys: Vec<String> = (0..120).map(|number| format!("{}", number + round % 3 * 40)).collect();
        let large = noise(100_000 + round * 1000, 2);
        let of = |number: usize| if number % 10 == 9 { &large } else { &payload };
        let items: Vec<Item> = keys.iter().enumerate().map(|(number, key)| item(key, of(number))).collect();
        let refused = disk.set_many(&items, NOW, false, true).unwrap().unwrap();
        refused.iter().for_each(|&number| assert_eq!(get(&disk, &keys[number]), None));
        assert_whole(&disk);
    }
}

#[test]
fn a_full_directory_keeps_to_its_capacity_and_to_what_was_used_last() {
    let directory = directory();
    let disk = open_with(directory.path(), |options| options.admission = false);
    let mut number = 0;
    let mut write = |length: usize| {
        number += 1;
        assert!(set(&disk, &number.to_string(), &noise(length, number)));
        assert!(get(&disk, &number.to_string()).is_some());
        assert!(disk.bytes() <= CAPACITY);
        if number % 16 == 0 {
            assert!(on_disk(directory.path()) <= CAPACITY * 102 / 100, "{}", on_disk(directory.path()));
        }
    };
    set(&disk, "hot", b"hot");
    // Small ones, then long ones, then both: space passes from class to class.
    for round in 0..2000 {
        write(100 + round % 1000);
        assert!(get(&disk, "hot").is_some());
    }
    (0..60).for_each(|round| write(200_000 + round * 15_000));
    for round in 0..3000 {
        write(if round % 50 == 0 { 100_000 + round * 300 } else { 100 + round * 7 % 9000 });
    }
    assert!(disk.bytes() > CAPACITY * 9 / 10, "{}", disk.bytes());
    assert_whole(&disk);
}

#[test]
fn a_full_directory_takes_new_keys_only_the_second_time() {
    let directory = directory();
    let disk = open(directory.path());
    let payload = noise(100_000, 1);
    let mut number = 0;
    while set(&disk, &number.to_string(), &payload) {
        number += 1;
    }
    assert!(number > 50);
    assert!(set(&disk, &number.to_string(), &payload) && set(&disk, &number.to_string(), &payload));
    assert!(!set(&disk, "once", &payload));
    let fields = Fields { immutable: true, ..Fields::default() };
    assert!(put(&disk, &Item { fields, ..item("immutable", &payload) }, false));
    assert!(!set(&disk, "too long", &noise(CAPACITY as usize / 2, 1)));
}

#[test]
fn pinned_entries_are_never_evicted() {
    let directory = directory();
    let disk = open_with(directory.path(), |options| options.admission = false);
    let payload = noise(300_000, 1);
    let pinned =
        |key: &str| put(&disk, &Item { fields: Fields { pinned: true, ..Fields::default() }, ..item(key, &payload) }, false);
    let held = (0..100).take_while(|number| pinned(&format!("pinned{number}"))).count();
    assert!(held > 10 && held < 30);
    assert!(!set(&disk, "other", &payload));
    assert_eq!(keys(&disk).len(), held);
    assert_whole(&disk);
}

#[test]
fn a_smaller_capacity_is_kept_from_the_next_opening_on() {
    let directory = directory();
    let large = open_with(directory.path(), |options| options.capacity = 4 * CAPACITY);
    (0..20).for_each(|number| assert!(set(&large, &format!("long{number}"), &noise(600_000, number))));
    for number in 0..60_000 {
        set(&large, &number.to_string(), b"v");
    }
    let before = large.info().unwrap().slots;
    drop(large);
    let small = open(directory.path());
    assert!(small.bytes() <= CAPACITY && on_disk(directory.path()) <= CAPACITY * 102 / 100);
    let slots = small.info().unwrap().slots;
    assert!(slots < before && small.entries() > 1000, "{slots} of {before} slots, {} entries", small.entries());
    assert!(set(&small, "59999", b"w") && get(&small, "59999").is_some());
    assert_whole(&small);
}

#[test]
fn the_index_grows_and_others_follow() {
    let directory = directory();
    let (one, other) = (open(directory.path()), open(directory.path()));
    for number in 0..5000 {
        set(if number % 2 == 0 { &one } else { &other }, &number.to_string(), &u64::to_le_bytes(number));
    }
    for number in 0..5000u64 {
        assert_eq!(get(&other, &number.to_string()).unwrap(), number.to_le_bytes());
        assert_eq!(get(&one, &number.to_string()).unwrap(), number.to_le_bytes());
    }
    assert!(one.info().unwrap().slots > 5000);
    assert_whole(&one);
}

#[test]
fn upkeep_tells_checks_and_tightens() {
    let directory = directory();
    let disk = open_with(directory.path(), |options| options.namespace = "shop".into());
    for number in 0..1000u64 {
        let fields = Fields { hard: if number % 2 == 0 { NOW + 1 } else { NEVER }, ..Fields::default() };
        put(&disk, &Item { fields, ..item(&number.to_string(), &noise(2000, number)) }, false);
    }
    let held = info(directory.path()).unwrap();
    assert_eq!((held.entries, held.clean, held.capacity), ((1000, 0), true, CAPACITY));
    assert_eq!(held.namespaces.iter().map(|(name, entries, _)| (name.as_str(), *entries)).collect::<Vec<_>>(), [("shop", 1000)]);
    let (dropped, freed) = gc(directory.path(), NOW + 1).unwrap();
    assert_eq!(dropped, 500);
    assert!(freed > 900_000, "{freed}");
    let mut heard = Vec::new();
    let checked = verify(directory.path(), &mut |done| heard.push(done)).unwrap();
    assert_eq!(checked, Checked { good: 500, corrupt: 0, unreachable: 0 });
    assert_eq!(heard.last(), Some(&1.0));
    (0..1000u64)
        .filter(|number| number % 2 == 1)
        .for_each(|number| assert_eq!(get(&disk, &number.to_string()), Some(noise(2000, number))));
    assert_whole(&disk);
    damage(&directory.path().join("slabs"), "", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
    disk.clear().unwrap();
    set(&disk, "k", b"v");
    let unreachable = disk.info().unwrap().entries.1;
    assert!(unreachable > 490);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap(), Checked { good: 1, corrupt: 0, unreachable });
    assert!(matches!(info(&directory.path().join("none")), Err(Error::Io { .. })));
}
