//! The provider's endpoints for bills: asked for, then downloaded from an address that lives 5 min.

use crate::bills::{self, BillType, Movement};
use crate::clock;
use crate::error::Refusal;
use crate::guard::{Signer, Unsigned};
use crate::random;
use crate::{Sandbox, lock};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

/// A download address works this long.
const BILL_FILE_MS_MAX: i64 = 5 * 60_000;
/// Download addresses at once; the oldest go first.
const BILL_FILES_MAX: usize = 100;
/// Bills can be had for about three months.
const BILL_DAYS_MAX: i64 = 92;
/// Yesterday's bill is ready at 10:00.
const BILL_READY_MS: i64 = 10 * 3_600_000;

/// A bill that waits to be downloaded.
#[derive(Debug)]
pub(crate) struct BillFile {
    mchid: String,
    csv: String,
    expires_ms: i64,
}

pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v3/bill/tradebill", get(trade_bill))
        .route("/v3/bill/fundflowbill", get(fund_bill))
        .route("/v3/billdownload/file", get(download))
}

type Answer = Result<Json<Value>, Refusal>;

#[derive(Deserialize)]
struct BillQuery {
    bill_date: String,
    bill_type: Option<String>,
    account_type: Option<String>,
    tar_type: Option<String>,
}

type BillRead = Result<Query<BillQuery>, QueryRejection>;

async fn trade_bill(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    query: BillRead,
) -> Answer {
    let query = read_bill_query(query)?;
    let bill_type = match query.bill_type.as_deref() {
        None | Some("ALL") => BillType::All,
        Some("SUCCESS") => BillType::Success,
        Some("REFUND") => BillType::Refund,
        Some(_) => {
            return Err(Refusal::parameter(
                "bill_type 无效 (ALL, SUCCESS or REFUND)",
            ));
        }
    };
    sandbox.bill(&signer, &query, |movements, day| {
        bills::trade_bill(movements, day, bill_type)
    })
}

async fn fund_bill(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    query: BillRead,
) -> Answer {
    let query = read_bill_query(query)?;
    if !matches!(query.account_type.as_deref(), None | Some("BASIC")) {
        return Err(Refusal::parameter(
            "仅支持 BASIC 账户 (account_type must be BASIC)",
        ));
    }
    sandbox.bill(&signer, &query, bills::fund_bill)
}

fn read_bill_query(query: BillRead) -> Result<BillQuery, Refusal> {
    let Ok(Query(query)) = query else {
        return Err(Refusal::parameter("缺少 bill_date (bill_date is missing)"));
    };
    if query.tar_type.is_some() {
        return Err(Refusal::parameter(
            "沙箱不支持压缩账单 (the sandbox has no tar_type)",
        ));
    }
    Ok(query)
}

impl Sandbox {
    /// Writes the bill of a day and answers where it can be downloaded.
    fn bill(
        &self,
        signer: &Signer,
        query: &BillQuery,
        write: impl FnOnce(&[Movement<'_>], &std::ops::Range<i64>) -> Option<String>,
    ) -> Answer {
        let now_ms = self.now_ms();
        let date = read_bill_date(&query.bill_date)?;
        let start_ms = clock::day_start_ms(date);
        let end_ms = date.succ_opt().map_or(start_ms, clock::day_start_ms);
        let age_days = (clock::day(now_ms) - date).num_days();
        let youngest = if self.0.bills_at_once { 0 } else { 1 };
        if !(youngest..=BILL_DAYS_MAX).contains(&age_days) {
            return Err(Refusal::parameter(
                "账单日期无效 (bill_date: the last three months)",
            ));
        }
        if now_ms < end_ms + BILL_READY_MS && !self.0.bills_at_once {
            let message = "账单生成中,请 10 点后再试 (the bill is ready at 10:00)";
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "STATEMENT_CREATING",
                message,
            ));
        }
        let csv = {
            let book = lock(&self.0.book);
            let mut movements: Vec<Movement<'_>> = Vec::new();
            for order in book.orders_of(&signer.0) {
                movements.extend(
                    order
                        .payment()
                        .map(|payment| Movement::Paid(order, payment)),
                );
            }
            for refund in book.refunds_of(&signer.0) {
                let order = book.order(&refund.mchid, &refund.out_trade_no);
                let paid = order.and_then(|order| Some((order, order.payment()?)));
                movements.extend(paid.map(|(o, payment)| Movement::Refunded(o, payment, refund)));
            }
            bills::sort(&mut movements);
            write(&movements, &(start_ms..end_ms))
        };
        let csv = csv.ok_or_else(|| {
            let message = "账单文件不存在 (nothing happened that day)";
            Refusal::new(StatusCode::BAD_REQUEST, "NO_STATEMENT_EXIST", message)
        })?;
        let hash = Sha1::digest(csv.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = self.keep_bill(&signer.0, csv, now_ms);
        let base = self.0.base_url.get().map_or("", String::as_str);
        let download_url = format!("{base}/v3/billdownload/file?token={token}");
        Ok(Json(json!({
            "hash_type": "SHA1",
            "hash_value": hash,
            "download_url": download_url,
        })))
    }

    fn keep_bill(&self, mchid: &str, csv: String, now_ms: i64) -> String {
        let mut files = lock(&self.0.bill_files);
        files.retain(|_, file| file.expires_ms > now_ms);
        if files.len() >= BILL_FILES_MAX {
            let oldest = files.iter().min_by_key(|(_, file)| file.expires_ms);
            if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
                let _gone = files.remove(&oldest);
            }
        }
        let token = random::text(random::ALPHANUMERIC, 64);
        let expires_ms = now_ms + BILL_FILE_MS_MAX;
        let file = BillFile {
            mchid: mchid.to_owned(),
            csv,
            expires_ms,
        };
        let _new = files.insert(token.clone(), file);
        token
    }
}

fn read_bill_date(text: &str) -> Result<NaiveDate, Refusal> {
    // chrono also reads 2026-1-2; the provider does not.
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|_| text.len() == 10);
    date.ok_or_else(|| Refusal::parameter("账单日期格式错误 (bill_date: yyyy-MM-dd)"))
}

#[derive(Deserialize)]
struct DownloadQuery {
    token: String,
}

async fn download(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    query: Result<Query<DownloadQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let gone = || Refusal::no_resource("下载地址无效或已过期 (unknown or expired address)");
    let Ok(Query(DownloadQuery { token })) = query else {
        return Err(gone());
    };
    let files = lock(&sandbox.0.bill_files);
    let file = files.get(&token).ok_or_else(gone)?;
    if file.mchid != signer.0 || file.expires_ms <= sandbox.now_ms() {
        return Err(gone());
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let mut answer = (headers, file.csv.clone()).into_response();
    let _none = answer.extensions_mut().insert(Unsigned);
    Ok(answer)
}
