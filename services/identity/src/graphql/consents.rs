//! Consents as a member reads, gives and withdraws them.

use async_graphql::{ComplexObject, Context, Enum, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::{Connection, Cursor, Page};
use kit::types::Processing;
use uuid::Uuid;

use super::input::request;
use crate::commands::consents::{self as commands, Said, Saying};
use crate::domain::consent::{Standing, Word};
use crate::queries::consents::{self as queries, ConsentView};
use crate::store::consents::ActRow;

/// What personal data is used for, and by whom, with a consent of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Processing")]
pub enum ConsentPurpose {
    /// Notices by SMS, sent by a provider.
    NoticeSms,
    /// Staff of a venue see where a pass was used at other companies' venues.
    VisitsToVenues,
}

/// What a consent is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Standing")]
pub enum ConsentState {
    /// Nothing was said yet: it is not given.
    Asked,
    /// It is given to the text that is in force.
    Given,
    /// It was given to an older text, and allows nothing until it is given anew.
    Outdated,
    /// It was taken back.
    Withdrawn,
}

/// What is asked for, and what one said to it.
#[derive(Clone, Debug)]
pub struct Consent(pub(crate) ConsentView);

/// What is asked for, and what one said to it. Nothing else depends on it: who does not agree is
/// refused nothing else.
#[Object]
impl Consent {
    /// What for, and to whom.
    async fn purpose(&self) -> ConsentPurpose {
        self.0.text.processing.into()
    }

    /// What it is worth now.
    async fn state(&self) -> ConsentState {
        self.0.standing().into()
    }

    /// The version of the text that is asked for now.
    async fn text_version(&self) -> i32 {
        self.0.text.version
    }

    /// The text that is asked for now, in the language of `Accept-Language`.
    async fn text(&self, ctx: &Context<'_>) -> Result<String> {
        let (identity, caller) = request(ctx)?;
        let (zh, en) = self.0.text.read_as(identity.ctx.union);
        Ok(caller.language.choose(&zh, &en).to_owned())
    }

    /// Since when that text is asked for.
    async fn effective_from(&self) -> DateTime<Utc> {
        self.0.text.effective_from
    }

    /// All that was said, the newest first.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection has four by its convention"
    )]
    async fn history(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<ConsentWord>> {
        let (identity, _) = request(ctx)?;
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let rows = match &self.0.said {
            Some(said) => queries::acts_of(&identity.ctx.db, said.id, &page).await?,
            None => Vec::new(),
        };
        let node = |row: ActRow| ConsentWord {
            given: row.word() == Word::Given,
            text_version: row.text_version,
            at: row.created_at,
            processing: self.0.text.processing,
        };
        Ok(page.connection(rows, |row| Cursor::at(row.created_at, row.id), node))
    }
}

/// One thing that was said of a consent.
#[derive(Clone, Copy, Debug, SimpleObject)]
#[graphql(complex)]
pub struct ConsentWord {
    /// Whether it was given; taken back otherwise.
    given: bool,
    /// The version of the text that it was said to.
    text_version: i32,
    /// When.
    at: DateTime<Utc>,
    #[graphql(skip)]
    processing: Processing,
}

#[ComplexObject]
impl ConsentWord {
    /// That text, in the language of `Accept-Language`.
    #[graphql(complexity = 5)]
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let (identity, caller) = request(ctx)?;
        let (db, version) = (&identity.ctx.db, self.text_version);
        let text = crate::store::consents::text(db, self.processing, version).await?;
        let read = text.map(|it| it.read_as(identity.ctx.union));
        Ok(read.map(|(zh, en)| caller.language.choose(&zh, &en).to_owned()))
    }
}

/// What is agreed to.
#[derive(Debug, InputObject)]
pub struct GiveConsentInput {
    /// What for, and to whom.
    purpose: ConsentPurpose,
    /// The version of the text that was read.
    text_version: i32,
    /// Minted by the client: the same key acts once.
    idempotency_key: Uuid,
}

/// What is taken back.
#[derive(Debug, InputObject)]
pub struct WithdrawConsentInput {
    /// What for, and to whom.
    purpose: ConsentPurpose,
    /// Minted by the client: the same key acts once.
    idempotency_key: Uuid,
}

kit::payload! {
    /// What became of the consent.
    pub struct GiveConsentPayload / GiveConsentUserError / GiveConsentErrorCode {
        /// The consent as it is now.
        consent: Consent,
    }
    refuses {
        /// Another text is in force than the one that was read.
        ConsentTextOutdated,
        /// The member is not there any more.
        MemberNotFound,
    }
}

kit::payload! {
    /// What became of the consent.
    pub struct WithdrawConsentPayload / WithdrawConsentUserError / WithdrawConsentErrorCode {
        /// The consent as it is now.
        consent: Consent,
    }
    refuses {
        /// The member is not there any more.
        MemberNotFound,
    }
}

/// Consents, given and withdrawn.
#[derive(Debug, Default)]
pub struct ConsentMutation;

#[Object]
impl ConsentMutation {
    /// Agrees to one purpose and recipient, after the text was read.
    async fn give_consent(
        &self,
        ctx: &Context<'_>,
        input: GiveConsentInput,
    ) -> Result<GiveConsentPayload> {
        let (_, caller) = request(ctx)?;
        let said = Said {
            processing: input.purpose.into(),
            word: Saying::Give {
                text_version: input.text_version,
            },
            key: input.idempotency_key,
        };
        let result = say(ctx, said).await.map(GiveConsentPayload::done);
        GiveConsentPayload::from_result(caller.language, result)
    }

    /// Takes a consent back, without a reason. Every service stops within a minute.
    async fn withdraw_consent(
        &self,
        ctx: &Context<'_>,
        input: WithdrawConsentInput,
    ) -> Result<WithdrawConsentPayload> {
        let (_, caller) = request(ctx)?;
        let said = Said {
            processing: input.purpose.into(),
            word: Saying::Withdraw,
            key: input.idempotency_key,
        };
        let result = say(ctx, said).await.map(WithdrawConsentPayload::done);
        WithdrawConsentPayload::from_result(caller.language, result)
    }
}

async fn say(ctx: &Context<'_>, said: Said) -> kit::Result<Consent> {
    let unready = |_: async_graphql::Error| kit::Error::internal("a request without its service");
    let (identity, caller) = request(ctx).map_err(unready)?;
    let member = commands::say(&identity.ctx, caller, said).await?;
    let view = queries::consent_of(&identity.ctx, member, said.processing).await?;
    Ok(Consent(view))
}
