//! The durable log: one file of redb with a snapshot and the records after it.

use std::path::Path;

use berth_kv::{Limits, Model, Snapshot};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition,
};

use crate::error::StoreError;
use crate::record::Record;
use crate::snapshot;

const FILE_NAME: &str = "store.redb";
const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("snapshot");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// What redb may keep in memory of its own file: the model holds the data already.
const CACHE_BYTES: usize = 8 << 20;

/// The open log. A file blocks: the owner calls it off its task.
pub(crate) struct Disk {
    db: Database,
    /// Whether its calls may take long.
    pub(crate) blocks: bool,
    next_index: u64,
    log_bytes: u64,
    snapshot_bytes: u64,
    log_bytes_max: u64,
}

impl Disk {
    /// Opens or creates the log in `dir` and replays it. The file is locked against other
    /// processes for as long as the log is open. `log_bytes_max` is the size of the records
    /// beyond which a snapshot takes their place.
    pub(crate) fn open(
        dir: &Path,
        limits: Limits,
        log_bytes_max: u64,
    ) -> Result<(Self, Model), StoreError> {
        let unusable = |source| StoreError::Directory {
            dir: dir.into(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(unusable)?;
        let db = builder()
            .create(dir.join(FILE_NAME))
            .map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { dir: dir.into() },
                other => redb::Error::from(other).into(),
            })?;
        Self::over(db, true, limits, log_bytes_max)
    }

    /// Like [`Disk::open`], on something that never blocks.
    pub(crate) fn open_on(
        backend: impl StorageBackend,
        limits: Limits,
        log_bytes_max: u64,
    ) -> Result<(Self, Model), StoreError> {
        let db = builder()
            .create_with_backend(backend)
            .map_err(redb::Error::from)?;
        Self::over(db, false, limits, log_bytes_max)
    }

    fn over(
        db: Database,
        blocks: bool,
        limits: Limits,
        log_bytes_max: u64,
    ) -> Result<(Self, Model), StoreError> {
        create_tables(&db)?;
        let mut disk = Disk {
            db,
            blocks,
            next_index: 0,
            log_bytes: 0,
            snapshot_bytes: 0,
            log_bytes_max,
        };
        let model = disk.recover(limits)?;
        Ok((disk, model))
    }

    fn recover(&mut self, limits: Limits) -> Result<Model, StoreError> {
        let (chunks, records) = self.read()?;
        self.snapshot_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let mut model = if chunks.is_empty() {
            Model::new(limits)
        } else {
            Model::restore(limits, 0, snapshot::decode(&chunks)?)
        };
        for (index, record) in records {
            self.next_index = index + 1;
            self.log_bytes += record.as_bytes().len() as u64;
            let before = model.mutations();
            // A refusal is replayed too: it may have raised the alarm.
            let _ = model.apply(0, record.decode()?);
            if model.mutations() != before + 1 {
                let text = format!("record {index} does not follow from the state");
                return Err(StoreError::Corrupt(text));
            }
        }
        Ok(model)
    }

    /// The chunks of the snapshot, and the records after it.
    #[allow(clippy::type_complexity, reason = "read once, taken apart at once")]
    fn read(&self) -> Result<(Vec<Vec<u8>>, Vec<(u64, Record)>), redb::Error> {
        let read = self.db.begin_read()?;
        let mut chunks = Vec::new();
        for row in read.open_table(SNAPSHOT)?.iter()? {
            chunks.push(row?.1.value().to_vec());
        }
        let mut records = Vec::new();
        for row in read.open_table(LOG)?.iter()? {
            let (index, bytes) = row?;
            records.push((index.value(), Record::from_bytes(bytes.value().to_vec())));
        }
        Ok((chunks, records))
    }

    /// Makes the records durable, all or none.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<(), redb::Error> {
        let write = self.db.begin_write()?;
        {
            let mut log = write.open_table(LOG)?;
            for record in records {
                log.insert(self.next_index, record.as_bytes())?;
                self.next_index += 1;
                self.log_bytes += record.as_bytes().len() as u64;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Whether the records have outgrown their bound, or the snapshot below them.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.log_bytes > self.log_bytes_max.max(self.snapshot_bytes)
    }

    /// Puts the snapshot in the place of everything before, in one transaction.
    pub(crate) fn install(&mut self, state: Snapshot) -> Result<(), redb::Error> {
        let chunks = snapshot::encode(state);
        let write = self.db.begin_write()?;
        {
            write.delete_table(LOG)?;
            write.delete_table(SNAPSHOT)?;
            write.open_table(LOG)?;
            let mut table = write.open_table(SNAPSHOT)?;
            for (number, chunk) in chunks.iter().enumerate() {
                table.insert(number as u64, chunk.as_slice())?;
            }
        }
        write.commit()?;
        self.log_bytes = 0;
        self.snapshot_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Ok(())
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn create_tables(db: &Database) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    write.open_table(SNAPSHOT)?;
    write.open_table(LOG)?;
    write.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use berth_kv::Request;
    use etcd_client::proto::PbPutRequest;

    use super::*;

    fn put(model: &mut Model, key: &str) -> Record {
        let message = PbPutRequest {
            key: key.into(),
            value: vec![7; 100],
            ..Default::default()
        };
        let record = Record::put(&message);
        let request = record.decode().unwrap();
        assert!(matches!(request, Request::Put(_)));
        model.apply(0, request).unwrap();
        record
    }

    #[test]
    fn what_was_appended_is_recovered_with_and_without_a_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, mut model) = Disk::open(dir.path(), Limits::default(), 500).unwrap();
        for round in 0..20 {
            let record = put(&mut model, &format!("key{}", round % 3));
            disk.append(&[record]).unwrap();
            if disk.wants_snapshot() {
                disk.install(model.snapshot()).unwrap();
                assert!(!disk.wants_snapshot());
            }
        }
        assert!(
            disk.snapshot_bytes > 0,
            "twenty records are more than the bound"
        );
        drop(disk);
        let (_, recovered) = Disk::open(dir.path(), Limits::default(), 500).unwrap();
        assert_eq!(recovered.snapshot(), model.snapshot());
    }

    #[test]
    fn the_directory_is_locked_while_open() {
        let dir = tempfile::tempdir().unwrap();
        let held = Disk::open(dir.path(), Limits::default(), 500).unwrap();
        let second = Disk::open(dir.path(), Limits::default(), 500).map(|_| ());
        assert!(matches!(second, Err(StoreError::InUse { .. })));
        drop(held);
        Disk::open(dir.path(), Limits::default(), 500).unwrap();
    }
}
