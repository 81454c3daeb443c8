//! Whether a store is still the one that was seen before: a pure decision, shared by the production
//! runtime and the simulator.
//!
//! A store that was restored from a backup, or emptied, looks healthy. Whoever acted on it would
//! take back what was acknowledged, and take for strangers what runs. What gives it away is that
//! something went back that never goes back: its revision. So whoever uses a store remembers the
//! furthest [`Sight`] of it and holds every later look against that. Then only the operator can say
//! that the store is to be believed: by a record of a new *generation* in it.
//!
//! A look counts against what was known *before it was asked for*: answers overtake each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::{Epoch, StoreRevision};
use crate::planted::{Bug, planted};

/// The name, below `/meta/`, of the record of the store's generation.
pub const GENERATION: &str = "generation";
/// The name, below `/meta/`, of the record that keeps every replica from leading.
pub const HOLD: &str = "hold";

/// Bits of an epoch below the generation.
const REVISION_BITS: u32 = 40;

impl Epoch {
    /// The epoch of the leadership key that was created at this revision of a store of this
    /// generation. Epochs never go back, although a restored store counts its revisions anew.
    #[must_use]
    pub const fn of(generation: u32, create_revision: i64) -> Self {
        Self(((generation as i64) << REVISION_BITS) | create_revision)
    }

    /// The revision that created the leadership key.
    #[must_use]
    pub const fn create_revision(self) -> i64 {
        self.0 & ((1 << REVISION_BITS) - 1)
    }

    /// The generation of the store that it is of.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> REVISION_BITS) as u32
    }
}

/// The record of the store's generation: how often an operator said that the store is to be
/// believed although it is another one. Absent: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The generation.
    pub generation: u32,
}

/// The record that keeps every replica from leading, until the operator decides: written by whoever
/// noticed that the store is another one than before, for those who cannot know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The replica that wrote it.
    pub by: String,
    /// What was wrong.
    pub what: Break,
    /// The same in words.
    pub why: String,
}

impl Hold {
    /// Whether what it says can be true of the store that it is in, in which it was written at this
    /// revision. It may have been on its way for so long that the right store was back before it
    /// came: that store had been further already.
    #[must_use]
    pub fn stands(&self, written_at: StoreRevision, look: Look) -> bool {
        let seen = self.what.seen();
        if look.generation > seen.generation {
            return false;
        }
        match self.what {
            Break::WentBack { .. } => written_at <= seen.revision,
            Break::OldGeneration { .. } => look.generation < seen.generation,
            Break::OtherCluster { .. } => look.cluster != seen.cluster,
            Break::Emptied { .. } => look.held != Some(true),
        }
    }
}

/// How far a store was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The id of the store's cluster; 0: not known.
    #[serde(default)]
    pub cluster: u64,
    /// Its generation.
    #[serde(default)]
    pub generation: u32,
    /// Its revision.
    pub revision: StoreRevision,
    /// It held records.
    #[serde(default)]
    pub held: bool,
}

impl Sight {
    /// What an epoch tells that an agent was told: that store was there, at that revision.
    #[must_use]
    pub const fn of_epoch(epoch: Epoch) -> Self {
        Self {
            cluster: 0,
            generation: epoch.generation(),
            revision: StoreRevision(epoch.create_revision()),
            held: false,
        }
    }
}

/// What an answer of the store tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The id of the store's cluster; 0: not known.
    pub cluster: u64,
    /// Its generation.
    pub generation: u32,
    /// Its revision, of an answer that cannot be old.
    pub revision: StoreRevision,
    /// Whether it holds records; `None`: not looked at.
    pub held: Option<bool>,
}

/// Why a store is not the one that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Break {
    /// Its revision went back: it was restored from an older snapshot.
    WentBack {
        /// What was seen.
        seen: Sight,
        /// What is there.
        now: StoreRevision,
    },
    /// It is of an earlier generation: it was restored from a snapshot that is older than the last
    /// restore.
    OldGeneration {
        /// What was seen.
        seen: Sight,
        /// What is there.
        now: u32,
    },
    /// It holds nothing, although it did.
    Emptied {
        /// What was seen.
        seen: Sight,
    },
    /// It is of another cluster.
    OtherCluster {
        /// What was seen.
        seen: Sight,
        /// What is there.
        now: u64,
    },
}

impl Break {
    /// What was seen before.
    #[must_use]
    pub const fn seen(&self) -> Sight {
        match self {
            Self::WentBack { seen, .. }
            | Self::OldGeneration { seen, .. }
            | Self::Emptied { seen }
            | Self::OtherCluster { seen, .. } => *seen,
        }
    }

    /// The same, told with all that is known by now: answers that were on their way when the store
    /// changed are judged by what was known when they were asked for.
    #[must_use]
    const fn knowing(self, seen: Sight) -> Self {
        match self {
            Self::WentBack { now, .. } => Self::WentBack { seen, now },
            Self::OldGeneration { now, .. } => Self::OldGeneration { seen, now },
            Self::Emptied { .. } => Self::Emptied { seen },
            Self::OtherCluster { now, .. } => Self::OtherCluster { seen, now },
        }
    }

    /// A name for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WentBack { .. } | Self::OldGeneration { .. } => "restored",
            Self::Emptied { .. } => "emptied",
            Self::OtherCluster { .. } => "other-cluster",
        }
    }

    /// Whether it is certain that the store is wrong, and not whoever was sent to it: then all
    /// replicas are kept from leading. Who remembers another cluster from a former life may have
    /// been configured anew.
    #[must_use]
    pub const fn concerns_all(&self, seen_in_this_life: bool) -> bool {
        match self {
            Self::OtherCluster { .. } => seen_in_this_life,
            Self::WentBack { .. } | Self::OldGeneration { .. } | Self::Emptied { .. } => true,
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WentBack { seen, now } => write!(
                f,
                "the store is at revision {now} and was at {} before: it was restored from an older \
                 snapshot",
                seen.revision
            )?,
            Self::OldGeneration { seen, now } => write!(
                f,
                "the store is of generation {now} and was of {} before: it was restored from an \
                 older snapshot",
                seen.generation
            )?,
            Self::Emptied { seen } => write!(
                f,
                "the store holds nothing, and held records at revision {} before",
                seen.revision
            )?,
            Self::OtherCluster { seen, now } => write!(
                f,
                "the store is of cluster {now:x} and was of {:x} before",
                seen.cluster
            )?,
        }
        let next = seen_or_next(self.seen());
        write!(
            f,
            "; nothing is written and no agent is called until the right store is back, or \
             `berth store accept-restore --generation {next}` says that this one is to be believed"
        )
    }
}

/// The generation that the operator must name: no store that was seen has it.
const fn seen_or_next(seen: Sight) -> u32 {
    seen.generation + 1
}

/// What is remembered of a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lineage {
    seen: Option<Sight>,
    in_this_life: bool,
}

impl Lineage {
    /// What a former life remembers, if anything.
    #[must_use]
    pub const fn remembering(seen: Option<Sight>) -> Self {
        Self {
            seen,
            in_this_life: false,
        }
    }

    /// What is known now: to be taken *before* the store is asked.
    #[must_use]
    pub const fn seen(&self) -> Option<Sight> {
        self.seen
    }

    /// Whether any of it was seen in this life.
    #[must_use]
    pub const fn in_this_life(&self) -> bool {
        self.in_this_life
    }

    /// Somebody else saw the store, and is believed.
    pub fn heard(&mut self, sight: Sight) {
        self.seen = Some(match self.seen {
            None => sight,
            Some(seen) => further(seen, sight),
        });
    }

    /// Holds a look against what was known when it was asked for.
    ///
    /// # Errors
    /// The store is not the one that was seen before. Nothing of the look is remembered then.
    pub fn judge(&mut self, before: Option<Sight>, look: Look) -> Result<(), Break> {
        if let Some(before) = before
            && !planted(Bug::RestoreUnnoticed)
            && let Err(broken) = check(before, look)
        {
            // A hold is void that was written later than it says that the store was: writes that
            // were on their way may have led the wrong store past what was known long before.
            let all = self
                .seen
                .filter(|seen| seen.generation == before.generation && !planted(Bug::HoldSaysLess));
            return Err(broken.knowing(all.map_or(before, |seen| Sight {
                cluster: before.cluster,
                ..further(before, seen)
            })));
        }
        let sight = Sight {
            cluster: look.cluster,
            generation: look.generation,
            revision: look.revision,
            held: look.held == Some(true),
        };
        self.seen = Some(match self.seen {
            None => sight,
            Some(seen) => further(seen, sight),
        });
        self.in_this_life = true;
        Ok(())
    }
}

fn check(seen: Sight, look: Look) -> Result<(), Break> {
    if look.generation > seen.generation {
        // The operator said so.
        return Ok(());
    }
    if look.generation < seen.generation {
        let now = look.generation;
        return Err(Break::OldGeneration { seen, now });
    }
    if look.revision < seen.revision {
        let now = look.revision;
        return Err(Break::WentBack { seen, now });
    }
    if seen.cluster != 0 && look.cluster != 0 && seen.cluster != look.cluster {
        let now = look.cluster;
        return Err(Break::OtherCluster { seen, now });
    }
    if seen.held && look.held == Some(false) {
        return Err(Break::Emptied { seen });
    }
    Ok(())
}

/// The further of two sights of one store.
fn further(one: Sight, other: Sight) -> Sight {
    if one.generation != other.generation {
        return if one.generation > other.generation {
            one
        } else {
            other
        };
    }
    Sight {
        cluster: if other.cluster == 0 {
            one.cluster
        } else {
            other.cluster
        },
        generation: one.generation,
        revision: one.revision.max(other.revision),
        held: one.held || other.held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(generation: u32, revision: i64, held: Option<bool>) -> Look {
        Look {
            cluster: 7,
            generation,
            revision: StoreRevision(revision),
            held,
        }
    }

    /// Looks one after the other, each asked for after the last was answered.
    fn seen(looks: &[Look]) -> Lineage {
        let mut lineage = Lineage::default();
        for look in looks {
            lineage.judge(lineage.seen(), *look).unwrap();
        }
        lineage
    }

    #[test]
    fn a_store_that_goes_on_is_the_same() {
        let mut lineage = seen(&[look(0, 5, Some(true)), look(0, 5, None)]);
        let next = look(0, 9, Some(true));
        assert_eq!(lineage.judge(lineage.seen(), next), Ok(()));
        assert_eq!(lineage.seen().unwrap().revision, StoreRevision(9));
    }

    #[test]
    fn a_revision_that_goes_back_is_a_restore_for_as_long_as_nobody_says_otherwise() {
        let mut lineage = seen(&[look(0, 50, Some(true))]);
        for _ in 0..3 {
            let back = lineage.judge(lineage.seen(), look(0, 40, Some(true)));
            assert!(matches!(back, Err(Break::WentBack { .. })), "{back:?}");
        }
        // The right one is back.
        assert_eq!(lineage.judge(lineage.seen(), look(0, 50, None)), Ok(()));
        // The operator believes in the other one.
        assert_eq!(lineage.judge(lineage.seen(), look(1, 41, None)), Ok(()));
        assert_eq!(lineage.seen().unwrap().revision, StoreRevision(41));
        let old = lineage.judge(lineage.seen(), look(0, 60, None));
        assert!(matches!(old, Err(Break::OldGeneration { .. })), "{old:?}");
    }

    #[test]
    fn an_answer_that_was_overtaken_is_no_restore() {
        let mut lineage = seen(&[look(0, 5, None)]);
        let asked = lineage.seen();
        lineage.judge(asked, look(0, 8, None)).unwrap();
        assert_eq!(lineage.judge(asked, look(0, 6, None)), Ok(()));
        assert_eq!(lineage.seen().unwrap().revision, StoreRevision(8));
    }

    #[test]
    fn a_store_that_held_records_is_not_believed_to_be_empty() {
        let mut lineage = seen(&[look(0, 5, Some(true)), look(0, 6, None)]);
        let empty = lineage.judge(lineage.seen(), look(0, 7, Some(false)));
        assert!(matches!(empty, Err(Break::Emptied { .. })), "{empty:?}");
        assert_eq!(lineage.judge(lineage.seen(), look(0, 7, None)), Ok(()));
        let mut new = seen(&[look(0, 1, Some(false))]);
        assert_eq!(new.judge(new.seen(), look(0, 2, Some(false))), Ok(()));
    }

    #[test]
    fn another_cluster_is_everybodys_concern_only_if_it_was_seen_to_change() {
        let mut lineage = seen(&[look(0, 5, None)]);
        let other = Look {
            cluster: 8,
            ..look(0, 6, None)
        };
        let broken = lineage.judge(lineage.seen(), other).unwrap_err();
        assert!(broken.concerns_all(true) && !broken.concerns_all(false));
        let unknown = Look {
            cluster: 0,
            ..other
        };
        assert_eq!(lineage.judge(lineage.seen(), unknown), Ok(()));
    }

    #[test]
    fn what_an_agent_was_told_tells_of_the_store() {
        let epoch = Epoch::of(2, 77);
        assert_eq!((epoch.generation(), epoch.create_revision()), (2, 77));
        assert!(epoch > Epoch::of(1, 1_000_000) && Epoch::of(0, 77) == Epoch(77));
        let mut lineage = seen(&[look(2, 5, None)]);
        lineage.heard(Sight::of_epoch(epoch));
        let back = lineage.judge(lineage.seen(), look(2, 60, None));
        assert!(matches!(back, Err(Break::WentBack { .. })), "{back:?}");
    }

    #[test]
    fn a_hold_that_came_late_into_the_right_store_is_void() {
        let mut lineage = seen(&[look(0, 50, Some(true))]);
        let broken = lineage
            .judge(lineage.seen(), look(0, 40, None))
            .unwrap_err();
        let hold = Hold {
            by: "a".to_owned(),
            what: broken,
            why: broken.to_string(),
        };
        let stands = |at, now| hold.stands(StoreRevision(at), now);
        assert!(stands(41, look(0, 41, None)) && stands(41, look(0, 90, None)));
        assert!(!stands(51, look(0, 51, None)), "it was further than that");
        assert!(!stands(41, look(1, 42, None)), "the operator decided");
    }

    #[test]
    fn each_kind_of_hold_stands_while_what_it_says_can_be_true() {
        let seen = Sight {
            cluster: 7,
            generation: 3,
            revision: StoreRevision(50),
            held: true,
        };
        let other = |cluster| Look {
            cluster,
            ..look(3, 60, None)
        };
        let (now, old) = (8, look(2, 60, None));
        for (what, true_of, void_at) in [
            (
                Break::OldGeneration { seen, now: 2 },
                old,
                look(3, 60, None),
            ),
            (Break::OtherCluster { seen, now }, other(8), other(7)),
            (
                Break::Emptied { seen },
                look(3, 60, None),
                look(3, 60, Some(true)),
            ),
            (
                Break::Emptied { seen },
                look(3, 60, Some(false)),
                look(4, 60, None),
            ),
        ] {
            let hold = Hold {
                by: "a".to_owned(),
                what,
                why: what.to_string(),
            };
            let at = StoreRevision(60);
            assert!(hold.stands(at, true_of), "{what:?}");
            assert!(!hold.stands(at, void_at), "{what:?}");
        }
    }

    #[test]
    fn what_is_known_is_not_forgotten_for_less() {
        let mut lineage = Lineage::remembering(Some(Sight::default()));
        assert!(!lineage.in_this_life());
        lineage.judge(None, look(2, 5, None)).unwrap();
        assert!(lineage.in_this_life());
        // Somebody is late, and does not know which cluster it was.
        lineage.heard(Sight {
            generation: 1,
            ..Sight::default()
        });
        lineage.heard(Sight {
            generation: 2,
            ..Sight::default()
        });
        let seen = lineage.seen().unwrap();
        assert_eq!((seen.cluster, seen.generation), (7, 2));
        assert_eq!(seen.revision, StoreRevision(5));
    }

    #[test]
    fn a_hold_says_all_that_was_seen_and_stands_although_late_writes_led_the_wrong_store_on() {
        let mut lineage = seen(&[look(0, 93, None)]);
        let asked = lineage.seen();
        lineage.judge(asked, look(0, 137, None)).unwrap();
        let broken = lineage.judge(asked, look(0, 69, None)).unwrap_err();
        assert_eq!(broken.seen().revision, StoreRevision(137));
        let hold = Hold {
            by: "a".to_owned(),
            what: broken,
            why: broken.to_string(),
        };
        // Forty writes were under way when the store was restored, and came before the hold.
        assert!(hold.stands(StoreRevision(104), look(0, 104, None)));
        for other in [
            Break::OldGeneration {
                seen: Sight::default(),
                now: 1,
            },
            Break::Emptied {
                seen: Sight::default(),
            },
            Break::OtherCluster {
                seen: Sight::default(),
                now: 8,
            },
        ] {
            let told = other.knowing(broken.seen());
            assert_eq!((told.name(), told.seen()), (other.name(), broken.seen()));
        }
    }

    #[test]
    fn a_break_says_what_to_do() {
        let mut lineage = seen(&[look(3, 50, None)]);
        let broken = lineage.judge(lineage.seen(), look(3, 40, None));
        let text = broken.unwrap_err().to_string();
        assert!(
            text.contains("accept-restore --generation 4") && text.contains("revision 40"),
            "{text}"
        );
    }
}
