//! Named scenes: what the real runtime does when the network, the store or a process fails.

mod agents;
mod forward;
mod leaders;
mod store;
mod store_states;

use berth_turmoil::{Hands, Shape, World};

/// Plays a scene in a world of the default shape; its script has so many virtual seconds.
fn play(seed: u64, script: impl AsyncFnOnce(Hands) + 'static) {
    play_in(Shape::default(), seed, script);
}

/// The same in a world of another shape.
fn play_in(shape: Shape, seed: u64, script: impl AsyncFnOnce(Hands) + 'static) {
    World::new(seed, shape).play(300, script);
}
