//! Which of two versions is newer, as the boot loader sorts its entries.
//!
//! The comparison of the Version Format Specification,
//! <https://uapi-group.org/specifications/specs/version_format_specification/>, which the
//! boot loader uses: an upgrade has to be newer by the same rule, or it is never started.

use std::cmp::Ordering;

/// Compares two versions.
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        one = skip_ignored(one);
        other = skip_ignored(other);
        // A tilde comes even before the end, the end before all others.
        for separator in b"~-^." {
            if *separator != b'~' && (one.is_empty() || other.is_empty()) {
                return one.len().cmp(&other.len());
            }
            let [left, right] = [one, other].map(|rest| rest.strip_prefix(&[*separator]));
            match (left, right) {
                (Some(left), Some(right)) => (one, other) = (left, right),
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
                (None, None) => {}
            }
        }
        let digits = [one, other].map(|rest| rest.first().is_some_and(u8::is_ascii_digit));
        let (order, lengths) = if digits.contains(&true) {
            // A number is newer than a word.
            if digits != [true, true] {
                return digits[0].cmp(&digits[1]);
            }
            let [left, right] = [one, other].map(|rest| prefix(rest, u8::is_ascii_digit));
            let [plain_left, plain_right] = [left, right].map(without_zeros);
            let order = (plain_left.len(), plain_left).cmp(&(plain_right.len(), plain_right));
            (order, [left.len(), right.len()])
        } else {
            let [left, right] = [one, other].map(|rest| prefix(rest, u8::is_ascii_alphabetic));
            (left.cmp(right), [left.len(), right.len()])
        };
        if order.is_ne() {
            return order;
        }
        one = &one[lengths[0]..];
        other = &other[lengths[1]..];
    }
}

/// What is neither letter nor digit nor separator does not count.
fn skip_ignored(text: &[u8]) -> &[u8] {
    let counts = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    let start = text.iter().position(counts).unwrap_or(text.len());
    &text[start..]
}

fn prefix(text: &[u8], belongs: fn(&u8) -> bool) -> &[u8] {
    let end = text.iter().position(|byte| !belongs(byte));
    &text[..end.unwrap_or(text.len())]
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != b'0');
    &digits[start.unwrap_or(digits.len())..]
}

#[cfg(test)]
mod tests {
    use super::compare_versions;
    use std::cmp::Ordering;

    #[test]
    fn versions_sort_as_the_specification_has_them() {
        // From old to new.
        let sorted = [
            "0.1.0-202611261432-ffffffff",
            "0.1.0-202611261432-1a2b3c4d",
            "0.1.0-202612010000-00000000",
            "0.1.1~rc1",
            "0.1.1",
            "0.1.1-1",
            "0.1.1^post",
            "0.1.1.1",
            "0.2",
            "0.10",
            "1.0",
            "1.0.1",
            "1a",
            "10.a",
            "10.1",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (place, other) in sorted.iter().enumerate() {
                assert_eq!(
                    compare_versions(one, other),
                    at.cmp(&place),
                    "{one} {other}"
                );
            }
        }
        for (one, other) in [("1.01", "1.1"), ("", ""), ("1.0_", "1.0")] {
            assert_eq!(
                compare_versions(one, other),
                Ordering::Equal,
                "{one} {other}"
            );
        }
    }
}
