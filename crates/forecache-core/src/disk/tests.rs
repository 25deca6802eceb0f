use super::*;
use crate::compress::Algorithm;
use crate::envelope::{Fields, NEVER};
use proptest::prelude::*;
use std::collections::HashMap;
use std::os::unix::fs::{FileExt, MetadataExt};

const NOW: u64 = 1_577_836_800_000;
const CAPACITY: u64 = LEAST_CAPACITY;

fn open_with(path: &Path, change: impl FnOnce(&mut Options)) -> Disk {
    let mut options = Options { policy: "lru".into(), seed: Some(7), ..Options::new(CAPACITY) };
    change(&mut options);
    Disk::open(path, options).unwrap()
}

fn open(path: &Path) -> Disk {
    open_with(path, |_| {})
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn item<'a>(key: &'a str, payload: &'a [u8]) -> Item<'a> {
    Item { key, codec: 3, fields: Fields::default(), payload, mark: 0 }
}

fn set(disk: &Disk, key: &str, payload: &[u8]) -> bool {
    put(disk, &item(key, payload), false)
}

/// Whether it was taken.
fn put(disk: &Disk, item: &Item, absent: bool) -> bool {
    disk.set_many(std::slice::from_ref(item), NOW, absent, true).unwrap().unwrap().is_empty()
}

fn get_at(disk: &Disk, key: &str, now: u64) -> Option<(Vec<u8>, u64)> {
    match disk.read(key, now, usize::MAX, &mut Vec::new()).unwrap() {
        Read::Entry(envelope, _) => Some((envelope.unpack().unwrap(), envelope.fields.version)),
        Read::Miss => None,
        Read::Longer(_) => panic!("nothing is longer than that"),
    }
}

fn get(disk: &Disk, key: &str) -> Option<Vec<u8>> {
    get_at(disk, key, NOW).map(|(payload, _)| payload)
}

fn delete(disk: &Disk, key: &str) -> bool {
    !disk.delete_many(&[key], NOW, true).unwrap().unwrap().is_empty()
}

fn keys(disk: &Disk) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), Some(0));
    while let Some(from) = cursor {
        let (next, keys) = disk.scan(from, 50, None, NOW).unwrap();
        all.extend(keys);
        cursor = next;
    }
    all.sort();
    all
}

/// Bytes of disk behind all files, as the system says.
fn on_disk(path: &Path) -> u64 {
    let inside = std::fs::read_dir(path).unwrap().flatten();
    let below =
        inside.map(|entry| if entry.path().is_dir() { on_disk(&entry.path()) } else { entry.metadata().unwrap().blocks() * 512 });
    below.sum::<u64>() + std::fs::metadata(path).unwrap().blocks() * 512
}

/// Bytes that compress badly and tell which they are.
fn noise(length: usize, number: u64) -> Vec<u8> {
    (0..length.div_ceil(8) as u64)
        .flat_map(|at| xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), number).to_le_bytes())
        .take(length)
        .collect()
}

/// Sums, owners and files say the same as the entries.
fn assert_whole(disk: &Disk) {
    let before = disk.info().unwrap();
    let mut writing = disk.waiting().unwrap();
    writing.repair().unwrap();
    drop(writing);
    let after = disk.info().unwrap();
    assert_eq!((before.entries, &before.namespaces), (after.entries, &after.namespaces));
    // A repair cuts free ends off.
    assert!(after.bytes <= before.bytes, "{} > {}", after.bytes, before.bytes);
    assert!(on_disk(disk.directory()) <= after.bytes + OVERHEAD, "{} > {}", on_disk(disk.directory()), after.bytes);
    for class in before.classes {
        let used = after.classes.iter().find(|other| other.0 == class.0).map_or(0, |class| class.2);
        assert_eq!(used, class.2, "places of {} bytes", class.0);
    }
}

#[test]
fn what_was_stored_is_read_by_all_and_after_opening_anew() {
    let directory = directory();
    let one = open_with(directory.path(), |options| options.compression = Compression::new(Algorithm::Lz4));
    let other = open(directory.path());
    for length in [0, 1, 100, 4096, 70_000, 1 << 20, 3 << 20] {
        let (key, payload) = (format!("kü{length}"), noise(length, 1));
        assert!(set(&one, &key, &payload));
        assert_eq!(get(&other, &key).as_ref(), Some(&payload));
        assert_eq!(get(&open(directory.path()), &key).as_ref(), Some(&payload));
    }
    let (long, text) = ("k".repeat(100_000), vec![b'a'; 100_000]);
    assert!(set(&one, &long, &text));
    assert_eq!(get(&other, &long), Some(text));
    assert_whole(&one);
    assert!(delete(&other, &long) && !delete(&one, &long));
    assert_eq!(get(&one, &long), None);
    assert_whole(&other);
}

#[test]
fn a_long_record_is_only_measured_if_it_is_longer_than_asked_for() {
    let directory = directory();
    let disk = open(directory.path());
    set(&disk, "k", &noise(5000, 1));
    let mut buffer = Vec::new();
    assert!(matches!(disk.read("k", NOW, 5000, &mut buffer).unwrap(), Read::Longer(length) if length > 5000));
    assert!(matches!(disk.read("k", NOW, 5100, &mut buffer).unwrap(), Read::Entry(..)));
}

#[test]
fn namespaces_share_nothing_but_the_room() {
    let directory = directory();
    let [shop, bank] = ["shop", "bank"].map(|name| open_with(directory.path(), |options| options.namespace = name.into()));
    set(&shop, "k", b"shop");
    set(&bank, "k", b"bank");
    set(&bank, "l", b"bank");
    assert_eq!((get(&shop, "k").unwrap(), get(&bank, "k").unwrap()), (b"shop".to_vec(), b"bank".to_vec()));
    assert_eq!((keys(&shop), keys(&bank)), (vec!["k".into()], vec!["k".into(), "l".into()]));
    assert_eq!(bank.clear().unwrap(), 2);
    assert_eq!((get(&shop, "k"), get(&bank, "k"), bank.entries()), (Some(b"shop".to_vec()), None, 0));
    assert_eq!(bank.info().unwrap().entries, (3, 2));
    set(&bank, "k", b"again");
    assert_eq!(get(&bank, "k").unwrap(), b"again");
    // What is dead is swept up by the writes that follow.
    for _ in 0..room::LEAST_SLOTS {
        set(&shop, "k", b"shop");
    }
    assert_eq!(bank.info().unwrap().entries, (2, 0));
    assert_whole(&shop);
}

#[test]
fn an_entry_expires_at_its_time_or_when_idle_and_a_hit_puts_that_off() {
    let directory = directory();
    let disk = open(directory.path());
    let fields = Fields { hard: NOW + 100, time_to_idle: 30, ..Fields::default() };
    put(&disk, &Item { fields, ..item("k", b"v") }, false);
    for later in [20, 40, 60, 80, 99] {
        assert!(get_at(&disk, "k", NOW + later).is_some(), "{later}");
    }
    assert_eq!(get_at(&disk, "k", NOW + 100), None);
    let idle = Fields { time_to_idle: 30, ..Fields::default() };
    let idle = Item { fields: idle, ..item("l", b"v") };
    put(&disk, &idle, false);
    // A use in a faster tier.
    assert!(disk.set_many(std::slice::from_ref(&idle), NOW + 20, true, true).unwrap().unwrap().is_empty());
    assert_eq!(disk.lacks(["l"], NOW + 40).unwrap(), Vec::<&str>::new());
    assert_eq!(disk.lacks(["l"], NOW + 50).unwrap(), ["l"]);
    assert_eq!(get_at(&disk, "l", NOW + 50), None);
    // What has expired when it comes takes the place of what was there, by being nothing.
    set(&disk, "m", b"v");
    assert!(!put(&disk, &Item { fields: Fields { hard: NOW, ..Fields::default() }, ..item("m", b"w") }, false));
    assert_eq!(get(&disk, "m"), None);
}

#[test]
fn a_swap_needs_the_version_that_is_there() {
    let directory = directory();
    let disk = open(directory.path());
    let swap = |version, payload: Option<&[u8]>| {
        let item = payload.map(|payload| item("k", payload));
        disk.swap("k", version, item.as_ref(), NOW, true).unwrap().unwrap()
    };
    assert!(!swap(Some(1), Some(b"a")) && swap(None, Some(b"a")) && !swap(None, Some(b"b")));
    let (_, version) = get_at(&disk, "k", NOW).unwrap();
    assert!(swap(Some(version), Some(b"c")) && !swap(Some(version), None));
    let (payload, version) = get_at(&disk, "k", NOW).unwrap();
    assert_eq!(payload, b"c");
    assert!(swap(Some(version), None) && get(&disk, "k").is_none() && swap(None, None));
}

#[test]
fn what_is_tagged_or_owned_can_be_cleared() {
    let directory = directory();
    let disk = open(directory.path());
    for number in 0..50 {
        let owner = if number % 2 == 0 { "even" } else { "" };
        let tag = format!("tag{}", number % 5);
        let fields = Fields { owner, tags: vec!["all", &tag], ..Fields::default() };
        put(&disk, &Item { fields, ..item(&number.to_string(), b"v") }, false);
    }
    assert_eq!(disk.clear_some(&["tag1", "tag2"], None, NOW).unwrap(), 20);
    assert_eq!(disk.clear_some(&["none"], Some("nobody"), NOW).unwrap(), 0);
    assert_eq!(disk.clear_some(&[], Some("even"), NOW).unwrap(), 15);
    assert_eq!(keys(&disk).len(), 15);
    assert_eq!(disk.clear_some(&["all"], None, NOW).unwrap(), 15);
    assert_whole(&disk);
}

#[test]
fn changes_are_counted_for_others_and_a_marked_entry_does_not_come_back() {
    let directory = directory();
    let (ours, theirs) = (open(directory.path()), open(directory.path()));
    let stripe = ours.counters().stripe("", "k");
    let mark = ours.counters().epoch(stripe);
    let marked = Item { mark, ..item("k", b"v") };
    assert!(put(&ours, &marked, false));
    assert_eq!(ours.counters().epoch(stripe), mark);
    // A promotion is no change.
    let seen = theirs.counters().epoch(stripe);
    assert!(put(&ours, &item("k", b"w"), true));
    assert_eq!(theirs.counters().epoch(stripe), seen);
    assert!(delete(&theirs, "k"));
    assert!(!put(&ours, &marked, false) && get(&ours, "k").is_none());
    assert!(set(&theirs, "k", b"theirs") && put(&ours, &marked, false));
    assert_eq!(get(&theirs, "k").unwrap(), b"v");
    let before = theirs.counters().epoch(stripe);
    ours.clear().unwrap();
    assert_ne!(theirs.counters().epoch(stripe), before);
}

#[test]
fn the_lock_is_not_waited_for_unless_asked() {
    let directory = directory();
    let (disk, other) = (open(directory.path()), open(directory.path()));
    let held = other.waiting().unwrap();
    let items = [item("k", b"v")];
    assert!(disk.set_many(&items, NOW, false, false).unwrap().is_none());
    assert!(disk.delete_many(&["k"], NOW, false).unwrap().is_none());
    assert!(disk.swap("k", None, None, NOW, false).unwrap().is_none());
    assert_eq!(get(&disk, "k"), None);
    drop(held);
    assert!(disk.set_many(&items, NOW, false, false).unwrap().is_some());
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

/// Changes the bytes of all files in a directory whose names end so, without exchanging them.
fn damage(path: &Path, end: &str, change: impl Fn(&mut [u8])) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        if !entry.path().is_file() || !entry.file_name().to_str().unwrap().ends_with(end) {
            continue;
        }
        let file = std::fs::File::options().read(true).write(true).open(entry.path()).unwrap();
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        change(&mut bytes);
        file.write_all_at(&bytes, 0).unwrap();
    }
}

#[test]
fn directories_that_cannot_be_used_are_told() {
    let error = |path: &Path| Disk::open(path, Options::new(CAPACITY)).err().unwrap().to_string();
    let foreign = directory();
    std::fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    assert!(error(foreign.path()).contains("letter.txt"));
    assert!(error(&foreign.path().join("letter.txt")).contains("letter.txt"));
    assert!(!foreign.path().join("control").exists());
    assert!(Disk::open(foreign.path(), Options::new(1 << 20)).err().unwrap().to_string().contains("8 MiB"));
    let named = Options { policy: "arc".into(), ..Options::new(CAPACITY) };
    assert!(Disk::open(directory().path(), named).err().unwrap().to_string().contains("lru, lfu, adaptive"));
}

#[test]
fn a_lost_or_damaged_control_or_index_starts_empty() {
    for (name, cut) in [("control", 0), ("control", 100), ("index", 0), ("index", 5000)] {
        let directory = directory();
        let disk = open(directory.path());
        (0..100).for_each(|number| assert!(set(&disk, &number.to_string(), b"v")));
        let file = directory.path().join(name);
        drop(disk);
        std::fs::File::options().write(true).open(&file).unwrap().set_len(cut).unwrap();
        let disk = open(directory.path());
        assert_eq!((disk.entries(), keys(&disk).len(), disk.info().unwrap().clean), (0, 0, false), "{name} {cut}");
        assert_eq!(disk.tally.corrupt.load(Relaxed), 1, "{name} {cut}");
        assert!(set(&disk, "k", b"w") && get(&disk, "k").is_some());
        assert_whole(&disk);
    }
}

#[test]
fn whoever_finds_the_mark_of_a_death_repairs() {
    let directory = directory();
    let (disk, other) = (open(directory.path()), open(directory.path()));
    (0..100u64).for_each(|number| assert!(set(&disk, &number.to_string(), &noise(3000, number))));
    set(&disk, "long", &noise(2 << 20, 1));
    // As if someone had died after having taken places, and written a file, for what nobody will ever read.
    let mut writing = disk.waiting().unwrap();
    for length in [10, 3000, 2 << 20] {
        let (class, number) = writing.reserve(length, 99, NOW).unwrap().unwrap();
        disk.slabs.write(index::Place { class, number, pinned: false, epoch: 0 }, b"lost").unwrap();
    }
    disk.control.class(3, shared::OfClass::Used).store(77, Relaxed);
    writing.broken = true;
    drop(writing);
    let before = disk.repairs();
    assert!(set(&other, "k", b"v"));
    assert_eq!(disk.repairs(), before + 1);
    (0..100u64).for_each(|number| assert_eq!(get(&disk, &number.to_string()), Some(noise(3000, number))));
    assert_eq!(get(&disk, "long"), Some(noise(2 << 20, 1)));
    assert_eq!(std::fs::read_dir(directory.path().join("large")).unwrap().count(), 1);
    assert_whole(&disk);
}

#[test]
fn a_repair_is_a_change_of_every_key() {
    let directory = directory();
    let (disk, other) = (open(directory.path()), open(directory.path()));
    set(&disk, "k", b"v");
    let stripe = disk.counters().stripe("", "k");
    let before = [&disk, &other].map(|disk| disk.counters().epoch(stripe));
    // As if someone had died who had published another value and hadn't told yet.
    let mut writing = disk.waiting().unwrap();
    writing.broken = true;
    drop(writing);
    set(&other, "l", b"v");
    let after = [&disk, &other].map(|disk| disk.counters().epoch(stripe));
    assert!(before[0] != after[0] && before[1] != after[1]);
}

#[test]
fn a_version_is_not_given_twice_though_the_header_was_lost_in_a_crash() {
    let directory = directory();
    let disk = open(directory.path());
    let header = disk.control.get(shared::Word::Version);
    (0..100).for_each(|_| assert!(set(&disk, "k", b"v")));
    let (_, latest) = get_at(&disk, "k", NOW).unwrap();
    delete(&disk, "k");
    disk.control.set(shared::Word::Version, header);
    disk.control.set(shared::Word::Birth, 1);
    drop(disk);
    let disk = open(directory.path());
    set(&disk, "k", b"w");
    assert!(get_at(&disk, "k", NOW).unwrap().1 > latest);
}

#[test]
fn a_torn_slot_that_somebody_is_writing_calls_for_no_repair() {
    let directory = directory();
    let disk = open(directory.path());
    set(&disk, "k", b"v");
    let before = disk.repairs();
    // What a reader does who saw it half written, and comes when it is whole.
    disk.call_for_repair(disk.fingerprint("k"));
    set(&disk, "l", b"v");
    assert_eq!((disk.repairs(), disk.tally.corrupt.load(Relaxed)), (before, 0));
}

#[test]
fn an_index_left_between_two_is_found_again() {
    let directory = directory();
    let (disk, other) = (open(directory.path()), open(directory.path()));
    set(&disk, "k", b"v");
    let mut writing = disk.waiting().unwrap();
    writing.index.supersede();
    writing.broken = true;
    drop(writing);
    assert_eq!((get(&disk, "k").unwrap(), get(&other, "k").unwrap()), (b"v".to_vec(), b"v".to_vec()));
    assert!(delete(&other, "k") && get(&disk, "k").is_none() && !disk.index().unwrap().superseded());
    assert_whole(&disk);
}

#[test]
fn an_entry_that_readers_cannot_find_is_evicted_without_harm() {
    let directory = directory();
    let disk = open_with(directory.path(), |options| options.admission = false);
    (0..700u64).for_each(|number| assert!(set(&disk, &number.to_string(), &noise(8000, number))));
    // Holes cut off what lies behind them.
    let holes: Vec<u64> = (0..700u64).step_by(7).map(|number| disk.fingerprint(&number.to_string())).collect();
    damage(directory.path(), "index", |bytes| {
        for words in bytes[4096..].chunks_exact_mut(64) {
            let (fingerprint, _) = words.split_first_chunk_mut::<8>().unwrap();
            if holes.contains(&u64::from_le_bytes(*fingerprint)) {
                *fingerprint = [0; 8];
            }
        }
    });
    let before = disk.repairs();
    let mut writing = disk.waiting().unwrap();
    (0..300).for_each(|_| assert!(writing.evict(NOW).unwrap()));
    drop(writing);
    assert!(disk.repairs() > before);
    for number in 0..700u64 {
        assert!(get(&disk, &number.to_string()).is_none_or(|found| found == noise(8000, number)));
    }
    assert_eq!(disk.tally.corrupt.load(Relaxed), 0);
    assert_whole(&disk);
}

#[test]
fn what_is_moved_while_it_is_read_is_found_where_it_lies_then() {
    let directory = directory();
    let disk = open(directory.path());
    let tagged = |tag| Fields { tags: vec![tag], ..Fields::default() };
    for number in 0..300u64 {
        put(&disk, &Item { fields: tagged("t"), ..item(&number.to_string(), &noise(3000, number)) }, false);
    }
    let (slots, _) = disk.index().unwrap().range(0, 10_000);
    (0..200).for_each(|number| assert!(delete(&disk, &number.to_string())));
    disk.waiting().unwrap().tighten().unwrap();
    // What was deleted may be found or not.
    let found: Vec<_> = slots.iter().filter_map(|(_, slot)| disk.moving_key(*slot, &mut Vec::new()).unwrap()).collect();
    assert!(keys(&disk).len() == 100 && keys(&disk).iter().all(|key| found.contains(key)));
}

#[test]
fn a_directory_that_was_removed_is_told_and_can_be_opened_again() {
    let directory = directory();
    let path = directory.path().join("cache");
    let disk = open(&path);
    set(&disk, "k", b"v");
    std::fs::remove_dir_all(&path).unwrap();
    assert!(matches!(disk.delete_many(&["k"], NOW, true), Err(Error::Gone(_))));
    let again = disk.again().unwrap();
    assert!(get(&again, "k").is_none() && set(&again, "k", b"w"));
    assert!(matches!(disk.flush(), Err(Error::Gone(_))));
    assert_whole(&again);
}

#[test]
fn a_copy_is_made_to_fit_together() {
    let (copy, directory) = (tempfile::tempdir().unwrap(), directory());
    let disk = open(directory.path());
    (0..100u64).for_each(|number| assert!(set(&disk, &number.to_string(), &noise(3000, number))));
    for below in ["", "slabs", "large"] {
        std::fs::create_dir_all(copy.path().join(below)).unwrap();
        for entry in std::fs::read_dir(directory.path().join(below)).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), copy.path().join(below).join(entry.file_name())).unwrap();
        }
        // The files that follow are later than those before.
        (0..50).for_each(|number| assert!(delete(&disk, &(number * 2).to_string()) || !below.is_empty()));
        (0..50u64).for_each(|number| assert!(set(&disk, &format!("new{number}"), &noise(3000, number))));
    }
    let disk = open(copy.path());
    assert_eq!(disk.repairs(), 2);
    (0..100u64).for_each(|number| assert!(get(&disk, &number.to_string()).is_none_or(|found| found == noise(3000, number))));
    (0..100u64).for_each(|number| assert!(set(&disk, &format!("more{number}"), &noise(3000, number))));
    (0..100u64).for_each(|number| assert_eq!(get(&disk, &format!("more{number}")), Some(noise(3000, number))));
    assert_whole(&disk);
}

#[test]
fn a_flush_can_be_repeated_and_another_object_may_do_it() {
    let directory = directory();
    let (disk, other) = (open(directory.path()), open(directory.path()));
    set(&disk, "k", b"v");
    set(&disk, "long", &noise(2 << 20, 1));
    other.flush().unwrap();
    disk.flush().unwrap();
}

#[test]
fn a_forked_child_opens_anew() {
    let directory = directory();
    let disk = open(directory.path());
    set(&disk, "k", b"v");
    let child = disk.forked().unwrap();
    assert_eq!(get(&child, "k").unwrap(), b"v");
    assert!(set(&child, "k", b"w"));
    // What memory has marked stays comparable.
    assert!(Arc::ptr_eq(disk.counters(), child.counters()));
}

/// What a model test does.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, usize, bool),
    Get(u8),
    Delete(u8),
    Swap(u8, usize, bool),
    Clear,
    Flip(u8, u64, u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0usize..300, 0usize..20_000, 900_000usize..1_500_000];
    let key = 0u8..40;
    prop_oneof![
        8 => (key.clone(), length.clone(), any::<bool>()).prop_map(|(key, length, absent)| Step::Set(key, length, absent)),
        8 => key.clone().prop_map(Step::Get),
        3 => key.clone().prop_map(Step::Delete),
        3 => (key, length, any::<bool>()).prop_map(|(key, length, right)| Step::Swap(key, length, right)),
        1 => Just(Step::Clear),
        1 => Just(Step::Reopen),
    ]
}

fn flip() -> impl Strategy<Value = Step> {
    (any::<u8>(), any::<u64>(), 0u8..8).prop_map(|(file, at, bit)| Step::Flip(file, at, bit))
}

/// Flips a bit in one of the files of a directory.
fn flip_bit(path: &Path, which: u8, at: u64, bit: u8) {
    let listed = |path: &Path| std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let mut files: Vec<_> = ["slabs", "large", ""].iter().flat_map(|below| listed(&path.join(below))).collect();
    files.retain(|path| path.metadata().unwrap().len() > 0 && path.is_file());
    files.sort();
    let file = std::fs::File::options().read(true).write(true).open(&files[usize::from(which) % files.len()]).unwrap();
    let (mut byte, at) = ([0], at % file.metadata().unwrap().len());
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
}

/// Two objects on one directory take turns. A key holds what the model says, or, if `forgets`, nothing.
fn check_against_model(steps: Vec<Step>, forgets: bool) {
    let directory = directory();
    let open = || open_with(directory.path(), |options| options.admission = false);
    let mut disks = [open(), open()];
    let mut model: HashMap<u8, Vec<u8>> = HashMap::new();
    for (number, step) in steps.into_iter().enumerate() {
        let disk = &disks[number % 2];
        match step {
            Step::Set(key, length, absent) => {
                let (name, payload) = (key.to_string(), noise(length, number as u64));
                let there = get(disk, &name).is_some();
                put(disk, &item(&name, &payload), absent);
                if !(absent && there) {
                    model.insert(key, payload);
                }
            }
            Step::Get(key) => match get(disk, &key.to_string()) {
                None => assert!(forgets || !model.contains_key(&key)),
                found => assert_eq!(found.as_ref(), model.get(&key)),
            },
            Step::Delete(key) => {
                let (there, known) = (delete(disk, &key.to_string()), model.remove(&key).is_some());
                assert!(there == known || forgets && !there);
            }
            Step::Swap(key, length, right) => {
                let (name, payload) = (key.to_string(), noise(length, number as u64));
                let version = get_at(disk, &name, NOW).map(|(_, version)| version);
                let version = if right { version } else { Some(version.map_or(1, |version| version ^ 1 << 40)) };
                if disk.swap(&name, version, Some(&item(&name, &payload)), NOW, true).unwrap().unwrap() {
                    assert!(right);
                    model.insert(key, payload);
                }
            }
            Step::Clear => {
                disk.clear().unwrap();
                model.clear();
            }
            Step::Reopen => disks[number % 2] = open(),
            Step::Flip(file, at, bit) => {
                flip_bit(directory.path(), file, at, bit);
                // Damage to a live mapping's head shows when it is opened.
                disks = [open(), open()];
            }
        }
        assert!(on_disk(directory.path()) <= CAPACITY * 102 / 100);
    }
    if !forgets {
        assert_eq!(keys(&disks[0]).len(), model.len());
        assert_whole(&disks[1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_map_that_outlives_its_objects(steps in prop::collection::vec(step(), 0..120)) {
        // Long ones may have to leave.
        let long = |step: &Step| matches!(step, Step::Set(_, length, _) | Step::Swap(_, length, _) if *length > 500_000);
        let forgets = steps.iter().any(long);
        check_against_model(steps, forgets);
    }

    #[test]
    fn no_flipped_bit_makes_a_wrong_value(steps in prop::collection::vec(prop_oneof![3 => step(), 1 => flip()], 0..120)) {
        check_against_model(steps, true);
    }
}
