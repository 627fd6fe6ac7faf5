//! The payload of a mutation: the thing and `userErrors`, never null; and what becomes of an
//! error: a business "no" is for the payload, the rest for the top-level `errors`.

use async_graphql::ErrorExtensions;
use async_graphql::resolver_utils::EnumType;

use super::Language;
use super::texts::Text;
use crate::{Error, Refusal};

/// How long a client should wait after `OVERLOADED`, in milliseconds.
const RETRY_AFTER_MS: i32 = 500;
/// Causes of one error that are logged, at most.
const CAUSES_MAX: usize = 8;

/// Declares the payload of a mutation, its user error and its error codes. With `ids!` the only
/// macro of the project: every mutation has these three types, and they differ in names only.
///
/// ```
/// # #[derive(async_graphql::SimpleObject)] pub struct Pass { name: String }
/// kit::payload! {
///     /// What became of a purchase.
///     pub struct BuyPassPayload / BuyPassUserError / BuyPassErrorCode {
///         /// The pass that was bought.
///         pass: Pass,
///     }
///     refuses { SaleClosed, SoldOut }
/// }
/// ```
/// Each thing is nullable in the payload. `IDEMPOTENCY_KEY_REUSED`, `NOT_FOUND`, `FORBIDDEN` and
/// `BAD_INPUT` are codes of every mutation. `BuyPassPayload::done(pass)` makes the good answer,
/// `BuyPassPayload::from_result(language, result)` the answer of a command.
#[macro_export]
macro_rules! payload {
    (
        $(#[$doc:meta])*
        $vis:vis struct $payload:ident / $user_error:ident / $code:ident {
            $($(#[$thing_doc:meta])* $thing:ident : $type:ty),* $(,)?
        }
        refuses { $($(#[$variant_doc:meta])* $variant:ident),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(async_graphql::SimpleObject)]
        #[expect(missing_debug_implementations, reason = "things of the graph have none")]
        $vis struct $payload {
            $($(#[$thing_doc])* $vis $thing: Option<$type>,)*
            /// Why it was refused; empty when it was done.
            $vis user_errors: Vec<$user_error>,
        }

        /// Why the mutation was refused.
        #[derive(Clone, Debug, PartialEq, Eq, async_graphql::SimpleObject)]
        $vis struct $user_error {
            /// For programs.
            $vis code: $code,
            /// The path of the input field at fault.
            $vis field: Option<Vec<String>>,
            /// For people, in the language of `Accept-Language`.
            $vis message: String,
        }

        /// The reasons for which the mutation can be refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, async_graphql::Enum)]
        $vis enum $code {
            $($(#[$variant_doc])* $variant,)*
            /// The idempotency key came with another request before.
            IdempotencyKeyReused,
            /// What the input names is absent, or not the caller's.
            NotFound,
            /// The caller may not do this.
            Forbidden,
            /// A field of the input cannot be read.
            BadInput,
        }

        impl $payload {
            /// The answer when it was done.
            #[must_use]
            $vis fn done($($thing: impl Into<Option<$type>>),*) -> Self {
                Self { $($thing: $thing.into(),)* user_errors: Vec::new() }
            }

            /// The answer of a command: a refusal becomes a user error.
            ///
            /// # Errors
            /// A top-level error for authentication, limits and bugs.
            $vis fn from_result(
                language: $crate::graphql::Language,
                result: $crate::Result<Self>,
            ) -> async_graphql::Result<Self> {
                let error = match result {
                    Ok(payload) => return Ok(payload),
                    Err(error) => error,
                };
                let (code, field, message) = $crate::graphql::answer_parts(language, error)?;
                Ok(Self {
                    $($thing: None,)*
                    user_errors: vec![$user_error { code, field, message }],
                })
            }
        }
    };
}

/// Splits an error into the parts of a user error, with a code of this mutation's enum.
///
/// # Errors
/// The top-level error, for what is no business "no"; a refusal that the enum does not know is
/// a bug and is answered as one.
pub fn answer_parts<C: EnumType>(
    language: Language,
    error: Error,
) -> async_graphql::Result<(C, Option<Vec<String>>, String)> {
    let refusal = match error {
        Error::Refused(refusal) => *refusal,
        Error::NotFound => plain(Text::NotFound),
        Error::Forbidden(reason) => {
            tracing::info!(reason, "forbidden");
            plain(Text::Forbidden)
        }
        Error::BadInput { field, zh, en } => {
            let [zh, en] = bad_input(field, zh, en);
            Refusal::new(Text::BadInput.code(), field, zh.into(), en.into())
        }
        Error::Unauthenticated(_)
        | Error::Overloaded
        | Error::Unavailable(_)
        | Error::AuditLags
        | Error::Db(_)
        | Error::Kafka(_)
        | Error::Permanent(_)
        | Error::Internal(_) => return Err(to_graphql(error, language)),
    };
    let Some(item) = C::items().iter().find(|item| item.name == refusal.code) else {
        let what = format!("the refusal {} is none of its mutation", refusal.code);
        return Err(to_graphql(Error::internal(what), language));
    };
    let field =
        (!refusal.field.is_empty()).then(|| refusal.field.split('.').map(str::to_owned).collect());
    Ok((item.value, field, refusal.message(language).to_owned()))
}

/// What is said of an input that cannot be read, zh and en: where, and why.
fn bad_input(field: &str, zh: &str, en: &str) -> [String; 2] {
    let (bad_zh, bad_en) = Text::BadInput.both();
    [
        format!("{bad_zh}（{field}）：{zh}。"),
        format!("{bad_en} in {field}: {en}."),
    ]
}

fn plain(text: Text) -> Refusal {
    let (zh, en) = text.both();
    Refusal::new(text.code(), "", zh.into(), en.into())
}

/// The top-level error for this: a sentence for people and `extensions.code`. What is ours is
/// logged here, once, with its causes, and never shown. Resolvers of queries need not call it:
/// `?` on a [`crate::Result`] comes out the same.
pub fn to_graphql(error: Error, language: Language) -> async_graphql::Error {
    let (code, message) = public_parts(&error, language);
    async_graphql::Error::new(message).extend_with(|_, extensions| {
        if code == Text::Overloaded.code() {
            extensions.set("retryAfterMs", RETRY_AFTER_MS);
        }
        extensions.set("code", code);
    })
}

/// The code and the sentence of an error; logs what is ours.
pub(crate) fn public_parts(error: &Error, language: Language) -> (String, String) {
    let text = match error {
        Error::Refused(refusal) => {
            return (
                refusal.code.to_owned(),
                refusal.message(language).to_owned(),
            );
        }
        Error::BadInput { field, zh, en } => {
            let [zh, en] = bad_input(field, zh, en);
            let message = match language {
                Language::Zh => zh,
                Language::En => en,
            };
            return (Text::BadInput.code().to_owned(), message);
        }
        Error::Unauthenticated(reason) => {
            tracing::info!(reason, "not signed in");
            Text::Unauthenticated
        }
        Error::Forbidden(reason) => {
            tracing::info!(reason, "forbidden");
            Text::Forbidden
        }
        Error::NotFound => Text::NotFound,
        Error::Overloaded => Text::Overloaded,
        Error::Unavailable(reason) => {
            tracing::warn!(reason, "unavailable");
            Text::Unavailable
        }
        Error::AuditLags => {
            tracing::error!("a privileged act is refused: audit rows are not being sealed");
            Text::AuditLags
        }
        Error::Db(_) | Error::Kafka(_) if error.is_transient() => {
            log_chain(error);
            Text::Unavailable
        }
        Error::Db(_) | Error::Kafka(_) | Error::Permanent(_) | Error::Internal(_) => {
            log_chain(error);
            Text::Internal
        }
    };
    (text.code().to_owned(), text.message(language).to_owned())
}

/// Logs an error with all its causes; the one place that does.
pub(crate) fn log_chain(error: &(dyn std::error::Error + 'static)) {
    let mut chain = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.take(CAUSES_MAX) {
        chain.push_str(": ");
        chain.push_str(&cause.to_string());
    }
    tracing::error!(error = chain, "a request failed");
}
