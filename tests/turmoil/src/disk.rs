//! The disk below the store: it outlives the store's host, and forgets what was not synced when
//! the power fails.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_store::StorageBackend;

/// A disk, as it is plugged into a host; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    platter: Arc<Mutex<Platter>>,
    /// How often the power had failed when it was plugged in.
    plugged: u64,
}

#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    failures: u64,
    /// What stood there before each write since the last sync, newest last.
    undo: Vec<Undo>,
}

#[derive(Debug)]
enum Undo {
    Bytes(usize, Vec<u8>),
    /// The length; and what was cut off.
    Length(usize, Vec<u8>),
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, for a host that starts.
    #[must_use]
    pub fn plug_in(&self) -> Self {
        let plugged = self.lock().failures;
        Self {
            platter: Arc::clone(&self.platter),
            plugged,
        }
    }

    /// What is on it now: a backup, if nothing writes.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// It has what is on this backup, and nothing else. Whoever has it plugged in changes nothing more.
    pub fn restore(&self, image: &[u8]) {
        let mut platter = self.lock();
        platter.failures += 1;
        platter.undo.clear();
        platter.bytes = image.to_vec();
    }

    /// To be changed by whoever has power.
    fn powered(&self) -> Option<MutexGuard<'_, Platter>> {
        let platter = self.lock();
        (platter.failures == self.plugged).then_some(platter)
    }

    /// Everything since the last sync is lost, and whoever has it plugged in changes nothing more:
    /// what runs while a host is torn down is not part of its world.
    pub fn lose_power(&self) {
        let mut platter = self.lock();
        platter.failures += 1;
        while let Some(undo) = platter.undo.pop() {
            match undo {
                Undo::Bytes(at, old) => platter.bytes[at..at + old.len()].copy_from_slice(&old),
                Undo::Length(length, tail) => {
                    platter.bytes.truncate(length);
                    platter.bytes.extend(tail);
                }
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = place(offset)?;
        let platter = self.lock();
        let found = platter.bytes.get(at..at + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = place(len)?;
        let Some(mut platter) = self.powered() else {
            return Ok(());
        };
        let old = platter.bytes.len();
        let tail = platter.bytes.get(len..).unwrap_or_default().to_vec();
        platter.undo.push(Undo::Length(old.min(len), tail));
        platter.bytes.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(mut platter) = self.powered() {
            platter.undo.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = place(offset)?;
        let Some(mut platter) = self.powered() else {
            return Ok(());
        };
        let there = platter.bytes.get_mut(at..at + data.len());
        let there = there.ok_or(io::ErrorKind::UnexpectedEof)?;
        let old = there.to_vec();
        there.copy_from_slice(data);
        platter.undo.push(Undo::Bytes(at, old));
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_synced_is_lost_with_the_power() {
        let disk = Disk::default();
        disk.set_len(4).unwrap();
        disk.write(0, b"abcd").unwrap();
        disk.sync_data().unwrap();
        disk.write(1, b"xy").unwrap();
        disk.set_len(2).unwrap();
        disk.set_len(6).unwrap();
        disk.write(4, b"zz").unwrap();
        disk.clone().lose_power();
        disk.write(0, b"late").unwrap();
        let disk = disk.plug_in();
        let mut found = [0; 4];
        disk.read(0, &mut found).unwrap();
        assert_eq!((&found, disk.len().unwrap()), (b"abcd", 4));
        assert!(disk.read(1, &mut found).is_err());
    }
}
