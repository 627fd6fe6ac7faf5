//! Posting notifications: what is due is claimed, posted, and its outcome kept.
//!
//! Only the status of the answer counts, and only within the time limit; its body is not read.

use crate::Sandbox;
use crate::error::Error;
use crate::journal::Entry;
use crate::lock;
use crate::notifications::{Attempt, Envelope, Forgery, Notification, Outcome};
use crate::signature;
use futures::future::join_all;
use reqwest::StatusCode;
use std::convert::Infallible;
use std::time::Duration;
use tokio::task::JoinSet;

/// Notifications posted at once.
const IN_FLIGHT_MAX: usize = 32;
/// The background looks again after this long at the latest.
const IDLE_MS_MAX: i64 = 1_000;

impl Sandbox {
    /// Does everything that is due now: finishes refunds, posts notifications. Answers how many
    /// things it did; 0 means that nothing is due.
    pub async fn step(&self) -> Result<usize, Error> {
        let mut done = self.finish_refunds().map_err(|_lost| Error::JournalLost)?;
        loop {
            let claimed = self.claim(IN_FLIGHT_MAX);
            if claimed.is_empty() {
                break;
            }
            done += claimed.len();
            let _each = join_all(claimed.into_iter().map(|notice| self.deliver(notice))).await;
        }
        self.0.journal.settle().await?;
        Ok(done)
    }

    /// As [`Sandbox::step`], but one notification only, so that nothing happens side by side.
    pub async fn step_one(&self) -> Result<usize, Error> {
        let mut done = self.finish_refunds().map_err(|_lost| Error::JournalLost)?;
        for notice in self.claim(1) {
            self.deliver(notice).await;
            done += 1;
        }
        self.0.journal.settle().await?;
        Ok(done)
    }

    /// Steps for ever, posting in parallel, woken by new work.
    pub(crate) async fn drive(&self) -> Infallible {
        let mut running = JoinSet::new();
        loop {
            if self.finish_refunds().is_err() {
                // The journal is lost and says so itself; nothing more may be done.
                std::future::pending::<()>().await;
            }
            for notice in self.claim(IN_FLIGHT_MAX.saturating_sub(running.len())) {
                let sandbox = self.clone();
                let _task = running.spawn(async move { sandbox.deliver(notice).await });
            }
            let full = running.len() >= IN_FLIGHT_MAX;
            tokio::select! {
                () = tokio::time::sleep(self.idle()), if !full => {}
                () = self.0.wake.notified(), if !full => {}
                Some(_ended) = running.join_next() => {}
            }
        }
    }

    fn idle(&self) -> Duration {
        let next_ms = lock(&self.0.book).next_due_ms();
        let wait_ms = next_ms.map_or(IDLE_MS_MAX, |next_ms| next_ms - self.now_ms());
        let wait_ms = wait_ms.clamp(0, IDLE_MS_MAX);
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    }

    fn claim(&self, limit: usize) -> Vec<Notification> {
        lock(&self.0.book).claim_notifications(self.now_ms(), limit)
    }

    /// One round of a claimed notification.
    async fn deliver(&self, notice: Notification) {
        let number = notice.number;
        let started_ms = self.now_ms();
        let ended = match self.0.keys.merchants.get(&notice.mchid) {
            Some(merchant) => {
                let envelopes = notice.round(&self.0.keys, merchant, started_ms);
                self.post_all(&notice.notify_url, envelopes).await
            }
            // The merchant's keys are gone from the data folder since it was made.
            None => vec![],
        };
        let lost = Attempt {
            at_ms: started_ms,
            outcome: Outcome::Lost,
            http_status: None,
            forgery: None,
        };
        let ended = if ended.is_empty() { vec![lost] } else { ended };
        let kept = self.act(|book, now_ms| {
            book.release(number);
            let current = book.notification(number).cloned().unwrap_or(notice);
            let current = current.conclude(ended, now_ms, self.0.time_scale);
            Ok(((), vec![Entry::Notification(current)]))
        });
        if kept.is_err() {
            tracing::error!(number, "the outcome of a notification could not be kept");
        }
    }

    /// Sends a notification again now, `copies` times at once.
    pub(crate) async fn resend(
        &self,
        notice: Notification,
        forgery: Option<Forgery>,
        copies: u32,
    ) -> Vec<Attempt> {
        let Some(merchant) = self.0.keys.merchants.get(&notice.mchid) else {
            return vec![];
        };
        let now_ms = self.now_ms();
        let fresh = |_| notice.envelope(forgery, &self.0.keys, merchant, now_ms);
        let envelopes: Vec<Envelope> = (0..copies).map(fresh).collect();
        let ended = self.post_all(&notice.notify_url, envelopes).await;
        let kept = self.act(|book, _| {
            // A forgery for an unpaid order was never in the book.
            let current = book
                .notification(notice.number)
                .filter(|known| known.id == notice.id);
            let current = current.map(|known| known.clone().remember_resent(ended.clone()));
            Ok(((), current.map(Entry::Notification).into_iter().collect()))
        });
        if kept.is_err() {
            tracing::error!(
                id = notice.id,
                "the outcome of a notification could not be kept"
            );
        }
        ended
    }

    async fn post_all(&self, url: &str, envelopes: Vec<Envelope>) -> Vec<Attempt> {
        join_all(
            envelopes
                .into_iter()
                .map(|envelope| self.post(url, envelope)),
        )
        .await
    }

    async fn post(&self, url: &str, envelope: Envelope) -> Attempt {
        let at_ms = self.now_ms();
        let answer = self
            .0
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("accept", "*/*")
            .header("wechatpay-signature-type", signature::SCHEME)
            .header("wechatpay-serial", envelope.serial)
            .header("wechatpay-timestamp", envelope.timestamp.to_string())
            .header("wechatpay-nonce", envelope.nonce)
            .header("wechatpay-signature", envelope.signature)
            .body(envelope.body)
            .send()
            .await;
        let (outcome, http_status) = match answer {
            Ok(answer) if matches!(answer.status(), StatusCode::OK | StatusCode::NO_CONTENT) => {
                (Outcome::Accepted, Some(answer.status().as_u16()))
            }
            Ok(answer) => (Outcome::Refused, Some(answer.status().as_u16())),
            Err(problem) if problem.is_timeout() => (Outcome::TimedOut, None),
            Err(_) => (Outcome::Unreachable, None),
        };
        Attempt {
            at_ms,
            outcome,
            http_status,
            forgery: envelope.forgery,
        }
    }
}
