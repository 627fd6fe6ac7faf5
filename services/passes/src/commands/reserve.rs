//! Visits are reserved by the holders of passes, in one lane for each venue's day, and given back;
//! operators say how many places a day has.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use credential::rules::Province;
use kit::access::{self, Caller, Member};
use kit::once::{self, BatchOnce, Request};
use kit::types::{EntitlementId, shanghai_date};
use kit::{Ctx, Error, Refusal as Answer, Result, Tx};
use uuid::Uuid;

use super::batch::{Decided, answers};
use super::holder::{is_hers, own};
use super::{TermsBook, carry_out, recorded_pass, seen, settle};
use crate::domain::{
    Change, OPENED_DAYS_MAX, PLACES_MAX, Pass, Places, Reservation, Slot, Venue, Visit, Wanted,
};
use crate::error::{Refusal, on_constraint};
use crate::{Passes, store};

/// What is asked for: a visit on one venue's day, or its place back.
#[derive(Clone, Copy, Debug)]
pub struct VisitRequest {
    /// The pass that the visit is made with.
    pub pass: EntitlementId,
    /// The key the client minted.
    pub key: Uuid,
}

/// A request in the lane of its day.
#[derive(Clone, Debug)]
pub struct Wish {
    pub caller: Caller,
    pub request: VisitRequest,
}

/// The days of a venue whose places an operator sets.
#[derive(Clone, Copy, Debug)]
pub struct OpenDays {
    /// The venue and the first day.
    pub first: Slot,
    days: i64,
    places: u32,
}

fn bad(field: &'static str, zh: &'static str, en: &'static str) -> Error {
    Answer::new("BAD_INPUT", field, zh.into(), en.into()).into()
}

impl OpenDays {
    /// `days` days from `first`, each with so many places.
    ///
    /// # Errors
    /// When there are no days or too many of them, or too many places.
    pub fn parse(first: Slot, days: i64, places: u32) -> Result<Self> {
        if !(1..=OPENED_DAYS_MAX).contains(&days) {
            return Err(bad(
                "days",
                "天数须为 1–366。",
                "Places are set for 1 to 366 days.",
            ));
        }
        if places > PLACES_MAX {
            return Err(bad(
                "places",
                "名额最多 1000000。",
                "A day has at most 1000000 places.",
            ));
        }
        Ok(Self {
            first,
            days,
            places,
        })
    }
}

fn hash_of(command: &str, slot: Slot, pass: EntitlementId) -> [u8; 32] {
    let (venue, date) = (slot.venue.to_string(), slot.date.to_string());
    once::hash(command, &[&venue, &date, &pass.to_string()])
}

/// Decides a batch of requests for one venue's day; one answer for each, in their order.
///
/// # Errors
/// When the batch as a whole failed: it is redone one by one.
pub async fn reserve_batch(ctx: Ctx, slot: Slot, wishes: Vec<Wish>) -> Result<Vec<Result<Pass>>> {
    ctx.db
        .tx("reserve_visit", async |tx| {
            reserve(tx, &ctx, slot, &wishes).await
        })
        .await
}

async fn reserve(tx: &Tx, ctx: &Ctx, slot: Slot, wishes: &[Wish]) -> Result<Vec<Result<Pass>>> {
    let ids: Vec<EntitlementId> = wishes.iter().map(|wish| wish.request.pass).collect();
    let passes = store::lock_all(tx, &ids).await?;
    let mut passes: BTreeMap<EntitlementId, Pass> =
        passes.into_iter().map(|pass| (pass.id, pass)).collect();
    let (asked, places) = asked(tx, wishes, &passes).await?;
    let requests: Vec<Request> = asked
        .iter()
        .map(|(member, request)| Request {
            caller: member.id.0,
            key: request.key,
            hash: hash_of("reserve_visit", slot, request.pass),
        })
        .collect();
    let found = once::begin_batch(tx, &requests).await?;
    if !found.contains(&BatchOnce::First) {
        return answer_all(tx, places, (&requests, found), &BTreeMap::new()).await;
    }
    let mut day = Day::load(tx, slot, &ids).await?;
    let mut decided: BTreeMap<usize, Decided> = BTreeMap::new();
    let mut changes = Vec::new();
    for (at, (member, request)) in asked.iter().enumerate() {
        let Some(pass) = passes.get(&request.pass) else {
            continue;
        };
        if found[at] != BatchOnce::First {
            continue;
        }
        let change = day.decide(tx, pass.clone()).await?;
        if let Ok(change) = &change {
            passes.insert(change.pass.id, change.pass.clone());
            changes.push(change.clone());
            let detail = serde_json::json!({ "venue": slot.venue, "date": slot.date });
            tx.audit(member.audit("reserve_visit", change.pass.id).detail(detail));
        }
        decided.insert(at, change.map(|change| change.pass));
    }
    let taken: Vec<EntitlementId> = changes.iter().map(|change| change.pass.id).collect();
    store::reserve(tx, slot, &taken).await.map_err(full)?;
    carry_out(tx, ctx.union, &changes, &mut day.book).await?;
    answer_all(tx, places, (&requests, found), &decided).await
}

/// An answer for each wish: its request's, or why it has none.
async fn answer_all(
    tx: &Tx,
    places: Vec<Result<usize>>,
    asked: (&[Request], Vec<BatchOnce>),
    decided: &BTreeMap<usize, Decided>,
) -> Result<Vec<Result<Pass>>> {
    let answers = answers(tx, asked, decided).await?;
    let mut answers: Vec<Option<Result<Pass>>> = answers.into_iter().map(Some).collect();
    let mut answer = |at: usize| {
        let answer = answers.get_mut(at).and_then(Option::take);
        answer.unwrap_or_else(|| Err(Error::internal("an answer is missing")))
    };
    Ok(places
        .into_iter()
        .map(|at| at.and_then(&mut answer))
        .collect())
}

/// The requests of members for passes of their own, and for each wish the place of its request
/// among them, or why it has none.
async fn asked<'a>(
    tx: &Tx,
    wishes: &'a [Wish],
    passes: &BTreeMap<EntitlementId, Pass>,
) -> Result<(Vec<(Member, &'a VisitRequest)>, Vec<Result<usize>>)> {
    let callers: Vec<&Caller> = wishes.iter().map(|wish| &wish.caller).collect();
    let members = access::members(tx, &callers).await?;
    let (mut asked, mut places) = (Vec::new(), Vec::with_capacity(wishes.len()));
    for (member, wish) in members.into_iter().zip(wishes) {
        let place = match (member, passes.get(&wish.request.pass)) {
            (Err(error), _) => Err(error),
            (Ok(member), Some(pass)) if is_hers(tx, member, pass).await? => {
                asked.push((member, &wish.request));
                Ok(asked.len() - 1)
            }
            (Ok(_), _) => Err(Error::NotFound),
        };
        places.push(place);
    }
    Ok((asked, places))
}

/// The day's own word, should the lock ever not have been enough.
fn full(error: Error) -> Error {
    if error.constraint().as_deref() == Some("visit_day_within_places") {
        return Refusal::NoPlacesLeft.into();
    }
    on_constraint(error)
}

/// What a batch decides on, under the lock of the day's places.
struct Day {
    slot: Slot,
    venue: Option<Venue>,
    places: Option<Places>,
    reserved: BTreeMap<EntitlementId, Vec<Reservation>>,
    visits: BTreeMap<EntitlementId, Vec<Visit>>,
    book: TermsBook,
}

impl Day {
    /// The passes are locked. What they have is read before the day is locked, for which others
    /// wait.
    async fn load(tx: &Tx, slot: Slot, passes: &[EntitlementId]) -> Result<Self> {
        let today = shanghai_date(tx.now());
        Ok(Self {
            slot,
            venue: store::venue(tx, slot.venue).await?,
            reserved: store::reserved(tx, passes, today).await?,
            visits: store::visits(tx, passes).await?,
            book: TermsBook::default(),
            places: store::lock_places(tx, slot).await?,
        })
    }

    async fn decide(
        &mut self,
        tx: &Tx,
        pass: Pass,
    ) -> Result<std::result::Result<Change, Refusal>> {
        let (Some(venue), Some(places)) = (&self.venue, &mut self.places) else {
            return Ok(Err(Refusal::DayNotOpen));
        };
        let id = pass.id;
        let held = self.reserved.entry(id).or_default();
        let wanted = Wanted {
            venue,
            date: self.slot.date,
            terms: self.book.of(tx, &pass).await?,
            held,
            visits: self.visits.get(&id).map_or(&[], Vec::as_slice),
            now: tx.now(),
        };
        let decided = pass.reserve(&wanted, places);
        if decided.is_ok() {
            let reservation = wanted.reservation();
            held.push(reservation);
        }
        Ok(decided)
    }
}

impl Passes {
    /// Whether the caller may queue for a visit with this pass: a lane is opened for days that have
    /// places only, and for members with passes of their own. The lane asks again.
    ///
    /// # Errors
    /// Not found, when the pass is not hers; refused, when the day was never opened.
    pub(crate) async fn may_queue(
        &self,
        caller: &Caller,
        slot: Slot,
        pass: EntitlementId,
    ) -> Result<()> {
        self.ctx
            .db
            .tx("may_reserve_visit", async |tx| {
                let member = access::member(tx, caller).await?;
                let pass = store::load(tx, pass).await?.ok_or(Error::NotFound)?;
                if !is_hers(tx, member, &pass).await? {
                    return Err(Error::NotFound);
                }
                if store::is_opened(tx, slot).await? {
                    Ok(())
                } else {
                    Err(Refusal::DayNotOpen.into())
                }
            })
            .await
    }

    /// Gives the place of a reserved visit back.
    ///
    /// # Errors
    /// Why it cannot be; not found, when the pass is not hers.
    pub async fn cancel_visit(
        &self,
        caller: &Caller,
        slot: Slot,
        request: VisitRequest,
    ) -> Result<Pass> {
        let hash = hash_of("cancel_visit", slot, request.pass);
        self.ctx
            .db
            .tx("cancel_visit", async |tx| {
                let member = access::member(tx, caller).await?;
                let pass = own(tx, member, request.pass).await?;
                if let Some(done) = seen(tx, member.id.0, request.key, hash).await? {
                    return recorded_pass(tx, &done).await;
                }
                let today = shanghai_date(tx.now());
                let held = store::reserved(tx, &[pass.id], today).await?;
                let held = held.get(&pass.id).map_or(&[][..], Vec::as_slice);
                let since = tx.now() - TimeDelta::days(1);
                let lately = store::cancelled_since(tx, pass.id, since).await?;
                let change = pass.cancel_reservation(slot, (held, lately), tx.now())?;
                store::cancel(tx, change.pass.id, slot).await?;
                let detail = serde_json::json!({ "venue": slot.venue, "date": slot.date });
                tx.audit(member.audit("cancel_visit", change.pass.id).detail(detail));
                settle(tx, self.ctx.union, change).await
            })
            .await
    }

    /// Sets how many visits of a venue can be reserved on each of some days. Operators only.
    ///
    /// # Errors
    /// Forbidden; not found, for a venue that is not known or the partner's.
    pub async fn open_visit_days(&self, caller: &Caller, open: OpenDays, key: Uuid) -> Result<()> {
        let OpenDays {
            first,
            days,
            places,
        } = open;
        let (venue, date) = (first.venue.to_string(), first.date.to_string());
        let (number, count) = (days.to_string(), places.to_string());
        let hash = once::hash("open_visit_days", &[&venue, &date, &number, &count]);
        self.ctx
            .db
            .tx("open_visit_days", async |tx| {
                let operator = access::operator(tx, caller).await?.member;
                // The partner's gates do not hear of reservations.
                let venue = store::venue(tx, first.venue).await?;
                let ours = Province::from_code(self.ctx.union.code());
                if venue.is_none_or(|venue| Some(venue.province) != ours) {
                    return Err(Error::NotFound);
                }
                if seen(tx, operator.id.0, key, hash).await?.is_some() {
                    return Ok(());
                }
                store::open_days(tx, first, (days, places)).await?;
                let detail = serde_json::json!({
                    "date": first.date, "days": days, "places": places,
                });
                tx.audit(
                    operator
                        .audit("open_visit_days", first.venue)
                        .detail(detail),
                );
                once::finish(tx, first.venue.as_bytes())
            })
            .await
    }
}
