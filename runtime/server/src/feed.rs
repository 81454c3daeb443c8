//! Events from a point on, then as they happen: no gap, no duplicate.
//!
//! A feed subscribes first and then reads pages from the core until it has caught up; what it read
//! is told apart from what is broadcast by id. A receiver that lags goes back to reading pages, and
//! so does one that heard nothing for a while (a replica that did not lead hears no broadcast).

use std::collections::{BTreeSet, VecDeque};

use berth_core::io::request::Response;
use berth_core::{EventId, EventRecord};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::api::{Api, AskError, EventFilter, expect_answer};

/// Events in one read.
const PAGE: usize = 256;
/// Ids that are remembered to tell a broadcast from what was read.
const REMEMBERED_MAX: usize = 4096;

/// Where a feed begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// With what happens from now on.
    Now,
    /// With the oldest that is kept.
    Oldest,
    /// After this one.
    After(EventId),
}

/// What a feed yields.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedItem {
    /// Events that the client wanted have left by retention; the next one is the oldest kept.
    Lost,
    /// An event, and where to resume after it.
    Event(Box<EventRecord>, EventId),
    /// Nothing happened for a while; resume from here. `None`: there was no event ever.
    Idle(Option<EventId>),
}

/// A subscription to events.
#[derive(Debug)]
pub struct Feed {
    api: Api,
    filter: EventFilter,
    live: broadcast::Receiver<EventRecord>,
    /// The greatest id of all that was read or heard.
    cursor: Option<EventId>,
    /// Ids read from the core since the subscription: their broadcasts are duplicates.
    read: BTreeSet<EventId>,
    ready: VecDeque<FeedItem>,
    caught_up: bool,
    /// A first page may say that something is lost.
    first: bool,
}

impl Feed {
    /// Subscribes.
    ///
    /// # Errors
    /// Those of the core, which is asked where "now" is.
    pub async fn open(api: Api, filter: EventFilter, origin: Origin) -> Result<Self, AskError> {
        let cursor = match origin {
            Origin::Now => {
                let request = EventFilter::default().page(None, 1);
                let page = expect_answer!(api.ask(request).await?, Response::Events(p) => p)?;
                page.events.last().map(|event| event.id.clone())
            }
            // Sorts before every id.
            Origin::Oldest => Some(EventId::from_text("")),
            Origin::After(id) => Some(id),
        };
        let resumed = cursor.as_ref().is_some_and(|id| !id.as_str().is_empty());
        Ok(Self {
            live: api.core().events(),
            first: resumed,
            read: cursor.iter().cloned().collect(),
            api,
            filter,
            cursor,
            ready: VecDeque::new(),
            caught_up: false,
        })
    }

    /// The next item; waits for it. `None` when the server shuts down.
    ///
    /// # Errors
    /// Those of the core while pages are read.
    pub async fn next(&mut self) -> Result<Option<FeedItem>, AskError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if !self.caught_up {
                self.read_page().await?;
                continue;
            }
            let shutdown = self.api.shutdown().clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                heard = self.live.recv() => match heard {
                    Ok(event) => self.hear(event),
                    Err(RecvError::Lagged(_)) => self.caught_up = false,
                    Err(RecvError::Closed) => return Ok(None),
                },
                () = tokio::time::sleep(self.api.limits().events_idle) => {
                    self.caught_up = false;
                    self.read_page().await?;
                    if self.ready.is_empty() {
                        let at = self.cursor.clone().filter(|id| !id.as_str().is_empty());
                        self.ready.push_back(FeedItem::Idle(at));
                    }
                }
            }
        }
    }

    fn hear(&mut self, event: EventRecord) {
        if !self.read.contains(&event.id) {
            self.yield_event(event);
        }
    }

    async fn read_page(&mut self) -> Result<(), AskError> {
        // Without a cursor there was no event when the feed began: all there are are new.
        let after = self
            .cursor
            .clone()
            .unwrap_or_else(|| EventId::from_text(""));
        let request = self.filter.page(Some(after), PAGE);
        let page = expect_answer!(self.api.ask(request).await?, Response::Events(page) => page)?;
        if std::mem::take(&mut self.first) && page.gap {
            self.ready.push_back(FeedItem::Lost);
        }
        self.caught_up = page.events.len() < PAGE;
        for event in page.events {
            if self.read.insert(event.id.clone()) {
                self.yield_event(event);
            }
        }
        Ok(())
    }

    fn yield_event(&mut self, event: EventRecord) {
        self.read.insert(event.id.clone());
        while self.read.len() > REMEMBERED_MAX {
            self.read.pop_first();
        }
        let cursor = match self.cursor.take() {
            Some(cursor) if cursor > event.id => cursor,
            _ => event.id.clone(),
        };
        self.cursor = Some(cursor.clone());
        if self.filter.wants(&event) {
            self.ready
                .push_back(FeedItem::Event(Box::new(event), cursor));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use berth_core::io::request::{Query, Request};
    use berth_core::io::view::EventPage;

    use super::*;
    use crate::api::ApiLimits;
    use crate::testing::{Script, event};

    /// A core with a log of events, which the test appends to.
    fn logging() -> (Script, Arc<Mutex<Vec<EventRecord>>>) {
        let log = Arc::new(Mutex::new(Vec::<EventRecord>::new()));
        let kept = Arc::clone(&log);
        let script = Script::new(move |request| {
            let Request::Read(Query::Events { after, limit, .. }) = request else {
                panic!("asked {request:?}");
            };
            let log = kept.lock().unwrap();
            let mut events: Vec<_> = log
                .iter()
                .filter(|event| after.as_ref().is_none_or(|after| event.id > *after))
                .cloned()
                .collect();
            match after {
                Some(_) => events.truncate(*limit),
                None => drop(events.drain(..events.len().saturating_sub(*limit))),
            }
            Ok(Response::Events(EventPage {
                events,
                gap: after
                    .as_ref()
                    .is_some_and(|after| after.as_str() == "0-left"),
                ..EventPage::default()
            }))
        });
        (script, log)
    }

    async fn next_number(feed: &mut Feed) -> u64 {
        loop {
            match feed.next().await.unwrap().unwrap() {
                FeedItem::Event(event, _) => return event.reason[7..].parse().unwrap(),
                FeedItem::Lost | FeedItem::Idle(_) => {}
            }
        }
    }

    #[tokio::test]
    async fn pages_then_broadcast_without_gap_or_duplicate() {
        let (script, log) = logging();
        let happen = |n| {
            log.lock().unwrap().push(event(n));
            script.emit(event(n));
        };
        (0..600).for_each(happen);
        let resume = Origin::After(event(9).id);
        let mut feed = Feed::open(script.api(), EventFilter::default(), resume)
            .await
            .unwrap();
        // Both in the pages to come and broadcast: must come once.
        (600..603).for_each(happen);
        for expected in 10..603 {
            assert_eq!(next_number(&mut feed).await, expected);
        }
        happen(603);
        assert_eq!(next_number(&mut feed).await, 603);
        // More than the channel holds: the feed lags and reads again.
        (604..640).for_each(happen);
        for expected in 604..640 {
            assert_eq!(next_number(&mut feed).await, expected);
        }
    }

    #[tokio::test]
    async fn from_now_on_and_from_the_oldest() {
        let (script, log) = logging();
        log.lock().unwrap().extend((0..3).map(event));
        let api = script.api();
        let mut now = Feed::open(api.clone(), EventFilter::default(), Origin::Now)
            .await
            .unwrap();
        let mut all = Feed::open(api, EventFilter::default(), Origin::Oldest)
            .await
            .unwrap();
        log.lock().unwrap().push(event(3));
        script.emit(event(3));
        assert_eq!(next_number(&mut now).await, 3);
        for expected in 0..4 {
            assert_eq!(next_number(&mut all).await, expected);
        }
    }

    #[tokio::test]
    async fn a_late_commit_of_an_older_id_is_not_lost() {
        let (script, log) = logging();
        log.lock().unwrap().push(event(5));
        let api = script.api();
        let mut feed = Feed::open(api, EventFilter::default(), Origin::Oldest)
            .await
            .unwrap();
        assert_eq!(next_number(&mut feed).await, 5);
        script.emit(event(4));
        let item = feed.next().await.unwrap().unwrap();
        let FeedItem::Event(late, resume) = item else {
            panic!("{item:?}")
        };
        assert_eq!((late.id, resume), (event(4).id, event(5).id));
    }

    #[tokio::test]
    async fn what_left_by_retention_is_said_first() {
        let (script, log) = logging();
        log.lock().unwrap().push(event(1));
        let origin = Origin::After(EventId::from_text("0-left"));
        let mut feed = Feed::open(script.api(), EventFilter::default(), origin)
            .await
            .unwrap();
        assert_eq!(feed.next().await.unwrap(), Some(FeedItem::Lost));
        assert_eq!(next_number(&mut feed).await, 1);
    }

    #[tokio::test]
    async fn silence_is_filled_and_a_missed_broadcast_is_found() {
        let (script, log) = logging();
        let api = script.api_with(ApiLimits {
            events_idle: Duration::from_millis(5),
            ..ApiLimits::default()
        });
        let mut feed = Feed::open(api, EventFilter::default(), Origin::Now)
            .await
            .unwrap();
        assert_eq!(feed.next().await.unwrap(), Some(FeedItem::Idle(None)));
        // Written by another leader: nobody broadcasts it here.
        log.lock().unwrap().push(event(1));
        assert_eq!(next_number(&mut feed).await, 1);
    }

    #[tokio::test]
    async fn the_filter_holds_for_pages_and_broadcasts_and_shutdown_ends_it() {
        let (script, _log) = logging();
        let api = script.api();
        let filter = EventFilter {
            workload: Some("other".parse().unwrap()),
            node: None,
        };
        let mut feed = Feed::open(api.clone(), filter, Origin::Now).await.unwrap();
        script.emit(event(1));
        let mut wanted = event(2);
        wanted.workload_id = Some("other".parse().unwrap());
        script.emit(wanted);
        assert_eq!(next_number(&mut feed).await, 2);
        api.shutdown().cancel();
        assert_eq!(feed.next().await.unwrap(), None);
    }
}
