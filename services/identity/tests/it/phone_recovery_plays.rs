//! The mutations of a lost phone, in the plays of `audited` and of `authorised`.

use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use serde_json::json;

use crate::phone_recoveries::{claim_of, code, global, plant};
use crate::world::{World, number};
use crate::{audited, authorised};

/// Nobody else's new phone, the `at`-th.
fn new_phone(at: u32) -> String {
    format!("136{at:08}")
}

/// Another operator than the world's first one.
async fn second_operator(world: &World, union: &str, at: u32) -> Caller {
    let second = world.person(union, at).await;
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let _role = world.grant(second, &root, "OPERATOR").await;
    world.as_member(second)
}

impl audited::Play<'_> {
    /// Claimed, confirmed and approved, and taken back; and one that an office stops.
    pub(crate) async fn lost_phones(&self, union: &str, officer: &Caller) {
        let (world, at) = (self.world, 46);
        let member = world.person(union, at).await;
        let second = second_operator(world, union, 47).await;
        let (new, nobody) = (new_phone(at), Caller::anonymous(Language::En));
        let ask = json!({ "phone": new });
        self.act(&nobody, "requestRecoveryCode", "expiresAt", ask)
            .await;
        let claim = claim_of(&new, &world.code(&new).await, at, &number(at));
        self.act(&nobody, "recoverAccount", "expiresAt", claim)
            .await;
        // The service of the state has answered.
        let verified = "UPDATE phone_recovery SET state = 'claimed', claim = NULL";
        let _rows = world.test.ctx.db.execute(verified, []).await.unwrap();
        let seen = json!({ "memberId": global(member), "phone": new,
            "documentType": "RESIDENT_ID", "documentNumber": number(at) });
        self.act(officer, "confirmPhoneRecovery", "expiresAt", seen.clone())
            .await;
        self.act(&second, "approvePhoneRecovery", "dueAt", seen)
            .await;
        let which = json!({ "memberId": global(member) });
        let herself = world.as_member(member);
        self.bare(&herself, "recallPhoneRecovery", "memberId").await;
        plant(world, member, &new, None).await;
        self.act(officer, "stopPhoneRecovery", "", which).await;
    }
}

impl authorised::Play {
    /// Somebody of the branch whose recovery is open; her id, her new phone and her number.
    async fn recovering(&self, confirmed_by: Option<MemberId>) -> (MemberId, String, String) {
        let at = self.person();
        let member = self.world.person(&self.places["union"], at).await;
        let new = new_phone(at);
        plant(&self.world, member, &new, confirmed_by).await;
        (member, new, number(at))
    }

    pub(crate) async fn lost_phones(&self) {
        self.mutation(
            "requestRecoveryCode",
            async || json!({ "phone": new_phone(self.person()) }),
        )
        .await;
        self.mutation("recoverAccount", async || {
            // More claims than an hour allows from one address.
            let counted = "DELETE FROM attempt WHERE scope = 'recovery_address_hour'";
            let _rows = self.world.test.ctx.db.execute(counted, []).await.unwrap();
            let at = self.person();
            let _member = self.world.person(&self.places["union"], at).await;
            let new = new_phone(at);
            let code = code(&self.world, &new).await;
            claim_of(&new, &code, at, &number(at))
        })
        .await;
        self.mutation("confirmPhoneRecovery", async || {
            let (member, new, document) = self.recovering(None).await;
            json!({ "memberId": global(member), "phone": new, "documentType": "RESIDENT_ID",
                "documentNumber": document })
        })
        .await;
        self.mutation("approvePhoneRecovery", async || {
            let (member, new, document) = self.recovering(Some(self.world.operator)).await;
            json!({ "memberId": global(member), "phone": new, "documentType": "RESIDENT_ID",
                "documentNumber": document })
        })
        .await;
        self.mutation("stopPhoneRecovery", async || {
            let (member, ..) = self.recovering(None).await;
            json!({ "memberId": global(member) })
        })
        .await;
        let id = GlobalId::uuid(&self.member("member"), "Member").unwrap();
        self.bare("recallPhoneRecovery", async || {
            let one = format!("DELETE FROM phone_recovery WHERE member = '{id}'");
            let _rows = self.world.test.ctx.db.execute(&one, []).await.unwrap();
            plant(&self.world, MemberId(id), &new_phone(self.person()), None).await;
        })
        .await;
    }
}
