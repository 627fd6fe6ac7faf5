//! The hooks through which the router calls us. Each only hands over: requests to the door,
//! documents to the budget, subgraph requests to the signer, errors to the texts. It holds no
//! rule of its own.

use std::sync::{Arc, OnceLock};

use document::budget::{Numbers, measure};
use document::nesting::{Syntax, is_shallow};
use hive_router::http::HeaderName;
use hive_router::ntex::web::WebResponse;
use hive_router::plugins::hooks::on_graphql_error::{
    OnGraphQLErrorHookPayload, OnGraphQLErrorHookResult,
};
use hive_router::plugins::hooks::on_graphql_params::{
    OnGraphQLParamsStartHookPayload, OnGraphQLParamsStartHookResult,
};
use hive_router::plugins::hooks::on_graphql_parse::{
    OnGraphQLParseHookResult, OnGraphQLParseStartHookPayload,
};
use hive_router::plugins::hooks::on_graphql_validation::{
    OnGraphQLValidationStartHookPayload, OnGraphQLValidationStartHookResult,
};
use hive_router::plugins::hooks::on_http_request::{
    OnHttpRequestHookFuture, OnHttpRequestHookPayload,
};
use hive_router::plugins::hooks::on_plugin_init::{OnPluginInitPayload, OnPluginInitResult};
use hive_router::plugins::hooks::on_subgraph_http_request::{
    OnSubgraphHttpRequestHookPayload, OnSubgraphHttpRequestHookResult,
};
use hive_router::plugins::plugin_context::PluginContext;
use hive_router::plugins::plugin_trait::{
    EndHookPayload as _, RouterPlugin, StartHookPayload as _,
};
use hive_router::sonic_rs::JsonValueTrait as _;
use hive_router::{GraphQLError, async_trait};

use crate::ambient::{now_s, random_hex};
use crate::door::{Door, Facts};
use crate::headers;
use crate::locale::Locale;
use crate::refusal::{Refusal, UNEXPECTED, has_detail, text_of_code};
use crate::sign::{Covered, Said, Signed};

/// The code of a document that breaks a rule of validation.
const BROKEN_RULE: &str = "GRAPHQL_VALIDATION_FAILED";
/// Our name in the router's configuration.
pub(crate) const NAME: &str = "bashu";

/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;
/// Longest error code that is passed on.
const CODE_BYTES_MAX: usize = 64;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The router makes its plugins itself, from a type and a part of its configuration. What cannot
/// travel through a configuration, such as the signing key, waits here.
static DOOR: OnceLock<Arc<Door>> = OnceLock::new();

/// Hands the door to the plugin that the router is about to make.
pub(crate) fn install(door: Door) {
    // A process runs one router; a second door would be a mistake of ours and is not taken.
    let _ = DOOR.set(Arc::new(door));
}

/// What a request says beside its document.
#[derive(Debug, Default)]
struct Asked {
    /// Whether it names the operation that it means.
    is_named: bool,
    /// Those of its variables that are numbers: how many rows it may ask for.
    numbers: Numbers,
}

/// The gateway's part within the router.
#[derive(Debug)]
pub(crate) struct Plugin {
    door: Arc<Door>,
}

#[async_trait]
impl RouterPlugin for Plugin {
    type Config = serde_json::Value;

    fn plugin_name() -> &'static str {
        NAME
    }

    fn on_plugin_init(payload: OnPluginInitPayload<'_, Self>) -> OnPluginInitResult<Self> {
        let door = DOOR.get().cloned().ok_or("the door is not installed")?;
        payload.initialize_plugin(Self { door })
    }

    fn on_http_request<'req>(
        &'req self,
        payload: OnHttpRequestHookPayload<'req>,
    ) -> OnHttpRequestHookFuture<'req> {
        Box::pin(async move {
            match self.door.receive(&payload.router_http_request).await {
                Ok(facts) => {
                    payload.context.insert(Arc::new(facts));
                    payload.on_end(|end| end.map_response(private).proceed())
                }
                Err((refusal, locale)) => payload.end_with_response(refusal.answer(locale)),
            }
        })
    }

    async fn on_graphql_params<'exec>(
        &'exec self,
        payload: OnGraphQLParamsStartHookPayload<'exec>,
    ) -> OnGraphQLParamsStartHookResult<'exec> {
        let Some(facts) = facts_of(payload.context) else {
            return payload.end_with_response(Refusal::BadRequest.answer(Locale::Chinese));
        };
        let refusal = match self.door.place(&facts) {
            Ok(place) => {
                // It is given back with the context, when the request is over.
                payload.context.insert(place);
                if is_shallow(&payload.body, Syntax::Json) {
                    return payload.proceed();
                }
                Refusal::TooComplex
            }
            Err(refusal) => refusal,
        };
        payload.end_with_response(refusal.answer(facts.locale))
    }

    async fn on_graphql_parse<'exec>(
        &'exec self,
        payload: OnGraphQLParseStartHookPayload<'exec>,
    ) -> OnGraphQLParseHookResult<'exec> {
        let document = payload.graphql_params.query.as_deref().unwrap_or_default();
        if is_shallow(document.as_bytes(), Syntax::GraphQl) {
            let numbers = payload.graphql_params.variables.iter();
            payload.context.insert(Arc::new(Asked {
                is_named: payload.graphql_params.operation_name.is_some(),
                numbers: numbers
                    .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
                    .collect(),
            }));
            return payload.proceed();
        }
        let locale = locale_of(payload.context);
        payload.end_with_response(Refusal::TooComplex.answer(locale))
    }

    async fn on_graphql_validation<'exec>(
        &'exec self,
        payload: OnGraphQLValidationStartHookPayload<'exec>,
    ) -> OnGraphQLValidationStartHookResult<'exec> {
        let Some(facts) = facts_of(payload.context) else {
            return payload.end_with_response(Refusal::BadRequest.answer(Locale::Chinese));
        };
        let asked = asked_of(payload.context);
        let charged = match measure(&payload.document, &asked.numbers) {
            // The router would run the first of them, which may not be the one that is meant.
            Ok(demand) if demand.operations > 1 && !asked.is_named => Err(Refusal::BadRequest),
            Ok(demand) => self.door.charge(&facts, demand).await,
            Err(_) => Err(Refusal::TooComplex),
        };
        match charged {
            Ok(()) => payload.proceed(),
            Err(refusal) => payload.end_with_response(refusal.answer(facts.locale)),
        }
    }

    async fn on_subgraph_http_request<'exec>(
        &'exec self,
        mut payload: OnSubgraphHttpRequestHookPayload<'exec>,
    ) -> OnSubgraphHttpRequestHookResult<'exec> {
        // In this version of the router `true` means: do not share an answer.
        payload.deduplicate_request = true;
        // The door lets no request pass without them; if it ever does, nothing is said of it.
        let facts = facts_of(payload.context);
        let headers = &mut payload.execution_request.headers;
        headers.remove(&TRACEPARENT);
        if let Some(trace) = facts.as_ref().and_then(|facts| facts.traceparent.clone()) {
            headers.insert(TRACEPARENT, trace);
        }
        let signed = Signed {
            method: &payload.method,
            subgraph: payload.subgraph_name,
            body: &payload.body,
            at_s: now_s(),
            nonce: &random_hex::<NONCE_BYTES>(),
        };
        match facts {
            Some(facts) => self.door.signer.sign(signed, &facts.covered, headers),
            None => {
                let nothing = Covered::new(Said::default());
                self.door.signer.sign(signed, &nothing, headers);
            }
        }
        payload.proceed()
    }

    fn on_graphql_error<'req>(
        &'req self,
        mut payload: OnGraphQLErrorHookPayload<'req>,
    ) -> OnGraphQLErrorHookResult<'req> {
        say(&mut payload.error, locale_of(payload.context));
        payload.proceed()
    }
}

/// Marks an answer as one person's, of which nothing is kept or rendered.
fn private(mut answer: WebResponse) -> WebResponse {
    headers::mark(answer.headers_mut());
    answer
}

fn facts_of(context: &PluginContext) -> Option<Arc<Facts>> {
    let facts = context.get_ref::<Arc<Facts>>()?;
    Some(Arc::clone(&facts))
}

fn asked_of(context: &PluginContext) -> Arc<Asked> {
    let asked = context.get_ref::<Arc<Asked>>();
    asked.map_or_else(Arc::default, |asked| Arc::clone(&asked))
}

fn locale_of(context: &PluginContext) -> Locale {
    context
        .get_ref::<Arc<Facts>>()
        .map_or(Locale::Chinese, |facts| facts.locale)
}

/// Puts our text for its code on an error. Of a subgraph's error the code is all that remains:
/// its message and everything else about it may name what is within.
fn say(error: &mut GraphQLError, locale: Locale) {
    let is_within =
        error.extensions.service_name.is_some() || error.extensions.affected_path.is_some();
    if !is_within {
        name_broken_rule(&mut error.extensions.code);
    }
    let text = error.extensions.code.as_deref().and_then(text_of_code);
    if is_within {
        error.extensions.code = error.extensions.code.take().filter(|code| is_code(code));
        error.extensions.service_name = None;
        error.extensions.affected_path = None;
        error.extensions.extensions.clear();
        locale
            .pick(text.unwrap_or(UNEXPECTED))
            .clone_into(&mut error.message);
    } else if let Some(text) = text {
        let text = locale.pick(text);
        let detail = error.extensions.code.as_deref().is_some_and(has_detail);
        error.message = if detail {
            format!("{text}: {}", error.message)
        } else {
            text.to_owned()
        };
    }
}

/// The router gives the rule of validation that is broken, `FieldsOnCorrectType`, as its code: to
/// clients all of them are one, and the message names the place.
fn name_broken_rule(code: &mut Option<String>) {
    if code.as_deref().is_some_and(|code| !is_code(code)) {
        *code = Some(BROKEN_RULE.to_owned());
    }
}

fn is_code(code: &str) -> bool {
    code.len() <= CODE_BYTES_MAX
        && code
            .bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}
