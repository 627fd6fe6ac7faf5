//! A day's book against the provider's bill: what the bill knows and we do not is asked for and
//! healed, what is left is written down as a difference. Run again, it changes nothing twice.
//!
//! Nothing in a bill stops the comparison of the rest of it, and no day stops the next.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::due::{After, NewDue};
use kit::types::{Fen, day_start, shanghai_date};
use kit::{Error, Result, Tx};

use super::settle::{Learnt, is_trade_no};
use crate::domain::{
    Difference, DifferenceKind, OwnEntry, RowProblem, Total, UnreadRow, compare, fee, fee_cause,
};
use crate::error::Refusal;
use crate::store::{self, DiscrepancyKind, NewDiscrepancy, Outcome};
use crate::wechat::{Bill, Summary, parse_bill};
use crate::{Billing, due};

/// When a day's bill is fetched, in minutes of the next day in Shanghai: it is ready at ten.
const READY_MINUTES: i64 = 10 * 60 + 5;
/// How long a bill that is still being written is waited for, in minutes.
const CREATING_MINUTES: i64 = 10;
/// The provider keeps bills for three months.
const BILL_DAYS_MAX: i64 = 90;
/// Movements that one run asks the provider about, at most.
const HEALS_MAX: usize = 500;
/// Questions without an answer after which a run asks no more: the provider is away.
const HEAL_FAILURES_MAX: usize = 5;
/// Rows of one bill that could not be read and are noted one by one, at most.
const UNREAD_ROWS_MAX: usize = 500;
/// How often a day's fees are booked, corrections included, before a person must look.
const FEE_BOOKINGS_MAX: usize = 50;

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
/// A refusal, when there can be no bill of that day; unauthenticated, forbidden; without the second
/// factor.
pub async fn ask(billing: &Billing, caller: &Caller, date: NaiveDate) -> Result<()> {
    billing
        .ctx
        .db
        .tx("ask_reconcile", async |tx| {
            let operator = access::operator(tx, caller).await?;
            access::stepped_up(tx, caller)?;
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
/// When the provider does not answer, or could not be asked about each difference: the job is run
/// again. What was found by then is on record, and the days after it do not wait.
pub async fn run(billing: &Billing, date: NaiveDate) -> Result<After> {
    let next = async |tx: &Tx| plan_next(tx, date).await;
    billing.ctx.db.tx("plan_next_day", next).await?;
    let fetched = match billing.wechat.trade_bill(date).await {
        Ok(fetched) => fetched,
        Err(failure) if failure.code() == Some("STATEMENT_CREATING") => {
            let now = billing.ctx.clock.now();
            return Ok(After::At(now + TimeDelta::minutes(CREATING_MINUTES)));
        }
        Err(failure) => return Err(failure.into()),
    };
    compare_day(billing, date, fetched).await
}

/// Plans the day after, unless it has been compared or is planned already: a day that is compared
/// again drags no other along.
async fn plan_next(tx: &Tx, date: NaiveDate) -> Result<()> {
    let next = date
        .succ_opt()
        .filter(|next| *next <= shanghai_date(tx.now()));
    if let Some(next) = next
        && !store::is_day_planned(tx, next, due::RECONCILE).await?
    {
        plan_day(tx, next);
    }
    Ok(())
}

/// Compares a day with this bill of it and its announced hash; `None` when nothing happened.
///
/// # Errors
/// As [`run`]; when the file is no trade bill, which is noted.
pub async fn compare_day(
    billing: &Billing,
    date: NaiveDate,
    fetched: Option<(Vec<u8>, String)>,
) -> Result<After> {
    let db = &billing.ctx.db;
    let (bill, sha1) = match fetched {
        None => (Bill::default(), None),
        Some((bytes, sha1)) => {
            let mchid = &billing.wechat.merchant().mchid;
            match parse_bill(&bytes, mchid) {
                Ok(bill) => (bill, Some(sha1)),
                Err(error) => {
                    let reason = error.to_string();
                    let note = async |tx: &Tx| note_no_bill(tx, date, &reason).await;
                    db.tx("no_bill", note).await?;
                    return Err(Error::internal(reason.clone()));
                }
            }
        }
    };
    let ours = async |tx: &Tx| store::own_movements(tx, date).await;
    let ours = db.read("own_movements", ours).await?;
    let unasked = heal_all(billing, &compare(&comparable(ours, &bill), &bill.entries)).await;
    let compared = Compared {
        date,
        bill: &bill,
        sha1,
        unasked: &unasked,
    };
    db.tx("reconcile", async |tx| write(tx, &compared).await)
        .await?;
    if unasked.iter().any(|one| one.is_passing) {
        return Err(Error::Unavailable(
            "not every difference could be asked about; the day is on record",
        ));
    }
    Ok(After::Done)
}

async fn note_no_bill(tx: &Tx, date: NaiveDate, reason: &str) -> Result<()> {
    let new = NewDiscrepancy {
        kind: DiscrepancyKind::BillUnreadable,
        subject: date.to_string(),
        bill_date: Some(date),
        order: None,
        ours_fen: None,
        theirs_fen: None,
        detail: reason.to_owned(),
    };
    note_once(tx, &new).await
}

/// Our movements without those whose row in the bill could not be read: that row is the difference.
fn comparable(ours: Vec<OwnEntry>, bill: &Bill) -> Vec<OwnEntry> {
    let unread: HashSet<&str> = bill
        .unread
        .iter()
        .filter_map(|row| row.number.as_deref())
        .collect();
    let kept = ours.into_iter();
    kept.filter(|one| !unread.contains(one.number.as_str()))
        .collect()
}

/// A difference about which the provider could not be asked.
struct Unasked {
    number: String,
    reason: String,
    /// It can be asked about later.
    is_passing: bool,
}

/// Asks about each difference. What goes wrong with one stops none of the others, unless the
/// provider is away.
async fn heal_all(billing: &Billing, differences: &[Difference]) -> Vec<Unasked> {
    let mut unasked = Vec::new();
    let mut passing = 0;
    for difference in differences.iter().take(HEALS_MAX) {
        let Err(error) = heal(billing, difference).await else {
            continue;
        };
        let number = difference.number.clone();
        tracing::error!(number, %error, "a difference could not be asked about");
        let is_passing = error.is_transient();
        unasked.push(Unasked {
            number,
            reason: error.to_string(),
            is_passing,
        });
        passing += usize::from(is_passing);
        if passing == HEAL_FAILURES_MAX {
            break;
        }
    }
    unasked
}

/// Asks the provider about what we do not know or know otherwise.
async fn heal(billing: &Billing, difference: &Difference) -> Result<()> {
    match difference.kind {
        DifferenceKind::MissingHere if !difference.is_refund => {
            if !is_trade_no(&difference.out_trade_no) {
                // It cannot be asked about: it stays a difference.
                return Ok(());
            }
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

/// A day, its bill, and what could not be asked.
struct Compared<'a> {
    date: NaiveDate,
    bill: &'a Bill,
    sha1: Option<String>,
    unasked: &'a [Unasked],
}

impl Compared<'_> {
    fn movement(&self, one: &Difference) -> NewDiscrepancy {
        let what = if one.is_refund { "refund" } else { "payment" };
        let unasked = self
            .unasked
            .iter()
            .find(|failed| failed.number == one.number);
        NewDiscrepancy {
            kind: kind_of(one.kind),
            subject: one.number.clone(),
            bill_date: Some(self.date),
            order: None,
            ours_fen: one.ours.map(Fen::get),
            theirs_fen: one.theirs.map(Fen::get),
            detail: match unasked {
                Some(failed) => format!("{what}; could not be asked about: {}", failed.reason),
                None => what.to_owned(),
            },
        }
    }

    fn row(&self, row: &UnreadRow, ours: &[OwnEntry]) -> NewDiscrepancy {
        let known = ours
            .iter()
            .find(|one| Some(&one.number) == row.number.as_ref());
        NewDiscrepancy {
            kind: match row.problem {
                RowProblem::Currency => DiscrepancyKind::CurrencyDiffers,
                RowProblem::Merchant => DiscrepancyKind::MerchantDiffers,
                RowProblem::Unreadable(_) => DiscrepancyKind::BillRowUnreadable,
            },
            subject: format!("{}/{}", self.date, row.line),
            bill_date: Some(self.date),
            order: None,
            ours_fen: known.map(|one| one.fen.get()),
            theirs_fen: None,
            detail: format!("line {}: {}: {}", row.line, row.problem.reason(), row.text),
        }
    }

    fn summary(&self) -> NewDiscrepancy {
        NewDiscrepancy {
            kind: DiscrepancyKind::BillSummaryDiffers,
            subject: self.date.to_string(),
            bill_date: Some(self.date),
            order: None,
            ours_fen: None,
            theirs_fen: None,
            detail: "the bill's summary does not agree with its rows".to_owned(),
        }
    }

    /// All that does not agree, as it is to be noted.
    fn findings(&self, ours: &[OwnEntry], differences: &[Difference]) -> Vec<NewDiscrepancy> {
        let mut found: Vec<NewDiscrepancy> =
            differences.iter().map(|one| self.movement(one)).collect();
        let unread = &self.bill.unread;
        found.extend(
            unread
                .iter()
                .take(UNREAD_ROWS_MAX)
                .map(|row| self.row(row, ours)),
        );
        if self.bill.summary == Summary::Differs {
            found.push(self.summary());
        }
        if unread.len() > UNREAD_ROWS_MAX {
            let detail = format!("{} more rows were not read", unread.len() - UNREAD_ROWS_MAX);
            found.push(NewDiscrepancy {
                kind: DiscrepancyKind::BillUnreadable,
                detail,
                ..self.summary()
            });
        }
        found
    }
}

/// Notes what is not noted and open yet.
async fn note_once(tx: &Tx, new: &NewDiscrepancy) -> Result<()> {
    let known = store::find_discrepancy(tx, new.kind, &new.subject).await?;
    if known.is_some_and(|state| state == "open") {
        return Ok(());
    }
    store::note_discrepancy(tx, new).await
}

async fn write(tx: &Tx, compared: &Compared<'_>) -> Result<()> {
    let Compared { date, bill, .. } = *compared;
    tx.tell(date);
    let all = store::own_movements(tx, date).await?;
    let differences = compare(&comparable(all.clone(), bill), &bill.entries);
    let findings = compared.findings(&all, &differences);
    let mut still = Vec::with_capacity(findings.len());
    for new in &findings {
        still.push(format!("{}/{}", new.kind.as_str(), new.subject));
        note_once(tx, new).await?;
    }
    let explanation = "a later comparison of the day did not find it again";
    store::close_differences(tx, date, still, explanation).await?;
    book_fees(tx, date, bill.fees).await?;
    let theirs = differences.iter().filter(|one| one.theirs.is_some());
    let outcome = Outcome {
        date,
        bill_sha1: compared.sha1.clone(),
        rows: bill.entries.len() + bill.unread.len(),
        matched: bill.entries.len() - theirs.count(),
        differences: findings.len(),
        paid: bill.paid,
        refunded: bill.refunded,
        fees: bill.fees,
    };
    store::finish_reconciliation(tx, &outcome).await?;
    tx.audit(
        AuditRow::system("reconcile", date).detail(serde_json::json!({
            "rows": outcome.rows, "differences": outcome.differences,
            "unread": bill.unread.len(), "unasked": compared.unasked.len(),
        })),
    );
    Ok(())
}

/// Books what the provider kept. A bill that says otherwise than the one before is followed by a
/// transfer of the difference, and on record as a difference that was explained.
async fn book_fees(tx: &Tx, date: NaiveDate, fees: Total) -> Result<()> {
    let causes: Vec<String> = (0..FEE_BOOKINGS_MAX)
        .map(|booked| fee_cause(date, booked))
        .collect();
    let (times, booked) = store::booked_fees(tx, causes).await?;
    if booked == fees {
        return Ok(());
    }
    if times > 0 {
        let new = NewDiscrepancy {
            kind: DiscrepancyKind::FeeDiffers,
            subject: date.to_string(),
            bill_date: Some(date),
            order: None,
            ours_fen: Some(booked.get()),
            theirs_fen: Some(fees.get()),
            detail: "the bill's fees are other than those booked".to_owned(),
        };
        store::note_discrepancy(tx, &new).await?;
    }
    if times == FEE_BOOKINGS_MAX {
        // A bill that changes without end is for a person.
        return Ok(());
    }
    store::book_transfers(tx, &fee(date, times, fees.sub(booked))).await?;
    let explanation = "the difference was booked";
    store::explain(
        tx,
        DiscrepancyKind::FeeDiffers,
        &date.to_string(),
        explanation,
    )
    .await
    .map(|_rows| ())
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
