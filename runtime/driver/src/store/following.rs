//! A round of following somebody else. It goes on while this replica campaigns, so that who wins
//! has the image already: the watch tells of the leadership key that this replica made after
//! everything that was written before, and in order.

use std::time::Duration;

use berth_core::Epoch;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::StoreError;

/// What the watch of a round told of the leadership key: the revisions at which it was last made
/// and removed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) made: i64,
    pub(crate) gone: i64,
}

/// A round: one load, and a watch from there on. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) round: u64,
    /// The generation of the store that was loaded.
    pub(crate) generation: u32,
    pub(crate) told: watch::Receiver<Told>,
    /// The watch; why it ended. Without an error, changes were missed.
    pub(crate) watching: JoinSet<Result<(), StoreError>>,
}

impl Following {
    /// Waits until the leadership key that was made at this revision is gone. `false`: the round
    /// ended before.
    ///
    /// # Errors
    /// The store cannot be watched.
    pub(crate) async fn until_vacant(&mut self, made: i64) -> Result<bool, StoreError> {
        let told = &mut self.told;
        let vacant = async {
            if told.wait_for(|told| told.gone > made).await.is_err() {
                // The watch ended: it says itself why.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! { biased;
            () = vacant => Ok(true),
            ended = self.watching.join_next() => match ended {
                Some(Ok(Err(error))) => Err(error),
                Some(Ok(Ok(())) | Err(_)) | None => Ok(false),
            },
        }
    }

    /// Waits until everything that was written before this epoch began has been told, but not
    /// longer than `patience`.
    pub(crate) async fn reaches(&mut self, epoch: Epoch, patience: Duration) -> bool {
        let reached = |told: &Told| told.made == epoch.create_revision();
        let waiting = tokio::time::timeout(patience, self.told.wait_for(reached));
        matches!(waiting.await, Ok(Ok(_)))
    }

    /// Ends it: nothing more is told.
    pub(crate) async fn end(mut self) {
        self.watching.shutdown().await;
    }
}
