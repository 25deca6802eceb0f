//! What the formats promise: what was written comes back, and what was damaged doesn't.

use super::*;
use proptest::prelude::*;
use std::fs;

/// A row that owns its texts.
#[derive(Debug, Clone)]
struct Access {
    time: u64,
    key: String,
    size: u64,
    operation: Operation,
    time_to_live: u64,
    owner: &'static str,
    continues: bool,
    cost: f32,
}

impl Access {
    fn row(&self) -> Row<'_> {
        Row {
            time: self.time,
            key: Key::parse(&self.key),
            size: self.size,
            operation: self.operation,
            time_to_live: self.time_to_live,
            owner: self.owner,
            continues: self.continues,
            cost: self.cost,
        }
    }
}

fn accesses(texts: bool) -> impl Strategy<Value = Vec<Access>> {
    let key = if texts {
        "(user:|[ä€]?)[0-9]{1,2}".boxed()
    } else {
        (0u64..30).prop_map(|n| ((n * n * n) << (n % 50)).to_string()).boxed()
    };
    let operation = prop_oneof![3 => Just(Operation::Get), 1 => Just(Operation::Set), 1 => Just(Operation::Delete)];
    let life = prop_oneof![3 => Just(NEVER), 1 => 0u64..1 << 40];
    let owner = prop_oneof![2 => Just(""), 1 => Just("ann"), 1 => Just("björn")];
    let access =
        (0u64..1 << 40, key, any::<u32>(), operation, life, owner, (any::<bool>(), prop_oneof![Just(1.0f32), 0f32..1e9]));
    prop::collection::vec(access, 0..60).prop_map(|accesses| {
        let mut time = 0;
        let step = |(pause, key, size, operation, time_to_live, owner, (continues, cost))| {
            time += pause;
            Access { time, key, size: u64::from(size), operation, time_to_live, owner, continues, cost }
        };
        accesses.into_iter().map(step).collect()
    })
}

fn built(path: &Path, facts: &Facts, accesses: &[Access]) -> Trace {
    let mut builder = Builder::new(path, facts.clone());
    accesses.iter().for_each(|access| builder.push(&access.row()));
    builder.finish()
}

fn written(facts: &Facts, texts: bool, accesses: &[Access]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), facts, texts).unwrap();
    accesses.iter().for_each(|access| writer.push(&access.row()).unwrap());
    writer.finish().unwrap()
}

pub(super) fn opened(name: &str, bytes: &[u8]) -> Result<Trace, TraceError> {
    let path = temporary(name);
    fs::write(&path, bytes).unwrap();
    let result = Trace::open(&path, None);
    fs::remove_file(&path).unwrap();
    result
}

/// A path of this test's own.
pub(super) fn temporary(name: &str) -> PathBuf {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::env::temp_dir().join(format!("forecache-{}-{number}-{name}", std::process::id()))
}

pub(super) fn facts() -> Facts {
    Facts { page_size: 4096, device_size: 1 << 40, opaque: true, hashed: true, sampled: 1_000, description: "a düsk".into() }
}

proptest! {
    #[test]
    fn what_was_written_comes_back((texts, accesses) in any::<bool>().prop_flat_map(|texts| (Just(texts), accesses(texts)))) {
        let trace = opened("trace.fctrace", &written(&facts(), texts, &accesses)).unwrap();
        let expected = built(&trace.path, &facts(), &accesses);
        prop_assert_eq!(&trace, &expected);
        for row in 0..expected.len() {
            prop_assert_eq!(trace.row(row), expected.row(row));
        }
    }

    #[test]
    fn a_damaged_byte_is_an_error(texts: bool, (accesses, place, flip) in (accesses(false), any::<prop::sample::Index>(), 1u8..)) {
        let mut bytes = written(&facts(), texts, &accesses);
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(opened("damaged.fctrace", &bytes).is_err());
    }
}

fn small() -> Vec<u8> {
    let access = |time, key: &str, continues| Access {
        time,
        key: key.into(),
        size: 4096,
        operation: Operation::Get,
        time_to_live: NEVER,
        owner: "",
        continues,
        cost: 1.0,
    };
    written(&facts(), false, &[access(1, "7", true), access(2, "8", false), access(900, "7", false)])
}

#[test]
fn every_single_bit_of_a_file_is_guarded() {
    let bytes = small();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            let result = opened("bit.fctrace", &damaged);
            assert!(result.is_err(), "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn every_truncation_is_an_error_and_so_is_more() {
    let mut bytes = small();
    for length in 0..bytes.len() {
        let error = opened("cut.fctrace", &bytes[..length]).unwrap_err();
        assert!(matches!(error.place, Place::Byte(byte) if byte <= length as u64), "{length}: {error}");
    }
    bytes.push(0);
    assert!(opened("more.fctrace", &bytes).unwrap_err().message.contains("goes on"));
}

#[test]
fn a_recording_of_version_1_has_all_keys() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings/database.fctrace");
    assert_eq!(fs::read(&recording).unwrap()[8], 1);
    let facts = Trace::open(&recording, None).unwrap().facts;
    assert_eq!((facts.sampled, facts.hashed), (ALL_KEYS, false));
}

#[test]
fn a_newer_version_is_refused_and_says_so() {
    let mut bytes = small();
    bytes[8] += 1;
    let error = opened("newer.fctrace", &bytes).unwrap_err();
    assert!(
        error.to_string().ends_with("byte 8: version 3 of the format, and this forecache reads up to 2: use a newer forecache"),
        "{error}"
    );
}

#[test]
fn a_record_of_pages_is_one_access_a_page_and_one_request() {
    let mut writer = Writer::new(Vec::new(), &facts(), false).unwrap();
    writer.push_pages(&Row::get(5, Key::Number(10), 4096), 3).unwrap();
    writer.push(&Row { continues: true, ..Row::get(6, Key::Number(4), 4096) }).unwrap();
    writer.push(&Row::get(6, Key::Number(12), 4096)).unwrap();
    // Of these pages only 12 was ever asked for: the deletes of the others say nothing.
    writer.push_pages(&Row { operation: Operation::Delete, ..Row::get(7, Key::Number(12), 4096) }, 1 << 10).unwrap();
    let trace = opened("pages.fctrace", &writer.finish().unwrap()).unwrap();
    let rows: Vec<_> =
        (0..trace.len()).map(|row| trace.row(row)).map(|row| (row.key.text().into_owned(), row.time, row.continues)).collect();
    let expected = [("10", 5, true), ("11", 5, true), ("12", 5, false), ("4", 6, true), ("12", 6, false), ("12", 7, false)];
    assert_eq!(rows, expected.map(|(key, time, continues)| (key.to_string(), time, continues)));
    assert_eq!((trace.unique(), trace.footprint), (4, 4 * 4096));
}

#[test]
fn many_blocks_are_one_trace() {
    let rows = 3 * (1 << 16) + 5;
    let mut writer = Writer::new(Vec::new(), &Facts::default(), false).unwrap();
    (0..rows).for_each(|row| writer.push(&Row::get(row, Key::Number(row % 1000), row % 7)).unwrap());
    let trace = opened("blocks.fctrace", &writer.finish().unwrap()).unwrap();
    assert_eq!((trace.len() as u64, trace.unique()), (rows, 1000));
    assert_eq!(trace.row(150_000), Row::get(150_000, Key::Number(0), 150_000 % 7));
}

pub(super) fn oracle(rows: &[(u32, u64, u32, i64)]) -> Vec<u8> {
    let row = |&(time, key, size, next): &(u32, u64, u32, i64)| {
        [&time.to_le_bytes()[..], &key.to_le_bytes(), &size.to_le_bytes(), &next.to_le_bytes()].concat()
    };
    rows.iter().flat_map(row).collect()
}

#[test]
fn oracle_general_is_read_plain_and_packed() {
    let bytes = oracle(&[(3, u64::MAX, 512, 2), (3, 8, 100, -1), (4, u64::MAX, 600, i64::MAX)]);
    for (name, bytes) in
        [("a.bin", bytes.clone()), ("a.oracleGeneral.zst", zstd::bulk::compress(&bytes, 3).unwrap()), ("a", bytes)]
    {
        let trace = opened(name, &bytes).unwrap();
        assert_eq!(trace.ids, [0, 1, 0]);
        assert_eq!(trace.row(2), Row::get(4_000_000_000, Key::Number(u64::MAX), 600));
        assert_eq!((trace.footprint, trace.facts.opaque), (700, false));
    }
}

#[test]
fn damaged_oracle_general_is_an_error_that_says_where() {
    let bytes = oracle(&[(1, 1, 1, 1), (2, 1, 1, -1)]);
    assert_eq!(opened("cut.bin", &bytes[..30]).unwrap_err().place, Place::Byte(24));
    assert!(opened("empty.bin", &[]).is_err());
    let packed = zstd::bulk::compress(&bytes, 3).unwrap();
    for length in 4..packed.len() {
        assert!(opened("cut.zst", &packed[..length]).is_err(), "{length}");
    }
    let text = opened("notes.oracleGeneral", b"\0his is a text of just 48 bytes and no trace ...").unwrap_err();
    assert!(text.message.contains("oracleGeneral"), "{text}");
    let text = opened("notes", b"This is a text of just 48 bytes and no trace ...").unwrap_err();
    assert!(text.message.contains("name its format: one of fctrace, oracle, "), "{text}");
}

#[test]
fn ids_numbered_by_first_appearance_are_opaque() {
    let rows: Vec<_> = [4, 5, 4, 6, 7].iter().map(|&key| (0, key, 1, -1)).collect();
    assert!(opened("opaque.bin", &oracle(&rows)).unwrap().facts.opaque);
}

#[test]
fn a_table_is_read_by_usual_or_given_names() {
    let usual = "ts,id,bytes,verb,ttl_ms,tenant,request_id\n0.5,a,10,GET,,ann,1\n1,b,20,set,1500,,1\n2.25,007,5,del,0,,2\n3,a,30,get,0,,3\n";
    let trace = opened("usual.csv", usual.as_bytes()).unwrap();
    let second = Row { operation: Operation::Set, time_to_live: 1_500_000_000, ..Row::get(1_000_000_000, Key::Text("b"), 20) };
    assert_eq!(trace.row(0), Row { owner: "ann", continues: true, ..Row::get(500_000_000, Key::Text("a"), 10) });
    assert_eq!(trace.row(1), second);
    assert_eq!((trace.len(), trace.footprint), (3, 50));
    let path = temporary("given.csv");
    fs::write(&path, "x,y\n7,3\n7,4\n").unwrap();
    let trace = Trace::open(&path, Some(&Columns::parse("key=x, size=y").unwrap())).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(trace.row(1), Row::get(1_000_000_000, Key::Number(7), 4));
}

#[test]
fn tabs_part_the_cells_of_a_file_whose_own_name_says_so() {
    let folder = temporary("a.tsv.d");
    fs::create_dir(&folder).unwrap();
    for (name, text) in [("t.csv", "key,size\na,5\n"), ("b.tsv.csv", "key,size\na,5\n"), ("T.TSV", "key\tsize\na\t5\n")] {
        fs::write(folder.join(name), text).unwrap();
        assert_eq!(Trace::open(&folder.join(name), None).unwrap().row(0), Row::get(0, Key::Text("a"), 5), "{name}");
    }
    let packed = zstd::bulk::compress(b"key\tsize\na\t5\n", 3).unwrap();
    fs::write(folder.join("t.tsv.zst"), packed).unwrap();
    assert_eq!(Trace::open(&folder.join("t.tsv.zst"), None).unwrap().len(), 1);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn rows_that_name_no_request_are_each_their_own() {
    let trace = opened("requests.csv", b"key,request\na,\nb,\nc,1\nd,1\ne,\n").unwrap();
    let continues: Vec<_> = (0..trace.len()).map(|row| trace.continues.at(row)).collect();
    assert_eq!(continues, [false, false, true, false, false]);
}

#[test]
fn a_wrong_table_is_an_error_that_says_where_and_what() {
    for (text, expected) in [
        ("key,size\na,1\nb,x\n", "line 3: size is \"x\"; expected bytes as a whole number"),
        ("key,time\na,-1\n", "line 2: time is \"-1\"; expected a time, not negative"),
        ("key,op\na,grab\n", "line 2: op is \"grab\"; expected one of get, read"),
        ("key,size\na,1\nb\n", "line 3: 1 cells where there are 2 columns"),
        (
            "kee,size\na,1\n",
            "line 1: no column is known for the key; name it, as in key=id, or number them, as in key=5,size=4, if no line has names. There are: kee, size",
        ),
        ("key,ttl\na,1\n", "line 1: there are times to live, but no column of times"),
    ] {
        let error = opened("wrong.csv", text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let path = temporary("names.csv");
    fs::write(&path, "key,bytes,ts,verb,owner\n").unwrap();
    let error = Trace::open(&path, Some(&Columns::parse("size=byte").unwrap())).unwrap_err().to_string();
    fs::remove_file(&path).unwrap();
    assert!(error.contains("there is no column \"byte\" for size; nearest: bytes, "), "{error}");
    assert!(Columns::parse("sise=x").unwrap_err().contains("nearest: size"));
}

#[test]
fn a_list_of_block_requests_becomes_pages() {
    let (source, target) = (temporary("list.csv"), temporary("list.fctrace"));
    let facts = Facts { page_size: 4096, device_size: 1 << 20, description: "a guest".into(), ..Facts::default() };
    fs::write(&source, "time_us,op,offset,length\n10,read,4095,2\n20,write,8192,8192\n30,trim,0,1048576\n40,read,0,0\n").unwrap();
    let imported = import::import_blocks(&source, &target, &facts).unwrap();
    assert_eq!((imported.requests, imported.pages), (3, 2 + 2 + 256));
    let trace = Trace::open(&target, None).unwrap();
    let rows: Vec<_> = (0..trace.len()).map(|row| trace.row(row)).map(|row| (row.time / 1000, row.key, row.operation)).collect();
    let expected = [(10, 0, 0), (10, 1, 0), (20, 2, 1), (20, 3, 1), (30, 0, 2), (30, 1, 2), (30, 2, 2), (30, 3, 2)];
    assert_eq!(rows, expected.map(|(time, key, operation)| (time, Key::Number(key), Operation::ALL[operation])));
    assert_eq!(trace.facts, facts);
    for (line, expected) in
        [("1,flush,0,1", "op is \"flush\""), ("1,read,1048575,2", "beyond the device"), ("1,read,x,2", "offset is \"x\"")]
    {
        fs::write(&source, format!("time_us,op,offset,length\n1,read,0,1\n{line}\n")).unwrap();
        let error = import::import_blocks(&source, &target, &facts).unwrap_err();
        assert!(error.place == Place::Line(3) && error.message.contains(expected), "{error}");
    }
    assert_eq!(Trace::open(&target, None).unwrap().len(), 8, "what was there before is still there");
    fs::remove_file(&source).unwrap();
    fs::remove_file(&target).unwrap();
}

#[test]
fn a_quote_that_is_not_closed_is_told_before_the_file_is_in_memory() {
    let text = format!("key,size\n1,2\n\"{}", "x".repeat(1 << 23));
    let error = opened("quote.csv", text.as_bytes()).unwrap_err();
    assert!(error.message.ends_with("a line of more than 4194304 bytes; is a quote not closed?"), "{error}");
    assert_eq!(error.place, Place::Line(3));
}

#[test]
fn a_delete_that_happened_often_is_one() {
    let rows = "1,SET,10,1\n1,DELETE,10,1048576\n1,GET,10,3\n";
    let trace = opened("counted.csv", format!("key,op,size,op_count\n{rows}").as_bytes()).unwrap();
    assert_eq!(trace.len(), 5);
}

#[test]
fn a_mark_before_the_first_line_is_no_part_of_it() {
    assert_eq!(opened("marked.lirs", "\u{feff}7\n8\n7\n".as_bytes()).unwrap().unique(), 2);
    assert_eq!(opened("marked.lis", "\u{feff}7 2 0 1\n".as_bytes()).unwrap().len(), 2);
}
