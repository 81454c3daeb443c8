//! What the store says as schedulers take it in. All of them are told the same texts again and again,
//! in watches and in every snapshot: while a text is what it was, its key is taken apart once, and the
//! first scheduler that reads it reads it for all (`Value::shared`).

use std::collections::BTreeMap;

use berth_core::io::{Stored, Value};
use berth_core::{Key, StoreRevision};
use berth_kv as kv;
use bytes::Bytes;

/// The last text of each key.
#[derive(Debug, Default)]
pub(super) struct Texts {
    of: BTreeMap<Bytes, Text>,
}

#[derive(Debug)]
struct Text {
    /// The very bytes that the store holds. While they are held here, nothing else can be where
    /// they are.
    bytes: Bytes,
    key: Key,
    value: Value,
}

impl Text {
    fn at(&self, revision: i64) -> Stored {
        Stored {
            key: self.key.clone(),
            value: Some(self.value.clone()),
            mod_revision: StoreRevision(revision),
        }
    }
}

impl Texts {
    /// A record as a scheduler takes it in; `None` if it is not of the layout, or no text.
    pub(super) fn stored(&mut self, kv: &kv::KeyValue) -> Option<Stored> {
        if let Some(text) = self.of.get(&kv.key)
            && is_same(&text.bytes, &kv.value)
        {
            return Some(text.at(kv.mod_revision));
        }
        let key = Key::parse(std::str::from_utf8(&kv.key).ok()?)?;
        let value = Value::shared(std::str::from_utf8(&kv.value).ok()?);
        let text = Text {
            bytes: kv.value.clone(),
            key,
            value,
        };
        let stored = text.at(kv.mod_revision);
        self.of.insert(kv.key.clone(), text);
        Some(stored)
    }

    /// Many records, in the order of their keys, as one page of the store has them.
    pub(super) fn page(&mut self, page: &[kv::KeyValue]) -> Vec<Option<Stored>> {
        let Some(first) = page.first() else {
            return Vec::new();
        };
        // Both are in order: what is known is walked along once, not looked up each time.
        let mut known = self.of.range(first.key.clone()..).peekable();
        let mut stored: Vec<Option<Stored>> = Vec::with_capacity(page.len());
        let mut unknown = Vec::new();
        for (at, kv) in page.iter().enumerate() {
            while known.next_if(|(key, _)| **key < kv.key).is_some() {}
            let text = known.next_if(|(key, _)| **key == kv.key);
            let text = text.filter(|(_, text)| is_same(&text.bytes, &kv.value));
            stored.push(text.map(|(_, text)| text.at(kv.mod_revision)));
            if text.is_none() {
                unknown.push(at);
            }
        }
        for at in unknown {
            stored[at] = self.stored(&page[at]);
        }
        stored
    }

    /// What the store holds no more is forgotten.
    pub(super) fn forget(&mut self) {
        self.of.retain(|_, text| !text.bytes.is_unique());
    }

    /// How many are kept.
    pub(super) fn size(&self) -> usize {
        self.of.len()
    }
}

/// The same bytes at the same place.
fn is_same(one: &Bytes, other: &Bytes) -> bool {
    std::ptr::eq(one.as_ptr(), other.as_ptr()) && one.len() == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &'static str, value: &Bytes) -> kv::KeyValue {
        kv::KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            value: value.clone(),
            create_revision: 1,
            mod_revision: 2,
            version: 1,
            lease: kv::LeaseId(0),
        }
    }

    #[test]
    fn a_new_text_takes_the_place_of_the_old_one() {
        let mut texts = Texts::default();
        let (old, new) = (Bytes::from(b"{}".to_vec()), Bytes::from(b"[]".to_vec()));
        for bytes in [&old, &old, &new, &old] {
            let stored = texts.stored(&kv("/nodes/n", bytes)).unwrap();
            assert_eq!(stored.value.as_deref().map(str::as_bytes), Some(&bytes[..]));
            assert_eq!(stored.mod_revision, StoreRevision(2));
        }
        assert_eq!(texts.size(), 1);
    }

    #[test]
    fn a_page_says_what_each_of_its_records_says() {
        let bytes: Vec<Bytes> = ["{}", "[]", "1", "2"].map(Bytes::from).into();
        let keys = ["/elsewhere", "/nodes/a", "/nodes/b", "/nodes/d"];
        let page: Vec<_> = keys
            .iter()
            .zip(&bytes)
            .map(|(key, it)| kv(key, it))
            .collect();
        let mut texts = Texts::default();
        // One is known, one was another, one is not on the page, and one stands before it.
        for (key, at) in [("/nodes/a", 1), ("/nodes/b", 0), ("/nodes/c", 0), ("/a", 0)] {
            texts.stored(&kv(key, &bytes[at]));
        }
        let mut one_by_one = Texts::default();
        let wanted: Vec<_> = page.iter().map(|kv| one_by_one.stored(kv)).collect();
        assert_eq!(texts.page(&page), wanted);
        assert_eq!(texts.page(&page), wanted);
        assert_eq!(texts.page(&[]), []);
    }

    #[test]
    fn what_the_store_holds_is_kept_and_nothing_else() {
        let mut texts = Texts::default();
        let (kept, gone) = (Bytes::from(b"{}".to_vec()), Bytes::from(b"{}".to_vec()));
        texts.stored(&kv("/nodes/a", &kept)).unwrap();
        texts.stored(&kv("/nodes/b", &gone)).unwrap();
        drop(gone);
        texts.forget();
        assert_eq!(texts.size(), 1);
        assert!(texts.of.contains_key(&b"/nodes/a"[..]));
    }

    #[test]
    fn what_is_no_record_is_none() {
        let mut texts = Texts::default();
        let no_text = Bytes::from(vec![0xff]);
        assert_eq!(texts.stored(&kv("/nodes/n", &no_text)), None);
        assert_eq!(
            texts.stored(&kv("/elsewhere", &Bytes::from(b"{}".to_vec()))),
            None
        );
        assert_eq!(texts.size(), 0);
    }
}
