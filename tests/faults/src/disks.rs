//! Disks that can be full: each member of etcd has its data on a small filesystem of its own.
//!
//! The filesystems are mounted in a mount namespace that one sleeping process holds, and that the
//! members enter. Nobody else sees them, and with the last of these processes they are gone: however
//! a run ends, nothing is left to unmount.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use berth_tests::{Lab, Process, secs, wait_for};

/// Bytes of a disk: two segments of etcd's log, which it reserves at once, and far more data than a
/// run writes.
const SIZE: &str = "384m";
/// What fills a disk.
const FILLER: &str = "filler";

/// A disk for each member.
#[derive(Debug)]
pub struct Disks {
    holder: Process,
    folders: Vec<PathBuf>,
}

impl Disks {
    /// Mounts a disk at each of these folders, which it makes. `None`, and a line that says why: this
    /// run may not mount.
    pub async fn mount(lab: &Lab, folders: &[PathBuf]) -> Option<Self> {
        let mut script = String::from("set -e\n");
        for folder in folders {
            std::fs::create_dir_all(folder).expect("a folder in the scratch folder");
            let folder = folder.display();
            script += &format!("mount -t tmpfs -o size={SIZE},mode=700 berth-faults '{folder}'\n");
        }
        script += "exec sleep infinity";
        let args = ["--mount", "--propagation=private", "sh", "-c", &script];
        let args = args.map(ToOwned::to_owned);
        let mut holder = lab.start("disks", Path::new("unshare"), &args);
        let (mounted, _) = wait_for("the disks to be mounted", secs(20), async || {
            if holder.ended().is_some() {
                return Ok(false);
            }
            let name = std::fs::read_to_string(format!("/proc/{}/comm", holder.pid()));
            match name.unwrap_or_default().trim() {
                "sleep" => Ok(true),
                other => Err(other.to_owned()),
            }
        })
        .await;
        if !mounted {
            println!(
                "no disk can be full: this run may not mount (as root it may), a quota stands for it: {}",
                holder.output().trim()
            );
            return None;
        }
        let folders = folders.to_vec();
        Some(Self { holder, folders })
    }

    /// The command that runs a program where the disks are; it becomes that program.
    #[must_use]
    pub fn command(&self, program: &str, args: &[String]) -> (PathBuf, Vec<String>) {
        let enter = [
            format!("--target={}", self.holder.pid()),
            "--mount".to_owned(),
            program.to_owned(),
        ];
        let all = enter.into_iter().chain(args.iter().cloned());
        (PathBuf::from("nsenter"), all.collect())
    }

    /// Leaves no byte free.
    ///
    /// # Panics
    /// When something else than a lack of space hinders it.
    pub fn fill(&self, number: usize) {
        let mut file = File::create(self.seen(number).join(FILLER)).expect("a file on the disk");
        for size in [1 << 20, 1 << 12, 1] {
            let zeros = vec![0; size];
            let full = loop {
                if let Err(error) = file.write_all(&zeros) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// Takes back what [`Self::fill`] took.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn clear(&self, number: usize) {
        std::fs::remove_file(self.seen(number).join(FILLER)).expect("the disk was filled");
    }

    /// A disk, as a process outside the namespace sees it.
    fn seen(&self, number: usize) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        let folder = self.folders[number].strip_prefix("/");
        root.join(folder.expect("the scratch folder's path is absolute"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_takes_nothing_until_it_is_cleared_and_nobody_else_sees_it() {
        let lab = Lab::new("disks");
        let folders = [lab.path("one"), lab.path("two")];
        let Some(disks) = Disks::mount(&lab, &folders).await else {
            return;
        };
        let write = |number| std::fs::write(disks.seen(number).join("data"), "x");
        disks.fill(0);
        assert_eq!(write(0).unwrap_err().kind(), ErrorKind::StorageFull);
        write(1).unwrap();
        disks.clear(0);
        write(0).unwrap();
        let inside = format!("test -s {}/data", folders[0].display());
        let (program, args) = disks.command("sh", &["-c".to_owned(), inside]);
        let mut there = lab.start("there", &program, &args);
        let (status, _) = wait_for("the look inside", secs(20), async || {
            there.ended().ok_or_else(|| "it looks".to_owned())
        })
        .await;
        assert!(status.success(), "{}", there.output());
        assert!(!folders[0].join("data").exists());
        assert!(
            !std::fs::read_to_string("/proc/mounts")
                .unwrap()
                .contains(&*folders[0].to_string_lossy())
        );
    }
}
