//! Whole numbers in as few bytes as they need: seven bits a byte, the lowest first, the high bit set on all but the last.

/// Appends `number`.
pub fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front of `bytes`; `None` if it is cut off or larger than 64 bits.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7F);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Appends a text: its length, then its bytes.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    push(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Takes a text; `None` if it is cut off or no UTF-8.
pub fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

/// How far it is from one number to another, small in both directions.
pub fn step(from: u64, to: u64) -> u64 {
    let distance = to.wrapping_sub(from) as i64;
    (distance << 1 ^ distance >> 63) as u64
}

/// Where a step leads.
pub fn stepped(from: u64, step: u64) -> u64 {
    from.wrapping_add(step >> 1 ^ 0u64.wrapping_sub(step & 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_steps_come_back(from: u64, to: u64, cut in 0usize..10) {
            let mut bytes = Vec::new();
            push(&mut bytes, step(from, to));
            let length = bytes.len();
            prop_assert_eq!(take(&mut bytes.as_slice()).map(|step| stepped(from, step)), Some(to));
            if cut < length {
                prop_assert_eq!(take(&mut &bytes[..cut]), None);
            }
        }
    }
}
