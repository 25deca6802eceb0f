//! A directory is a map that may forget, whatever is done to it and to its files.

use super::*;

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
