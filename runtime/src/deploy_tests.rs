//! The files of `deploy/` and the guide to operations say what this binary understands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command as Program;

use berth_server::ServerConfig;
use clap::{CommandFactory, Parser};
use serde_yaml_ng::Value;

use super::{Cli, Command};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    let file = root().join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn parse(line: &[&str]) -> Cli {
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// What a server would run with: its flags, and nothing of this machine.
fn configuration(line: &[&str]) -> ServerConfig {
    let Command::Server(args) = parse(line).command else {
        panic!("{line:?} is no server");
    };
    args.resolve_with(|_| None)
        .unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// The values of a directive of a unit or a Dockerfile.
fn directives<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let values = text.lines().filter_map(|line| line.strip_prefix(name));
    values.map(str::trim).collect()
}

#[test]
fn the_servers_unit_and_its_configuration() {
    let unit = read("deploy/systemd/berth-server.service");
    let file = root().join("deploy/systemd/server.toml");
    let starts = directives(&unit, "ExecStart=");
    let [start] = starts[..] else {
        panic!("{starts:?}");
    };
    let start = start.replace("/etc/berth/server.toml", &file.display().to_string());
    let config = configuration(&start.split_whitespace().collect::<Vec<_>>());
    assert_eq!(config.etcd.len(), 3);
    assert!(config.tls.is_some() && config.etcd_tls.identity.is_some());
}

#[test]
fn the_agents_unit_and_its_environment() {
    let unit = read("deploy/systemd/berth-agent.service");
    let start = directives(&unit, "ExecStart=").join(" ");
    let mut line: Vec<String> = start.split_whitespace().map(ToOwned::to_owned).collect();
    let command = Cli::command();
    let agent = command.find_subcommand("agent").expect("berth agent");
    let flags: BTreeMap<String, &str> = agent
        .get_arguments()
        .filter_map(|a| Some((a.get_env()?.to_str()?.to_owned(), a.get_long()?)))
        .collect();
    let environment = read("deploy/systemd/agent.env");
    let mut given = 0;
    for setting in environment.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = setting.split_once('=').expect("NAME=VALUE");
        let flag = flags.get(name);
        let flag = flag.unwrap_or_else(|| panic!("no flag of berth agent reads {name}"));
        line.push(format!("--{flag}={value}"));
        given += 1;
    }
    assert!(given > 5, "the environment was not read");
    parse(&line.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn systemd_understands_the_units() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    for name in ["berth-server.service", "berth-agent.service"] {
        // The program is not installed where the tests run.
        let unit =
            read(&format!("deploy/systemd/{name}")).replace("/usr/local/bin/berth", "/bin/sh");
        let file = folder.path().join(name);
        std::fs::write(&file, unit).expect("the scratch folder can be written");
        let Ok(said) = Program::new("systemd-analyze")
            .arg("verify")
            .arg(&file)
            .output()
        else {
            eprintln!("no systemd-analyze here: the units were not verified");
            return;
        };
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // It also looks at other units of this machine.
        let about: Vec<_> = said.lines().filter(|line| line.contains(name)).collect();
        assert!(about.is_empty(), "{about:#?}");
    }
}

/// The services of the compose file, with what they inherit.
fn services() -> (Value, BTreeMap<String, Value>) {
    let mut file: Value = serde_yaml_ng::from_str(&read("deploy/compose.yaml")).expect("YAML");
    // A merged mapping may merge another one.
    for _ in 0..3 {
        file.apply_merge().expect("merges");
    }
    let services = file["services"].as_mapping().expect("services").iter();
    let services = services
        .map(|(name, service)| (text(name).to_owned(), service.clone()))
        .collect();
    (file, services)
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value:?} is no text"))
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value
        .as_sequence()
        .unwrap_or_else(|| panic!("{value:?} is no list"));
    list.iter().map(text).collect()
}

/// The value of `--flag=value` on a command line.
fn flag<'a>(line: &[&'a str], name: &str) -> &'a str {
    let mut values = line
        .iter()
        .filter_map(|w| w.strip_prefix(name)?.strip_prefix('='));
    values
        .next()
        .unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

#[test]
fn every_line_of_the_compose_file_is_understood() {
    let (_, services) = services();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let named = |list: &str, port: &str| {
        for address in list.split(',') {
            let host = address.trim_start_matches("http://");
            let host = host
                .strip_suffix(port)
                .unwrap_or_else(|| panic!("{address}: not {port}"));
            assert!(services.contains_key(host), "{host} is no service");
        }
    };
    for (name, service) in &services {
        let words = texts(&service["command"]);
        let mut line = vec!["berth"];
        line.extend(&words);
        let kind = match text(&service["image"]) {
            "berth-etcd" => {
                assert_eq!(flag(&words, "--name"), name.as_str());
                for member in flag(&words, "--initial-cluster").split(',') {
                    let (member, url) = member.split_once('=').expect("NAME=URL");
                    named(url, ":2380");
                    assert_eq!(url, format!("http://{member}:2380"));
                }
                named(flag(&words, "--advertise-client-urls"), ":2379");
                "etcd"
            }
            "berth" if words[0] == "server" => {
                let config = configuration(&line);
                assert_eq!(config.replica_id, *name);
                named(&config.etcd.join(","), ":2379");
                "server"
            }
            "berth" => {
                let Command::Agent { .. } = parse(&line).command else {
                    panic!("{line:?} is no agent");
                };
                named(flag(&words, "--scheduler"), ":8085");
                named(flag(&words, "--advertise"), ":7000");
                "agent"
            }
            image => panic!("{image} is none of our images"),
        };
        *kinds.entry(kind).or_default() += 1;
        if let Some(probe) = service.get("healthcheck").map(|h| texts(&h["test"]))
            && probe[1] == "berth"
        {
            parse(&probe[1..]);
        }
    }
    assert_eq!(
        kinds,
        BTreeMap::from([("agent", 3), ("etcd", 3), ("server", 3)])
    );
}

#[test]
fn the_compose_file_is_whole() {
    let (file, services) = services();
    let keys = [
        "build",
        "image",
        "pull_policy",
        "restart",
        "networks",
        "healthcheck",
        "depends_on",
    ];
    let keys = keys.into_iter().chain([
        "stop_grace_period",
        "hostname",
        "command",
        "ports",
        "volumes",
    ]);
    let keys: BTreeSet<&str> = keys.collect();
    let mut ports = BTreeSet::new();
    for (name, service) in &services {
        for key in service.as_mapping().expect("a mapping").keys() {
            assert!(keys.contains(text(key)), "{name}: {key:?}");
        }
        for other in service
            .get("depends_on")
            .and_then(Value::as_mapping)
            .into_iter()
            .flatten()
        {
            assert!(
                services.contains_key(text(other.0)),
                "{name} waits for {other:?}"
            );
        }
        for volume in service.get("volumes").map(texts).unwrap_or_default() {
            let (volume, _) = volume.split_once(':').expect("NAME:PATH");
            assert!(
                file["volumes"].get(volume).is_some(),
                "{name}: no volume {volume}"
            );
        }
        for network in texts(&service["networks"]) {
            assert!(
                file["networks"].get(network).is_some(),
                "{name}: no network {network}"
            );
        }
        for port in service.get("ports").map(texts).unwrap_or_default() {
            let (at, _) = port.rsplit_once(':').expect("ADDRESS:PORT:PORT");
            assert!(
                at.starts_with("127.0.0.1:"),
                "{name} is open to others: {port}"
            );
            assert!(ports.insert(at.to_owned()), "{at} is given out twice");
        }
    }
}

/// Built by two services, an image gets two ids (compose writes the service's name into it), and the
/// next `up` starts all containers anew at once, etcd's too.
#[test]
fn each_image_is_built_by_one_service() {
    let (_, services) = services();
    let mut used = BTreeSet::new();
    let mut built = BTreeSet::new();
    for (name, service) in &services {
        let image = text(&service["image"]);
        used.insert(image);
        // A registry's image of that name would be a stranger's.
        assert_eq!(text(&service["pull_policy"]), "never", "{name}");
        let Some(build) = service.get("build") else {
            continue;
        };
        assert!(built.insert(image), "{name} builds {image} once more");
        let dockerfile = read(text(&build["dockerfile"]));
        let target = text(&build["target"]);
        let stage = format!(" AS {target}");
        assert!(
            directives(&dockerfile, "FROM ")
                .iter()
                .any(|from| from.ends_with(&stage)),
            "{name}: the Dockerfile has no stage {target}"
        );
    }
    assert_eq!(built, used);
}

#[test]
fn images_come_from_no_particular_registry() {
    for from in directives(&read("deploy/Dockerfile"), "FROM ") {
        let image = from.split_whitespace().next().expect("an image");
        assert!(!image.contains('/'), "{image} names a registry");
    }
}

/// The shell's blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<Vec<&str>> = None;
    for line in page.lines().map(str::trim) {
        match (&mut block, line) {
            (None, "```sh") => block = Some(Vec::new()),
            (Some(lines), "```") => {
                blocks.push(lines.join("\n"));
                block = None;
            }
            (Some(lines), line) => lines.push(line),
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn the_commands_of_the_guide_are_understood() {
    let blocks = blocks(&read("docs/operations.md"));
    let mut ours = 0;
    for block in &blocks {
        let checked = Program::new("sh")
            .args(["-n", "-c", block])
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{block}\n{said}");
        for line in block.lines() {
            if line.starts_with("berth ") {
                parse(&line.split_whitespace().collect::<Vec<_>>());
                ours += 1;
            }
            for file in line.split_whitespace().filter(|w| w.starts_with("deploy/")) {
                assert!(root().join(file).is_file(), "{line}: there is no {file}");
            }
        }
    }
    assert!(
        blocks.len() > 10 && ours >= 10,
        "{} blocks, {ours} of ours",
        blocks.len()
    );
}

#[test]
fn what_is_run_in_a_servers_container_is_understood() {
    let page = read("deploy/README.md");
    let inside = blocks(&page).join("\n");
    let inside = inside
        .lines()
        .filter_map(|line| line.split_once(" berth-1 "));
    let mut parsed = 0;
    for (_, words) in inside {
        parse(
            &std::iter::once("berth")
                .chain(words.split_whitespace())
                .collect::<Vec<_>>(),
        );
        parsed += 1;
    }
    assert_eq!(parsed, 1);
}

#[test]
fn the_settings_of_the_guide_exist() {
    let page = read("docs/operations.md");
    let command = Cli::command();
    let server = command.find_subcommand("server").expect("berth server");
    let flags: BTreeSet<_> = server
        .get_arguments()
        .filter_map(|a| a.get_long())
        .collect();
    let named: Vec<_> = page
        .split('`')
        .filter_map(|code| code.strip_prefix("--"))
        .collect();
    assert!(!named.is_empty(), "the guide names no setting");
    for name in named {
        assert!(flags.contains(name), "--{name}");
    }
}
