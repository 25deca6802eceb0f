//! How an entry stands with its policy: what is noted of one that leaves, and what people are told of one that may.

/// What a policy knows of an entry. What it makes of that, [`Inspect::words`](super::Inspect::words) says, later too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// What the entry is worth to the policy; NaN where it weighs none.
    pub worth: f32,
    /// Requests since it was last used; 0 where the policy counts none.
    pub age: u32,
    /// The policy's own: a class, or a queue.
    pub class: u16,
    /// Hits that are counted, at most 255.
    pub uses: u8,
}

impl Standing {
    /// Of a policy that weighs no entries: the queue, and the hits.
    pub(super) fn queued(class: u16, hits: u64) -> Self {
        Standing { worth: f32::NAN, age: 0, class, uses: hits.min(255) as u8 }
    }

    /// How often it was used since it was first seen, and when, in words; of a policy that counts `most` hits.
    pub(super) fn used(&self, most: u8) -> String {
        let times = match self.uses {
            0 => "once".into(),
            uses if uses >= most => format!("more than {most} times"),
            uses => format!("{} times", u32::from(uses) + 1),
        };
        format!("used {times}, {}", if self.age == 0 { "just now".into() } else { format!("{} ago", requests(self.age)) })
    }
}

/// So many hits, in words.
pub(super) fn hits(hits: u8) -> String {
    match hits {
        0 => "no hit".into(),
        1 => "1 hit".into(),
        255 => "255 hits or more".into(),
        _ => format!("{hits} hits"),
    }
}

/// So many requests, in words.
pub(super) fn requests(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text + if number == 1 { " request" } else { " requests" }
}

/// A chance, in words.
pub(super) fn percent(chance: f32) -> String {
    match chance * 100.0 {
        percent if percent < 0.1 => "less than 0.1 %".into(),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_write_them() {
        assert_eq!(
            [1, 999, 1000, 40_000, 1_234_567].map(requests)[..],
            ["1 request", "999 requests", "1,000 requests", "40,000 requests", "1,234,567 requests"]
        );
        assert_eq!([0.0, 0.0123, 0.4567, 1.0].map(percent)[..], ["less than 0.1 %", "1.2 %", "46 %", "100 %"]);
        let standing = |uses, age| Standing { worth: 0.0, age, class: 0, uses };
        assert_eq!(standing(0, 0).used(255), "used once, just now");
        assert_eq!(standing(2, 1).used(255), "used 3 times, 1 request ago");
        assert_eq!(standing(127, 40_000).used(127), "used more than 127 times, 40,000 requests ago");
    }
}
