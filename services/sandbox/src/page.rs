//! One page for a person who tries the system: orders with a pay button, and the SMS inbox.
//!
//! No script, no outside resource; every text from elsewhere is escaped.

use crate::Sandbox;
use crate::acts::OrderName;
use crate::clock;
use crate::control::settled;
use crate::error::Refusal;
use crate::lock;
use crate::orders::{Order, OrderState};
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write;

const ORDERS_SHOWN_MAX: usize = 50;
const MESSAGES_SHOWN_MAX: usize = 50;
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";
const HEAD: &str = r#"<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>沙箱 Sandbox</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #bbb; padding: .3rem .5rem; text-align: left; }
button { font: inherit; padding: .2rem .8rem; }
</style></head><body>
<h1>沙箱 <span lang="en">Sandbox</span></h1>
<p>这里扮演微信支付和短信运营商,不涉及真实资金。
<span lang="en">This plays WeChat Pay and the SMS operator; no real money moves.</span></p>
"#;

pub(crate) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/", get(show))
        .route("/sandbox/page/pay", post(pay))
}

async fn show(State(sandbox): State<Sandbox>) -> Result<Response, Refusal> {
    let mut html = String::from(HEAD);
    {
        let book = lock(&sandbox.0.book);
        let orders = book.latest_orders(None).take(ORDERS_SHOWN_MAX);
        push_orders(&mut html, orders, &sandbox.0.page_token);
    }
    let messages = lock(&sandbox.0.sms).inbox(None, MESSAGES_SHOWN_MAX);
    push_messages(&mut html, &messages);
    html.push_str("</body></html>\n");
    settled(&sandbox).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, html).into_response())
}

fn push_orders<'a>(html: &mut String, orders: impl Iterator<Item = &'a Order>, token: &str) {
    html.push_str(concat!(
        "<h2>订单 <span lang=\"en\">Orders</span></h2>\n<table><tr>",
        "<th>时间 Time</th><th>商户 Merchant</th><th>订单号 Number</th><th>内容 What</th>",
        "<th>金额 Yuan</th><th>状态 State</th><th></th></tr>\n",
    ));
    for order in orders {
        let terms = &order.terms;
        let cells = [
            clock::bill_time(order.created_ms),
            escape(&terms.mchid),
            escape(&terms.out_trade_no),
            escape(&terms.description),
            format!("{}.{:02}", terms.total_fen / 100, terms.total_fen % 100),
            state_text(order).to_owned(),
            if order.state == OrderState::Unpaid {
                pay_button(order, token)
            } else {
                String::new()
            },
        ];
        push_row(html, &cells);
    }
    html.push_str("</table>\n");
}

fn state_text(order: &Order) -> &'static str {
    match order.trade_state().0 {
        "SUCCESS" => "已支付 paid",
        "REFUND" => "已退款 refunded",
        "CLOSED" => "已关闭 closed",
        _ => "待支付 unpaid",
    }
}

fn pay_button(order: &Order, token: &str) -> String {
    format!(
        concat!(
            "<form method=\"post\" action=\"/sandbox/page/pay\">",
            "<input type=\"hidden\" name=\"token\" value=\"{}\">",
            "<input type=\"hidden\" name=\"handle\" value=\"{}\">",
            "<button>支付 Pay</button></form>",
        ),
        escape(token),
        escape(&order.handle()),
    )
}

fn push_messages(html: &mut String, messages: &[Value]) {
    html.push_str(concat!(
        "<h2>短信 <span lang=\"en\">SMS inbox</span></h2>\n<table><tr>",
        "<th>时间 Time</th><th>手机 Phone</th><th>内容 Text</th></tr>\n",
    ));
    for message in messages {
        let text = |field: &str| escape(message[field].as_str().unwrap_or(""));
        let both = format!(
            "{}<br><span lang=\"en\">{}</span>",
            text("text_zh"),
            text("text_en")
        );
        push_row(html, &[text("sent_at"), text("phone"), both]);
    }
    html.push_str("</table>\n");
}

/// Writes cells that are HTML already.
fn push_row(html: &mut String, cells: &[String]) {
    html.push_str("<tr>");
    for cell in cells {
        // Writing to a String cannot fail.
        let _always_good = write!(html, "<td>{cell}</td>");
    }
    html.push_str("</tr>\n");
}

#[derive(Deserialize)]
struct PayForm {
    token: String,
    handle: String,
}

async fn pay(
    State(sandbox): State<Sandbox>,
    form: Result<Form<PayForm>, FormRejection>,
) -> Result<Redirect, Refusal> {
    let Ok(Form(form)) = form else {
        return Err(Refusal::parameter("表单错误 (bad form)"));
    };
    // Only the page that this process has shown can pay: another site cannot read the token.
    if form.token != sandbox.0.page_token {
        let message = "页面已过期,请刷新 (the page is out of date, reload it)";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "PAGE_EXPIRED", message));
    }
    let _order = sandbox.pay(&OrderName::scanned(&form.handle), None, false)?;
    settled(&sandbox).await?;
    Ok(Redirect::to("/"))
}

/// Text as HTML, also inside a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No text can leave its cell or its attribute.
    #[test]
    fn texts_cannot_become_markup() {
        let hostile = r#"</td><script>alert('1')</script>" onclick="x" & "#;
        let escaped = escape(hostile);
        assert!(!escaped.contains(['<', '>', '"', '\'']));
        assert!(escaped.contains("&lt;script&gt;") && escaped.ends_with("&amp; "));
    }
}
