//! Three members of etcd, each behind the network.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use berth_tests::etcd::free_address;
use berth_tests::history::{Change, History};
use berth_tests::{Lab, Process, Rest, secs, wait_for};
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client, GetOptions, KeyValue};
use nix::sys::signal::Signal;

use crate::disks::Disks;
use crate::net::{Net, Place};

/// How many there are.
pub const MEMBERS: usize = 3;

/// A quota that any write exceeds.
const FULL: &str = "1";
const ROOMY: &str = "2147483648";
/// What is written when alarms were taken back.
const SETTLED: &str = "/faults/settled";

/// The cluster of etcd, and what each member saw of its history.
#[derive(Debug)]
pub struct Members {
    net: Arc<Net>,
    members: Vec<Member>,
    /// Their own, if the run may mount.
    disks: Option<Disks>,
}

#[derive(Debug)]
struct Member {
    process: Process,
    name: String,
    args: Vec<String>,
    /// Where it serves, past the network.
    client: String,
    /// The way to it.
    link: String,
    history: Option<History>,
}

impl Members {
    /// Starts them with empty data and waits until all serve. Those whose history is judged have it
    /// recorded, and a disk each that can be full.
    pub async fn start(lab: &Lab, net: &Arc<Net>, history: bool) -> Self {
        let folders: Vec<_> = (0..MEMBERS).map(|n| lab.path(name_of(n))).collect();
        let disks = match history {
            true => Disks::mount(lab, &folders).await,
            false => None,
        };
        let mut addresses = Vec::new();
        for number in 0..MEMBERS {
            let (client, peer) = (free_address(), free_address());
            let at = Place::Etcd(number);
            let links = (net.proxy(at, &client).await, net.proxy(at, &peer).await);
            addresses.push((client, peer, links));
        }
        let peers = addresses.iter().enumerate();
        let peers: Vec<_> = peers
            .map(|(number, (_, _, (_, peer)))| format!("{}=http://{peer}", name_of(number)))
            .collect();
        let mut members = Vec::new();
        for (number, (client, peer, (link, peer_link))) in addresses.into_iter().enumerate() {
            let name = name_of(number);
            let args = vec![
                format!("--name={name}"),
                format!("--data-dir={}", folders[number].join("data").display()),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{link}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer_link}"),
                format!("--initial-cluster={}", peers.join(",")),
                "--logger=zap".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            let process = launch(lab, net, disks.as_ref(), number, &args, ROOMY);
            let history = history.then(|| History::of(&format!("http://{client}")));
            members.push(Member {
                process,
                name,
                args,
                client,
                link,
                history,
            });
        }
        let members = Self {
            net: Arc::clone(net),
            members,
            disks,
        };
        members.wait_healthy().await;
        members
    }

    /// The ways to all of them, as `berth server --etcd` takes them.
    #[must_use]
    pub fn links(&self) -> String {
        let links = self.members.iter().map(|m| format!("http://{}", m.link));
        links.collect::<Vec<_>>().join(",")
    }

    /// Waits until every member serves and sees a leader.
    pub async fn wait_healthy(&self) {
        for member in &self.members {
            let rest = Rest::patient(&member.client, secs(2));
            let what = format!("{} to be healthy", member.name);
            wait_for(&what, secs(60), async || {
                let answer = rest.get("/health").await?;
                let healthy = answer.body["health"] == "true";
                if healthy { Ok(()) } else { Err(answer.text) }
            })
            .await;
        }
    }

    /// A client of all members, past the network.
    ///
    /// # Errors
    /// When none answers.
    pub async fn client(&self) -> Result<Client, etcd_client::Error> {
        let urls = self.members.iter().map(|m| format!("http://{}", m.client));
        Client::connect(urls.collect::<Vec<_>>(), None).await
    }

    /// The newest revision.
    ///
    /// # Panics
    /// When the cluster does not answer.
    pub async fn revision(&self) -> i64 {
        let mut client = self.client().await.expect("etcd is healthy");
        let answer = client.get("/", None).await.expect("etcd answers");
        let header = answer.header().expect("every answer has a header");
        header.revision()
    }

    /// What each member saw, from its first revision on, up to the newest.
    pub async fn histories(&self) -> Vec<Vec<Change>> {
        let revision = self.revision().await;
        let mut all = Vec::new();
        for history in self.members.iter().filter_map(|m| m.history.as_ref()) {
            all.push(history.up_to(revision).await);
        }
        all
    }

    /// It ends at once; its data stays.
    pub fn kill(&mut self, number: usize) {
        self.members[number].process.kill();
    }

    /// It starts again on its data.
    pub fn launch(&mut self, lab: &Lab, number: usize) {
        self.relaunch(lab, number, ROOMY);
    }

    /// It starts again with no room for anything: the first write raises an alarm, and no member
    /// takes writes any more.
    pub fn launch_full(&mut self, lab: &Lab, number: usize) {
        self.relaunch(lab, number, FULL);
    }

    fn relaunch(&mut self, lab: &Lab, number: usize, quota: &str) {
        let member = &mut self.members[number];
        member.process.kill();
        let disks = self.disks.as_ref();
        member.process = launch(lab, &self.net, disks, number, &member.args, quota);
    }

    /// Whether a member's disk can be full.
    #[must_use]
    pub const fn have_disks(&self) -> bool {
        self.disks.is_some()
    }

    /// The disk of a member is full: it ends by itself as soon as it needs more of it.
    pub fn fill_disk(&self, number: usize) {
        if let Some(disks) = &self.disks {
            disks.fill(number);
        }
    }

    /// Its disk has room again, and it starts again. Answers how it had ended by itself, if it had.
    pub fn clear_disk(&mut self, lab: &Lab, number: usize) -> Option<ExitStatus> {
        if let Some(disks) = &self.disks {
            disks.clear(number);
        }
        let ended = self.members[number].process.ended();
        self.launch(lab, number);
        ended
    }

    /// Takes every alarm back, and waits until there is none, and every member has written that down.
    ///
    /// A member of etcd 3.4 keeps its alarms in the same file as its data, and beside them the index
    /// of the last entry that *changed data*. Killed before the first write after an alarm it would
    /// do over what came since, without the alarm: writes that all others refused it alone would
    /// carry out, and be another store for good (etcd-io/etcd#16106 looks like it).
    pub async fn disarm(&self) {
        wait_for(
            "etcd's alarms to be taken back",
            secs(60),
            async || match self.try_disarm().await {
                Ok(0) => Ok(()),
                Ok(alarms) => Err(format!("{alarms} alarms")),
                Err(error) => Err(error.to_string()),
            },
        )
        .await;
        wait_for(
            "every member of etcd to write after the alarm",
            secs(60),
            async || match tokio::time::timeout(secs(10), self.settle()).await {
                Ok(settled) => settled.map_err(|error| error.to_string()),
                Err(_) => Err("no answer within 10 s".to_owned()),
            },
        )
        .await;
    }

    /// Writes a record, and has every member commit it to its file.
    async fn settle(&self) -> Result<(), Box<dyn std::error::Error>> {
        let put = self.client().await?.put(SETTLED, "", None).await?;
        let written = put.header().ok_or("no header")?.revision();
        for member in &self.members {
            let mut client = Client::connect([format!("http://{}", member.client)], None).await?;
            let here = GetOptions::new().with_serializable();
            let found = client.get(SETTLED, Some(here)).await?;
            let at = found.kvs().first().map_or(0, KeyValue::mod_revision);
            if at < written {
                return Err(format!("{} is at {at}, not at {written}", member.name).into());
            }
            // A hash is one of the file, so everything is committed to it first.
            client.hash().await?;
        }
        Ok(())
    }

    /// Takes every alarm back: how many there were.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn try_disarm(&self) -> Result<usize, etcd_client::Error> {
        let mut client = self.client().await?;
        let ask = client.alarm(AlarmAction::Get, AlarmType::None, None);
        let alarms = ask.await?.alarms().to_vec();
        for alarm in &alarms {
            let mut of = AlarmOptions::new();
            of.with_member(alarm.member_id());
            let off = client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(of));
            let _ = off.await?;
        }
        Ok(alarms.len())
    }

    /// Sends a signal.
    pub fn signal(&self, number: usize, signal: Signal) {
        self.members[number].process.signal(signal);
    }
}

fn name_of(number: usize) -> String {
    format!("etcd-{number}")
}

fn launch(
    lab: &Lab,
    net: &Net,
    disks: Option<&Disks>,
    number: usize,
    args: &[String],
    quota: &str,
) -> Process {
    let mut args = args.to_vec();
    args.push(format!("--quota-backend-bytes={quota}"));
    let (program, args) = match disks {
        Some(disks) => disks.command("etcd", &args),
        None => (PathBuf::from("etcd"), args),
    };
    let process = lab.start(&name_of(number), &program, &args);
    net.stands(process.pid(), Place::Etcd(number));
    process
}
