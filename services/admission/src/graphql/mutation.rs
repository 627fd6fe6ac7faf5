//! What can be done, and the answer to each.

use async_graphql::{Context, MergedObject, Object, Result};
use kit::graphql::GlobalId;
use kit::types::{GateId, VenueId};
use kit::{Error, Result as KitResult};

use super::input::{
    CreateGateInput, CreateVenueInput, EnrolGateInput, GateInput, LookUpPassInput, OpenShiftInput,
    OverrideAdmissionInput, RedeemInput, SuspendVenueInput, UpdateVenueInput, VoidRedemptionInput,
};
use super::redeem::RedeemPayload;
use super::redemption::Redemption;
use super::staff::{LookedUpPass, Shift};
use super::venue::{Gate, Venue};
use super::{caller_of, language, service_of};
use crate::commands;
use crate::commands::by_hand::Overridden;
use crate::commands::look_up::Number;
use crate::domain::gate::Details;

/// The root of mutations.
#[derive(Debug, Default, MergedObject)]
pub struct Mutation(Places, Doors, People);

kit::payload! {
    /// What became of a new venue.
    pub(super) struct CreateVenuePayload / CreateVenueUserError / CreateVenueErrorCode {
        /// The venue.
        venue: Venue,
    }
    refuses {
        /// The company has a venue of that name.
        VenueNameTaken,
        /// There is no such organisation, or it has not arrived yet.
        OrganisationUnknown,
    }
}

kit::payload! {
    /// What became of a changed venue.
    pub(super) struct UpdateVenuePayload / UpdateVenueUserError / UpdateVenueErrorCode {
        /// The venue.
        venue: Venue,
    }
    refuses {
        /// The company has a venue of that name.
        VenueNameTaken,
    }
}

kit::payload! {
    /// What became of a venue that was taken out of service or brought back.
    pub(super) struct SuspendVenuePayload / SuspendVenueUserError / SuspendVenueErrorCode {
        /// The venue.
        venue: Venue,
    }
    refuses {}
}

kit::payload! {
    /// What became of a new gate, or of a new code for one.
    pub(super) struct GateCodePayload / GateCodeUserError / GateCodeErrorCode {
        /// The gate.
        gate: Gate,
        /// The one-time code that binds a device; shown only now, null when it was shown before.
        enrolment_code: String,
    }
    refuses {
        /// The venue cannot have any more gates.
        TooManyGates,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of a device that was to be bound.
    pub(super) struct EnrolGatePayload / EnrolGateUserError / EnrolGateErrorCode {
        /// The gate, with its new enrolment number.
        gate: Gate,
    }
    refuses {
        /// The code is wrong.
        EnrolmentCodeWrong,
        /// The code is too old, was tried too often or was used.
        EnrolmentCodeExpired,
    }
}

kit::payload! {
    /// What became of a gate that was switched.
    pub(super) struct SwitchGatePayload / SwitchGateUserError / SwitchGateErrorCode {
        /// The gate.
        gate: Gate,
    }
    refuses {}
}

kit::payload! {
    /// What became of a shift.
    pub(super) struct ShiftPayload / ShiftUserError / ShiftErrorCode {
        /// The shift; null when there was none to close.
        shift: Shift,
    }
    refuses {
        /// The gate is another venue's.
        GateOfAnotherVenue,
        /// The gate is switched off.
        GateDisabled,
    }
}

kit::payload! {
    /// What was found.
    pub(super) struct LookUpPassPayload / LookUpPassUserError / LookUpPassErrorCode {
        /// The passes of that number or order; empty when there is none.
        passes: Vec<LookedUpPass>,
    }
    refuses {
        /// The caller has no open shift there.
        NoOpenShift,
        /// Too many in a while.
        TooManyLookUps,
    }
}

kit::payload! {
    /// What became of an override.
    pub(super) struct OverrideAdmissionPayload / OverrideAdmissionUserError
        / OverrideAdmissionErrorCode {
        /// The admission.
        redemption: Redemption,
    }
    refuses {
        /// The supervisor has no open shift there.
        NoOpenShift,
        /// The scan admitted, or showed no pass.
        NothingToOverride,
        /// The scan was overridden before.
        AlreadyOverridden,
        /// The pass is frozen, revoked or unconfirmed.
        OverrideNotAllowed,
        /// The pass is for fewer persons.
        TooManyPersons,
        /// The scan is too long ago: it must be made again.
        DenialTooOld,
        /// The pass that was looked up was let in here a few minutes ago.
        OverriddenLately,
        /// As many as one shift allows.
        TooManyOverrides,
        /// Neither at the beginning of the shift nor since was the second factor shown.
        StepUpRequired,
    }
}

kit::payload! {
    /// What became of an admission that was to be taken back.
    pub(super) struct VoidRedemptionPayload / VoidRedemptionUserError / VoidRedemptionErrorCode {
        /// The admission.
        redemption: Redemption,
    }
    refuses {
        /// The supervisor has no open shift there.
        NoOpenShift,
        /// The scan admitted nobody.
        NotAdmitted,
        /// It was taken back before.
        AlreadyVoided,
        /// The second factor was not shown within the last ten minutes.
        StepUpRequired,
    }
}

fn venue_id(id: &str) -> KitResult<VenueId> {
    GlobalId::uuid(id, "Venue").map(VenueId)
}

fn gate_id(id: &str) -> KitResult<GateId> {
    GlobalId::uuid(id, "Gate").map(GateId)
}

/// Venues.
#[derive(Clone, Copy, Debug, Default)]
struct Places;

#[Object]
impl Places {
    /// Makes a venue; by operators, and supervisors of the company.
    async fn create_venue(
        &self,
        ctx: &Context<'_>,
        input: CreateVenueInput,
    ) -> Result<CreateVenuePayload> {
        let made = async {
            let (key, company) = (input.idempotency_key, input.organisation()?);
            let details = input.details()?;
            let db = &service_of(ctx)?.ctx;
            commands::venue::create_venue(db, caller_of(ctx)?, key, company, details).await
        };
        let made = made
            .await
            .map(|venue| CreateVenuePayload::done(Venue::of(venue)));
        CreateVenuePayload::from_result(language(ctx), made)
    }

    /// Changes a venue; by operators, and supervisors of its company.
    async fn update_venue(
        &self,
        ctx: &Context<'_>,
        input: UpdateVenueInput,
    ) -> Result<UpdateVenuePayload> {
        let done = async {
            let id = venue_id(&input.venue_id)?;
            let db = &service_of(ctx)?.ctx;
            let change = |details| input.apply(details);
            commands::venue::update_venue(db, caller_of(ctx)?, id, change).await
        };
        let done = done
            .await
            .map(|venue| UpdateVenuePayload::done(Venue::of(venue)));
        UpdateVenuePayload::from_result(language(ctx), done)
    }

    /// Takes a venue out of service, or brings it back; by operators, and supervisors of its
    /// company.
    async fn suspend_venue(
        &self,
        ctx: &Context<'_>,
        input: SuspendVenueInput,
    ) -> Result<SuspendVenuePayload> {
        let done = async {
            let id = venue_id(&input.venue_id)?;
            let db = &service_of(ctx)?.ctx;
            commands::venue::suspend_venue(db, caller_of(ctx)?, id, input.suspended).await
        };
        let done = done
            .await
            .map(|venue| SuspendVenuePayload::done(Venue::of(venue)));
        SuspendVenuePayload::from_result(language(ctx), done)
    }
}

/// Gates and their scans.
#[derive(Clone, Copy, Debug, Default)]
struct Doors;

#[Object]
impl Doors {
    /// Makes a gate and shows its one-time code; by operators, and supervisors of the company.
    async fn create_gate(
        &self,
        ctx: &Context<'_>,
        input: CreateGateInput,
    ) -> Result<GateCodePayload> {
        let made = async {
            let venue = venue_id(&input.venue_id)?;
            let (db, key) = (&service_of(ctx)?.ctx, input.idempotency_key);
            let details = Details {
                name: &input.name,
                unattended: input.unattended,
            };
            commands::gate::create_gate(db, caller_of(ctx)?, key, venue, details).await
        };
        let made = made
            .await
            .map(|new| GateCodePayload::done(Gate(new.gate), new.code));
        GateCodePayload::from_result(language(ctx), made)
    }

    /// Shows another one-time code for a gate: who uses it takes the present device's place.
    async fn issue_gate_code(
        &self,
        ctx: &Context<'_>,
        input: GateInput,
    ) -> Result<GateCodePayload> {
        let made = async {
            let gate = gate_id(&input.gate_id)?;
            commands::gate::issue_gate_code(&service_of(ctx)?.ctx, caller_of(ctx)?, gate).await
        };
        let made = made
            .await
            .map(|new| GateCodePayload::done(Gate(new.gate), new.code));
        GateCodePayload::from_result(language(ctx), made)
    }

    /// Binds a device's own key to the gate that its code names; by the device.
    async fn enrol_gate(
        &self,
        ctx: &Context<'_>,
        input: EnrolGateInput,
    ) -> Result<EnrolGatePayload> {
        let done = async {
            let public = input.public()?;
            commands::gate::enrol_gate(&service_of(ctx)?.ctx, &input.code, public).await
        };
        let done = done.await.map(|gate| EnrolGatePayload::done(Gate(gate)));
        EnrolGatePayload::from_result(language(ctx), done)
    }

    /// Switches a gate off at once; by operators, and supervisors of its company.
    async fn disable_gate(&self, ctx: &Context<'_>, input: GateInput) -> Result<SwitchGatePayload> {
        switch(ctx, input, true).await
    }

    /// Switches a gate on again; by operators, and supervisors of its company.
    async fn enable_gate(&self, ctx: &Context<'_>, input: GateInput) -> Result<SwitchGatePayload> {
        switch(ctx, input, false).await
    }

    /// Decides a scan; by a gate, which asserts itself in the header `x-bashu-gate`.
    async fn redeem(&self, ctx: &Context<'_>, input: RedeemInput) -> Result<RedeemPayload> {
        let decided = async {
            let scanned = input.scanned()?;
            commands::redeem::redeem(service_of(ctx)?, caller_of(ctx)?, scanned).await
        };
        RedeemPayload::of(language(ctx), decided.await)
    }
}

async fn switch(ctx: &Context<'_>, input: GateInput, disabled: bool) -> Result<SwitchGatePayload> {
    let done = async {
        let gate = gate_id(&input.gate_id)?;
        commands::gate::switch_gate(&service_of(ctx)?.ctx, caller_of(ctx)?, gate, disabled).await
    };
    let done = done.await.map(|gate| SwitchGatePayload::done(Gate(gate)));
    SwitchGatePayload::from_result(language(ctx), done)
}

/// Staff.
#[derive(Clone, Copy, Debug, Default)]
struct People;

#[Object]
impl People {
    /// Signs in for a shift at a venue; by its staff. A shift elsewhere is closed.
    async fn open_shift(&self, ctx: &Context<'_>, input: OpenShiftInput) -> Result<ShiftPayload> {
        let done = async {
            let venue = venue_id(&input.venue_id)?;
            let gate = input.gate_id.as_ref().map(|id| gate_id(id)).transpose()?;
            commands::shift::open_shift(&service_of(ctx)?.ctx, caller_of(ctx)?, venue, gate).await
        };
        let done = done
            .await
            .map(|shift| ShiftPayload::done(Shift::from(shift)));
        ShiftPayload::from_result(language(ctx), done)
    }

    /// Signs out of the open shift.
    async fn close_shift(&self, ctx: &Context<'_>) -> Result<ShiftPayload> {
        let done =
            async { commands::shift::close_shift(&service_of(ctx)?.ctx, caller_of(ctx)?).await };
        let done = done
            .await
            .map(|shift| ShiftPayload::done(shift.map(Shift::from)));
        ShiftPayload::from_result(language(ctx), done)
    }

    /// Finds passes by number for staff on shift: how they stand and their uses, never whose they
    /// are. Counted and recorded.
    async fn look_up_pass(
        &self,
        ctx: &Context<'_>,
        input: LookUpPassInput,
    ) -> Result<LookUpPassPayload> {
        let done = async {
            let venue = venue_id(&input.venue_id)?;
            let number = Number::parse(&input.number).ok_or_else(|| {
                Error::bad_input(
                    "number",
                    "须为年票号或受理号",
                    "the number of a pass or an order",
                )
            })?;
            commands::look_up::look_up(&service_of(ctx)?.ctx, caller_of(ctx)?, venue, &number).await
        };
        let done = done.await.map(|found| {
            let passes: Vec<LookedUpPass> = found.into_iter().map(LookedUpPass).collect();
            LookUpPassPayload::done(passes)
        });
        LookUpPassPayload::from_result(language(ctx), done)
    }

    /// Lets somebody in against the rules; by a supervisor on shift, with a reason.
    async fn override_admission(
        &self,
        ctx: &Context<'_>,
        input: OverrideAdmissionInput,
    ) -> Result<OverrideAdmissionPayload> {
        let done = async {
            let what = overridden(&input)?;
            let (db, key) = (&service_of(ctx)?.ctx, input.idempotency_key);
            let caller = caller_of(ctx)?;
            commands::by_hand::override_admission(db, caller, key, what, &input.reason).await
        };
        let done = done
            .await
            .map(|one| OverrideAdmissionPayload::done(Redemption::of(one)));
        OverrideAdmissionPayload::from_result(language(ctx), done)
    }

    /// Takes an admission back; by a supervisor of its venue's company, once, with a reason.
    async fn void_redemption(
        &self,
        ctx: &Context<'_>,
        input: VoidRedemptionInput,
    ) -> Result<VoidRedemptionPayload> {
        let done = async {
            let id = GlobalId::uuid(&input.redemption_id, "Redemption")?;
            let (db, key) = (&service_of(ctx)?.ctx, input.idempotency_key);
            let caller = caller_of(ctx)?;
            commands::by_hand::void_redemption(db, caller, key, id, &input.reason).await
        };
        let done = done
            .await
            .map(|one| VoidRedemptionPayload::done(Redemption::of(one)));
        VoidRedemptionPayload::from_result(language(ctx), done)
    }
}

fn overridden(input: &OverrideAdmissionInput) -> KitResult<Overridden> {
    match (&input.redemption_id, &input.venue_id, &input.pass_number) {
        (Some(id), None, None) => GlobalId::uuid(id, "Redemption").map(Overridden::Denial),
        (None, Some(venue), Some(number)) => match Number::parse(number) {
            Some(Number::Pass(pass)) => Ok(Overridden::LookedUp {
                venue: venue_id(venue)?,
                pass,
            }),
            Some(Number::Order(_) | Number::Quoted(_)) | None => Err(Error::bad_input(
                "passNumber",
                "须为 16 位年票号",
                "the sixteen digits of a pass",
            )),
        },
        _ => Err(Error::bad_input(
            "redemptionId",
            "须给出一次扫码，或者场馆和年票号",
            "a scan, or a venue and a pass number",
        )),
    }
}
