//! The mutations of `authorised`: what whoever may sends, prepared anew for each who is answered.

use identity::domain::second_factor::step_of;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::authorised::{Play, place};
use crate::second_factor_life::a_week_passes;
use crate::world::{codes, name, number, person};

/// Seconds of one code of an authenticator, and until a phone may be sent another one.
const STEP_SECONDS: i64 = 30;
const PAUSE_SECONDS: i64 = 61;
/// The member among the people of the world.
const MEMBER: u32 = 200;

impl Play {
    /// The code of a second factor that the member has begun to set up.
    async fn code_of_new(&self) -> String {
        let secret = self.begun().await;
        secret.code(step_of(self.world.identity.ctx.clock.now()))
    }

    async fn confirmed(&self) {
        let input = json!({ "code": self.code_of_new().await });
        let done = self
            .world
            .mutate(self.caller("member"), "confirmSecondFactor", "", input)
            .await;
        assert_eq!(codes(&done), [""; 0], "{done}");
    }

    pub(crate) async fn second_factors(&self) {
        self.mutation(
            "confirmSecondFactor",
            async || json!({ "code": self.code_of_new().await }),
        )
        .await;
        self.mutation("verifySecondFactor", async || {
            let secret = self.begun().await;
            let clock = &self.world.identity.ctx.clock;
            let code = secret.code(step_of(clock.now()));
            let confirm = json!({ "code": code });
            let done = self
                .world
                .mutate(self.caller("member"), "confirmSecondFactor", "", confirm);
            assert_eq!(codes(&done.await), [""; 0]);
            self.world.advance(STEP_SECONDS);
            json!({ "code": secret.code(step_of(clock.now())) })
        })
        .await;
        self.bare("renewRecoveryCodes", async || {}).await;
        a_week_passes(&self.world).await;
        self.mutation(
            "resetSecondFactor",
            async || json!({ "memberId": self.member("member") }),
        )
        .await;
    }

    pub(crate) async fn last_of_second_factors(&self) {
        self.bare("removeSecondFactor", async || self.confirmed().await)
            .await;
        self.bare("enrolSecondFactor", async || {}).await;
    }

    pub(crate) async fn memberships(&self) {
        let union = &self.places["union"];
        self.mutation(
            "addMembership",
            async || json!({ "organisationId": union, "person": person(self.person()) }),
        )
        .await;
        self.mutation("addMemberships", async || {
            let people = [person(self.person()), person(self.person())];
            json!({ "organisationId": union, "people": people })
        })
        .await;
        self.mutation(
            "retainMembership",
            async || json!({ "membershipId": self.membership().await }),
        )
        .await;
        self.mutation("confirmMembership", async || {
            let query = "{ me { memberships(first: 1) { nodes { id } } } }";
            let own = self.world.run(self.caller("member"), query, json!({}));
            json!({ "membershipId": own.await["memberships"]["nodes"][0]["id"] })
        })
        .await;
        self.mutation("resumeMembership", async || {
            let which = json!({ "membershipId": self.membership().await });
            let officer = self.caller("officer");
            let kept = self
                .world
                .mutate(officer, "retainMembership", "", which.clone());
            assert_eq!(codes(&kept.await), [""; 0]);
            which
        })
        .await;
        self.mutation("correctMembership", async || {
            json!({
                "membershipId": self.membership().await, "since": "2018-05-04",
                "reason": "ENTRY_ERROR",
            })
        })
        .await;
        self.mutation(
            "closeMembershipReview",
            async || json!({ "reviewId": self.review().await }),
        )
        .await;
        self.mutation("endMembership", async || {
            json!({
                "membershipId": self.membership().await, "how": "LEFT", "date": "2026-03-20",
            })
        })
        .await;
    }

    pub(crate) async fn offices(&self) {
        let (root, company) = (&self.places["root"], &self.places["company"]);
        self.mutation("createOrganisation", async || {
            json!({
                "kind": "GRASSROOTS", "name": format!("第{}工会", self.person()),
                "division": "500103",
            })
        })
        .await;
        self.mutation("closeOrganisation", async || {
            let named = format!("空的{}工会", self.person());
            let id = place(&self.world, root, ("GRASSROOTS", &named)).await;
            json!({ "organisationId": id })
        })
        .await;
        self.mutation("setPhone", async || {
            let (id, _) = self.joined().await;
            json!({ "memberId": id, "phone": format!("137{:08}", self.person()) })
        })
        .await;
        self.mutation("grantRole", async || {
            let (id, _) = self.joined().await;
            json!({ "memberId": id, "organisationId": company, "role": "VENUE_STAFF" })
        })
        .await;
        self.mutation("withdrawRole", async || {
            let (id, _) = self.joined().await;
            let member = MemberId(GlobalId::uuid(&id, "Member").unwrap());
            json!({ "roleId": self.world.grant(member, company, "VENUE_STAFF").await })
        })
        .await;
        self.mutation("mintDeskCredentials", async || {
            json!({
                "venueOrganisationId": company, "documentType": "RESIDENT_ID",
                "name": name(MEMBER), "documentNumber": number(MEMBER),
            })
        })
        .await;
    }

    pub(crate) async fn rosters(&self) {
        self.mutation(
            "importRoster",
            async || json!({ "organisationId": self.places["union"], "purpose": "LIST" }),
        )
        .await;
        for mutation in ["downloadBadRows", "correctRoster"] {
            self.mutation(
                mutation,
                async || json!({ "rosterImportId": self.roster().await }),
            )
            .await;
        }
        self.mutation("commitRoster", async || {
            json!({
                "rosterImportId": self.roster().await, "leaveOutBadRows": true,
                "idempotencyKey": Uuid::from_u128(self.person().into()),
            })
        })
        .await;
    }

    /// Whoever signs out is nobody from then on, so this comes last.
    pub(crate) async fn logins(&self) {
        self.mutation(
            "requestLoginCode",
            async || json!({ "phone": self.joined().await.1 }),
        )
        .await;
        self.mutation("login", async || {
            let (_, phone) = self.joined().await;
            let ask = json!({ "phone": phone });
            let nobody = Caller::anonymous(Language::En);
            let sent = self.world.mutate(&nobody, "requestLoginCode", "", ask);
            assert_eq!(codes(&sent.await), [""; 0]);
            json!({ "phone": phone, "code": self.world.code(&phone).await })
        })
        .await;
        self.mutation("refreshLogin", async || {
            let (_, phone) = self.joined().await;
            json!({ "refreshToken": self.world.sign_in(&phone).await.refresh_token })
        })
        .await;
        self.mutation("withdrawLogin", async || self.other_login().await)
            .await;
        self.mutation(
            "signOutEverywhere",
            async || json!({ "keepThisDevice": true }),
        )
        .await;
        self.bare("logout", async || {}).await;
    }

    /// Another login of the member.
    async fn other_login(&self) -> Value {
        self.world.advance(PAUSE_SECONDS);
        let phone = crate::world::number_of_phone(MEMBER);
        let session = self.world.sign_in(&phone).await;
        json!({ "loginId": GlobalId::of_uuid("Login", session.login.0) })
    }
}
