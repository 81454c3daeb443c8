//! `etcdserverpb.Watch`: streams of watches.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use berth_kv::{Response as Answer, StreamId, WatchOutput, WatchRequest};
use etcd_client::proto::{PbWatchRequest, PbWatchResponse, PbWatchService};
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use crate::wire::watch;

/// The watches of a stream whose answers may be cut.
type Fragmented = Arc<Mutex<BTreeSet<i64>>>;

#[tonic::async_trait]
impl PbWatchService for Services {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<PbWatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        messages: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let stream = Services::next_stream();
        let fragmented = Fragmented::default();
        let opened = self.owner.open_stream(stream).await;
        let output = opened.map_err(crate::wire::status::failed)?;
        let requests = self
            .clone()
            .receive(stream, messages.into_inner(), fragmented.clone());
        tokio::spawn(requests);
        let answers = ReceiverStream::new(output).flat_map(move |output| {
            futures::stream::iter(to_messages(output, &fragmented).into_iter().map(Ok))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Services {
    /// Hands the client's requests on until it ends the stream or goes away.
    async fn receive(
        self,
        stream: StreamId,
        mut messages: Streaming<PbWatchRequest>,
        fragmented: Fragmented,
    ) {
        while let Some(Ok(message)) = messages.next().await {
            let Some((request, fragment)) = watch::request(stream, message) else {
                continue;
            };
            match self.ask(berth_kv::Request::Watch(request)).await {
                Ok(Answer::Watch { id }) if fragment => {
                    fragmented.lock().expect("no holder panics").insert(id.0);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let _ = self
            .ask(berth_kv::Request::Watch(WatchRequest::Close { stream }))
            .await;
    }
}

fn to_messages(output: WatchOutput, fragmented: &Fragmented) -> Vec<PbWatchResponse> {
    let fragment = fragmented
        .lock()
        .expect("no holder panics")
        .contains(&output.watch.0);
    watch::output(output, fragment)
}
