//! A handful of seeds; `BERTH_TURMOIL_SEEDS=0..200` plays these instead.

use berth_turmoil::range;

/// Names the seeds.
const SEEDS: &str = "BERTH_TURMOIL_SEEDS";

#[test]
fn nothing_acknowledged_is_lost_and_nothing_runs_twice() {
    let seeds = std::env::var(SEEDS).unwrap_or_else(|_| "0..8".to_owned());
    let parsed = seeds
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let seeds = parsed.unwrap_or_else(|| panic!("{SEEDS}={seeds}: expected FROM..TO"));
    println!("seeds {seeds:?}");
    assert_eq!(range(seeds), 0, "seeds failed; the lines above play them");
}
