//! What a directory does with entries: storing, reading, swapping, deleting, clearing, expiring.

use super::*;

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
fn a_batch_of_any_sizes_and_with_keys_twice_is_stored_as_if_one_by_one() {
    let directory = directory();
    let disk = open(directory.path());
    for round in 0..6 {
        let payloads: Vec<Vec<u8>> = (0..150).map(|number| noise(number * (round + 1) * 7 % 3000, number as u64)).collect();
        let keys: Vec<String> = (0..150).map(|number| (number % 140).to_string()).collect();
        let items: Vec<Item> = keys.iter().zip(&payloads).map(|(key, payload)| item(key, payload)).collect();
        assert_eq!(disk.set_many(&items, NOW, false, true).unwrap(), Some(vec![]));
        let last: HashMap<&String, &Vec<u8>> = keys.iter().zip(&payloads).collect();
        last.iter().for_each(|(key, payload)| assert_eq!(get(&disk, key).as_ref(), Some(*payload)));
        assert_whole(&disk);
    }
    let all: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(disk.delete_many(&all, NOW, true).unwrap().unwrap(), all[..140]);
    assert_whole(&disk);
}

#[test]
fn an_immutable_entry_is_known_as_such_without_reading_it() {
    let directory = directory();
    let disk = open(directory.path());
    put(&disk, &Item { fields: Fields { immutable: true, ..Fields::default() }, ..item("k", b"v") }, false);
    set(&disk, "l", b"v");
    let again = open(directory.path());
    assert_eq!(["k", "l", "m"].map(|key| again.is_immutable(key, NOW).unwrap()), [true, false, false]);
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
