//! The provider's endpoints for orders and refunds; bills are in `statements`.

use crate::Sandbox;
use crate::acts::OrderName;
use crate::error::Refusal;
use crate::guard::{Signer, guard};
use crate::orders::{self, Terms, TradeType};
use crate::refunds::RefundTerms;
use crate::statements;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) fn routes(sandbox: &Sandbox) -> Router<Sandbox> {
    Router::new()
        .route("/v3/pay/transactions/native", post(place_native))
        .route("/v3/pay/transactions/jsapi", post(place_jsapi))
        .route(
            "/v3/pay/transactions/out-trade-no/{number}",
            get(query_by_number),
        )
        .route(
            "/v3/pay/transactions/id/{transaction_id}",
            get(query_by_transaction),
        )
        .route(
            "/v3/pay/transactions/out-trade-no/{number}/close",
            post(close),
        )
        .route("/v3/refund/domestic/refunds", post(refund))
        .route("/v3/refund/domestic/refunds/{number}", get(query_refund))
        .merge(statements::routes())
        .route_layer(from_fn_with_state(sandbox.clone(), guard))
}

type Answer = Result<Json<Value>, Refusal>;

async fn place_native(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    body: Bytes,
) -> Answer {
    let merchant = sandbox.merchant(&signer)?;
    let terms = Terms::parse(&body, TradeType::Native, merchant, &sandbox.0.notify_hosts)?;
    Ok(Json(json!({ "code_url": sandbox.place(terms)?.handle() })))
}

async fn place_jsapi(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    body: Bytes,
) -> Answer {
    let merchant = sandbox.merchant(&signer)?;
    let terms = Terms::parse(&body, TradeType::Jsapi, merchant, &sandbox.0.notify_hosts)?;
    Ok(Json(json!({ "prepay_id": sandbox.place(terms)?.handle() })))
}

#[derive(Deserialize)]
struct MchidQuery {
    mchid: String,
}

type MchidRead = Result<Query<MchidQuery>, QueryRejection>;

fn check_mchid(signer: &Signer, query: MchidRead) -> Result<(), Refusal> {
    match query {
        Ok(Query(query)) if query.mchid == signer.0 => Ok(()),
        Ok(_) => Err(Refusal::parameter(
            "商户号与签名不符 (mchid is not the signer's)",
        )),
        Err(_) => Err(Refusal::parameter("缺少 mchid (mchid is missing)")),
    }
}

async fn query_by_number(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    Path(number): Path<String>,
    query: MchidRead,
) -> Answer {
    check_mchid(&signer, query)?;
    orders::check_out_trade_no(&number)?;
    Ok(Json(sandbox.order(&signer.0, &number)?.transaction()))
}

async fn query_by_transaction(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    Path(transaction_id): Path<String>,
    query: MchidRead,
) -> Answer {
    check_mchid(&signer, query)?;
    Ok(Json(
        sandbox
            .order_by_transaction(&signer.0, &transaction_id)?
            .transaction(),
    ))
}

async fn close(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    Path(number): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let body: MchidQuery = orders::parse_json(&body)?;
    check_mchid(&signer, Ok(Query(body)))?;
    orders::check_out_trade_no(&number)?;
    sandbox.close(&signer.0, &number)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn refund(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    body: Bytes,
) -> Answer {
    let terms = RefundTerms::parse(&body, &signer.0, &sandbox.0.notify_hosts)?;
    Ok(Json(sandbox.refund(terms)?.view()))
}

async fn query_refund(
    State(sandbox): State<Sandbox>,
    Extension(signer): Extension<Signer>,
    Path(number): Path<String>,
) -> Answer {
    Ok(Json(sandbox.refund_of(&signer.0, &number)?.view()))
}

impl OrderName {
    /// Reads what a payer holds in hand: a `code_url` or a `prepay_id`.
    pub(crate) fn scanned(text: &str) -> Self {
        Self::Token(
            text.strip_prefix(orders::CODE_URL_PREFIX)
                .unwrap_or(text)
                .to_owned(),
        )
    }
}
