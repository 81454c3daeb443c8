//! What a script does to its world, and what it sees of it.

use std::rc::Rc;
use std::time::Duration;

use berth_driver::{StoreState, store};
use etcd_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::api::Api;
use crate::hosts::{self, Shape, names};
use crate::oracle;
use crate::trace;
use crate::world::{Link, Order, State};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The hands of a script: its clients, its tools, its eyes.
pub struct Hands {
    /// A client of the schedulers.
    pub api: Api,
    state: Rc<State>,
}

impl Hands {
    pub(crate) fn new(state: Rc<State>) -> Self {
        Self {
            api: Api::new(state.shape.schedulers),
            state,
        }
    }

    /// Of what the world is made.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.state.shape
    }

    async fn order(&self, order: Order) {
        self.state.orders.borrow_mut().push_back(order);
        // It is carried out between two steps.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    async fn link(&self, a: &str, b: &str, link: Link) {
        self.order(Order::Link(a.to_owned(), b.to_owned(), link))
            .await;
    }

    /// Ends the process of a host; its peers see their connections closed.
    pub async fn crash(&self, host: &str) {
        self.order(Order::Crash(host.to_owned())).await;
    }

    /// Ends a host; its peers hear nothing more, its disk forgets what was not synced, and nothing
    /// runs any more on an agent's.
    pub async fn cut_power(&self, host: &str) {
        self.order(Order::CutPower(host.to_owned())).await;
    }

    /// Starts a host; again, if it runs.
    pub async fn start(&self, host: &str) {
        self.order(Order::Start(host.to_owned())).await;
    }

    /// A backup of the store.
    #[must_use]
    pub fn back_up(&self) -> Vec<u8> {
        self.state.disk.image()
    }

    /// The store ends, and starts again with what a backup has.
    pub async fn restore(&self, backup: &[u8]) {
        trace::note("the store is restored");
        self.crash(names::STORE).await;
        self.state.disk.restore(backup);
        self.start(names::STORE).await;
    }

    /// Says that the restored store is to be believed, as `berth store accept-restore` does.
    ///
    /// # Panics
    /// When the store refuses that.
    pub async fn accept_restore(&self) {
        let accepted = store::accept_restore(&hosts::etcd, hosts::PREFIX, None).await;
        accepted.expect("the operator's word counts");
    }

    /// How the store does, as each scheduler that runs tells it.
    #[must_use]
    pub fn store_states(&self) -> Vec<StoreState> {
        let slots = self.state.schedulers.iter();
        let cores = slots.filter_map(|slot| slot.borrow().core.clone());
        cores.map(|core| core.health().store.state).collect()
    }

    /// Tells a scheduler to end gracefully.
    pub fn shut_down(&self, scheduler: &str) {
        trace::note(&format!("shut down {scheduler}"));
        for (at, slot) in self.state.schedulers.iter().enumerate() {
            if names::scheduler(at + 1) == scheduler {
                slot.borrow().shutdown.cancel();
            }
        }
    }

    /// Loses what two hosts send to each other.
    pub async fn cut(&self, a: &str, b: &str) {
        self.link(a, b, Link::Cut).await;
    }

    /// Loses what the first sends to the second.
    pub async fn cut_one_way(&self, from: &str, to: &str) {
        self.link(from, to, Link::CutOneWay).await;
    }

    /// Keeps what two hosts send to each other until the link is healed.
    pub async fn hold(&self, a: &str, b: &str) {
        self.link(a, b, Link::Held).await;
    }

    /// Makes every segment take so many milliseconds.
    pub async fn slow(&self, a: &str, b: &str, millis: u64) {
        self.link(a, b, Link::Slow(millis)).await;
    }

    /// Makes a link as it was.
    pub async fn heal(&self, a: &str, b: &str) {
        self.link(a, b, Link::Healthy).await;
    }

    /// Cuts a host off from all others.
    pub async fn isolate(&self, host: &str) {
        for other in self.peers(host) {
            self.cut(host, &other).await;
        }
    }

    /// Heals all links of a host.
    pub async fn rejoin(&self, host: &str) {
        for other in self.peers(host) {
            self.heal(host, &other).await;
        }
    }

    /// Everybody but this host and the script's own.
    fn peers(&self, host: &str) -> Vec<String> {
        let all = self.state.running.borrow();
        let others = all
            .keys()
            .filter(|other| *other != host && *other != names::HANDS);
        others.cloned().collect()
    }

    /// What a scheduler tells about itself over REST, as text.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self, scheduler: &str) -> String {
        let answer = async {
            let stream = turmoil::net::TcpStream::connect((scheduler, hosts::HTTP_PORT)).await;
            let mut stream = stream.expect("a connection");
            let request = "GET /metrics HTTP/1.1\r\nhost: berth\r\nconnection: close\r\n\r\n";
            let sent = stream.write_all(request.as_bytes()).await;
            sent.expect("a request");
            let mut text = String::new();
            let read = stream.read_to_string(&mut text).await;
            read.expect("an answer");
            text
        };
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        answer.expect("an answer in time")
    }

    /// Whether a host's software runs.
    #[must_use]
    pub fn is_running(&self, host: &str) -> bool {
        self.state.running.borrow().get(host) == Some(&true)
    }

    /// Lets time pass.
    pub async fn sleep(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it is not so within so many seconds.
    pub async fn until(&self, what: &str, seconds: u64, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(seconds), "not so: {what}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Those who believe that they lead, and their epochs.
    #[must_use]
    pub fn leaders(&self) -> Vec<(String, i64)> {
        oracle::leaders(&self.state)
    }

    /// The one who leads, when there is one, and its epoch.
    pub async fn leader(&self) -> (String, i64) {
        self.until("somebody leads", 60, |hands| hands.leaders().len() == 1)
            .await;
        self.leaders().remove(0)
    }

    /// Waits until somebody leads who is not this one.
    ///
    /// # Panics
    /// When it takes longer than so many seconds.
    pub async fn successor(&self, of: &str, seconds: u64) -> (String, i64) {
        self.until(
            &format!("another than {of} leads"),
            seconds,
            |hands| matches!(&hands.leaders()[..], [(name, _)] if name != of),
        )
        .await;
        self.leaders().remove(0)
    }

    /// The agents on which a workload lives, with the revision that does.
    #[must_use]
    pub fn live(&self, workload: &str) -> Vec<(String, String)> {
        let live = oracle::artifacts(&self.state);
        let ours = live.filter(|found| found.is_live && found.workload == workload);
        ours.map(|found| (found.agent, found.revision)).collect()
    }

    /// Waits until a workload lives in this revision on one agent alone, and answers which.
    pub async fn runs(&self, workload: &str, revision: &str) -> String {
        let what = format!("{workload} runs at {revision}");
        self.until(
            &what,
            60,
            |hands| matches!(&hands.live(workload)[..], [(_, found)] if found == revision),
        )
        .await;
        self.live(workload).remove(0).0
    }

    /// How many artifacts of a workload there have been, on all agents together.
    #[must_use]
    pub fn artifacts(&self, workload: &str) -> usize {
        let seen = self.state.seen.borrow();
        seen.iter().filter(|(of, _, _)| of == workload).count()
    }

    /// A client of the store over a connection of its own.
    ///
    /// # Panics
    /// Never: it connects when it is first used.
    pub async fn etcd(&self) -> Client {
        hosts::etcd().await.expect("made without a connection")
    }

    /// Waits until the world is what the acknowledged writes say: each of these workloads runs in
    /// this revision on one agent, or does not exist anywhere; nothing else does; one scheduler
    /// leads; no tombstone is left. Then it has to stay so.
    ///
    /// # Panics
    /// When it is not so within two minutes, or does not stay so.
    pub async fn all_is_well(&mut self, expected: &[(&str, Option<&str>)]) {
        let began = Instant::now();
        while let Err(why) = self.look(expected).await {
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(120), "all is not well: {why}");
            self.sleep(0.5).await;
        }
        trace::note("all is well");
        for _ in 0..4 {
            self.sleep(1.0).await;
            if let Err(why) = self.look(expected).await {
                panic!("all did not stay well: {why}");
            }
        }
    }

    async fn look(&mut self, expected: &[(&str, Option<&str>)]) -> Result<(), String> {
        oracle::quiet(&self.state, expected)?;
        let (leader, _) = self.leader().await;
        self.api.turn_to(&leader);
        for (id, revision) in expected {
            let view = self.api.get(id).await;
            oracle::as_told(&self.state, id, *revision, view.as_ref())?;
        }
        let mut etcd = self.etcd().await;
        oracle::stored(&mut etcd, expected).await
    }
}
