//! What can be done, and the answer to each.

use async_graphql::{Context, ID, Object, Result};
use kit::graphql::GlobalId;
use kit::{Error, Result as KitResult};
use uuid::Uuid;

use super::input::{
    ActivatePassInput, BuyPassInput, CreatePassProductInput, PassCustodyInput, PassSaleInput,
    PublishPassProductInput, ReissuePassInput, RequestPassRefundInput, UpdatePassProductInput,
    VoidPassInput,
};
use super::pass::Pass;
use super::product::PassProduct;
use super::{caller, language, service};
use crate::commands::{BuyPass, Custody, Reason, Shop};
use crate::domain::{ProductId, VoidRefund};

/// What is done to products and passes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PassMutation;

kit::payload! {
    /// What became of a new product.
    pub(super) struct CreatePassProductPayload / CreatePassProductUserError
        / CreatePassProductErrorCode {
        /// The product, with its first draft.
        product: PassProduct,
    }
    refuses {
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of a changed product.
    pub(super) struct UpdatePassProductPayload / UpdatePassProductUserError
        / UpdatePassProductErrorCode {
        /// The product; its draft is the change.
        product: PassProduct,
    }
    refuses {
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of a publication.
    pub(super) struct PublishPassProductPayload / PublishPassProductUserError
        / PublishPassProductErrorCode {
        /// The product, on sale.
        product: PassProduct,
    }
    refuses {
        /// There is no draft to publish.
        NoDraft,
        /// The limit is below what is sold and awaits payment.
        LimitBelowSold,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of a sale that was stopped or resumed.
    pub(super) struct PassSalePayload / PassSaleUserError / PassSaleErrorCode {
        /// The product.
        product: PassProduct,
    }
    refuses {
        /// It was never published.
        NotPublished,
        /// Its sale is stopped already.
        AlreadyStopped,
        /// Its sale is not stopped.
        NotStopped,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of a purchase.
    pub(super) struct BuyPassPayload / BuyPassUserError / BuyPassErrorCode {
        /// The pass, which awaits payment, with its order.
        pass: Pass,
    }
    refuses {
        /// It is not on sale.
        NotOnSale,
        /// Its sale has not opened yet.
        SaleNotOpen,
        /// Its sale is over.
        SaleOver,
        /// None is left.
        SoldOut,
        /// The member has as many as one may buy.
        MemberLimitReached,
        /// The pass cannot be renewed with this product.
        NotRenewable,
        /// It is too early to renew the pass.
        RenewalTooEarly,
        /// The pass was renewed already.
        AlreadyRenewed,
        /// As far as is known, the caller is no member of a union today; it may be asked again.
        NotAMember,
        /// She is being forgotten, as she asked.
        ErasureUnderWay,
    }
}

kit::payload! {
    /// What became of an activation.
    pub(super) struct ActivatePassPayload / ActivatePassUserError / ActivatePassErrorCode {
        /// The pass, active.
        pass: Pass,
    }
    refuses {
        /// It has not been paid for.
        AwaitingPayment,
        /// It is active already.
        AlreadyActive,
        /// The time to activate it is over.
        ActivationOver,
        /// It is frozen.
        PassFrozen,
        /// It is being refunded.
        RefundInProgress,
        /// It was refunded, voided or has lapsed.
        PassEnded,
    }
}

kit::payload! {
    /// What became of a request to give a pass back.
    pub(super) struct RequestPassRefundPayload / RequestPassRefundUserError
        / RequestPassRefundErrorCode {
        /// The pass, with its refund.
        pass: Pass,
    }
    refuses {
        /// It has not been paid for.
        AwaitingPayment,
        /// It is frozen.
        PassFrozen,
        /// It is being refunded already.
        RefundInProgress,
        /// It was refunded, voided or has lapsed.
        PassEnded,
        /// It has been used.
        RefundUsed,
        /// The time in which it can be refunded is over.
        RefundTooLate,
        /// Its terms refund nothing.
        NotRefundable,
        /// She is being forgotten, as she asked.
        ErasureUnderWay,
    }
}

kit::payload! {
    /// What became of a pass whose code was to be replaced.
    pub(super) struct ReissuePassPayload / ReissuePassUserError / ReissuePassErrorCode {
        /// The pass, in its new generation.
        pass: Pass,
    }
    refuses {
        /// It has not been paid for.
        AwaitingPayment,
        /// It is not active.
        NotActive,
        /// It is being refunded.
        RefundInProgress,
        /// It was refunded, voided or has lapsed.
        PassEnded,
        /// That was done too often lately.
        ReissuedTooOften,
        /// That was done as often as ever can be.
        ReissuesExhausted,
    }
}

kit::payload! {
    /// What became of a pass that was to be frozen, let go or voided.
    pub(super) struct PassCustodyPayload / PassCustodyUserError / PassCustodyErrorCode {
        /// The pass.
        pass: Pass,
    }
    refuses {
        /// It has not been paid for.
        AwaitingPayment,
        /// It is not active.
        NotActive,
        /// It is not frozen.
        NotFrozen,
        /// It is frozen already.
        PassFrozen,
        /// It is being refunded.
        RefundInProgress,
        /// It was refunded, voided or has lapsed.
        PassEnded,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

fn product_id(id: &ID) -> KitResult<ProductId> {
    GlobalId::uuid(id, "PassProduct").map(ProductId)
}

async fn shown(ctx: &Context<'_>, id: ProductId) -> KitResult<PassProduct> {
    let internal = |_| Error::internal("the schema has no service");
    let view = service(ctx)
        .map_err(internal)?
        .product(caller(ctx).map_err(internal)?, id)
        .await?;
    view.map(PassProduct).ok_or(Error::NotFound)
}

async fn run_shop(
    ctx: &Context<'_>,
    id: &ID,
    shop: Shop,
    key: Uuid,
) -> Result<KitResult<PassProduct>> {
    let (passes, caller) = (service(ctx)?, caller(ctx)?);
    let done = async {
        let id = passes.run_shop(caller, product_id(id)?, shop, key).await?;
        shown(ctx, id).await
    };
    Ok(done.await)
}

async fn take_custody(
    ctx: &Context<'_>,
    (id, key): (&ID, Uuid),
    custody: KitResult<Custody>,
) -> Result<PassCustodyPayload> {
    let (passes, caller) = (service(ctx)?, caller(ctx)?);
    let done = async {
        let id = GlobalId::entitlement(id, "Pass")?;
        let pass = passes.take_custody(caller, id, &custody?, key).await?;
        Ok(PassCustodyPayload::done(Pass(pass)))
    };
    PassCustodyPayload::from_result(language(ctx), done.await)
}

#[Object]
impl PassMutation {
    /// Writes the first draft of an annual pass. Operators only.
    async fn create_pass_product(
        &self,
        ctx: &Context<'_>,
        input: CreatePassProductInput,
    ) -> Result<CreatePassProductPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let terms = input.terms.parse()?;
            let id = passes
                .create_product(caller, &terms, input.idempotency_key)
                .await?;
            Ok(CreatePassProductPayload::done(shown(ctx, id).await?))
        };
        CreatePassProductPayload::from_result(language(ctx), done.await)
    }

    /// Writes the draft of the next version; what is published stays as it is. Operators only.
    async fn update_pass_product(
        &self,
        ctx: &Context<'_>,
        input: UpdatePassProductInput,
    ) -> Result<UpdatePassProductPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let (id, terms) = (product_id(&input.product_id)?, input.terms.parse()?);
            let id = passes
                .update_product(caller, id, &terms, input.idempotency_key)
                .await?;
            Ok(UpdatePassProductPayload::done(shown(ctx, id).await?))
        };
        UpdatePassProductPayload::from_result(language(ctx), done.await)
    }

    /// Puts the draft of an annual pass on sale. Operators only.
    async fn publish_pass_product(
        &self,
        ctx: &Context<'_>,
        input: PublishPassProductInput,
    ) -> Result<PublishPassProductPayload> {
        let key = input.idempotency_key;
        let done = run_shop(ctx, &input.product_id, Shop::Publish, key).await?;
        let done = done.map(PublishPassProductPayload::done);
        PublishPassProductPayload::from_result(language(ctx), done)
    }

    /// Stops the sale of an annual pass; what awaits payment can still be paid. Operators only.
    async fn stop_sale(&self, ctx: &Context<'_>, input: PassSaleInput) -> Result<PassSalePayload> {
        let done = run_shop(ctx, &input.product_id, Shop::Stop, input.idempotency_key).await?;
        PassSalePayload::from_result(language(ctx), done.map(PassSalePayload::done))
    }

    /// Sells an annual pass again after its sale was stopped. Operators only.
    async fn resume_sale(
        &self,
        ctx: &Context<'_>,
        input: PassSaleInput,
    ) -> Result<PassSalePayload> {
        let done = run_shop(ctx, &input.product_id, Shop::Resume, input.idempotency_key).await?;
        PassSalePayload::from_result(language(ctx), done.map(PassSalePayload::done))
    }

    /// Buys an annual pass for oneself. The answer has the pass and its order at once; it is
    /// paid with `payOrder`.
    async fn buy_pass(&self, ctx: &Context<'_>, input: BuyPassInput) -> Result<BuyPassPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let renews = input
                .renews
                .as_ref()
                .map(|id| GlobalId::entitlement(id, "Pass"));
            let request = BuyPass {
                product: product_id(&input.product_id)?,
                renews: renews.transpose()?,
                key: input.idempotency_key,
            };
            let pass = passes.buy(caller, request).await?;
            Ok(BuyPassPayload::done(Pass(pass)))
        };
        BuyPassPayload::from_result(language(ctx), done.await)
    }

    /// Activates a pass of one's own.
    async fn activate_pass(
        &self,
        ctx: &Context<'_>,
        input: ActivatePassInput,
    ) -> Result<ActivatePassPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let id = GlobalId::entitlement(&input.pass_id, "Pass")?;
            let pass = passes.activate(caller, id, input.idempotency_key).await?;
            Ok(ActivatePassPayload::done(Pass(pass)))
        };
        ActivatePassPayload::from_result(language(ctx), done.await)
    }

    /// Replaces the code of a pass: codes of before, and copies of them, open nothing from then on.
    /// For its holder, and for operators, who must say why.
    async fn reissue_pass(
        &self,
        ctx: &Context<'_>,
        input: ReissuePassInput,
    ) -> Result<ReissuePassPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let id = GlobalId::entitlement(&input.pass_id, "Pass")?;
            let reason = input.reason.as_deref().map(Reason::parse).transpose()?;
            let key = input.idempotency_key;
            let pass = passes.reissue(caller, id, reason.as_ref(), key).await?;
            Ok(ReissuePassPayload::done(Pass(pass)))
        };
        ReissuePassPayload::from_result(language(ctx), done.await)
    }

    /// Gives a pass of one's own back. It opens nothing from then on; when its uses leave
    /// nothing to refund it is given back to its holder, and `Pass.refund` tells why.
    async fn request_pass_refund(
        &self,
        ctx: &Context<'_>,
        input: RequestPassRefundInput,
    ) -> Result<RequestPassRefundPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let id = GlobalId::entitlement(&input.pass_id, "Pass")?;
            let pass = passes
                .request_refund(caller, id, input.idempotency_key)
                .await?;
            Ok(RequestPassRefundPayload::done(Pass(pass)))
        };
        RequestPassRefundPayload::from_result(language(ctx), done.await)
    }

    /// Freezes an active pass: it opens nothing until it is let go. Operators only.
    async fn freeze_pass(
        &self,
        ctx: &Context<'_>,
        input: PassCustodyInput,
    ) -> Result<PassCustodyPayload> {
        let custody = Reason::parse(&input.reason).map(Custody::Freeze);
        take_custody(ctx, (&input.pass_id, input.idempotency_key), custody).await
    }

    /// Lets a frozen pass go. Operators only.
    async fn unfreeze_pass(
        &self,
        ctx: &Context<'_>,
        input: PassCustodyInput,
    ) -> Result<PassCustodyPayload> {
        let custody = Reason::parse(&input.reason).map(Custody::Unfreeze);
        take_custody(ctx, (&input.pass_id, input.idempotency_key), custody).await
    }

    /// Ends a paid pass for good, with or without its price back. Where its price goes back it is
    /// frozen first and voided when its uses are counted. Operators only.
    async fn void_pass(
        &self,
        ctx: &Context<'_>,
        input: VoidPassInput,
    ) -> Result<PassCustodyPayload> {
        let back = if input.refund {
            VoidRefund::Full
        } else {
            VoidRefund::Nothing
        };
        let custody = Reason::parse(&input.reason).map(|reason| Custody::Void(reason, back));
        take_custody(ctx, (&input.pass_id, input.idempotency_key), custody).await
    }
}
