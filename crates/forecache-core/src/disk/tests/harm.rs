//! What becomes of directories that were damaged, left in the middle of a change, copied, moved or forked.

use super::*;

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
fn what_an_opening_left_that_had_no_space_is_finished_and_not_damaged() {
    let whole = directory();
    drop(open(whole.path()));
    for (name, length) in [("lock", 0), ("control", 0), ("control", 100_000), ("control", u64::MAX), ("index", u64::MAX)] {
        let directory = directory();
        for made in ["lock", "control", "index"] {
            let file = directory.path().join(made);
            std::fs::copy(whole.path().join(made), &file).unwrap();
            if made == name {
                let file = std::fs::File::options().write(true).open(&file).unwrap();
                file.set_len(length.min(file.metadata().unwrap().len())).unwrap();
                break;
            }
        }
        let disk = open(directory.path());
        assert_eq!(disk.tally.corrupt.load(Relaxed), 0, "{name} {length}");
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
