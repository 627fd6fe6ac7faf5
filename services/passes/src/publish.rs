//! What this service tells the others: each event carries the whole public state of its
//! aggregate. Nobody's name is in any of them, and an order's titles are the product's.

use chrono::NaiveDate;
use credential::token::Minute;
use kit::event::NewEvent;
use kit::graphql::Language;
use kit::resync::{RESYNC_ROWS_MAX, Source};
use kit::types::{EntitlementId, Union, day_start};
use kit::{Error, Result, Tx};
use prost::Message;
use proto::passes as event;
use proto::v1;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::commands::{TermsBook, say_rights};
use crate::domain::{
    EntitlementState, Hold, Holder, HolderList, Life, ListPurpose, Names, Pass, Product,
    ProductState, RefundState, Reservation, State, Terms, Usable,
};
use crate::store::{self, StoredTerms};

const PRODUCT: &str = "bashu.passes.v1.ProductChanged";
const PASS: &str = "bashu.passes.v1.PassChanged";
const ENTITLEMENT: &str = "bashu.v1.EntitlementChanged";
const ORDER_REQUESTED: &str = "bashu.passes.v1.OrderRequested";
const RENDER_REQUESTED: &str = "bashu.v1.RenderRequested";
const MESSAGE_REQUESTED: &str = "bashu.v1.MessageRequested";
const MESSAGE_WITHDRAWN: &str = "bashu.v1.MessageWithdrawn";
const LINE_RETURNED: &str = "bashu.passes.v1.LineReturned";
const HOLD_LAPSED: &str = "bashu.passes.v1.HoldLapsed";
const FULFILMENT_REFUSED: &str = "bashu.passes.v1.FulfilmentRefused";
/// What an order's line is of.
pub const ITEM: &str = "pass";
/// This service as billing names it.
pub const SELLER: &str = "passes";

/// One published version of a product, in the state that it was or is in.
///
/// # Errors
/// When the version is not published or its rules do not read.
pub fn product(product: &Product, stored: &StoredTerms, union: Union) -> Result<NewEvent> {
    let published = stored
        .published_as
        .ok_or_else(|| Error::internal("a draft is not for the public"))?;
    let terms = stored.terms()?;
    let is_current = product.current() == u32::try_from(stored.number).ok();
    // An older version is said as it was published: those who keep the newest state skip it,
    // those who keep the rules of every version learn them.
    let (version, state) = match (is_current, product.state) {
        (true, ProductState::OnSale { .. }) => {
            (product.version, event::product_changed::State::Published)
        }
        (true, ProductState::Stopped { .. } | ProductState::Draft) => {
            (product.version, event::product_changed::State::Stopped)
        }
        (false, _) => (published, event::product_changed::State::Published),
    };
    let (venue_ids, venue_tags) = match &terms.rules.venues {
        credential::rules::Venues::All => (Vec::new(), Vec::new()),
        credential::rules::Venues::Listed { ids, tags } => (
            ids.iter().map(|id| id.0.to_vec()).collect(),
            tags.iter().cloned().collect(),
        ),
    };
    let message = event::ProductChanged {
        version,
        product_id: product.id.0.as_bytes().to_vec(),
        union: union.code().into(),
        scope: product.scope,
        name_zh: terms.names.name_zh,
        name_en: terms.names.name_en,
        state: state.into(),
        price_fen: terms.price.get(),
        rules: stored.rules.clone(),
        rules_version: stored.number.into(),
        evaluator_version: u32::try_from(stored.evaluator_least).unwrap_or(u32::MAX),
        venue_ids,
        venue_tags,
    };
    Ok(NewEvent::of(
        &message,
        PRODUCT,
        product.id.0.as_bytes(),
        version,
    ))
}

const fn pass_state(state: &State) -> event::pass_changed::State {
    use event::pass_changed::State as Public;
    match state {
        State::AwaitingPayment(_) => Public::AwaitingPayment,
        State::Lapsed => Public::Lapsed,
        State::Paid { life, .. } => match life {
            Life::Usable(Usable::Ready { .. }) => Public::Ready,
            Life::Usable(Usable::Active { .. }) => Public::Active,
            Life::Frozen { .. } => Public::Frozen,
            Life::Refunding { .. } | Life::Voiding { .. } => Public::Refunding,
            Life::Refunded { .. } => Public::Refunded,
            Life::Voided { .. } => Public::Voided,
            Life::Forfeited { .. } => Public::Forfeited,
        },
    }
}

/// A pass.
pub fn pass(pass: &Pass) -> NewEvent {
    let date = |date: Option<NaiveDate>| date.map(|d| d.to_string()).unwrap_or_default();
    let deadline = pass.activate_by().map(day_start);
    let message = event::PassChanged {
        id: pass.id.0,
        version: pass.version,
        product_id: pass.product.0.as_bytes().to_vec(),
        product_version: pass.product_version.into(),
        member_id: pass.member.0.as_bytes().to_vec(),
        order_id: pass.order.0.as_bytes().to_vec(),
        line_id: pass.line.as_bytes().to_vec(),
        state: pass_state(&pass.state).into(),
        start: date(pass.window().map(|window| window.start())),
        end: date(pass.window().map(|window| window.end())),
        activate_by: deadline.map_or(0, |at| at.timestamp_millis()),
        renews: pass.renews.map_or(0, |renewed| renewed.0),
    };
    NewEvent::of(&message, PASS, &pass.id.to_bytes(), pass.version)
}

/// The right at the gate with the visits that are reserved; `None` while there never was one.
///
/// # Errors
/// When its days do not fit a credential.
pub fn entitlement(
    pass: &Pass,
    terms: &Terms,
    reserved: &[Reservation],
    union: Union,
) -> Result<Option<NewEvent>> {
    let Some(right) = pass.entitlement() else {
        return Ok(None);
    };
    let minute = |at| {
        Minute::floor(at)
            .map(Minute::get)
            .ok_or_else(|| Error::internal("a pass lasts longer than credentials can say"))
    };
    let state = match right.state {
        EntitlementState::Active => v1::entitlement::State::Active,
        EntitlementState::Frozen => v1::entitlement::State::Frozen,
        EntitlementState::Revoked => v1::entitlement::State::Revoked,
    };
    let mut reservations = Vec::with_capacity(reserved.len());
    for one in reserved {
        let (from, until) = one.instants();
        reservations.push(v1::Reservation {
            venue_id: one.slot.venue.as_bytes().to_vec(),
            from: minute(from)?,
            until: minute(until)?,
        });
    }
    let message = v1::EntitlementChanged {
        entitlement: Some(v1::Entitlement {
            id: pass.id.0,
            version: pass.version,
            union: union.code().into(),
            kind: v1::entitlement::Kind::Pass.into(),
            state: state.into(),
            scope: pass.scope,
            member_id: pass.member.0.as_bytes().to_vec(),
            valid_from: minute(right.window.from())?,
            valid_until: minute(right.window.until())?,
            r#gen: pass.generation.into(),
            document_check: terms.rules.document_check,
            persons: 1,
            rules_version: pass.product_version.into(),
            freeze_version: right.freeze_version,
            order_id: pass.order.0.as_bytes().to_vec(),
            reservations,
        }),
    };
    Ok(Some(NewEvent::of(
        &message,
        ENTITLEMENT,
        &pass.id.to_bytes(),
        pass.version,
    )))
}

/// A list of holders for identity to render: it has the names, and the cells are for its reader.
pub fn holder_list(list: &HolderList, language: Language) -> NewEvent {
    use v1::render_requested::Purpose;
    let (purpose, said) = match list.purpose {
        ListPurpose::Outing => (Purpose::Outing, language.choose("集体出行", "outing")),
        ListPurpose::Benefits => {
            let said = language.choose("福利核对", "record of benefits");
            (Purpose::Benefits, said)
        }
    };
    let title = match language {
        Language::Zh => format!("年票持有人名单（用途：{said}）"),
        Language::En => format!("Holders of annual passes (for: {said})"),
    };
    let columns = [
        language.choose("年票", "Pass"),
        language.choose("状态", "State"),
        language.choose("期限", "Days"),
    ];
    let message = v1::RenderRequested {
        id: list.id.as_bytes().to_vec(),
        service: SELLER.to_owned(),
        template: v1::render_requested::Template::NameList.into(),
        about_id: list.id.as_bytes().to_vec(),
        asker_id: list.asker.0.as_bytes().to_vec(),
        organisation_id: list.organisation.0.as_bytes().to_vec(),
        title,
        columns: columns.map(str::to_owned).to_vec(),
        rows: list.holders.iter().map(|it| row(it, language)).collect(),
        purpose: purpose.into(),
    };
    NewEvent::of(&message, RENDER_REQUESTED, list.id.as_bytes(), 1)
}

fn row(holder: &Holder, language: Language) -> v1::render_requested::Row {
    let (zh, en) = &holder.product;
    let (state, days) = match holder.usable {
        Usable::Ready { activate_by } => {
            let last = activate_by.pred_opt().unwrap_or(activate_by);
            let state = language.choose("待激活", "to be activated");
            (state, format!("… – {last}"))
        }
        Usable::Active { window } => {
            let days = format!("{} – {}", window.start(), window.last());
            (language.choose("有效", "active"), days)
        }
    };
    v1::render_requested::Row {
        member_id: holder.member.0.as_bytes().to_vec(),
        cells: vec![language.choose(zh, en).to_owned(), state.to_owned(), days],
    }
}

/// A message to the holder of a pass that is forfeited after `last_day`: of one pass it is one. To
/// lose what she has paid for is part of what she agreed on, so it waits for no consent.
pub fn pass_to_activate(pass: &Pass, names: &Names, last_day: NaiveDate) -> NewEvent {
    let id = reminder_id(pass);
    let over = last_day.succ_opt().unwrap_or(last_day);
    let message = v1::MessageRequested {
        id: id.as_bytes().to_vec(),
        service: SELLER.to_owned(),
        template: v1::message_requested::Template::PassToActivate.into(),
        about_id: pass.line.as_bytes().to_vec(),
        member_id: pass.member.0.as_bytes().to_vec(),
        purpose: v1::message_requested::Purpose::Contract.into(),
        values: vec![
            names.name_zh.clone(),
            names.name_en.clone(),
            last_day.to_string(),
        ],
        valid_until: day_start(over).timestamp_millis(),
    };
    NewEvent::of(&message, MESSAGE_REQUESTED, id.as_bytes(), 1)
}

/// That message is not to be sent any more: there is nothing left to activate.
pub fn nothing_to_activate(pass: &Pass) -> NewEvent {
    let id = reminder_id(pass);
    let message = v1::MessageWithdrawn {
        id: id.as_bytes().to_vec(),
        service: SELLER.to_owned(),
    };
    NewEvent::of(&message, MESSAGE_WITHDRAWN, id.as_bytes(), pass.version)
}

fn reminder_id(pass: &Pass) -> Uuid {
    Uuid::new_v5(&pass.line, b"message/pass_to_activate")
}

/// The order of a pass: one line, one person, one price.
pub fn order_requested(pass: &Pass, names: &Names, union: Union) -> NewEvent {
    let line = event::OrderLine {
        id: pass.line.as_bytes().to_vec(),
        member_id: pass.member.0.as_bytes().to_vec(),
        item: ITEM.to_owned(),
        product_id: pass.product.0.as_bytes().to_vec(),
        price_fen: pass.price.get(),
        title_zh: names.name_zh.clone(),
        title_en: names.name_en.clone(),
        entitlement_id: pass.id.0,
    };
    let content_hash = Sha256::digest(line.encode_to_vec()).to_vec();
    let message = event::OrderRequested {
        order_id: pass.order.0.as_bytes().to_vec(),
        revision: 1,
        union: union.code().into(),
        member_id: pass.member.0.as_bytes().to_vec(),
        organisation_id: Vec::new(),
        lines: vec![line],
        total_fen: pass.price.get(),
        content_hash,
        close_at: pass.close_at.timestamp_millis(),
        seller: SELLER.to_owned(),
        settled: !matches!(pass.state, State::AwaitingPayment(_)),
    };
    NewEvent::of(
        &message,
        ORDER_REQUESTED,
        pass.order.0.as_bytes(),
        pass.version,
    )
}

/// Nothing is held for the order any longer.
pub fn hold_lapsed(pass: &Pass) -> NewEvent {
    let message = event::HoldLapsed {
        order_id: pass.order.0.as_bytes().to_vec(),
    };
    NewEvent::of(&message, HOLD_LAPSED, pass.order.0.as_bytes(), pass.version)
}

/// The order is paid and cannot be given.
pub fn fulfilment_refused(pass: &Pass, reason: &str) -> NewEvent {
    let message = event::FulfilmentRefused {
        order_id: pass.order.0.as_bytes().to_vec(),
        reason: reason.to_owned(),
    };
    NewEvent::of(
        &message,
        FULFILMENT_REFUSED,
        pass.order.0.as_bytes(),
        pass.version,
    )
}

/// What goes back for the line, said once it is fixed and for ever after; `None` before.
pub fn line_returned(pass: &Pass) -> Option<NewEvent> {
    let refund = pass.refund()?;
    let (RefundState::Returned { back, .. } | RefundState::Done { back, .. }) = refund.state else {
        return None;
    };
    if back.is_zero() {
        return None;
    }
    let reason = match refund.cause {
        crate::domain::Cause::Holder => "HOLDER",
        crate::domain::Cause::NotActivated => "NOT_ACTIVATED",
        crate::domain::Cause::Voided => "VOIDED",
    };
    let message = event::LineReturned {
        return_id: refund.return_id(pass.line).as_bytes().to_vec(),
        version: 1,
        order_id: pass.order.0.as_bytes().to_vec(),
        line_id: pass.line.as_bytes().to_vec(),
        refund_fen: back.get(),
        reason: reason.to_owned(),
    };
    Some(NewEvent::of(
        &message,
        LINE_RETURNED,
        pass.order.0.as_bytes(),
        pass.version,
    ))
}

/// Says everything again: products with the rules of every version, then passes with their
/// orders, rights and returns.
#[derive(Clone, Copy, Debug)]
pub struct Resync {
    pub union: Union,
}

impl Source for Resync {
    fn aggregates(&self) -> &'static [&'static str] {
        &["product", "pass"]
    }

    async fn resync(
        &self,
        tx: &Tx,
        aggregate: &str,
        after: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        match aggregate {
            "product" => self.products(tx, after).await,
            "pass" => self.passes(tx, after).await,
            other => Err(Error::internal(format!(
                "{other} is no aggregate of passes"
            ))),
        }
    }
}

/// The cursor after a step of `limit` rows: none when it was the last.
fn next_cursor(count: usize, limit: i64, last: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let full = i64::try_from(count).is_ok_and(|count| count >= limit);
    if full { last } else { None }
}

fn bad_cursor() -> Error {
    Error::internal("a resync's cursor is another aggregate's")
}

impl Resync {
    async fn products(&self, tx: &Tx, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
        /// A product may have many versions.
        const PRODUCTS_MAX: i64 = RESYNC_ROWS_MAX / 10;
        let after = after
            .map(|bytes| Uuid::from_slice(&bytes).map_err(|_| bad_cursor()))
            .transpose()?;
        let products = store::lock_products_after(tx, after, PRODUCTS_MAX).await?;
        for one in &products {
            for stored in store::versions(tx, one.id).await? {
                tx.emit(product(one, &stored, self.union)?);
            }
        }
        let last = products.last().map(|one| one.id.0.as_bytes().to_vec());
        Ok(next_cursor(products.len(), PRODUCTS_MAX, last))
    }

    async fn passes(&self, tx: &Tx, after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
        let after = after
            .map(|bytes| {
                <[u8; 8]>::try_from(bytes.as_slice())
                    .map(|bytes| EntitlementId(u64::from_be_bytes(bytes)).to_i64())
                    .map_err(|_| bad_cursor())
            })
            .transpose()?;
        let passes = store::lock_after(tx, after, RESYNC_ROWS_MAX).await?;
        let mut book = TermsBook::default();
        for one in &passes {
            let names = &book.of(tx, one).await?.names;
            tx.emit(order_requested(one, names, self.union));
            match one.state {
                State::AwaitingPayment(Hold::Lapsed) => tx.emit(hold_lapsed(one)),
                State::AwaitingPayment(Hold::Refused) => {
                    tx.emit(fulfilment_refused(one, "REFUSED"));
                }
                State::AwaitingPayment(Hold::Held) | State::Lapsed | State::Paid { .. } => {}
            }
            tx.emit(pass(one));
            if let Some(returned) = line_returned(one) {
                tx.emit(returned);
            }
        }
        say_rights(tx, self.union, &passes, &mut book).await?;
        let last = passes.last().map(|one| one.id.to_bytes().to_vec());
        Ok(next_cursor(passes.len(), RESYNC_ROWS_MAX, last))
    }
}
