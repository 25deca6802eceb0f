//! Key groups: a small number for all keys of one shape.
//!
//! A key belongs to the first pattern that matches it (`*` any run of characters, `?` any one), of those that the user
//! registered; otherwise to its template: the key with every run of digits, every hexadecimal word of eight or more characters
//! and every UUID replaced by `{}`. `user:42:tags` and `user:7:tags` are of the group `user:{}:tags`.

use hashbrown::HashTable;
pub use wildmatch::WildMatch as Pattern;
use xxhash_rust::xxh3::xxh3_64;

/// Groups a store keeps at most; keys of further templates, and of very long ones, are of group 0.
pub const MOST: usize = 4096;
/// Bytes of the longest template that makes a group.
const LONGEST: usize = 128;
const SHORTEST_HEX: usize = 8;
/// Characters of a UUID, and of its first word.
const UUID: usize = 36;
const UUID_HEAD: usize = 8;

/// What holds for all entries of a group unless `set` says otherwise; `None` leaves it to the cache's own default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Class {
    /// Nanoseconds from the write.
    pub time_to_live: Option<u64>,
    /// Nanoseconds from the last access.
    pub time_to_idle: Option<u64>,
}

/// A group and what happened in it.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The pattern or template; empty for group 0.
    pub name: Box<str>,
    /// What its pattern was registered with.
    pub class: Class,
    /// Reads that found an entry.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Entries now.
    pub entries: u64,
    /// Their weight.
    pub weight: u64,
}

/// All groups of a store.
#[derive(Debug)]
pub struct Groups {
    patterns: Vec<Pattern>,
    list: Vec<Group>,
    /// The numbers of templates, by their names.
    templates: HashTable<u16>,
    scratch: String,
    /// The key of a known group that was asked for last, and that group: who misses a key often brings it next.
    last: (String, u16),
}

impl Groups {
    /// Groups with these patterns, the first of which that matches wins.
    pub fn new<'a>(patterns: impl IntoIterator<Item = (&'a str, Class)>) -> Self {
        let mut groups = Groups {
            patterns: Vec::new(),
            list: vec![Group::default()],
            templates: HashTable::new(),
            scratch: String::new(),
            last: (String::new(), 0),
        };
        for (pattern, class) in patterns.into_iter().take(MOST - 1) {
            groups.patterns.push(Pattern::new(pattern));
            groups.list.push(Group { name: pattern.into(), class, ..Group::default() });
        }
        groups
    }

    /// The number of the group of `key`, which is made if it is new.
    pub fn of(&mut self, key: &str) -> u16 {
        if self.last.0 == key && !key.is_empty() {
            return self.last.1;
        }
        self.look_up(key).unwrap_or_else(|hash| {
            if self.list.len() == MOST || self.scratch.len() > LONGEST {
                return 0;
            }
            let number = self.list.len() as u16;
            self.list.push(Group { name: self.scratch.as_str().into(), ..Group::default() });
            let list = &self.list;
            self.templates.insert_unique(hash, number, |&number| xxh3_64(list[number as usize].name.as_bytes()));
            number
        })
    }

    /// The number of the group of `key`, if there is one; what is only asked for makes no group.
    pub fn known(&mut self, key: &str) -> Option<u16> {
        let number = self.look_up(key).ok()?;
        if key.len() <= LONGEST {
            self.last.0.clear();
            self.last.0.push_str(key);
            self.last.1 = number;
        }
        Some(number)
    }

    /// The same; without a group, the hash of the template, which is left in `scratch`.
    fn look_up(&mut self, key: &str) -> Result<u16, u64> {
        if let Some(pattern) = self.patterns.iter().position(|pattern| pattern.matches(key)) {
            return Ok(pattern as u16 + 1);
        }
        if self.patterns.is_empty() && alike(key, &self.last.0) {
            return Ok(self.last.1);
        }
        self.scratch.clear();
        template(key, &mut self.scratch);
        let hash = xxh3_64(self.scratch.as_bytes());
        let named = |&number: &u16| *self.list[number as usize].name == *self.scratch;
        self.templates.find(hash, named).copied().ok_or(hash)
    }

    /// Has a group of that number be there, for who numbers them elsewhere.
    pub fn reach(&mut self, number: u16) {
        self.list.resize(self.list.len().max(usize::from(number) + 1), Group::default());
    }

    /// The group of that number.
    #[inline]
    pub fn get(&mut self, number: u16) -> &mut Group {
        &mut self.list[number as usize]
    }

    /// All groups, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.list.iter()
    }
}

const WORD: u8 = 1;
const DIGIT: u8 = 2;
/// Is no hexadecimal digit.
const NO_HEX: u8 = 4;

/// What each byte is: a part of a word (ASCII letters and digits) or not, a digit, no hexadecimal digit.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        classes[byte] = if c.is_ascii_digit() {
            WORD | DIGIT
        } else if c.is_ascii_hexdigit() {
            WORD
        } else if c.is_ascii_alphabetic() {
            WORD | NO_HEX
        } else {
            0
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES[byte as usize]
}

/// Whether two keys differ in no more than which digits they have, and so are sure to have one template; nothing is alike nothing.
fn alike(one: &str, other: &str) -> bool {
    let byte = |(one, other): (&u8, &u8)| one == other || one.is_ascii_digit() && other.is_ascii_digit();
    // Most of two such keys is equal: that is seen many bytes at a time.
    let piece = |(one, other): (&[u8], &[u8])| one == other || one.iter().zip(other).all(byte);
    let pieces = |key| <[u8]>::chunks(key, size_of::<u64>());
    one.len() == other.len() && !one.is_empty() && pieces(one.as_bytes()).zip(pieces(other.as_bytes())).all(piece)
}

/// Appends the template of `key` to `out`: what lies between two holes in one piece.
fn template(key: &str, out: &mut String) {
    let bytes = key.as_bytes();
    let (mut at, mut copied) = (0, 0);
    let mut hole = |from: usize, to: usize| {
        out.push_str(&key[copied..from]);
        out.push_str("{}");
        copied = to;
    };
    while at < bytes.len() {
        let (start, mut seen) = (at, 0);
        while at < bytes.len() && class(bytes[at]) != 0 {
            seen |= class(bytes[at]);
            at += 1;
        }
        if at - start == UUID_HEAD && is_uuid(&bytes[start..]) {
            at = start + UUID;
            hole(start, at);
        } else if seen & (DIGIT | NO_HEX) == DIGIT && at - start >= SHORTEST_HEX {
            hole(start, at);
        } else if seen & DIGIT != 0 {
            digits(&bytes[start..at], |from, to| hole(start + from, start + to));
        }
        while at < bytes.len() && class(bytes[at]) == 0 {
            at += 1;
        }
    }
    out.push_str(&key[copied..]);
}

/// Where runs of digits begin and end.
fn digits(word: &[u8], mut run: impl FnMut(usize, usize)) {
    let mut at = 0;
    while at < word.len() {
        let start = at;
        while at < word.len() && word[at].is_ascii_digit() {
            at += 1;
        }
        if at > start {
            run(start, at);
        } else {
            at += 1;
        }
    }
}

/// Whether `bytes` begin with a UUID that ends there.
fn is_uuid(bytes: &[u8]) -> bool {
    let dashes = [8, 13, 18, 23];
    bytes.len() >= UUID
        && (0..UUID).all(|at| if dashes.contains(&at) { bytes[at] == b'-' } else { bytes[at].is_ascii_hexdigit() })
        && !bytes.get(UUID).is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn template_of(key: &str) -> String {
        let mut out = String::new();
        template(key, &mut out);
        out
    }

    #[test]
    fn what_varies_becomes_a_hole() {
        for (key, expected) in [
            ("user:42:tags", "user:{}:tags"),
            ("vm-001-disk2", "vm-{}-disk{}"),
            ("session:5f2b9c1e8d4a", "session:{}"),
            ("deadbeef", "deadbeef"),
            ("facade12", "{}"),
            ("o:123e4567-e89b-12d3-a456-426614174000:x", "o:{}:x"),
            ("o:123e4567-e89b-12d3-a456-4266141740001", "o:{}-e{}b-{}d{}-a{}-{}"),
            ("größe:10€7", "größe:{}€{}"),
            ("", ""),
        ] {
            assert_eq!(template_of(key), expected, "{key}");
        }
    }

    proptest! {
        #[test]
        fn keys_that_are_alike_have_one_template(one in "[a-f0-9:g-]{0,40}", digits in "[0-9]{40}") {
            let mut digits = digits.chars();
            let other: String = one.chars().map(|c| if c.is_ascii_digit() { digits.next().unwrap() } else { c }).collect();
            prop_assert_eq!(alike(&one, &other), !one.is_empty());
            prop_assert_eq!(template_of(&one), template_of(&other));
            let mut groups = Groups::new([]);
            let group = groups.of(&one);
            prop_assert_eq!((groups.known(&one), groups.known(&other)), (Some(group), Some(group)));
        }
    }

    #[test]
    fn patterns_come_before_templates_and_the_first_wins() {
        let minute = Class { time_to_live: Some(60), time_to_idle: None };
        let mut groups = Groups::new([("user:*:token", minute), ("user:*", Class::default())]);
        assert_eq!(groups.of("user:7:token"), 1);
        assert_eq!(groups.of("user:7"), 2);
        assert_eq!(groups.get(1).class, minute);
        assert_eq!(groups.of("page:1"), groups.of("page:2"));
        assert_eq!(&*groups.get(3).name, "page:{}");
    }

    #[test]
    fn what_was_asked_for_last_is_told_from_what_is_asked_now() {
        let mut groups = Groups::new([("user:*", Class::default())]);
        let page = groups.of("page:1");
        for (key, group) in [("page:1", page), ("user:1", 1), ("user:1", 1), ("page:1", page), ("page:12", page)] {
            assert_eq!((groups.known(key), groups.of(key)), (Some(group), group));
            assert_eq!(groups.of("user:1"), 1);
        }
        assert_eq!(groups.known("disk:1"), None);
        assert_eq!(Some(groups.of("disk:1")), groups.known("disk:1"));
        assert_eq!((groups.known(""), groups.of("")), (None, page + 2));
    }

    #[test]
    fn templates_beyond_the_most_share_group_0() {
        let mut groups = Groups::new([]);
        for number in 0..2 * MOST {
            let name: String = format!("{number:b}").chars().map(|c| if c == '1' { 'x' } else { 'y' }).collect();
            let group = groups.of(&name);
            assert_eq!(group == 0, number >= MOST - 1, "{number}");
        }
    }
}
