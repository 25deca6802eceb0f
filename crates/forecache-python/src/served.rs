//! Values as a server keeps them, for Python: a head that scripts on the server read too, and the record of an entry.
//!
//! The head is the generation of the namespace (12 bytes, the first 4 of which say that the value is ours), the version, and the time
//! from which on the entry isn't there any more (both `u64`, little-endian; milliseconds since 1970).

use crate::envelope::{Entry, LARGE};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

const HEAD: usize = 28;
const OURS: usize = 4;
const GENERATION: usize = 12;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Keys of Python's.
type Keys<'py> = Vec<Bound<'py, PyString>>;

/// Those of a list, without the detours that a sequence of any kind takes.
fn listed<'py>(keys: &Bound<'py, PyList>) -> PyResult<Keys<'py>> {
    keys.iter().map(|key| Ok(key.cast_into()?)).collect()
}

/// What is sent to a Redis server to ask for the generation and the values of keys: `MGET` of `base` and `g`, and of `base`, `k:` and each key.
#[pyfunction]
fn ask_served<'py>(py: Python<'py>, base: &[u8], keys: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
    let mut sent = Vec::with_capacity(64 + keys.len() * (base.len() + 48));
    push_header(&mut sent, b'*', keys.len() + 2);
    sent.extend_from_slice(b"$4\r\nMGET\r\n");
    push_string(&mut sent, &[base, b"g"]);
    for key in keys.iter() {
        push_string(&mut sent, &[base, b"k:", key.cast::<PyString>()?.to_str()?.as_bytes()]);
    }
    Ok(PyBytes::new(py, &sent))
}

/// A string in Redis's protocol, of pieces in a row.
fn push_string(sent: &mut Vec<u8>, pieces: &[&[u8]]) {
    push_header(sent, b'$', pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| sent.extend_from_slice(piece));
    sent.extend_from_slice(b"\r\n");
}

fn push_header(sent: &mut Vec<u8>, kind: u8, mut number: usize) {
    let mut line = [0; 24];
    let mut start = line.len() - 2;
    line[start..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        line[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line[start - 1] = kind;
    sent.extend_from_slice(&line[start - 1..]);
}

/// The live entries by their keys, those that nobody reads for a while leave, and the keys whose values are damaged or somebody else's.
#[derive(IntoPyObject)]
struct Served<'py>(Bound<'py, PyDict>, Keys<'py>, Keys<'py>);

impl<'py> Served<'py> {
    fn new(py: Python<'py>) -> Self {
        Served(PyDict::new(py), Vec::new(), Vec::new())
    }

    /// Sees to what a server has under a key. With a `version` that counts, and not the head's.
    fn add(
        &mut self,
        namespace: &str,
        key: Bound<'py, PyString>,
        value: &[u8],
        (generation, now, version): (&[u8], u64, Option<u64>),
    ) -> PyResult<()> {
        let Served(found, idle, damaged) = self;
        if value.len() < HEAD || generation.len() != GENERATION || value[..OURS] != generation[..OURS] {
            damaged.push(key);
        } else if value[..GENERATION] == *generation && now < number(&value[GENERATION + 8..HEAD]) {
            match Entry::open(key.py(), namespace, key.to_str()?, &value[HEAD..]) {
                Ok(mut entry) => {
                    entry.version = version.unwrap_or_else(|| number(&value[GENERATION..GENERATION + 8]));
                    if entry.time_to_idle.is_some() {
                        idle.push(key.clone());
                    }
                    found.set_item(&key, Py::new(key.py(), entry)?)?;
                }
                Err(_) => damaged.push(key),
            }
        }
        Ok(())
    }
}

/// What there is of `values`. What isn't there is None, and what has another generation was cleared. Nothing is told of more bytes than
/// `most`. With `versions` those count, and not the heads'.
#[pyfunction]
#[pyo3(signature = (namespace, keys, values, generation, now, most=usize::MAX, versions=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments are the interface")]
fn open_served<'py>(
    py: Python<'py>,
    namespace: &str,
    keys: Keys<'py>,
    values: Vec<Bound<'py, PyAny>>,
    generation: &[u8],
    now: u64,
    most: usize,
    versions: Option<Vec<u64>>,
) -> PyResult<Option<Served<'py>>> {
    let bytes = |value: &Bound<'py, PyAny>| value.cast::<PyBytes>().map_or(0, |value| value.as_bytes().len());
    if values.iter().map(bytes).sum::<usize>() > most {
        return Ok(None);
    }
    let mut served = Served::new(py);
    for (at, (key, value)) in keys.into_iter().zip(values).enumerate() {
        if value.is_none() {
            continue;
        }
        match value.cast::<PyBytes>() {
            Ok(value) => {
                let version = versions.as_ref().and_then(|versions| versions.get(at)).copied();
                served.add(namespace, key, value.as_bytes(), (generation, now, version))?;
            }
            Err(_) => served.2.push(key),
        }
    }
    Ok(Some(served))
}

/// The same of the reply to `ask_served` as it came, of which `buffer` holds `size` bytes: it saves an object and a copy a value. False:
/// there is more to come. None: something is unusual, such as an error or a long value, and the reply is to be read by other means.
///
/// Nobody may write to the buffer meanwhile.
#[pyfunction]
fn open_reply<'py>(
    py: Python<'py>,
    namespace: &str,
    keys: &Bound<'py, PyList>,
    buffer: PyBuffer<u8>,
    size: usize,
    now: u64,
) -> PyResult<Bound<'py, PyAny>> {
    if !buffer.is_c_contiguous() || size == 0 || size > buffer.len_bytes() {
        return Err(PyBufferError::new_err(format!("{size} bytes were asked for of a buffer of {}", buffer.len_bytes())));
    }
    // SAFETY: the buffer is of one piece, has so many bytes, and stays where it is as long as `buffer` holds it. Nobody writes to it, by
    // the caller's word: it is that of a connection which this thread alone has in hand.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), size) };
    let values = match taken_apart(bytes, keys.len() + 1) {
        Ok(values) => values,
        Err(Stop::More) => return Ok(false.into_pyobject(py)?.to_owned().into_any()),
        Err(Stop::Unusual) => return Ok(py.None().into_bound(py)),
    };
    let mut served = Served::new(py);
    if let Some((Some(generation), values)) = values.split_first() {
        for (key, value) in listed(keys)?.into_iter().zip(values) {
            if let Some(value) = value {
                served.add(namespace, key, value, (generation, now, None))?;
            }
        }
    }
    Ok(served.into_pyobject(py)?.into_any())
}

/// Why a reply isn't taken apart here.
#[derive(Debug, PartialEq)]
enum Stop {
    More,
    Unusual,
}

/// The strings of a reply in Redis's protocol, an array of `count` of them, each of which may be absent.
fn taken_apart(mut bytes: &[u8], count: usize) -> Result<Vec<Option<&[u8]>>, Stop> {
    if header(&mut bytes, b'*')? != count as i64 {
        return Err(Stop::Unusual);
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(string(&mut bytes)?);
    }
    if bytes.is_empty() { Ok(values) } else { Err(Stop::Unusual) }
}

fn string<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Stop> {
    let Ok(length) = usize::try_from(header(bytes, b'$')?) else { return Ok(None) };
    if length >= LARGE {
        return Err(Stop::Unusual);
    }
    let (value, rest) = bytes.split_at_checked(length).ok_or(Stop::More)?;
    *bytes = rest.get(2..).ok_or(Stop::More)?;
    Ok(Some(value))
}

/// The number in a line that begins with `kind`.
fn header(bytes: &mut &[u8], kind: u8) -> Result<i64, Stop> {
    /// Digits of numbers that may be lengths here; a longer one is unusual.
    const LONGEST: usize = 18;
    let (first, line) = bytes.split_first().ok_or(Stop::More)?;
    if *first != kind {
        return Err(Stop::Unusual);
    }
    let minus = line.first() == Some(&b'-');
    let digits = &line[usize::from(minus)..];
    let count = digits.iter().take(LONGEST + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let number = digits[..count].iter().fold(0, |sum: i64, digit| sum.wrapping_mul(10) + i64::from(digit - b'0'));
    match &digits[count..] {
        _ if count > LONGEST => Err(Stop::Unusual),
        [] | [b'\r'] => Err(Stop::More),
        [b'\r', b'\n', rest @ ..] if count > 0 => {
            *bytes = rest;
            Ok(if minus { -number } else { number })
        }
        _ => Err(Stop::Unusual),
    }
}

/// Adds what this file offers.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ask_served, module)?)?;
    module.add_function(wrap_pyfunction!(open_reply, module)?)?;
    module.add_function(wrap_pyfunction!(open_served, module)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"*3\r\n$2\r\nab\r\n$-1\r\n$0\r\n\r\n";

    #[test]
    fn a_whole_reply_has_its_strings() {
        assert_eq!(taken_apart(REPLY, 3), Ok(vec![Some(&b"ab"[..]), None, Some(&b""[..])]));
    }

    #[test]
    fn a_reply_that_was_cut_off_has_more_to_come_wherever_it_was() {
        for end in 0..REPLY.len() {
            assert_eq!(taken_apart(&REPLY[..end], 3), Err(Stop::More), "{end}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_others() {
        let more = [REPLY, b"+"].concat();
        let long = format!("*3\r\n${LARGE}\r\n");
        for reply in
            [&more[..], b"-ERR no\r\n", b"*2\r\n", b"*-1\r\n", b"*3\r\n:1\r\n", b"*3\r\n$x\r\n", b"*3\n", long.as_bytes()]
        {
            assert_eq!(taken_apart(reply, 3), Err(Stop::Unusual), "{reply:?}");
        }
        assert_eq!(taken_apart(&[b'*'; 30], 3), Err(Stop::Unusual));
    }
}
