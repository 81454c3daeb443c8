//! Every manifest of the examples is one that the scheduler accepts.

use std::path::Path;

use berth_client::manifest;

#[test]
fn all_examples_are_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let sources = manifest::sources(&[folder.display().to_string()]).expect("the folder is there");
    let names: Vec<&str> = sources
        .iter()
        .map(|source| source.name.rsplit('/').next().unwrap_or_default())
        .collect();
    let expected = [
        "compose.yaml",
        "constraints.yaml",
        "container.yaml",
        "ten-processes.yaml",
        "vm.yaml",
    ];
    assert_eq!(names, expected);
    // Loading checks each with the scheduler's own admission, and that no id comes twice.
    let found = manifest::load(&sources).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.len(), 2 + 5 + 1 + 10 + 1);
}

#[test]
fn the_ten_processes_fit_one_small_node() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ten-processes.yaml");
    let sources = manifest::sources(&[file.display().to_string()]).expect("the file is there");
    let found = manifest::load(&sources).unwrap_or_else(|error| panic!("{error}"));
    let total: u64 = found
        .iter()
        .map(|manifest| {
            let read = berth_core::admission::parse_manifest(manifest.body.as_bytes());
            read.expect("it was accepted").resources.cpu.0
        })
        .sum();
    assert_eq!((found.len(), total), (10, 1000));
}
