//! The books, for operators and the union's auditors (经审).

use std::time::Duration;

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, NaiveDate, Utc};
use kit::Error;
use kit::access::Caller;
use kit::graphql::{Connection, Cursor, Date, GlobalId, Page, to_graphql};
use tokio::time::Instant;
use uuid::Uuid;

use super::amount::BookAmount;
use super::{graph, scope};
use crate::domain::Total;
use crate::queries::{AccountRow, DiscrepancyRow, ReconciliationRow};
use crate::{Billing, commands, queries};

/// How long `reconcile` waits for the day to be compared, in milliseconds: well below the time
/// that the gateway gives a subgraph.
const RECONCILE_WAIT_MS_MAX: u64 = 3_000;

fn amount(fen: i64) -> BookAmount {
    Total::new(fen).into()
}

/// The state of a day's comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ReconciliationState {
    /// It is being compared, or waits for the bill.
    Running,
    /// The books agree.
    Clean,
    /// They do not: see the differences.
    Differences,
}

/// A day's book compared with the provider's bill.
#[derive(Debug, SimpleObject)]
#[graphql(complex)]
pub struct Reconciliation {
    /// A day in Shanghai.
    pub date: Date,
    /// What came of it.
    pub state: ReconciliationState,
    /// How often it has been compared.
    pub runs: i32,
    /// The bill's SHA-1; null when nothing happened that day.
    pub bill_sha1: Option<String>,
    /// Movements in the bill.
    pub rows: i32,
    /// Movements that are alike in both.
    pub matched: i32,
    /// Paid, by the bill.
    pub paid: BookAmount,
    /// Given back, by the bill.
    pub refunded: BookAmount,
    /// What the provider kept.
    pub fees: BookAmount,
    /// When it was compared last.
    pub ran_at: Option<DateTime<Utc>>,
}

impl From<ReconciliationRow> for Reconciliation {
    fn from(row: ReconciliationRow) -> Self {
        Self {
            date: row.date.into(),
            state: match row.state.as_str() {
                "clean" => ReconciliationState::Clean,
                "differences" => ReconciliationState::Differences,
                _ => ReconciliationState::Running,
            },
            runs: row.runs,
            bill_sha1: row.bill_sha1,
            rows: row.rows,
            matched: row.matched,
            paid: amount(row.paid_fen),
            refunded: amount(row.refunded_fen),
            fees: amount(row.fee_fen),
            ran_at: row.ran_at,
        }
    }
}

#[ComplexObject]
impl Reconciliation {
    /// What does not agree or did not.
    #[graphql(complexity = "20 * child_complexity")]
    async fn differences(&self, ctx: &Context<'_>) -> Result<Vec<Discrepancy>> {
        let (billing, caller) = scope(ctx)?;
        let date = self.date.0;
        let rows = graph(
            caller,
            billing
                .ctx
                .db
                .read("differences", async |tx| {
                    queries::may_see_books(tx, caller).await?;
                    queries::differences(tx, date).await
                })
                .await,
        )?;
        Ok(rows.into_iter().map(Into::into).collect())
    }
}

/// Something between the provider and us that is not as it should be.
#[derive(Debug, SimpleObject)]
pub struct Discrepancy {
    /// The discrepancy's id.
    pub id: ID,
    /// For programs, such as `missing_here`.
    pub kind: String,
    /// A transaction, a refund's number, or our number of an order at the provider.
    pub subject: String,
    /// The amount in our book.
    pub ours: Option<BookAmount>,
    /// The amount at the provider.
    pub theirs: Option<BookAmount>,
    /// What else is known of it: the provider's code, or the line of the bill and its text.
    pub detail: String,
    /// The refund that is stuck, to be tried again by `retryRefund`.
    pub refund_id: Option<ID>,
    /// Whether it has been explained.
    pub explained: bool,
    /// What came of it.
    pub explanation: Option<String>,
    /// When it was seen first.
    pub found_at: DateTime<Utc>,
}

impl From<DiscrepancyRow> for Discrepancy {
    fn from(row: DiscrepancyRow) -> Self {
        Self {
            id: GlobalId::of_uuid("Discrepancy", row.id),
            kind: row.kind,
            subject: row.subject,
            ours: row.ours_fen.map(amount),
            theirs: row.theirs_fen.map(amount),
            detail: row.detail,
            refund_id: row.refund.map(|id| GlobalId::of_uuid("Refund", id)),
            explained: row.state == "explained",
            explanation: row.explanation,
            found_at: row.found_at,
        }
    }
}

/// What kind of thing an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum LedgerAccountKind {
    /// What we have: debits raise it.
    Asset,
    /// What we owe: credits raise it.
    Liability,
    /// What it cost.
    Expense,
}

/// An account of the ledger.
#[derive(Debug, SimpleObject)]
pub struct LedgerAccount {
    /// For programs.
    pub code: String,
    /// What it holds.
    pub kind: LedgerAccountKind,
    /// In the caller's language.
    pub name: String,
    /// All that was booked to its debit.
    pub debits: BookAmount,
    /// All that was booked to its credit.
    pub credits: BookAmount,
}

fn account(row: AccountRow, caller: &Caller) -> LedgerAccount {
    LedgerAccount {
        name: caller.language.choose(&row.zh, &row.en).to_owned(),
        kind: match row.kind.as_str() {
            "asset" => LedgerAccountKind::Asset,
            "expense" => LedgerAccountKind::Expense,
            _ => LedgerAccountKind::Liability,
        },
        code: row.code,
        debits: amount(row.debit_fen),
        credits: amount(row.credit_fen),
    }
}

/// Reads of the books.
#[derive(Debug, Default)]
pub struct BooksQuery;

#[Object]
impl BooksQuery {
    /// The days that were compared, newest first.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn reconciliations(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Reconciliation>> {
        let (billing, caller) = scope(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())
            .map_err(|error| to_graphql(error, caller.language))?;
        let rows = graph(
            caller,
            billing
                .ctx
                .db
                .read("reconciliations", async |tx| {
                    queries::reconciliations(tx, caller, &page).await
                })
                .await,
        )?;
        let cursor = |row: &ReconciliationRow| Cursor::of(&[&row.date]);
        Ok(page.connection(rows, cursor, Into::into))
    }

    /// What somebody must look at, newest first.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn discrepancies(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Discrepancy>> {
        let (billing, caller) = scope(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())
            .map_err(|error| to_graphql(error, caller.language))?;
        let rows = graph(
            caller,
            billing
                .ctx
                .db
                .read("discrepancies", async |tx| {
                    queries::discrepancies(tx, caller, &page).await
                })
                .await,
        )?;
        let cursor = |row: &DiscrepancyRow| Cursor::at(row.found_at, row.id);
        Ok(page.connection(rows, cursor, Into::into))
    }

    /// Every account with what moved on it: debits equal credits over all.
    async fn ledger_accounts(&self, ctx: &Context<'_>) -> Result<Vec<LedgerAccount>> {
        let (billing, caller) = scope(ctx)?;
        let rows = graph(
            caller,
            billing
                .ctx
                .db
                .read("ledger_accounts", async |tx| {
                    queries::accounts(tx, caller).await
                })
                .await,
        )?;
        Ok(rows.into_iter().map(|row| account(row, caller)).collect())
    }
}

/// Which day to compare.
#[derive(Debug, InputObject)]
pub struct ReconcileInput {
    /// A day in Shanghai that is over, at most 90 days ago.
    pub date: Date,
}

kit::payload! {
    /// What became of a day's comparison.
    pub struct ReconcilePayload / ReconcileUserError / ReconcileErrorCode {
        /// The day; ask for it again while it is running.
        reconciliation: Reconciliation,
    }
    refuses {
        /// The day is not over, or too far back.
        NoBillForDate,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

/// What an operator can do with the books.
#[derive(Debug, Default)]
pub struct BooksMutation;

/// Which discrepancy was looked at, and what came of it.
#[derive(Debug, InputObject)]
pub struct ExplainDiscrepancyInput {
    /// The discrepancy.
    pub discrepancy_id: ID,
    /// What came of it, at most 200 characters.
    pub reason: String,
    /// Minted by the client: the same key is the same request.
    pub idempotency_key: Uuid,
}

kit::payload! {
    /// What became of a discrepancy that was looked at.
    pub struct ExplainDiscrepancyPayload / ExplainDiscrepancyUserError
        / ExplainDiscrepancyErrorCode {
        /// The discrepancy, explained.
        discrepancy: Discrepancy,
    }
    refuses {
        /// It was explained before.
        AlreadyExplained,
        /// The money of its refund has not gone back.
        RefundStillStuck,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

#[Object]
impl BooksMutation {
    /// Says what came of a discrepancy that somebody looked at; it is listed no longer. For
    /// operators.
    async fn explain_discrepancy(
        &self,
        ctx: &Context<'_>,
        input: ExplainDiscrepancyInput,
    ) -> Result<ExplainDiscrepancyPayload> {
        let (billing, caller) = scope(ctx)?;
        let result = explain(billing, caller, input).await;
        ExplainDiscrepancyPayload::from_result(caller.language, result)
    }

    /// Has a day compared with the provider's bill now; again is harmless.
    async fn reconcile(
        &self,
        ctx: &Context<'_>,
        input: ReconcileInput,
    ) -> Result<ReconcilePayload> {
        let (billing, caller) = scope(ctx)?;
        let result = reconcile(billing, caller, input.date.0).await;
        ReconcilePayload::from_result(caller.language, result)
    }
}

async fn explain(
    billing: &Billing,
    caller: &Caller,
    input: ExplainDiscrepancyInput,
) -> kit::Result<ExplainDiscrepancyPayload> {
    let id = GlobalId::uuid(&input.discrepancy_id, "Discrepancy")?;
    let reason = commands::Reason::parse(&input.reason)?;
    let key = input.idempotency_key;
    let row = commands::explain_discrepancy(billing, caller, (id, &reason), key).await?;
    Ok(ExplainDiscrepancyPayload::done(Discrepancy::from(row)))
}

async fn reconcile(
    billing: &Billing,
    caller: &Caller,
    date: NaiveDate,
) -> kit::Result<ReconcilePayload> {
    commands::ask_reconcile(billing, caller, date).await?;
    let mut told = billing.ctx.wake.told.listen(date);
    let deadline = Instant::now() + Duration::from_millis(RECONCILE_WAIT_MS_MAX);
    while Instant::now() < deadline {
        let state = queries::reconciliation_state(&billing.ctx.db, date).await?;
        if state.is_some_and(|state| state != "running") {
            break;
        }
        told.changed().await;
    }
    let work = async |tx: &kit::Tx| queries::reconciliation(tx, date).await;
    let row = billing
        .ctx
        .db
        .read("reconciled", work)
        .await?
        .ok_or(Error::NotFound)?;
    Ok(ReconcilePayload::done(Reconciliation::from(row)))
}
