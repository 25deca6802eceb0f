//! What the readers of other programs' formats make of them, and what they refuse or skip.

use super::secret::Secret;
use super::tests::{oracle, temporary};
use super::*;
use std::fs;

fn opened_as(name: &str, bytes: impl AsRef<[u8]>, reading: &Reading) -> Result<Trace, TraceError> {
    let path = temporary(name);
    fs::write(&path, bytes).unwrap();
    let result = Trace::open_as(&path, reading);
    fs::remove_file(&path).unwrap();
    result
}

fn opened(name: &str, bytes: impl AsRef<[u8]>) -> Trace {
    opened_as(name, bytes, &Reading::default()).unwrap()
}

fn keys(trace: &Trace) -> Vec<String> {
    (0..trace.len()).map(|row| trace.row(row).key.text().into_owned()).collect()
}

fn continues(trace: &Trace) -> Vec<bool> {
    (0..trace.len()).map(|row| trace.continues.at(row)).collect()
}

fn lenient() -> Reading {
    Reading { lenient: true, ..Reading::default() }
}

fn columns(text: &str) -> Reading {
    Reading { columns: Some(Columns::parse(text).unwrap()), ..Reading::default() }
}

#[test]
fn a_line_of_arc_is_a_request_of_blocks() {
    for name in ["P3.lis", "P3"] {
        let trace = opened(name, "12 3 0 1\n\n7 1 0 2\r\n14 2 0 3");
        assert_eq!(keys(&trace), ["12", "13", "14", "7", "14", "15"]);
        assert_eq!(continues(&trace), [true, true, false, false, true, false]);
        assert_eq!([0, 3, 4].map(|row| trace.times.at(row)), [0, 1_000_000_000, 2_000_000_000]);
    }
    let refused = |text: &str| opened_as("a.lis", text, &Reading::default()).unwrap_err().to_string();
    assert!(
        refused("1 1 0 0\n1 2\n")
            .ends_with("line 2: 2 numbers; expected 4: first block, number of blocks, 0, number of the request")
    );
    assert!(refused("1 x 0 0\n").ends_with("line 1: \"x\" is no whole number"));
    assert!(refused("1 9999999 0 0\n").ends_with("line 1: a request of 9999999 blocks; expected 1 to 1048576"));
    assert!(refused(&format!("{} 2 0 0\n", u64::MAX)).ends_with("the request reaches beyond the largest block, 2^64 - 1"));
    assert!(refused(&"1".repeat(5000)).ends_with("line 1: 4096 bytes or more; expected a few numbers"));
}

#[test]
fn lirs_is_a_block_a_line() {
    for name in ["cpp.trc", "cpp.lirs", "cpp"] {
        let trace = opened(name, "5\n9\n*\n5\n");
        assert_eq!(
            (keys(&trace), trace.times.at(2), trace.facts.opaque),
            (vec!["5".into(), "9".into(), "5".into()], 3_000_000_000, false)
        );
    }
    assert!(opened("cs.trc", "1\n2\n1\n3\n").facts.opaque);
    let error = opened_as("a.trc", "5\nfive\n", &Reading::default()).unwrap_err().to_string();
    assert!(error.ends_with("line 2: \"five\" is no block; expected a whole number, or *"), "{error}");
    let trace = opened_as("a.trc", "5\nfive\n6\n", &lenient()).unwrap();
    assert_eq!((trace.len(), trace.skipped), (2, BTreeMap::from([(Flaw::Cell, 1)])));
}

#[test]
fn a_table_without_names_is_read_by_numbers() {
    let text = "1,5,2a,512,100\n1,6,2a,512,101\n";
    let trace = opened_as("a.csv", text, &columns("time=2,key=5,size=4")).unwrap();
    assert_eq!(trace.row(1), Row::get(6_000_000_000, Key::Number(101), 512));
    // A line of names is seen as one.
    let named = format!("version,time,op,size,lbn\n{text}");
    assert_eq!(opened_as("a.csv", named, &columns("time=2,key=5,size=4")).unwrap().ids, trace.ids);
    assert_eq!(keys(&opened_as("a.csv", "key\nx\n", &columns("key=1")).unwrap()), ["x"]);
    assert_eq!(keys(&opened_as("a.csv", "x\ny\n", &columns("key=1")).unwrap()), ["x", "y"]);
    let error = opened_as("a.csv", text, &columns("key=6")).unwrap_err().to_string();
    assert!(error.contains("there is no column \"6\" for key; nearest: "), "{error}");
}

#[test]
fn a_table_of_libcachesim_needs_no_names() {
    let reading = Reading { format: Some(Format::LibCacheSim), ..Reading::default() };
    let expected = [Row::get(1_000_000_000, Key::Text("a"), 10), Row::get(2_000_000_000, Key::Text("b"), 20)];
    let body = "1,a,10,-1\n2,b,20,-1\n";
    for text in [body.to_string(), format!("# time,object,size,next_access_vtime\n{body}"), body.replace(',', "\t")] {
        let trace = opened_as("a", text, &reading).unwrap();
        assert_eq!([trace.row(0), trace.row(1)], expected);
    }
    let trace = opened("named.csv", format!("# time,object,size,next_access_vtime\n{body}"));
    assert_eq!([trace.row(0), trace.row(1)], expected);
}

#[test]
fn twitter_s_rows_have_sizes_owners_operations_and_times_to_live() {
    let text =
        "7,nz:u:x,6,0,3,get,0\n7,nz:u:x,6,100,3,set,60\n8,nz:u:x,6,0,4,gets,0\n9,\"q,6,10,4,add,0\n9,nz:u:x,6,0,4,delete,0\n";
    for name in ["cluster52.sort", "cluster52.csv"] {
        let trace = opened(name, text);
        let rows: Vec<_> = (0..trace.len()).map(|row| trace.row(row)).collect();
        let known: Vec<_> = rows.iter().map(|row| (row.time / 1_000_000_000, row.size, row.operation, row.owner)).collect();
        let expected = [
            (7, 6, Operation::Get, "3"),
            (7, 106, Operation::Set, "3"),
            // It found nothing, so it knows no size: it has the one that is known.
            (8, 106, Operation::Get, "4"),
            (9, 16, Operation::Set, "4"),
            (9, 6, Operation::Delete, "4"),
        ];
        assert_eq!(known, expected);
        assert_eq!([0, 1].map(|row: usize| rows[row].time_to_live), [NEVER, 60_000_000_000]);
    }
}

#[test]
fn meta_s_key_value_rows_repeat() {
    let newer = "op_time,key,key_size,op,op_count,size,cache_hits,ttl,usecase,sub_usecase\n\
                 60,8213f9,48,GET,1,87,1,0,36,30\n60,8213f9,48,SET_LEASE,2,90,0,7200,36,30\n61,8213f9,48,DELETE,1,0,0,0,36,30\n";
    let trace = opened("kv.csv", newer);
    let rows: Vec<_> =
        (0..trace.len()).map(|row| trace.row(row)).map(|row| (row.operation, row.size, row.time_to_live, row.owner)).collect();
    let set = (Operation::Set, 138, 7_200_000_000_000, "36");
    assert_eq!(rows, [(Operation::Get, 135, NEVER, "36"), set, set, (Operation::Delete, 48, NEVER, "36")]);
    let older = opened("kv", "key,op,size,op_count,key_size,ttl\n16687,SET,82,3,40,60\n16687,GET_LEASE,0,1,40,0\n");
    assert_eq!((older.len(), older.sizes.at(3), older.times.at(3)), (4, 122, 1_000_000_000));
    let error = opened_as("kv.csv", newer.replace(",2,90", ",0,90"), &Reading::default()).unwrap_err().to_string();
    assert!(error.ends_with("line 3: op_count is \"0\"; expected how often it happened, 1 to 1048576"), "{error}");
}

#[test]
fn meta_s_network_and_block_store_are_read() {
    let names = "timestamp,cacheKey,OpType,objectSize,responseSize,responseHeaderSize,rangeStart,rangeEnd,TTL,SamplingRate";
    for (time, nanoseconds) in [("1679000000", 1_679_000_000_000_000_000), ("1679000000123", 1_679_000_000_123_000_000)] {
        let trace = opened("cdn.csv", format!("{names}\n{time},k1,1,1000,500,20,-1,-1,3600,0.2\n"));
        let expected = Row { time_to_live: 3_600_000_000_000, ..Row::get(nanoseconds, Key::Text("k1"), 1000) };
        assert_eq!(trace.row(0), expected);
    }
    let names =
        "op_time,block_id,block_id_size,io_size,io_offset,user_name,user_namespace,op_name,op_count,host_name,rs_shard_id";
    let trace = opened("block.csv", format!("{names}\n5,b7,40,131072,131000,u1,n1,getChunkData.Permanent,2,h,3\n"));
    assert_eq!(keys(&trace), ["b7:3:0", "b7:3:1", "b7:3:0", "b7:3:1"]);
    assert_eq!(continues(&trace), [true, false, true, false]);
    assert_eq!((trace.row(0).owner, trace.row(0).size, trace.row(0).operation), ("u1", 131_072, Operation::Get));
    let error = opened_as("block.csv", format!("{names}\n5,b7,40,999999999999999,0,u,n,putChunk,1,h,3\n"), &Reading::default());
    assert!(error.unwrap_err().to_string().ends_with("expected at most 1048576 pieces of 131072 bytes"));
}

#[test]
fn costs_and_all_operations_are_read_and_kept() {
    let trace = opened("a.csv", "key,op,cost\na,fill,\na,get,2.5\na,look,0\n");
    let rows: Vec<_> = (0..3).map(|row| (trace.operations.at(row), trace.costs.at(row))).collect();
    assert_eq!(rows, [(Operation::Fill, 1.0), (Operation::Get, 2.5), (Operation::Look, 0.0)]);
    for cost in ["-1", "x", "inf", "NaN"] {
        let error = opened_as("a.csv", format!("key,cost\na,{cost}\n"), &Reading::default()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("line 2: cost is {cost:?}; expected a number of at least 0")), "{error}");
    }
    let mut writer = Writer::new(Vec::new(), &Facts::default(), false).unwrap();
    let row = |cost| Row { cost, ..Row::get(0, Key::Number(1), 1) };
    assert!(writer.push(&row(-1.0)).unwrap_err().to_string().starts_with("a cost of -1; expected"));
    writer.push(&row(0.5)).unwrap();
    assert_eq!(opened("a.fctrace", writer.finish().unwrap()).costs.at(0), 0.5);
}

#[test]
fn wrong_rows_are_refused_or_skipped_and_counted() {
    let mut text =
        b"time,key,size,op\n5,a,1,get\n4,b,1,get\n6,c,0,get\n6,d,0,delete\n6,e,0,look\n6,,1,get\n6,f,x,get\n6,g,1\n".to_vec();
    text.extend(b"6,\xff,1,get\n7,h,1,get\n");
    let trace = opened_as("a.csv", &text, &lenient()).unwrap();
    assert_eq!(keys(&trace), ["a", "e", "h"]);
    let skipped = [(Flaw::Time, 1), (Flaw::Size, 1), (Flaw::Key, 1), (Flaw::Cell, 2), (Flaw::Length, 1)];
    assert_eq!(trace.skipped, BTreeMap::from(skipped));
    for (line, expected) in [
        ("4,b,1,get", "line 3: its time, 4.000000000 s, is before that of the row above, 5.000000000 s; expected times that"),
        ("6,c,0,get", "line 3: its size is 0; expected at least 1 byte"),
        ("6,c,0,fill", "line 3: its size is 0; expected at least 1 byte"),
        ("6,,1,get", "line 3: key is \"\"; expected a key"),
    ] {
        let error = opened_as("a.csv", format!("time,key,size,op\n5,a,1,get\n{line}\n"), &Reading::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let bytes = oracle(&[(5, 1, 1, -1), (4, 2, 1, -1), (6, 3, 0, -1), (7, 4, 1, -1)]);
    let error = opened_as("a.bin", &bytes, &Reading::default()).unwrap_err();
    assert_eq!(error.place, Place::Byte(24));
    let error = opened_as("a.bin", &bytes[48..], &Reading::default()).unwrap_err();
    assert_eq!((error.place, error.message.as_str()), (Place::Byte(0), "its size is 0; expected at least 1 byte"));
    let trace = opened_as("a.bin", &bytes[..90], &lenient()).unwrap();
    assert_eq!((trace.len(), trace.skipped), (1, BTreeMap::from([(Flaw::Time, 1), (Flaw::Size, 1), (Flaw::Length, 1)])));
}

#[test]
fn our_own_format_may_hold_sizes_of_0_but_no_times_that_go_back() {
    let mut writer = Writer::new(Vec::new(), &Facts::default(), false).unwrap();
    writer.push(&Row::get(5, Key::Number(1), 0)).unwrap();
    let error = writer.push(&Row::get(4, Key::Number(1), 1)).unwrap_err().to_string();
    assert_eq!(error, "a time of 4 ns behind one of 5 ns; expected times that don't go back");
    let mut bytes = writer.finish().unwrap();
    assert_eq!(opened("a.fctrace", &bytes).len(), 1);
    assert_eq!(opened_as("a.fctrace", &bytes, &lenient()).unwrap().skipped, BTreeMap::from([(Flaw::Size, 1)]));
    // Nothing can be known of a newer version's rows.
    bytes[8] += 1;
    let error = opened_as("a.fctrace", &bytes, &lenient()).unwrap_err().to_string();
    assert!(
        error.ends_with("byte 8: version 3 of the format, and this forecache reads up to 2: use a newer forecache"),
        "{error}"
    );
}

#[test]
fn requests_come_from_a_file_a_folder_or_a_column() {
    let folder = temporary("requests.d");
    fs::create_dir(&folder).unwrap();
    let trace = folder.join("a.run1.bin");
    fs::write(&trace, oracle(&[(1, 1, 1, -1), (1, 2, 1, -1), (1, 3, 0, -1), (1, 4, 1, -1)])).unwrap();
    let open = |given: &Path, lenient| {
        Trace::open_as(&trace, &Reading { group_requests: Some(given.into()), lenient, ..Reading::default() })
    };
    let file = folder.join("a");
    fs::write(&file, [0, 0, 1, 0]).unwrap();
    // The last row of the first request can't be used: the row above it ends the request.
    assert_eq!(continues(&open(&file, true).unwrap()), [true, false, false]);
    fs::write(folder.join("a.zst"), zstd::bulk::compress(&[1, 0, 0, 1], 3).unwrap()).unwrap();
    assert_eq!(continues(&open(&folder, true).unwrap()), [false, true, false]);
    for (bytes, expected) in [
        (&[0, 1, 1][..], "byte 3: ends here, but the trace goes on; expected one byte a row"),
        (&[0, 1, 1, 1, 1], "byte 4: goes on, but the trace has 4 rows; expected one byte a row"),
        (&[0, 49, 1, 1], "byte 1: is 0x31; expected 1 for the last row of a request, or 0"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = open(&file, true).unwrap_err().to_string();
        assert!(error.contains("requests.d") && error.ends_with(expected), "{error}");
    }
    fs::rename(&trace, folder.join("b.bin")).unwrap();
    let missing = Trace::open_as(&folder.join("b.bin"), &Reading { group_requests: Some(folder.clone()), ..Reading::default() });
    assert!(missing.unwrap_err().to_string().ends_with("has no file for the trace b; expected one of b.zst, b.gz, b"));
    fs::write(folder.join("t.csv"), "key,page\na,1\nb,1\nc,2\n").unwrap();
    let by = |column: &str| {
        Trace::open_as(&folder.join("t.csv"), &Reading { group_requests: Some(column.into()), ..Reading::default() })
    };
    assert_eq!(continues(&by("page").unwrap()), [true, false, false]);
    assert!(by("pagge").unwrap_err().to_string().ends_with("there is no column \"pagge\" for request; nearest: page, key"));
    let none = Trace::open_as(&folder.join("b.bin"), &Reading { group_requests: Some("pages".into()), ..Reading::default() });
    assert!(none.unwrap_err().to_string().starts_with("pages: is no file; expected one of one byte a row"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn rows_that_do_not_fit_memory_are_told_before_it_runs_out() {
    let lines: String = (0..100_000).map(|line| format!("{}\n", line * 3)).collect();
    let open = |memory| opened_as("a.trc", &lines, &Reading { memory: Some(memory), ..Reading::default() });
    let error = open(1 << 20).unwrap_err();
    assert_eq!(error.place, Place::Line(65_537));
    assert!(
        error.message.starts_with("the 65536 accesses above take ") && error.message.contains(" and 1048576 were free"),
        "{error}"
    );
    // Numbers, times, keys, their index and what is known of each: some 34 bytes a row.
    assert_eq!(open(4 << 20).unwrap().len(), 100_000);
}

#[test]
fn long_keys_are_told_before_they_fill_memory_however_few_they_are() {
    let lines: String = (0..40).map(|line| format!("{line}{}\n", "k".repeat(1 << 16))).collect();
    let text = format!("key\n{lines}");
    let open = |memory| opened_as("a.csv", &text, &Reading { memory: Some(memory), ..Reading::default() });
    assert!(open(1 << 20).unwrap_err().message.contains(" and 1048576 were free"));
    assert_eq!(open(1 << 23).unwrap().len(), 40);
}

#[test]
fn a_format_is_named_and_the_nearest_is_told() {
    assert_eq!(Format::named("meta-kv"), Ok(Format::MetaKv));
    let error = Format::named("twiter").unwrap_err();
    assert!(error.starts_with("\"twiter\" is no format of a trace (nearest: twitter, "), "{error}");
    let reading = Reading { format: Some(Format::Lirs), ..Reading::default() };
    assert_eq!(keys(&opened_as("blocks.csv", "4\n5\n", &reading).unwrap()), ["4", "5"]);
    let error = opened_as("a.trc", "4\n", &Reading { format: Some(Format::Lirs), ..columns("key=1") }).unwrap_err();
    assert!(error.message.starts_with("is no table"), "{error}");
}

#[test]
fn a_converted_trace_is_the_same_or_tells_only_which_keys_agree() {
    let source = opened("a.csv", "time,key,size,owner,request,cost,ttl\n1,ann,10,ann,1,2,\n2,b,20,,1,1,5\n3,ann,10,bob,2,1,\n");
    let target = temporary("converted.fctrace");
    convert::convert(&source, &target, None, None).unwrap();
    let mut same = Trace::open(&target, None).unwrap();
    same.path.clone_from(&source.path);
    assert_eq!(same, source);
    let secret = Secret::from_bytes(b"a secret of more than 16 bytes");
    convert::convert(&source, &target, Some(&secret), Some("to be shared")).unwrap();
    let hashed = Trace::open(&target, None).unwrap();
    fs::remove_file(&target).unwrap();
    assert_eq!((&hashed.ids, &hashed.owners, &hashed.costs), (&source.ids, &source.owners, &source.costs));
    assert_eq!((hashed.facts.hashed, hashed.facts.description.as_str()), (true, "to be shared"));
    assert_eq!(hashed.key(0), Key::Number(secret.hash(b"ann")));
    assert_ne!(*hashed.owner_names()[1], *hashed.key(0).text());
    assert!(hashed.addresses().unwrap_err().message.contains("its keys are secret hashes"));
}

#[test]
fn addresses_are_refused_where_they_tell_nothing_or_the_future() {
    assert_eq!(opened("a.trc", "5\n9\n5\n").addresses().unwrap(), [5, 9]);
    assert!(opened("a.trc", "1\n2\n").addresses().unwrap_err().message.contains("numbered by first appearance"));
    assert!(opened("a.csv", "key\nx\n").addresses().unwrap_err().message.contains("its keys are texts"));
}
