//! Precedence, refusals and the document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

use super::*;

fn args(flags: &[&str]) -> ServerArgs {
    let command = ServerArgs::augment_args(Command::new("server"));
    let all = std::iter::once("server").chain(flags.iter().copied());
    ServerArgs::from_arg_matches(&command.try_get_matches_from(all).unwrap()).unwrap()
}

fn resolve(flags: &[&str], variables: &[(&str, &str)]) -> Result<ServerConfig, String> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let variable = |name: &str| variables.get(name).map(ToString::to_string);
    args(flags)
        .resolve_with(variable)
        .map_err(|error| error.to_string())
}

const BASE: [&str; 3] = ["--etcd", "http://127.0.0.1:2379", "--insecure"];

fn with(more: &[&str]) -> Result<ServerConfig, String> {
    resolve(&[&BASE[..], more].concat(), &[])
}

struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("berth-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_defaults_are_the_cores() {
    let config = with(&[]).unwrap();
    assert_eq!(config.core, berth_core::Config::default());
    assert_eq!(config.grpc_addr.to_string(), "0.0.0.0:8085");
    assert_eq!(config.http_addr.to_string(), "0.0.0.0:8084");
    assert!(
        config.replica_id.ends_with(":8085"),
        "{}",
        config.replica_id
    );
    assert_eq!(config.tls, None);
}

#[test]
fn every_default_can_be_given_and_changes_nothing() {
    let mut flags: Vec<String> = BASE.iter().map(ToString::to_string).collect();
    for setting in settings() {
        let default = setting.default();
        if !default.is_empty() && setting.name != "insecure" {
            flags.extend([format!("--{}", setting.name), default]);
        }
    }
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    assert_eq!(resolve(&flags, &[]).unwrap(), with(&[]).unwrap());
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let file = TempFile::new(
        "order",
        "etcd = [\"http://a:1\", \"http://b:2\"]\ninsecure = true\n\
         heartbeat-interval = \"1s\"\neviction-grace = \"1s\"\nretry-attempts-max = 9\n",
    );
    let variables = [
        ("BERTH_CONFIG", file.path()),
        ("BERTH_HEARTBEAT_INTERVAL", "2s"),
        ("BERTH_EVICTION_GRACE", "2s"),
    ];
    let config = resolve(&["--heartbeat-interval", "3s"], &variables).unwrap();
    assert_eq!(config.core.heartbeat_interval, Duration::from_secs(3));
    assert_eq!(config.core.eviction_grace, Duration::from_secs(2));
    assert_eq!(config.core.retry_attempts_max, 9);
    assert_eq!(config.core.heartbeats_missed_max, 3);
    assert_eq!(config.etcd, ["http://a:1", "http://b:2"]);
    let flags = [
        "--config",
        file.path(),
        "--etcd",
        "http://c:3",
        "--etcd",
        "http://d:4",
    ];
    assert_eq!(
        resolve(&flags, &[]).unwrap().etcd,
        ["http://c:3", "http://d:4"]
    );
}

#[test]
fn what_cannot_be_read_is_refused_by_name_and_form() {
    for (flag, value, expected) in [
        ("heartbeat-interval", "soon", "a duration"),
        ("heartbeat-interval", "10", "a duration"),
        ("heartbeat-interval", "0s", "above zero"),
        ("heartbeat-interval", "1000000h", "a duration"),
        ("retry-attempts-max", "-1", "a whole number from 1 to 1000"),
        ("retry-attempts-max", "0", "a whole number"),
        ("eviction-pause-percent", "101", "from 1 to 100"),
        ("grpc-addr", "8085", "an address and a port"),
        ("etcd", "10.0.0.1:2379", "URLs such as"),
        ("prefix", "berth", "a path such as"),
        ("prefix", "/berth/", "without a slash"),
        ("log-format", "xml", "text or json"),
        ("log-level", "loud", "error, warn"),
        ("replica-id", "a b", "letters, digits"),
        ("advertise", "berth-1", "a host and a port"),
        ("advertise", "berth-1:0", "a host and a port"),
        ("advertise", ":8085", "a host and a port"),
        ("advertise", "fd00::1:8085", "a host and a port"),
        ("advertise", "http://berth-1:8085", "a host and a port"),
    ] {
        let flag = format!("--{flag}={value}");
        let error = with(&[&flag]).unwrap_err();
        let named = error.starts_with(flag.split('=').next().unwrap());
        assert!(
            named && error.contains(expected) && error.contains(value),
            "{flag}: {error}"
        );
    }
    let base = [&BASE[..]].concat();
    let error = resolve(&base, &[("BERTH_CALLS_MAX", "many")]).unwrap_err();
    assert!(
        error.starts_with("BERTH_CALLS_MAX: \"many\" is not a whole number"),
        "{error}"
    );
}

#[test]
fn the_file_is_checked() {
    let parse =
        |text: &str| file::parse(Path::new("berth.toml"), text).map_err(|error| error.to_string());
    let unknown = parse("heartbeat = \"1s\"").unwrap_err();
    assert!(
        unknown.contains("berth.toml") && unknown.contains("\"heartbeat\""),
        "{unknown}"
    );
    assert!(
        parse("[server]\netcd = \"http://a:1\"")
            .unwrap_err()
            .contains("\"server\"")
    );
    assert!(
        parse("lease-ttl = 1.5")
            .unwrap_err()
            .contains("lease-ttl in berth.toml")
    );
    assert!(parse("lease-ttl = ").unwrap_err().contains("berth.toml"));
    let missing = resolve(&["--config", "no-such-file.toml"], &[]).unwrap_err();
    assert!(missing.starts_with("no-such-file.toml: "), "{missing}");
    let file = TempFile::new(
        "bad",
        "etcd = \"http://a:1\"\ninsecure = true\nlease-ttl = \"x\"\n",
    );
    let error = resolve(&["--config", file.path()], &[]).unwrap_err();
    assert!(
        error.starts_with("lease-ttl in ") && error.contains("is not a duration"),
        "{error}"
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    let etcd = ["--etcd", "http://a:1"];
    let error = resolve(&etcd, &[]).unwrap_err();
    assert!(
        error.contains("--tls-ca") && error.contains("--insecure"),
        "{error}"
    );
    assert!(
        resolve(&["--insecure"], &[])
            .unwrap_err()
            .contains("--etcd is missing")
    );
    for (flags, says) in [
        (&["--tls-ca", "ca.pem"][..], "exclude each other"),
        (
            &["--etcd-cert", "c.pem"][..],
            "--etcd-cert needs --etcd-key",
        ),
        (&["--etcd-ca", "c.pem"][..], "need https://"),
        (&["--etcd", "https://a:1"][..], "mixes"),
        (&["--grpc-addr", "0.0.0.0:8084"][..], "are the same"),
        (&["--retry-backoff-min", "3m"][..], "longer than"),
        (&["--calls-per-node-max", "300"][..], "more than"),
    ] {
        let error = with(flags).unwrap_err();
        assert!(error.contains(says), "{flags:?}: {error}");
    }
    let partly = [&etcd[..], &["--tls-ca", "a", "--tls-key", "b"]].concat();
    assert!(
        resolve(&partly, &[])
            .unwrap_err()
            .contains("one is missing")
    );
    let whole = [&partly[..], &["--tls-cert", "c"]].concat();
    assert!(resolve(&whole, &[]).unwrap().tls.is_some());
}

#[test]
fn insecure_takes_a_value_or_none() {
    assert!(with(&[]).is_ok());
    let off = ["--etcd", "http://a:1", "--insecure=false"];
    assert!(resolve(&off, &[]).unwrap_err().contains("no certificates"));
    assert!(resolve(&off[..2], &[("BERTH_INSECURE", "true")]).is_ok());
    assert!(
        resolve(&off[..2], &[("BERTH_INSECURE", "yes")])
            .unwrap_err()
            .contains("true or false")
    );
}

#[test]
fn the_store_alone() {
    let command = StoreArgs::augment_args(Command::new("accept-restore"));
    let of = |flags: &[&str], variables: &[(&str, &str)]| {
        let words = std::iter::once("accept-restore").chain(flags.iter().copied());
        let matches = command.clone().try_get_matches_from(words);
        let args = StoreArgs::from_arg_matches(&matches.map_err(|error| error.to_string())?);
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let variable = |name: &str| variables.get(name).map(ToString::to_string);
        args.unwrap()
            .resolve_with(variable)
            .map_err(|error| error.to_string())
    };
    // Neither certificates of the ports nor a word that there are none.
    let store = of(&["--etcd", "http://a:1", "--prefix", "/berth"], &[]).unwrap();
    assert_eq!(
        (store.etcd, &*store.prefix),
        (vec!["http://a:1".to_owned()], "/berth")
    );
    // A server's file and its environment are understood: what is the server's alone does not matter.
    let file = TempFile::new(
        "store",
        "etcd = \"https://a:1\"\netcd-ca = \"ca.pem\"\ntls-ca = \"half.pem\"\nlease-ttl = \"x\"\n",
    );
    let variables = [("BERTH_CONFIG", file.path()), ("BERTH_CALLS_MAX", "many")];
    assert_eq!(of(&[], &variables).unwrap().tls.ca, Some("ca.pem".into()));
    assert!(of(&[], &[]).unwrap_err().contains("--etcd is missing"));
    let half = ["--etcd", "https://a:1", "--etcd-cert", "c.pem"];
    assert!(of(&half, &[]).unwrap_err().contains("needs --etcd-key"));
    assert!(
        of(&["--grpc-addr", "a:1"], &[])
            .unwrap_err()
            .contains("--grpc-addr")
    );
}

#[test]
fn the_core_alone() {
    let command = CoreArgs::augment_args(Command::new("dev"));
    let flags = ["dev", "--heartbeat-interval", "1s"];
    let matches = command.clone().try_get_matches_from(flags).unwrap();
    let config = CoreArgs::from_arg_matches(&matches)
        .unwrap()
        .resolve()
        .unwrap();
    assert_eq!(config.heartbeat_interval, Duration::from_secs(1));
    assert!(
        command
            .try_get_matches_from(["dev", "--etcd", "http://a:1"])
            .is_err()
    );
}

#[test]
fn the_document_is_made_from_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("BERTH_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, table()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == table(),
        "docs/configuration.md is old: run the test with BERTH_WRITE_DOCS=1"
    );
}
