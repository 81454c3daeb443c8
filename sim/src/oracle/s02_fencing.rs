//! S2: after a later epoch has committed anything, no earlier epoch commits; the reference agent
//! acts on no earlier epoch.

use std::collections::BTreeMap;

use super::image::{Commit, Image};
use super::rule::{Check, Finding};

/// The latest epochs that were seen.
#[derive(Debug, Default)]
pub(crate) struct Fencing {
    committed: i64,
    obeyed: BTreeMap<usize, i64>,
}

impl Fencing {
    pub(crate) fn committed(&mut self, commit: &Commit, image: &Image) -> Check {
        let Some(epoch) = commit.epoch() else {
            return Ok(());
        };
        if epoch < self.committed || epoch != image.leader {
            let expected = format!("commits of epoch {} only", self.committed.max(image.leader));
            return Err(Finding::new(
                expected,
                format!("{:?} committed", commit.writer),
            ));
        }
        self.committed = epoch;
        Ok(())
    }

    /// The newest epoch of which a node's agent carried a call out; 0: none yet.
    pub(crate) fn obeyed(&self, node: usize) -> i64 {
        self.obeyed.get(&node).copied().unwrap_or_default()
    }

    /// A node's agent carried a call out, or refused it. When it came, the agent had obeyed epoch
    /// `obeyed` already: a call that came in time may be answered late.
    pub(crate) fn answered(
        &mut self,
        node: usize,
        epoch: i64,
        obeyed: i64,
        refused: bool,
    ) -> Check {
        if refused {
            return Ok(());
        }
        if epoch < obeyed {
            let expected = format!("no call of an epoch before {obeyed}");
            return Err(
                Finding::new(expected, format!("a call of epoch {epoch} was carried out"))
                    .of(&format!("node-{node}")),
            );
        }
        let newest = self.obeyed.entry(node).or_default();
        *newest = epoch.max(*newest);
        Ok(())
    }

    /// A node's disk was lost, and what it knew with it.
    pub(crate) fn forget(&mut self, node: usize) {
        self.obeyed.remove(&node);
    }
}
