//! Short texts that name things. Ordered maps of names are what the core does most, so a name that is
//! short stands in place, and two of them are compared as three numbers, without a look elsewhere.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// So many bytes stand in place; with their count, and the mark that they do, they fill three words.
const SHORT_MAX: usize = 22;

/// A text that is cheap to clone and to compare. Ordered as text is.
#[derive(Clone)]
pub(crate) struct Name(Repr);

#[derive(Clone)]
enum Repr {
    /// The bytes, padded with zeros, and in the last place how many they are. Texts with a zero byte
    /// are never kept so: then the order of these arrays is that of the texts.
    Short([u8; SHORT_MAX + 1]),
    Long(Arc<str>),
}

impl Name {
    pub(crate) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut short = [0; SHORT_MAX + 1];
        match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(length)) if bytes.len() <= SHORT_MAX && !bytes.contains(&0) => {
                place.copy_from_slice(bytes);
                short[SHORT_MAX] = length;
                Self(Repr::Short(short))
            }
            _ => Self(Repr::Long(text.into())),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short(short) => &short[..usize::from(short[SHORT_MAX])],
            Repr::Long(text) => text.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Short(_) => {
                std::str::from_utf8(self.as_bytes()).expect("it was made of a text, whole")
            }
            Repr::Long(text) => text,
        }
    }
}

/// The array as numbers that order as it does.
fn words(short: &[u8; SHORT_MAX + 1]) -> [u64; 3] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *short;
    let first = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let [a, b, c, d, e, f, g, h, rest @ ..] = rest;
    let second = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let [a, b, c, d, e, f, g] = rest;
    [first, second, u64::from_be_bytes([a, b, c, d, e, f, g, 0])]
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Short(a), Repr::Short(b)) => words(a).cmp(&words(b)),
            (Repr::Short(_) | Repr::Long(_), _) => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Short(a), Repr::Short(b)) => words(a) == words(b),
            // One text is always kept in one way.
            (Repr::Short(_), Repr::Long(_)) | (Repr::Long(_), Repr::Short(_)) => false,
            (Repr::Long(a), Repr::Long(b)) => a == b,
        }
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_ordered_as_their_texts(
            a in "[a-c\0]{0,3}|[a-z0-9.-]{20,26}|\\PC{0,12}",
            b in "[a-c\0]{0,3}|[a-z0-9.-]{20,26}|\\PC{0,12}",
            same in "x{21,25}",
        ) {
            let (one, other) = (Name::new(&a), Name::new(&b));
            prop_assert_eq!(one.as_str(), &a);
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            prop_assert_eq!(one == other, a == b);
            let longer = format!("{same}a");
            prop_assert_eq!(Name::new(&same).cmp(&Name::new(&longer)), Ordering::Less);
        }
    }
}
