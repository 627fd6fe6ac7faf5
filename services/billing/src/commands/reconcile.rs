//! A day's book against the provider's bill: what the bill knows and we do not is asked for and
//! healed, what is left is written down as a difference. Run again, it changes nothing twice.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::due::{After, NewDue};
use kit::types::{Fen, day_start, shanghai_date};
use kit::{Error, Result, Tx};

use super::settle::Learnt;
use crate::domain::{Difference, DifferenceKind, compare, fee};
use crate::error::Refusal;
use crate::store::{self, DiscrepancyKind, NewDiscrepancy, Outcome};
use crate::wechat::{Bill, parse_bill};
use crate::{Billing, due};

/// When a day's bill is fetched, in minutes of the next day in Shanghai: it is ready at ten.
const READY_MINUTES: i64 = 10 * 60 + 5;
/// How long a bill that is still being written is waited for, in minutes.
const CREATING_MINUTES: i64 = 10;
/// The provider keeps bills for three months.
const BILL_DAYS_MAX: i64 = 90;
/// Movements that one run asks the provider about, at most.
const HEALS_MAX: usize = 500;

fn ready_at(date: NaiveDate) -> Option<DateTime<Utc>> {
    date.succ_opt()
        .map(|next| day_start(next) + TimeDelta::minutes(READY_MINUTES))
}

fn plan_day(tx: &Tx, date: NaiveDate) {
    if let Some(at) = ready_at(date) {
        tx.plan(NewDue::new(due::RECONCILE, date, at.max(tx.now())));
    }
}

/// Money was learnt of that moved at `at`: a day that has been compared is compared again. One
/// that has not is planned by the day before it, so that bookings do not meet on its row.
pub(crate) fn moved(tx: &Tx, at: DateTime<Utc>) {
    let date = shanghai_date(at);
    if ready_at(date).is_some_and(|ready| ready <= tx.now()) {
        plan_day(tx, date);
    }
}

/// `reconcile`: an operator has a day compared now.
///
/// # Errors
/// A refusal, when there can be no bill of that day; unauthenticated, forbidden.
pub async fn ask(billing: &Billing, caller: &Caller, date: NaiveDate) -> Result<()> {
    billing
        .ctx
        .db
        .tx("ask_reconcile", async |tx| {
            let operator = access::operator(tx, caller).await?;
            let age = (shanghai_date(tx.now()) - date).num_days();
            if !(1..=BILL_DAYS_MAX).contains(&age) {
                return Err(Refusal::NoBillForDate.into());
            }
            store::ask_reconciliation(tx, date).await?;
            let ordinal = i32::try_from(tx.now().timestamp() % i64::from(i32::MAX)).unwrap_or(1);
            tx.plan(NewDue::new(due::RECONCILE, date, tx.now()).ordinal(ordinal.max(1)));
            tx.audit(operator.member.audit("reconcile", date));
            Ok(())
        })
        .await
}

/// Compares a day.
///
/// # Errors
/// When the provider does not answer or its bill cannot be read: the job is run again.
pub async fn run(billing: &Billing, date: NaiveDate) -> Result<After> {
    let fetched = match billing.wechat.trade_bill(date).await {
        Ok(fetched) => fetched,
        Err(failure) if failure.code() == Some("STATEMENT_CREATING") => {
            let now = billing.ctx.clock.now();
            return Ok(After::At(now + TimeDelta::minutes(CREATING_MINUTES)));
        }
        Err(failure) => return Err(failure.into()),
    };
    let (bill, sha1) = match fetched {
        None => (Bill::default(), None),
        Some((bytes, sha1)) => {
            let bill = parse_bill(&bytes, &billing.wechat.merchant().mchid)
                .map_err(|error| Error::internal(error.to_string()))?;
            (bill, Some(sha1))
        }
    };
    let db = &billing.ctx.db;
    let ours = db
        .tx("own_movements", async |tx| {
            store::own_movements(tx, date).await
        })
        .await?;
    for difference in compare(&ours, &bill.entries).iter().take(HEALS_MAX) {
        heal(billing, difference).await?;
    }
    let (bill, sha1) = (&bill, &sha1);
    db.tx("reconcile", async |tx| {
        write(tx, date, bill, sha1.clone()).await
    })
    .await?;
    billing.tell();
    Ok(After::Done)
}

/// Asks the provider about what we do not know or know otherwise.
async fn heal(billing: &Billing, difference: &Difference) -> Result<()> {
    match difference.kind {
        DifferenceKind::MissingHere if !difference.is_refund => {
            match billing.wechat.query(&difference.out_trade_no).await {
                Ok(transaction) => {
                    billing.book(&transaction, Learnt::Bill).await?;
                }
                Err(failure) if failure.is_passing() => return Err(failure.into()),
                // It stays a difference.
                Err(_) => {}
            }
            Ok(())
        }
        DifferenceKind::AmountDiffers => Ok(()),
        DifferenceKind::MissingThere if !difference.is_refund => Ok(()),
        DifferenceKind::MissingHere
        | DifferenceKind::MissingThere
        | DifferenceKind::StateDiffers => {
            let number = &difference.number;
            let found = billing
                .ctx
                .db
                .tx("heal_refund", async |tx| {
                    store::refund_by_number(tx, number).await
                })
                .await?;
            match found {
                Some(refund) => super::refunding::learn_anew(billing, &refund).await,
                None => Ok(()),
            }
        }
    }
}

const fn kind_of(kind: DifferenceKind) -> DiscrepancyKind {
    match kind {
        DifferenceKind::MissingHere => DiscrepancyKind::MissingHere,
        DifferenceKind::MissingThere => DiscrepancyKind::MissingThere,
        DifferenceKind::AmountDiffers => DiscrepancyKind::AmountDiffers,
        DifferenceKind::StateDiffers => DiscrepancyKind::StateDiffers,
    }
}

async fn write(tx: &Tx, date: NaiveDate, bill: &Bill, sha1: Option<String>) -> Result<()> {
    let ours = store::own_movements(tx, date).await?;
    let differences = compare(&ours, &bill.entries);
    let mut still = Vec::new();
    for one in &differences {
        let kind = kind_of(one.kind);
        still.push(format!("{}/{}", kind.as_str(), one.number));
        if store::find_discrepancy(tx, kind, &one.number)
            .await?
            .is_some_and(|s| s == "open")
        {
            continue;
        }
        let new = NewDiscrepancy {
            kind,
            subject: one.number.clone(),
            bill_date: Some(date),
            order: None,
            ours_fen: one.ours.map(Fen::get),
            theirs_fen: one.theirs.map(Fen::get),
            detail: if one.is_refund { "refund" } else { "payment" }.to_owned(),
        };
        store::note_discrepancy(tx, &new).await?;
    }
    let explanation = "a later comparison of the day did not find it again";
    store::close_differences(tx, date, still, explanation).await?;
    if !store::is_booked(tx, &format!("fee/{date}")).await? {
        store::book_transfers(tx, &fee(date, bill.fees)).await?;
    }
    let rows = bill.entries.len();
    let outcome = Outcome {
        date,
        bill_sha1: sha1,
        rows,
        matched: rows
            - differences
                .iter()
                .filter(|one| one.theirs.is_some())
                .count(),
        differences: differences.len(),
        paid: bill.paid,
        refunded: bill.refunded,
        fees: bill.fees,
    };
    store::finish_reconciliation(tx, &outcome).await?;
    if let Some(next) = date
        .succ_opt()
        .filter(|next| *next <= shanghai_date(tx.now()))
    {
        plan_day(tx, next);
    }
    tx.audit(
        AuditRow::system("reconcile", date).detail(serde_json::json!({
            "rows": rows, "differences": differences.len(),
        })),
    );
    Ok(())
}

impl Billing {
    /// Plans what recurs; harmless when it is planned already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(&self) -> Result<()> {
        let plan = async |tx: &Tx| {
            if let Some(yesterday) = shanghai_date(tx.now()).pred_opt() {
                plan_day(tx, yesterday);
            }
            Ok(())
        };
        self.ctx.db.tx("plan", plan).await
    }
}
