//! What can be done at the provider: each is one decision under the lock and one journal line.

use crate::Sandbox;
use crate::book::{Book, Rule};
use crate::clock;
use crate::error::Refusal;
use crate::journal::Entry;
use crate::lock;
use crate::notifications::{EventType, Notification, NotificationState};
use crate::orders::{Order, OrderState, Payment, Terms, TradeType};
use crate::random;
use crate::refunds::{Refund, RefundTerms};
use axum::http::StatusCode;

/// The payer when the order names none.
const PAYER_OPENID: &str = "oSandboxPayer000000000000001";

/// How the payer names an order.
#[derive(Clone, Debug)]
pub(crate) enum OrderName {
    /// What stands in a `code_url`, or a `prepay_id`.
    Token(String),
    /// The merchant's number; without mchid the first merchant that has it.
    Number {
        mchid: Option<String>,
        out_trade_no: String,
    },
}

impl Sandbox {
    /// Places an order, or answers the one that was placed with the same terms.
    pub(crate) fn place(&self, terms: Terms) -> Result<Order, Refusal> {
        self.act(|book, now_ms| {
            let token = new_token(terms.trade_type, now_ms);
            let order = match book.order(&terms.mchid, &terms.out_trade_no) {
                Some(order) => order.clone().place_again(&terms, token, now_ms)?,
                None if book.is_full() => return Err(Refusal::system()),
                None => Order::place(terms, token, now_ms)?,
            };
            Ok((order.clone(), vec![Entry::Order(order)]))
        })
    }

    /// The merchant's order as a query answers it.
    pub(crate) fn order(&self, mchid: &str, out_trade_no: &str) -> Result<Order, Refusal> {
        lock(&self.0.book)
            .order(mchid, out_trade_no)
            .cloned()
            .ok_or_else(Refusal::no_order)
    }

    /// The merchant's order by the provider's number.
    pub(crate) fn order_by_transaction(
        &self,
        mchid: &str,
        transaction_id: &str,
    ) -> Result<Order, Refusal> {
        let book = lock(&self.0.book);
        let order = book.order_by_transaction(transaction_id);
        order
            .filter(|order| order.terms.mchid == mchid)
            .cloned()
            .ok_or_else(Refusal::no_order)
    }

    /// Closes an unpaid order.
    pub(crate) fn close(&self, mchid: &str, out_trade_no: &str) -> Result<(), Refusal> {
        self.act(|book, now_ms| {
            let order = book
                .order(mchid, out_trade_no)
                .cloned()
                .ok_or_else(Refusal::no_order)?;
            Ok(((), vec![Entry::Order(order.close(now_ms)?)]))
        })
    }

    /// The payer pays; the merchant will be told.
    pub(crate) fn pay(
        &self,
        name: &OrderName,
        openid: Option<String>,
        force: bool,
    ) -> Result<Order, Refusal> {
        let paid = self.act(|book, now_ms| {
            let order = self.find(book, name).ok_or_else(Refusal::no_order)?.clone();
            let openid = openid.or_else(|| order.terms.openid.clone());
            let payment = Payment {
                transaction_id: new_number("4200", 28, now_ms),
                paid_ms: now_ms,
                openid: openid.unwrap_or_else(|| PAYER_OPENID.to_owned()),
            };
            let order = order.pay(payment, force)?;
            let notice = transaction_notice(book, &order, now_ms);
            let notice = instructed(book, notice);
            Ok((
                order.clone(),
                vec![Entry::Order(order), Entry::Notification(notice)],
            ))
        });
        self.0.wake.notify_one();
        paid
    }

    /// Gives money back, once per number.
    pub(crate) fn refund(&self, terms: RefundTerms) -> Result<Refund, Refusal> {
        let refunded = self.act(|book, now_ms| {
            if let Some(refund) = book.refund(&terms.mchid, &terms.out_refund_no) {
                refund.request_again(&terms)?;
                return Ok((refund.clone(), vec![]));
            }
            let by_number = |number: &String| book.order(&terms.mchid, number);
            let order = match &terms.transaction_id {
                Some(transaction_id) => book.order_by_transaction(transaction_id),
                None => terms.out_trade_no.as_ref().and_then(by_number),
            };
            let named = |order: &&Order| {
                let number = terms.out_trade_no.as_ref();
                order.terms.mchid == terms.mchid
                    && number.is_none_or(|number| *number == order.terms.out_trade_no)
            };
            let order = order.filter(named);
            let order = order.ok_or_else(|| Refusal::no_resource("订单不存在 (no such order)"))?;
            let number = new_number("5030", 29, now_ms);
            let refund = Refund::request(terms, order, number, now_ms, self.0.time_scale)?;
            Ok((refund.clone(), vec![Entry::Refund(refund)]))
        });
        self.0.wake.notify_one();
        refunded
    }

    /// The merchant's refund as a query answers it.
    pub(crate) fn refund_of(&self, mchid: &str, out_refund_no: &str) -> Result<Refund, Refusal> {
        let refund = lock(&self.0.book).refund(mchid, out_refund_no).cloned();
        refund.ok_or_else(|| Refusal::no_resource("退款单不存在 (no such refund)"))
    }

    /// Lets the refunds whose time has come succeed; answers how many.
    pub(crate) fn finish_refunds(&self) -> Result<usize, Refusal> {
        self.act(|book, now_ms| {
            let due = book.refunds_due(now_ms);
            let (count, mut entries) = (due.len(), Vec::new());
            let mut number = book.next_number();
            for refund in due {
                let refund = refund.succeed(now_ms);
                if let Some(notice) = refund_notice(&refund, number, now_ms) {
                    entries.push(Entry::Notification(instructed(book, notice)));
                    number += 1;
                }
                entries.push(Entry::Refund(refund));
            }
            Ok((count, entries))
        })
    }

    /// Keeps an instruction for notifications to come.
    pub(crate) fn instruct(&self, rule: Rule) -> Result<(), Refusal> {
        if lock(&self.0.book).add_rule(rule) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOO_MANY_INSTRUCTIONS",
            "未用的指令过多 (too many instructions wait)",
        ))
    }

    /// The latest notification of an order, or for an order that is not paid, what a forger would
    /// send: a payment that never was.
    pub(crate) fn notification_to_resend(
        &self,
        name: &OrderName,
        event_type: Option<EventType>,
        forged: bool,
    ) -> Result<Notification, Refusal> {
        let book = lock(&self.0.book);
        let now_ms = self.now_ms();
        let order = self
            .find(&book, name)
            .ok_or_else(Refusal::no_order)?
            .clone();
        let wanted = |notice: &&Notification| event_type.is_none_or(|e| e == notice.event_type);
        if let Some(notice) = book.notifications_of(&order.terms.key()).find(wanted) {
            return Ok(notice.clone());
        }
        if forged && order.payment().is_none() && event_type != Some(EventType::RefundSuccess) {
            let transaction_id = new_number("4200", 28, now_ms);
            let openid = PAYER_OPENID.to_owned();
            let payment = Payment {
                transaction_id,
                paid_ms: now_ms,
                openid,
            };
            let paid = Order {
                state: OrderState::Paid(payment),
                ..order
            };
            return Ok(transaction_notice(&book, &paid, now_ms));
        }
        Err(Refusal::no_resource("无此通知 (no such notification)"))
    }

    pub(crate) fn find<'a>(&self, book: &'a Book, name: &OrderName) -> Option<&'a Order> {
        match name {
            OrderName::Token(token) => book.order_by_token(token),
            OrderName::Number {
                mchid: Some(mchid),
                out_trade_no,
            } => book.order(mchid, out_trade_no),
            OrderName::Number {
                mchid: None,
                out_trade_no,
            } => book.order_anywhere(self.0.keys.merchants.keys(), out_trade_no),
        }
    }
}

/// That an order was paid.
fn transaction_notice(book: &Book, order: &Order, now_ms: i64) -> Notification {
    Notification {
        number: book.next_number(),
        id: new_notice_id(),
        event_type: EventType::TransactionSuccess,
        mchid: order.terms.mchid.clone(),
        out_trade_no: order.terms.out_trade_no.clone(),
        notify_url: order.terms.notify_url.clone(),
        created_ms: now_ms,
        content: order.transaction(),
        fault: None,
        state: NotificationState::Waiting { next_ms: now_ms },
        rounds: 0,
        attempts: Vec::new(),
    }
}

/// That a refund succeeded; `None` when the merchant does not want to be told.
fn refund_notice(refund: &Refund, number: u64, now_ms: i64) -> Option<Notification> {
    Some(Notification {
        number,
        id: new_notice_id(),
        event_type: EventType::RefundSuccess,
        mchid: refund.mchid.clone(),
        out_trade_no: refund.out_trade_no.clone(),
        notify_url: refund.notify_url.clone()?,
        created_ms: now_ms,
        content: refund.notice(),
        fault: None,
        state: NotificationState::Waiting { next_ms: now_ms },
        rounds: 0,
        attempts: Vec::new(),
    })
}

/// Applies the first instruction that waits for such a notification.
fn instructed(book: &mut Book, notice: Notification) -> Notification {
    let key = (notice.mchid.clone(), notice.out_trade_no.clone());
    let (delay_ms, fault) = book.take_rule(&key, notice.event_type);
    let state = NotificationState::Waiting {
        next_ms: notice.created_ms + delay_ms,
    };
    Notification {
        fault,
        state,
        ..notice
    }
}

fn new_token(trade_type: TradeType, now_ms: i64) -> String {
    match trade_type {
        TradeType::Native => random::text(random::ALPHANUMERIC, 12),
        TradeType::Jsapi => {
            format!(
                "wx{}{}",
                clock::compact(now_ms),
                random::text(random::LOWER_HEX, 20)
            )
        }
    }
}

/// A number of the provider: prefix, six random digits, the day, and random digits to the end.
fn new_number(prefix: &str, digits: usize, now_ms: i64) -> String {
    let day = &clock::compact(now_ms)[..8];
    let mut number = format!("{prefix}{}{day}", random::text(random::DIGITS, 6));
    let rest = digits.saturating_sub(number.len());
    number.push_str(&random::text(random::DIGITS, rest));
    number
}

fn new_notice_id() -> String {
    uuid::Builder::from_random_bytes(random::bytes())
        .into_uuid()
        .to_string()
}
