//! What the columns of a table hold.

/// What a column can be read as, and the names by which it is found if the user names none. The word that stands first is the one
/// that users write. What stands behind [`GIVEN`] is for published tables only.
const FIELDS: [(&str, &[&str]); 12] = [
    ("key", &["key", "id", "obj_id", "object_id", "object", "obj", "key_id", "lbn"]),
    ("size", &["size", "bytes", "obj_size", "object_size", "value_size", "length"]),
    ("time", &["time", "ts", "timestamp", "time_s", "time_ms", "time_us", "time_ns", "clock_time"]),
    ("op", &["op", "operation", "verb", "method"]),
    ("ttl", &["ttl", "ttl_s", "ttl_ms", "ttl_us", "ttl_ns", "time_to_live"]),
    ("owner", &["owner", "tenant", "user", "client", "client_id"]),
    ("request", &["request", "request_id", "req_id"]),
    ("cost", &["cost"]),
    ("key_size", &[]),
    ("count", &[]),
    ("offset", &[]),
    ("shard", &[]),
];
pub(super) const KEY: usize = 0;
pub(super) const SIZE: usize = 1;
pub(super) const TIME: usize = 2;
pub(super) const OP: usize = 3;
pub(super) const TTL: usize = 4;
pub(super) const OWNER: usize = 5;
pub(super) const REQUEST: usize = 6;
pub(super) const COST: usize = 7;
/// Bytes of the key, where the size is that of the value alone.
pub(super) const KEY_SIZE: usize = 8;
/// How often the row stands for itself.
pub(super) const COUNT: usize = 9;
/// Where in a block a read begins, and which of the block's pieces it is.
pub(super) const OFFSET: usize = 10;
pub(super) const SHARD: usize = 11;
const GIVEN: usize = 10;

/// The place of each field's column.
pub(super) type Places = [Option<usize>; FIELDS.len()];

/// Which column holds what: `key=id,size=bytes`. What isn't named is found by its usual names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    names: [Option<String>; FIELDS.len()],
}
impl Columns {
    /// The fields that can be given.
    pub fn fields() -> impl Iterator<Item = &'static str> {
        FIELDS[..GIVEN].iter().map(|(field, _)| *field)
    }

    /// Has `field` read from the column called `name`. Says what is wrong if there is no such field.
    pub fn set(&mut self, field: &str, name: &str) -> Result<(), String> {
        let Some(number) = Self::fields().position(|known| known == field) else {
            let allowed: Vec<&str> = Self::fields().collect();
            let nearest = nearest(field, &allowed);
            return Err(format!("{field:?} is no field of a trace (nearest: {nearest}); expected one of {}", allowed.join(", ")));
        };
        self.names[number] = Some(name.trim().into());
        Ok(())
    }

    /// Reads `field=column,…`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut columns = Columns::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, name) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not field=column, as in key=id,size=bytes"))?;
            columns.set(field.trim(), name)?;
        }
        Ok(columns)
    }

    /// Whether they are told by their numbers alone, as in a table without a line of names.
    pub(super) fn are_numbers(&self) -> bool {
        let mut given = self.names.iter().flatten().peekable();
        given.peek().is_some() && given.all(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// The place of each field's column among those that there are. A published table's columns are `known`; others have usual names.
    pub(super) fn places(&self, there: &[&str], known: Option<&[(usize, &str)]>) -> Result<Places, String> {
        let at = |name: &str| there.iter().position(|column| column.eq_ignore_ascii_case(name));
        let mut places = [None; FIELDS.len()];
        for (number, (field, usual)) in FIELDS.iter().enumerate() {
            places[number] = match (&self.names[number], known) {
                (Some(name), _) => match there.iter().position(|column| column == name) {
                    Some(place) => Some(place),
                    None => {
                        return Err(format!("there is no column {name:?} for {field}; nearest: {}", nearest(name, there)));
                    }
                },
                (None, Some(known)) => known.iter().find(|(field, _)| *field == number).and_then(|(_, name)| at(name)),
                (None, None) => usual.iter().find_map(|name| at(name)),
            };
        }
        if places[KEY].is_none() {
            let all = there.join(", ");
            return Err(format!(
                "no column is known for the key; name it, as in key=id, or number them, as in key=5,size=4, if no line has names. There are: {all}"
            ));
        }
        if places[TTL].is_some() && places[TIME].is_none() {
            if known.is_none() {
                return Err("there are times to live, but no column of times to count them from; name it, as in time=ts".into());
            }
            places[TTL] = None;
        }
        Ok(places)
    }
}

/// Whether a cell is what columns of keys are called.
pub(super) fn calls_a_key(cell: &str) -> bool {
    FIELDS[KEY].1.iter().any(|name| cell.eq_ignore_ascii_case(name))
}

/// The three of `all` that are most like `name`.
pub(super) fn nearest(name: &str, all: &[&str]) -> String {
    let mut sorted = all.to_vec();
    sorted.sort_by_key(|other| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase()));
    sorted.truncate(3);
    sorted.join(", ")
}
