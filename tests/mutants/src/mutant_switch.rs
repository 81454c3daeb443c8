//! Which mutant is on: one at most, named by the environment. `berth-mutants` puts this file into its
//! copy of the core; nothing else has it.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// The number of the mutant that is on.
const ON: &str = "BERTH_MUTANT";
/// A file that takes the number of each mutant whose place was reached, and none is on.
const REACHED: &str = "BERTH_MUTANT_REACHED";
/// More than there are mutants.
const NUMBERS: usize = 1 << 14;

/// The environment was not read yet.
const UNREAD: u32 = u32::MAX;
/// None is on, and what is reached is written down.
const RECORDING: u32 = u32::MAX - 1;

static CURRENT: AtomicU32 = AtomicU32::new(UNREAD);
static SEEN: [AtomicBool; NUMBERS] = [const { AtomicBool::new(false) }; NUMBERS];

/// Whether a mutant is on.
#[inline(always)]
pub fn on(number: u32) -> bool {
    let current = CURRENT.load(Relaxed);
    if current < RECORDING {
        current == number
    } else {
        asked(number, current)
    }
}

#[cold]
#[inline(never)]
fn asked(number: u32, current: u32) -> bool {
    if current == UNREAD {
        let named = std::env::var(ON).ok().and_then(|text| text.parse().ok());
        let recording = std::env::var_os(REACHED).is_some();
        let current = named.unwrap_or(if recording { RECORDING } else { 0 });
        CURRENT.store(current, Relaxed);
        return on(number);
    }
    if !SEEN[number as usize].swap(true, Relaxed)
        && let Some(path) = std::env::var_os(REACHED)
    {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(format!("{number}\n").as_bytes()))
            .expect("the tool that asked for it has made its folder");
    }
    false
}
