//! Everything the sandbox knows, in memory, with the indexes to find it again.
//!
//! It changes only by `put`, for a new act as for a replayed one, so both end in the same state.

use crate::journal::Entry;
use crate::notifications::{EventType, Fault, Notification};
use crate::orders::{Order, OrderKey};
use crate::refunds::{Refund, RefundKey, RefundState};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Orders kept; beyond it no order is placed.
pub(crate) const ORDERS_MAX: usize = 1_000_000;
/// Instructions for notifications to come.
pub(crate) const RULES_MAX: usize = 100;

/// An instruction for notifications that are made from now on.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) mchid: Option<String>,
    pub(crate) out_trade_no: Option<String>,
    pub(crate) event_type: Option<EventType>,
    /// Notifications it still applies to.
    pub(crate) remaining: u32,
    pub(crate) delay_ms: i64,
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    orders: HashMap<OrderKey, Order>,
    by_transaction: HashMap<String, OrderKey>,
    by_token: HashMap<String, OrderKey>,
    /// Placing order of the orders, for lists.
    by_age: BTreeSet<(i64, OrderKey)>,
    refunds: HashMap<RefundKey, Refund>,
    refunds_due: BTreeSet<(i64, RefundKey)>,
    notifications: BTreeMap<u64, Notification>,
    notifications_due: BTreeSet<(i64, u64)>,
    by_order: HashMap<OrderKey, Vec<u64>>,
    in_flight: HashSet<u64>,
    rules: Vec<Rule>,
}

impl Book {
    /// Takes in the state of one thing, replacing what was known of it.
    pub(crate) fn put(&mut self, entry: Entry) {
        match entry {
            Entry::Order(order) => self.put_order(order),
            Entry::Refund(refund) => self.put_refund(refund),
            Entry::Notification(notification) => self.put_notification(notification),
        }
    }

    fn put_order(&mut self, mut order: Order) {
        let key = order.terms.key();
        if let Some(before) = self.orders.get(&key) {
            order.returned = before.returned;
        }
        if let Some(payment) = order.payment() {
            let _same = self
                .by_transaction
                .insert(payment.transaction_id.clone(), key.clone());
        }
        let _older = self.by_token.insert(order.token.clone(), key.clone());
        let _new = self.by_age.insert((order.created_ms, key.clone()));
        let _before = self.orders.insert(key, order);
    }

    fn put_refund(&mut self, refund: Refund) {
        let key = refund.key();
        match self.refunds.get(&key) {
            Some(Refund {
                state: RefundState::Processing { due_ms },
                ..
            }) => {
                let _was = self.refunds_due.remove(&(*due_ms, key.clone()));
            }
            Some(Refund {
                state: RefundState::Success { .. },
                ..
            }) => {}
            None => {
                let order = (refund.mchid.clone(), refund.out_trade_no.clone());
                if let Some(order) = self.orders.get_mut(&order) {
                    order.returned.fen += refund.refund_fen;
                    order.returned.times += 1;
                    order.returned.last_ms = refund.created_ms;
                }
            }
        }
        if let RefundState::Processing { due_ms } = refund.state {
            let _new = self.refunds_due.insert((due_ms, key.clone()));
        }
        let _before = self.refunds.insert(key, refund);
    }

    fn put_notification(&mut self, notification: Notification) {
        let number = notification.number;
        match self.notifications.get(&number) {
            Some(before) => {
                if let Some(next_ms) = before.next_ms() {
                    let _was = self.notifications_due.remove(&(next_ms, number));
                }
            }
            None => {
                let key = (
                    notification.mchid.clone(),
                    notification.out_trade_no.clone(),
                );
                self.by_order.entry(key).or_default().push(number);
            }
        }
        if let Some(next_ms) = notification.next_ms() {
            let _new = self.notifications_due.insert((next_ms, number));
        }
        let _before = self.notifications.insert(number, notification);
    }

    pub(crate) fn order(&self, mchid: &str, out_trade_no: &str) -> Option<&Order> {
        self.orders
            .get(&(mchid.to_owned(), out_trade_no.to_owned()))
    }

    /// The order of that number at any merchant; the first in order of mchid.
    pub(crate) fn order_anywhere<'a>(
        &self,
        mut mchids: impl Iterator<Item = &'a String>,
        out_trade_no: &str,
    ) -> Option<&Order> {
        mchids.find_map(|mchid| self.order(mchid, out_trade_no))
    }

    pub(crate) fn order_by_transaction(&self, transaction_id: &str) -> Option<&Order> {
        self.orders.get(self.by_transaction.get(transaction_id)?)
    }

    pub(crate) fn order_by_token(&self, token: &str) -> Option<&Order> {
        self.orders.get(self.by_token.get(token)?)
    }

    /// Orders, latest first, of one merchant or of all.
    pub(crate) fn latest_orders<'a>(
        &'a self,
        mchid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Order> {
        let wanted = move |key: &&OrderKey| mchid.is_none_or(|mchid| key.0 == mchid);
        self.by_age
            .iter()
            .rev()
            .map(|(_, key)| key)
            .filter(wanted)
            .filter_map(|key| self.orders.get(key))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.orders.len() >= ORDERS_MAX
    }

    pub(crate) fn refund(&self, mchid: &str, out_refund_no: &str) -> Option<&Refund> {
        self.refunds
            .get(&(mchid.to_owned(), out_refund_no.to_owned()))
    }

    pub(crate) fn orders_of(&self, mchid: &str) -> impl Iterator<Item = &Order> {
        self.orders
            .values()
            .filter(move |order| order.terms.mchid == mchid)
    }

    pub(crate) fn refunds_of(&self, mchid: &str) -> impl Iterator<Item = &Refund> {
        self.refunds
            .values()
            .filter(move |refund| refund.mchid == mchid)
    }

    /// Refunds whose processing time is over.
    pub(crate) fn refunds_due(&self, now_ms: i64) -> Vec<Refund> {
        let due = self
            .refunds_due
            .iter()
            .take_while(|(due_ms, _)| *due_ms <= now_ms);
        due.filter_map(|(_, key)| self.refunds.get(key))
            .cloned()
            .collect()
    }

    /// Claims up to `limit` notifications that are due; `release` gives them back.
    pub(crate) fn claim_notifications(&mut self, now_ms: i64, limit: usize) -> Vec<Notification> {
        let due = self
            .notifications_due
            .iter()
            .take_while(|(next_ms, _)| *next_ms <= now_ms);
        let free = due
            .filter(|(_, number)| !self.in_flight.contains(number))
            .take(limit);
        let claimed: Vec<Notification> = free
            .filter_map(|(_, number)| self.notifications.get(number))
            .cloned()
            .collect();
        self.in_flight
            .extend(claimed.iter().map(|notification| notification.number));
        claimed
    }

    pub(crate) fn release(&mut self, number: u64) {
        let _was = self.in_flight.remove(&number);
    }

    /// When the next refund or notification that nobody works on is due.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        let refund = self.refunds_due.first().map(|(due_ms, _)| *due_ms);
        let free = |entry: &&(i64, u64)| !self.in_flight.contains(&entry.1);
        let notification = self
            .notifications_due
            .iter()
            .find(free)
            .map(|(due_ms, _)| *due_ms);
        [refund, notification].into_iter().flatten().min()
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.notifications
            .last_key_value()
            .map_or(1, |(number, _)| number + 1)
    }

    pub(crate) fn notification(&self, number: u64) -> Option<&Notification> {
        self.notifications.get(&number)
    }

    /// Notifications of an order, latest first.
    pub(crate) fn notifications_of(&self, key: &OrderKey) -> impl Iterator<Item = &Notification> {
        let numbers = self
            .by_order
            .get(key)
            .map(Vec::as_slice)
            .unwrap_or_default();
        numbers
            .iter()
            .rev()
            .filter_map(|number| self.notifications.get(number))
    }

    /// All notifications, latest first.
    pub(crate) fn latest_notifications(&self) -> impl Iterator<Item = &Notification> {
        self.notifications.values().rev()
    }

    /// Adds an instruction; false when there are too many.
    pub(crate) fn add_rule(&mut self, rule: Rule) -> bool {
        let room = self.rules.len() < RULES_MAX;
        if room {
            self.rules.push(rule);
        }
        room
    }

    /// Uses up the first instruction that fits: its delay and fault.
    pub(crate) fn take_rule(
        &mut self,
        key: &OrderKey,
        event_type: EventType,
    ) -> (i64, Option<Fault>) {
        let fits = |rule: &Rule| {
            rule.mchid.as_ref().is_none_or(|mchid| *mchid == key.0)
                && rule
                    .out_trade_no
                    .as_ref()
                    .is_none_or(|number| *number == key.1)
                && rule.event_type.is_none_or(|wanted| wanted == event_type)
        };
        let Some(place) = self.rules.iter().position(fits) else {
            return (0, None);
        };
        let rule = &mut self.rules[place];
        rule.remaining -= 1;
        let found = (rule.delay_ms, rule.fault);
        if rule.remaining == 0 {
            let _used = self.rules.remove(place);
        }
        found
    }
}
