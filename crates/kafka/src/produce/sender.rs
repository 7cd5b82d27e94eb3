//! The sender: feeds the sequencer with batches, leaders, answers and time, and does what it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use onrush_runtime::{Instant, Task};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::Shared;
use super::lane::{self, Landed};
use super::sequence::{Outgoing, Sequencer, Settled};
use crate::error::ClientError;
use crate::lock::lock;

/// Answers that wait for the sender; a lane waits when there are more.
const LANDED: usize = 64;

pub(super) async fn run(shared: Arc<Shared>, sequencer: Sequencer) {
    let (landed, answers) = mpsc::channel(LANDED);
    let mut sender = Sender { shared, sequencer, landed, lanes: BTreeMap::new(), refresh: None };
    sender.run(answers).await;
    sender.end();
}

struct Sender {
    shared: Arc<Shared>,
    sequencer: Sequencer,
    landed: mpsc::Sender<Landed>,
    lanes: BTreeMap<i32, (mpsc::Sender<Outgoing>, Task)>,
    refresh: Option<Task>,
}

impl Sender {
    async fn run(&mut self, mut answers: mpsc::Receiver<Landed>) {
        let shared = Arc::clone(&self.shared);
        let mut closed = shared.closed.subscribe();
        let mut changes = shared.client.changes();
        loop {
            changes.mark_unchanged();
            self.take_inbox();
            let now = Instant::now();
            let expired = self.sequencer.expire(now);
            self.settle(expired);
            self.send(now);
            let deadline = self.sequencer.deadline(now);
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return,
                Some(landed) = answers.recv() => self.land(landed),
                () = shared.arrived.notified() => {}
                _ = changes.changed() => {}
                () = async { sleep_until(deadline.unwrap_or(now)).await }, if deadline.is_some() => {}
            }
            while let Ok(landed) = answers.try_recv() {
                self.land(landed);
            }
        }
    }

    fn take_inbox(&mut self) {
        let batches = std::mem::take(&mut *lock(&self.shared.inbox));
        for batch in batches {
            self.sequencer.push(batch);
        }
    }

    fn send(&mut self, now: Instant) {
        let client = self.shared.client.clone();
        let requests = self
            .sequencer
            .requests(now, |partition| client.leader(&partition.topic, partition.partition));
        for request in requests {
            let (node, id) = (request.node, request.id);
            let lane = self.lanes.entry(node).or_insert_with(|| {
                let (sender, requests) = mpsc::channel(self.shared.config.max_in_flight);
                let task = client.io().spawn(lane::run(
                    Arc::clone(&self.shared),
                    node,
                    requests,
                    self.landed.clone(),
                ));
                (sender, task)
            });
            if lane.0.try_send(request).is_err() {
                // Cannot be, but for a lane whose executor ended: then nothing is sent any more.
                let settled = self.sequencer.failed(now, id, &ClientError::Closed);
                self.settle(settled);
            }
        }
        self.refresh();
    }

    /// One refresh at a time; the change of the metadata wakes the sender.
    fn refresh(&mut self) {
        if self.refresh.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        if let Some(topics) = self.sequencer.take_refresh() {
            let shared = Arc::clone(&self.shared);
            self.refresh = Some(self.shared.client.io().spawn(async move {
                if let Err(error) = shared.client.refresh(&topics).await {
                    tracing::warn!(code = %error.fault(), %error, "cannot refresh the metadata for producing");
                }
                shared.arrived.notify_one();
            }));
        }
    }

    fn land(&mut self, Landed { request, result }: Landed) {
        let now = Instant::now();
        let settled = match result {
            Ok(verdicts) => {
                self.sequencer.answered(now, request, |partition| verdicts.get(partition).cloned())
            }
            Err(error) => {
                tracing::warn!(code = %error.fault(), %error, "a produce request failed and is repeated");
                self.sequencer.failed(now, request, &error)
            }
        };
        self.settle(settled);
    }

    fn settle(&self, settled: Vec<Settled>) {
        for Settled { batch, outcome } in settled {
            self.shared.settle(batch, outcome);
        }
    }

    /// After the close: what is not done is told so.
    fn end(mut self) {
        for (_, (_, task)) in std::mem::take(&mut self.lanes) {
            task.abort();
        }
        self.take_inbox();
        let settled = self.sequencer.abandon();
        self.settle(settled);
    }
}
