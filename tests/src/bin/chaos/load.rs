//! The load: purchases and scans that begin at fixed instants, whatever becomes of those before
//! them. Each operation is logged before it is sent and after it was answered. A purchase goes on
//! as its buyer would: buy, pay, look for the code; some give the pass back.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kit::{Clock, Ids};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Answer, Api, Doubt, text};
use crate::oplog::{Kind, OpLog, Outcome};
use crate::people::Cast;

/// Purchases and scans under way at once, at most; one due beyond that is counted and dropped,
/// so that a standstill of the system stays bounded here too.
const UNDER_WAY_MAX: usize = 20_000;
/// Codes that gates are shown; a newer one takes the place of the oldest.
const TICKETS_MAX: usize = 5_000;
/// How long a buyer waits for her order to arrive, for the payment's code, for her pass's code.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(4);
const FIRST_LOOK: Duration = Duration::from_millis(150);
/// In a hundred: buyers who never pay, who give the pass back, of those who try to enter as well,
/// and clients who ask for an unknown answer again at once.
const UNPAID: u32 = 5;
const RETURNED: u32 = 6;
const RACED: u32 = 50;
const PERSISTENT: u32 = 80;

pub(crate) const BUY: &str = "mutation ($input: BuyPassInput!) { buyPass(input: $input) { pass \
    { id number order { id } } userErrors { code message } } }";
pub(crate) const PAY: &str = "mutation ($input: PayOrderInput!) { payOrder(input: $input) { \
    payment { id state codeUrl } userErrors { code message } } }";
pub(crate) const REFUND: &str = "mutation ($input: RequestPassRefundInput!) { \
    requestPassRefund(input: $input) { pass { id } userErrors { code message } } }";
pub(crate) const REDEEM: &str = "mutation ($input: RedeemInput!) { redeem(input: $input) { \
    decision reason redemption { id } userErrors { code message } } }";
const CODE_URL: &str = "query ($id: ID!) { order(id: $id) { payment { state codeUrl } } }";
const PASS: &str = "query ($id: ID!) { pass(id: $id) { state credential { text } } }";

/// Arrivals a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) purchases: u32,
    pub(crate) scans: u32,
}

/// What the generator itself did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Purchases and scans that were sent while the faults were played.
    pub(crate) purchases: AtomicU64,
    pub(crate) scans: AtomicU64,
    /// Due, and dropped at [`UNDER_WAY_MAX`].
    pub(crate) dropped: AtomicU64,
    /// Purchases whose payer was told that she has paid.
    pub(crate) paid: AtomicU64,
    /// Purchases that reached a readable code.
    pub(crate) completed: AtomicU64,
}

/// The load and what it shares.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) api: Api,
    pub(crate) cast: Cast,
    pub(crate) log: OpLog,
    pub(crate) ids: Ids,
    pub(crate) counts: Counts,
    tickets: Mutex<Tickets>,
    under_way: AtomicUsize,
    /// The faults are over: nobody begins another step, what is under way ends.
    closing: AtomicBool,
    /// When the purchase began that is the newest of those with a readable code.
    newest: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Tickets {
    codes: Vec<String>,
    next: usize,
}

impl Load {
    pub(crate) fn new(api: Api, cast: Cast, log: OpLog, ids: Ids) -> Self {
        Self {
            api,
            cast,
            log,
            ids,
            counts: Counts::default(),
            tickets: Mutex::default(),
            under_way: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            newest: Mutex::new(None),
        }
    }

    /// Arrives until `stop`, then waits until everything under way has ended.
    pub(crate) async fn run(self: &Arc<Self>, rates: Rates, stop: &CancellationToken) {
        let flows = TaskTracker::new();
        let purchases = self.arrive(rates.purchases, stop, || {
            let load = Arc::clone(self);
            self.begin(&flows, async move { load.purchase().await });
        });
        let scans = self.arrive(rates.scans, stop, || {
            let load = Arc::clone(self);
            self.begin(&flows, async move { load.scan().await });
        });
        tokio::join!(purchases, scans);
        self.closing.store(true, Ordering::SeqCst);
        flows.close();
        flows.wait().await;
    }

    /// Calls `act` at each instant that is due, several at once when it comes late.
    async fn arrive(&self, rate: u32, stop: &CancellationToken, act: impl Fn()) {
        let began = Instant::now();
        for number in 0_u64.. {
            let due = began + Duration::from_micros(number * 1_000_000 / u64::from(rate.max(1)));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            if rate == 0 {
                stop.cancelled().await;
                return;
            }
            act();
        }
    }

    fn begin(
        self: &Arc<Self>,
        flows: &TaskTracker,
        flow: impl Future<Output = ()> + Send + 'static,
    ) {
        if self.under_way.fetch_add(1, Ordering::SeqCst) >= UNDER_WAY_MAX {
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let load = Arc::clone(self);
        flows.spawn(async move {
            flow.await;
            load.under_way.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Whether a purchase that began after `instant` has reached its code.
    pub(crate) fn flowed_since(&self, instant: Instant) -> bool {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.is_some_and(|began| began > instant)
    }

    fn is_patient(&self, began: Instant) -> bool {
        began.elapsed() < PATIENCE && !self.closing.load(Ordering::SeqCst)
    }

    fn chance(&self, in_hundred: u32) -> bool {
        self.ids.below(100) < in_hundred
    }

    fn key(&self) -> uuid::Uuid {
        self.ids.uuid(Clock::System.now())
    }

    async fn purchase(&self) {
        let began = Instant::now();
        let members = u32::try_from(self.cast.members.len()).unwrap_or(1);
        let who = usize::try_from(self.ids.below(members)).unwrap_or(0);
        let input = json!({ "productId": self.cast.product, "idempotencyKey": self.key() });
        self.counts.purchases.fetch_add(1, Ordering::Relaxed);
        let bought = self.operate(Kind::Buy, who, input).await;
        if !bought.is_ok() || self.chance(UNPAID) {
            return;
        }
        let (Ok(pass), Ok(order)) = (
            text(&bought.value, "/pass/id"),
            text(&bought.value, "/pass/order/id"),
        ) else {
            return;
        };
        let Some(code_url) = self.pay(who, &order).await else {
            return;
        };
        if !self.pay_as_payer(who, &order, &code_url).await {
            return;
        }
        self.counts.paid.fetch_add(1, Ordering::Relaxed);
        let Some(code) = self.code(who, &pass).await else {
            return;
        };
        self.counts.completed.fetch_add(1, Ordering::Relaxed);
        {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            *newest = (*newest).max(Some(began));
        }
        if self.chance(RETURNED) {
            // A refund races a scan.
            if self.chance(RACED) {
                self.keep(code);
            }
            let input = json!({ "passId": pass, "idempotencyKey": self.key() });
            self.operate(Kind::Refund, who, input).await;
        } else {
            self.keep(code);
        }
    }

    /// Sends an operation; an answer that leaves it unknown is asked for again by most clients,
    /// with the same key, and by the others after the faults.
    async fn operate(&self, kind: Kind, who: usize, input: Value) -> Answer {
        let id = self.log.sent(kind, who, input.clone());
        let (began, persistent, mut pause) = (Instant::now(), self.chance(PERSISTENT), RETRY);
        loop {
            let answer = self.ask(id, kind, who, &input).await;
            if answer.outcome != Outcome::Unknown || !persistent || !self.is_patient(began) {
                return answer;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Sends what was logged as `id`, for the first time or again, and logs the answer.
    pub(crate) async fn ask(&self, id: u64, kind: Kind, who: usize, input: &Value) -> Answer {
        let answer = match kind {
            Kind::Payer => {
                let code_url = input["codeUrl"].as_str().unwrap_or_default();
                self.api.pay_at_provider(code_url).await
            }
            Kind::Redeem => {
                let gate = self.cast.gates[who].caller(&self.ids);
                self.api.run(&gate, REDEEM, input).await
            }
            Kind::Buy => self.as_member(who, BUY, input).await,
            Kind::Pay => self.as_member(who, PAY, input).await,
            Kind::Refund => self.as_member(who, REFUND, input).await,
        };
        self.log.answered(id, answer.outcome, answer.value.clone());
        answer
    }

    async fn as_member(&self, who: usize, document: &str, input: &Value) -> Answer {
        let member = &self.cast.members[who];
        let answer = self.api.run(&member.caller(), document, input).await;
        if answer.doubt == Doubt::Stranger {
            member.refused();
        }
        answer
    }

    /// Asks for a payment until there is a code to pay at; nothing when patience ends.
    async fn pay(&self, who: usize, order: &str) -> Option<String> {
        let input = json!({
            "orderId": order, "method": "WECHAT_NATIVE", "idempotencyKey": self.key(),
        });
        let (began, persistent) = (Instant::now(), self.chance(PERSISTENT));
        let id = self.log.sent(Kind::Pay, who, input.clone());
        loop {
            let answer = self.ask(id, Kind::Pay, who, &input).await;
            if answer.is_ok() {
                if let Ok(url) = text(&answer.value, "/payment/codeUrl") {
                    return Some(url);
                }
                break;
            }
            let patient = self.is_patient(began);
            if answer.outcome == Outcome::Refused
                || !(patient && (answer.doubt == Doubt::Later || persistent))
            {
                return None;
            }
            tokio::time::sleep(RETRY).await;
        }
        let order = (CODE_URL, order, "/order/payment/codeUrl");
        self.polled(who, order, began, (RETRY, RETRY_MAX)).await
    }

    /// Whether the payer was told that she has paid.
    async fn pay_as_payer(&self, who: usize, order: &str, code_url: &str) -> bool {
        let input = json!({ "codeUrl": code_url, "orderId": order });
        let began = Instant::now();
        let id = self.log.sent(Kind::Payer, who, input.clone());
        while self.is_patient(began) {
            let answer = self.ask(id, Kind::Payer, who, &input).await;
            match answer.outcome {
                Outcome::Ok => return true,
                Outcome::Refused => return false,
                Outcome::Unknown => tokio::time::sleep(RETRY).await,
            }
        }
        false
    }

    /// The text of a pass's code, once it is there.
    async fn code(&self, who: usize, pass: &str) -> Option<String> {
        let began = Instant::now();
        tokio::time::sleep(FIRST_LOOK).await;
        let pass = (PASS, pass, "/pass/credential/text");
        self.polled(who, pass, began, (FIRST_LOOK * 2, RETRY * 4))
            .await
    }

    /// Looks for a text of something until it is there, after pauses that double up to the second
    /// one; nothing when patience ends.
    async fn polled(
        &self,
        who: usize,
        (document, id, pointer): (&str, &str, &str),
        began: Instant,
        (mut pause, pause_max): (Duration, Duration),
    ) -> Option<String> {
        while self.is_patient(began) {
            let caller = self.cast.members[who].caller();
            let data = self.api.send(&caller, document, json!({ "id": id })).await;
            if let Ok(found) = data.and_then(|data| text(&data, pointer)) {
                return Some(found);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(pause_max);
        }
        None
    }

    fn keep(&self, code: String) {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.codes.len() < TICKETS_MAX {
            tickets.codes.push(code);
        } else {
            let next = tickets.next;
            tickets.codes[next] = code;
            tickets.next = (next + 1) % TICKETS_MAX;
        }
    }

    fn ticket(&self) -> Option<String> {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u32::try_from(tickets.codes.len()).unwrap_or(0);
        if count == 0 {
            return None;
        }
        let at = usize::try_from(self.ids.below(count)).unwrap_or(0);
        tickets.codes.get(at).cloned()
    }

    async fn scan(&self) {
        let Some(code) = self.ticket() else {
            return;
        };
        self.counts.scans.fetch_add(1, Ordering::Relaxed);
        let gates = u32::try_from(self.cast.gates.len()).unwrap_or(1);
        let who = usize::try_from(self.ids.below(gates)).unwrap_or(0);
        let input = json!({
            "scanId": self.cast.gates[who].next_scan_id(),
            "token": code,
            "direction": "ENTRY",
            "deviceTime": Clock::System.now(),
            "document": "MATCHES",
        });
        self.operate(Kind::Redeem, who, input).await;
    }
}
