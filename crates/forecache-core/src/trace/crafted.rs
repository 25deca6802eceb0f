//! What files made to harm their reader come to, and that no writer makes one.

use super::bounds::{EXPANSION, FACTS, NAME, most_pages};
use super::file::{BLOCK, END, header};
use super::tests::{facts, opened, temporary};
use super::*;
use crate::number::{push, push_text};
use proptest::prelude::*;
use std::fs;
use std::io::sink;
use xxhash_rust::xxh3::xxh3_64;

const SAME: u64 = 0;

/// The bytes of a block in whose columns (time, key, pages, size, operation, time to live, owner, more, cost) all values agree.
fn unpacked(keys: &[&str], columns: [u64; 9]) -> Vec<u8> {
    let mut raw = Vec::new();
    push(&mut raw, keys.len() as u64);
    keys.iter().for_each(|key| push_text(&mut raw, key));
    push(&mut raw, 0);
    for value in columns {
        push(&mut raw, SAME);
        push(&mut raw, value);
    }
    raw
}

/// A file of one block, whose checks are right.
fn file(texts: bool, records: u32, accesses: u64, raw: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(raw, 19).unwrap();
    let mut out = header(&facts(), texts);
    let mut checked = |bytes: &[u8]| {
        out.extend(bytes);
        out.extend(crc32fast::hash(bytes).to_le_bytes());
    };
    let numbers = [0, records, raw.len() as u32, packed.len() as u32].map(u32::to_le_bytes).concat();
    checked(&[&[BLOCK], numbers.as_slice()].concat());
    checked(&packed);
    checked(&[&[END], &1u32.to_le_bytes()[..], &u64::from(records).to_le_bytes(), &accesses.to_le_bytes()].concat());
    out
}

/// What reading the file says, which must be about its block.
fn refused(bytes: &[u8]) -> String {
    let error = opened("crafted.fctrace", bytes).unwrap_err();
    assert_eq!(error.place, Place::Byte(header(&facts(), false).len() as u64), "{error}");
    error.message
}

fn pages_of(operation: Operation, from: u64) -> Row<'static> {
    Row { operation, ..Row::get(0, Key::Number(from), 4096) }
}

#[test]
fn names_that_no_record_can_use_are_refused() {
    let message = refused(&file(true, 0, 0, &unpacked(&[""; 100], [0; 9])));
    assert!(message.ends_with("it tells 100 names for 0 records; expected at most one a record"), "{message}");
}

#[test]
fn a_block_that_unpacks_to_far_more_than_itself_is_refused() {
    let name = "a".repeat(NAME);
    let message = refused(&file(true, 1, 1, &unpacked(&[&name], [0; 9])));
    assert!(message.starts_with("block 0 unpacks to 1048599 bytes; expected at most "), "{message}");
    assert!(message.contains(", 64 for each of its "), "{message}");
}

#[test]
fn a_name_too_long_is_neither_read_nor_written() {
    // Letters that don't pack well.
    let letter = |n: u64| char::from(b'a' + (xxh3_64(&n.to_le_bytes()) % 16) as u8);
    let name: String = (0..=NAME as u64).map(letter).collect();
    let message = refused(&file(true, 1, 1, &unpacked(&[&name], [0; 9])));
    assert!(message.ends_with("it tells a name of 1048577 bytes; expected at most 1048576"), "{message}");
    let mut writer = Writer::new(sink(), &facts(), true).unwrap();
    let error = writer.push(&Row::get(0, Key::Text(&name), 1)).unwrap_err().to_string();
    assert_eq!(error, "a key of 1048577 bytes; expected at most 1048576");
    let error = writer.push(&Row { owner: &name, ..Row::get(0, Key::Text("a"), 1) }).unwrap_err().to_string();
    assert_eq!(error, "an owner of 1048577 bytes; expected at most 1048576");
}

#[test]
fn a_record_of_too_many_pages_is_neither_read_nor_written() {
    for operation in Operation::ALL {
        let (name, most) = (operation.name(), most_pages(operation));
        let raw = unpacked(&[], [0, 0, most, 0, operation as u64, 0, 0, 0, 0]);
        let expected = format!("a {name} of {} pages; expected at most {most}", most + 1);
        let message = refused(&file(false, 1, most + 1, &raw));
        assert_eq!(message, format!("block 0 is corrupt: record 0 is {expected}"));
        let mut writer = Writer::new(sink(), &facts(), false).unwrap();
        assert_eq!(writer.push_pages(&pages_of(operation, 0), most + 1).unwrap_err().to_string(), expected);
        writer.push_pages(&pages_of(operation, 0), most).unwrap();
    }
}

#[test]
fn a_block_that_stands_for_far_more_accesses_than_bytes_is_refused() {
    let raw = unpacked(&[], [0, 0, 999, 0, 0, 0, 0, 0, 0]);
    let message = refused(&file(false, 1 << 16, 1000 << 16, &raw));
    assert!(message.contains("its first records stand for 2000 accesses; expected at most "), "{message}");
}

#[test]
fn a_trace_is_read_however_regular_it_is() {
    let mut writer = Writer::new(Vec::new(), &Facts::default(), false).unwrap();
    (0..300).for_each(|n| writer.push_pages(&pages_of(Operation::Get, n * 5000), 5000).unwrap());
    let bytes = writer.finish().unwrap();
    assert!(bytes.len() as u64 <= 300 * 5000 / EXPANSION + 100, "{}", bytes.len());
    assert_eq!(opened("scan.fctrace", &bytes).unwrap().len(), 300 * 5000);

    let mut writer = Writer::new(Vec::new(), &Facts::default(), true).unwrap();
    let names: Vec<String> = (0..20).map(|n| "a".repeat(NAME - n)).collect();
    names.iter().for_each(|name| writer.push(&Row { owner: name, ..Row::get(0, Key::Text(name), 1) }).unwrap());
    let bytes = writer.finish().unwrap();
    assert!(bytes.len() < 40 * NAME / EXPANSION as usize + 1000, "{}", bytes.len());
    assert_eq!(opened("names.fctrace", &bytes).unwrap().unique(), 20);
}

#[test]
fn deletes_of_a_whole_disk_take_as_long_as_there_are_pages_on_it() {
    let mut writer = Writer::new(Vec::new(), &Facts::default(), false).unwrap();
    for round in 0..1000 {
        writer.push_pages(&pages_of(Operation::Set, round), 3).unwrap();
        (0..100).for_each(|_| writer.push_pages(&pages_of(Operation::Delete, 0), 1 << 32).unwrap());
    }
    let trace = opened("trims.fctrace", &writer.finish().unwrap()).unwrap();
    assert_eq!((trace.len(), trace.unique()), (6000, 1002));
}

#[test]
fn a_trace_that_memory_can_not_number_is_not_written() {
    let mut writer = Writer::new(sink(), &facts(), false).unwrap();
    let error = (0..5000).find_map(|_| writer.push_pages(&pages_of(Operation::Get, 0), 1 << 20).err()).unwrap();
    assert_eq!(error.to_string(), "the trace would have more than 4294967294 accesses; begin another");
    let long = Facts { description: "a".repeat(FACTS), ..facts() };
    assert!(Writer::new(sink(), &long, false).unwrap_err().to_string().starts_with("a description of 1048576 bytes; expected"));
}

#[test]
fn a_trace_that_is_packed_once_more_is_refused() {
    let packed = zstd::bulk::compress(&Writer::new(Vec::new(), &facts(), false).unwrap().finish().unwrap(), 3).unwrap();
    let error = opened("twice.fctrace.zst", &packed).unwrap_err().message;
    assert!(error.contains("unpack it first"), "{error}");
}

#[test]
fn a_request_of_too_many_pages_is_not_imported() {
    let (source, target) = (temporary("large.csv"), temporary("large.fctrace"));
    fs::write(&source, "time_us,op,offset,length\n1,trim,0,4294967297\n2,read,0,4294967297\n").unwrap();
    let error = import::import_blocks(&source, &target, &Facts { device_size: 0, ..facts() }).unwrap_err();
    fs::remove_file(&source).unwrap();
    assert_eq!(error.place, Place::Line(3));
    assert_eq!(error.message, "a read of 1048577 pages of 4096 bytes; expected at most 1048576: split it");
}

proptest! {
    #[test]
    fn a_delete_of_pages_is_a_delete_of_each(requests in prop::collection::vec((0u64..40, 1u64..9, 0usize..3, any::<bool>()), 0..40)) {
        let mut writer = Writer::new(Vec::new(), &facts(), false).unwrap();
        let mut each = Writer::new(Vec::new(), &facts(), false).unwrap();
        for (from, pages, operation, continues) in requests {
            let row = Row { continues, ..pages_of(Operation::ALL[operation], from) };
            writer.push_pages(&row, pages).unwrap();
            for page in 0..pages {
                each.push(&Row { key: Key::Number(from + page), continues: continues || page + 1 < pages, ..row }).unwrap();
            }
        }
        let mut trace = opened("pages.fctrace", &writer.finish().unwrap()).unwrap();
        let each = opened("each.fctrace", &each.finish().unwrap()).unwrap();
        trace.path.clone_from(&each.path);
        prop_assert_eq!(trace, each);
    }
}
