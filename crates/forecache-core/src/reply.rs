//! Replies in Redis's protocol, taken apart where they lie.

/// Why a reply isn't taken apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// There is more to come.
    More,
    /// It is an error, say, or has a long value: others read it.
    Unusual,
}

/// The strings of a reply, an array of `count` of them, each of which may be absent, and none of which has `large` bytes or more.
pub fn strings(mut bytes: &[u8], count: usize, large: usize) -> Result<Vec<Option<&[u8]>>, Stop> {
    if header(&mut bytes, b'*')? != count as i64 {
        return Err(Stop::Unusual);
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(string(&mut bytes, large)?);
    }
    if bytes.is_empty() { Ok(values) } else { Err(Stop::Unusual) }
}

fn string<'a>(bytes: &mut &'a [u8], large: usize) -> Result<Option<&'a [u8]>, Stop> {
    let Ok(length) = usize::try_from(header(bytes, b'$')?) else { return Ok(None) };
    if length >= large {
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
    if count > LONGEST {
        return Err(Stop::Unusual);
    }
    let number = digits[..count].iter().fold(0, |sum: i64, digit| sum * 10 + i64::from(digit - b'0'));
    match &digits[count..] {
        [] | [b'\r'] => Err(Stop::More),
        [b'\r', b'\n', rest @ ..] if count > 0 => {
            *bytes = rest;
            Ok(if minus { -number } else { number })
        }
        _ => Err(Stop::Unusual),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LARGE: usize = 100;
    const REPLY: &[u8] = b"*3\r\n$2\r\nab\r\n$-1\r\n$0\r\n\r\n";

    #[test]
    fn a_whole_reply_has_its_strings() {
        assert_eq!(strings(REPLY, 3, LARGE), Ok(vec![Some(&b"ab"[..]), None, Some(&b""[..])]));
    }

    #[test]
    fn a_reply_that_was_cut_off_has_more_to_come_wherever_it_was() {
        for end in 0..REPLY.len() {
            assert_eq!(strings(&REPLY[..end], 3, LARGE), Err(Stop::More), "{end}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_others() {
        let more = [REPLY, b"+"].concat();
        let long = format!("*3\r\n${LARGE}\r\n");
        for reply in [
            &more[..],
            b"-ERR no\r\n",
            b"*2\r\n",
            b"*-1\r\n",
            b"*3\r\n:1\r\n",
            b"*3\r\n$x\r\n",
            b"*3\n",
            b"*9223372036854775809\r\n",
            long.as_bytes(),
        ] {
            assert_eq!(strings(reply, 3, LARGE), Err(Stop::Unusual), "{reply:?}");
        }
        assert_eq!(strings(&[b'*'; 30], 3, LARGE), Err(Stop::Unusual));
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_breaks(reply in "[*$:+0-9\r\n-]{0,40}", count in 0usize..4) {
            if let Ok(values) = strings(reply.as_bytes(), count, LARGE) {
                prop_assert_eq!(values.len(), count);
            }
        }
    }
}
