//! What billing does by itself and later: every question to the provider, every deadline.

use chrono::NaiveDate;
use kit::due::{After, Job, Work};
use kit::types::OrderId;
use kit::{Error, Result};
use uuid::Uuid;

use crate::{Billing, commands};

/// Asks the provider for the code of a payment; the subject is the payment's id.
pub const PREPARE: &str = "prepare";
/// Ends a payment within WeChat that nobody got through to the provider; the payment's id.
pub const UNPREPARED: &str = "unprepared";
/// Asks the provider about a payment of which nothing was heard; the payment's id.
pub const QUERY: &str = "query";
/// Ends a payment whose code has expired, its order staying open; the payment's id.
pub const EXPIRE: &str = "expire";
/// Closes an order that was not paid; the order's id.
pub const CLOSE: &str = "close";
/// Asks the provider for a refund; the refund's id.
pub const REFUND: &str = "refund";
/// Asks the provider what became of a refund; the refund's id.
pub const REFUND_QUERY: &str = "refund_query";
/// Asks the provider about an order that a notification spoke of; our number of it there.
pub const INVESTIGATE: &str = "investigate";
/// Compares a day with the provider's bill; the date.
pub const RECONCILE: &str = "reconcile";

/// The jobs of billing.
#[derive(Clone, Debug)]
pub struct Jobs(pub Billing);

impl Work for Jobs {
    async fn run(&self, job: &Job) -> Result<After> {
        let Self(billing) = self;
        match job.kind.as_str() {
            PREPARE => commands::prepare(billing, id(job)?).await,
            UNPREPARED => commands::end_unprepared(billing, id(job)?).await,
            QUERY => commands::query_payment(billing, id(job)?).await,
            EXPIRE => commands::expire_payment(billing, id(job)?).await,
            CLOSE => commands::close_order(billing, OrderId(id(job)?)).await,
            REFUND => commands::ask_refund(billing, id(job)?).await,
            REFUND_QUERY => commands::query_refund(billing, id(job)?).await,
            INVESTIGATE => commands::investigate(billing, &job.subject).await,
            RECONCILE => {
                let date: NaiveDate = job.subject.parse().map_err(|_| wrong())?;
                commands::reconcile(billing, date).await
            }
            other => Err(Error::internal(format!("{other} is no work of billing"))),
        }
    }
}

fn wrong() -> Error {
    Error::internal("due work has a subject that is none")
}

fn id(job: &Job) -> Result<Uuid> {
    job.subject.parse().map_err(|_| wrong())
}
