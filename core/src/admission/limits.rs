//! The bounds of what is admitted. Beyond any machine of today, far below what could overflow.

/// Most CPU of one workload, in millicores: 1,000 cores.
pub const CPU_MILLICORES_MAX: u64 = 1_000_000;
/// Most memory of one workload, in MiB: 64 TiB.
pub const MEMORY_MIB_MAX: u64 = 64 * 1024 * 1024;
/// Most disk of one workload, and of one of its disks or volumes, in GiB: 1 PiB.
pub const DISK_GIB_MAX: u64 = 1024 * 1024;
/// Most virtual CPUs of a virtual machine.
pub const VCPUS_MAX: u32 = 1_024;

/// Most CPU of one node, in millicores: 100,000 cores.
pub const NODE_CPU_MILLICORES_MAX: u64 = 100_000_000;
/// Most memory of one node, in MiB: 4 PiB.
pub const NODE_MEMORY_MIB_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Most disk of one node, in GiB: 1 EiB.
pub const NODE_DISK_GIB_MAX: u64 = 1024 * 1024 * 1024;

/// The whole spec with its labels and constraints, as canonical JSON, in bytes. Leaves room for
/// the rest of the record below the request limit of etcd (1.5 MiB).
pub const SPEC_BYTES_MAX: usize = 256 * 1024;
/// The labels of one node together, in bytes.
pub const NODE_LABELS_BYTES_MAX: usize = 64 * 1024;

/// Longest key of a label, in bytes: a name of 63, a slash and a domain of 253, as elsewhere.
pub const LABEL_KEY_BYTES_MAX: usize = 317;
/// Longest value of a label that nodes are matched by, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Longest value of a label of the user's own (routing rules and the like stand in them), in bytes.
pub const USER_LABEL_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Most labels of one kind on one object.
pub const LABELS_MAX: usize = 256;

/// Longest reference of an image, in bytes.
pub const IMAGE_BYTES_MAX: usize = 512;
/// Most words of a command.
pub const COMMAND_WORDS_MAX: usize = 1_024;
/// Longest word of a command and longest value of a variable, in bytes.
pub const WORD_BYTES_MAX: usize = 64 * 1024;
/// Most environment variables.
pub const ENV_MAX: usize = 1_024;
/// Longest name of a variable, in bytes.
pub const ENV_KEY_BYTES_MAX: usize = 256;
/// Most ports, mounts, volumes, disks or networks of one workload.
pub const PARTS_MAX: usize = 256;
/// Longest path, repository or reference, in bytes.
pub const PATH_BYTES_MAX: usize = 4 * 1024;
/// Longest name of a volume, pool, bridge, device, group, and of what a driver calls its modes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest label that a client gives to a revision, in bytes. A suffix must still fit behind it.
pub const REVISION_LABEL_BYTES_MAX: usize = 128;

/// Fewest and most tries of a workload.
pub const ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=100;
/// Lowest and highest priority.
pub const PRIORITY: std::ops::RangeInclusive<i32> = -1_000_000..=1_000_000;

/// The storage drivers that a managed volume can name.
pub const STORAGE_DRIVERS: [&str; 3] = ["local", "nfs", "ceph-rbd"];

/// Metadata and labels below this prefix are the scheduler's own.
pub const RESERVED_PREFIX: &str = "berth/";
/// The user's metadata that holds a whole virtual machine in the agent's own terms: JSON in base64.
/// Bounded by [`SPEC_BYTES_MAX`] only.
pub const VM_SPEC_KEY: &str = "persys.vm_spec_b64";
