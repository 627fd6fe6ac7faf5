//! Every mutation leaves the audit row that `schema/acts.json` says.

use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use identity::Settings;
use identity::domain::second_factor::step_of;
use identity::totp::Secret;
use kit::access::{Caller, Who};
use kit::graphql::{GlobalId, Language};
use kit::testing::acts::Acts;
use kit::types::{LoginId, MemberId};
use sandbox::{Clock, ManualClock};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::credentials::{Holder, apply, granted, holder_in};
use crate::memberships::{add, joining, officer_above, queue};
use crate::oidc::{SECRET, challenge};
use crate::parties::Parties;
use crate::rosters::{HEADER, begin, csv, line, officer_of, put, settle};
use crate::world::{World, codes, name, number, number_of_phone, person, settings};

/// A world and what its mutations must leave.
pub(crate) struct Play<'a> {
    pub(crate) world: &'a World,
    acts: &'a Acts,
}

impl Play<'_> {
    /// Plays a mutation that is done; its payload.
    pub(crate) async fn act(
        &self,
        by: &Caller,
        mutation: &str,
        selection: &str,
        input: Value,
    ) -> Value {
        let run = self.world.mutate(by, mutation, selection, input);
        let done = self.acts.left_by(mutation, run).await;
        assert_eq!(codes(&done), [""; 0], "{mutation}: {done}");
        done
    }

    async fn organisations(&self) {
        let operator = self.world.as_operator();
        let input = json!({ "kind": "GRASSROOTS", "name": "空的工会", "division": "500103" });
        let selection = "organisation { id }";
        let made = self
            .act(&operator, "createOrganisation", selection, input)
            .await;
        let close = json!({ "organisationId": made["organisation"]["id"] });
        self.act(&operator, "closeOrganisation", "", close).await;
    }

    async fn people(&self, union: &str, officer: &Caller) {
        let operator = self.world.as_operator();
        let one = json!({ "organisationId": union, "person": person(11) });
        let selection = "membership { member { id } }";
        let added = self.act(officer, "addMembership", selection, one).await;
        let member = added["membership"]["member"]["id"].clone();
        let list = json!({ "organisationId": union, "people": [person(12), person(13)] });
        self.act(officer, "addMemberships", "", list).await;
        let show = json!({ "memberId": member, "purpose": "CORRECT" });
        self.act(officer, "showMember", "", show).await;
        let phone = json!({ "memberId": member, "phone": "13700000001" });
        self.act(&operator, "setPhone", "", phone).await;
        let grant = json!({ "memberId": member, "organisationId": union, "role": "AUDITOR" });
        let granted = self.act(&operator, "grantRole", "role { id }", grant).await;
        let withdraw = json!({ "roleId": granted["role"]["id"] });
        self.act(&operator, "withdrawRole", "", withdraw).await;
        self.proposals(union, &member).await;
    }

    /// What takes two: one is taken back, and then the same is confirmed.
    async fn proposals(&self, union: &str, member: &Value) {
        let (one, second) = (self.world.as_operator(), self.world.person(union, 17).await);
        let root = GlobalId::of_uuid("Organisation", self.world.root_id().0).to_string();
        let _ = self.world.grant(second, &root, "OPERATOR").await;
        let second = self.world.as_member(second);
        let grant = json!({ "memberId": member, "organisationId": union, "role": "DEPUTY" });
        for decide in ["withdrawRoleProposal", "confirmRole"] {
            let proposed = self
                .world
                .mutate(&one, "grantRole", "proposal { id }", grant.clone())
                .await;
            let which = json!({ "proposalId": proposed["proposal"]["id"] });
            self.act(&second, decide, "", which).await;
        }
    }

    async fn memberships(&self, union: &str, officer: &Caller) {
        let above = officer_above(self.world).await;
        let id = add(self.world, officer, joining(union, 14, "2026-03-01")).await;
        let which = json!({ "membershipId": id });
        for mutation in ["retainMembership", "resumeMembership"] {
            self.act(officer, mutation, "", which.clone()).await;
        }
        let correct = json!({ "membershipId": id, "since": "2018-05-04", "reason": "ENTRY_ERROR" });
        self.act(officer, "correctMembership", "", correct).await;
        let review = queue(self.world, &above).await[0]["id"].clone();
        let close = json!({ "reviewId": review });
        self.act(&above, "closeMembershipReview", "", close).await;
        let end = json!({ "membershipId": id, "how": "LEFT", "date": "2026-03-20" });
        self.act(officer, "endMembership", "", end).await;
    }

    /// Two records of one person, merged by two operators and split again.
    async fn merges(&self, union: &str) {
        let operator = self.world.as_operator();
        let second = self.world.person(union, 41).await;
        let root = GlobalId::of_uuid("Organisation", self.world.root_id().0).to_string();
        let _ = self.world.grant(second, &root, "OPERATOR").await;
        let second = self.world.as_member(second);
        let mut records = Vec::new();
        for (kind, number) in [
            ("PASSPORT", "E12345678"),
            ("RESIDENT_ID", number(42).as_str()),
        ] {
            let person = json!({ "name": name(42), "documentType": kind,
                "documentNumber": number });
            let input = json!({ "organisationId": union, "person": person });
            let selection = "membership { member { id } }";
            let made = self.act(&operator, "addMembership", selection, input).await;
            records.push(made["membership"]["member"]["id"].clone());
        }
        let merge = json!({ "survivorId": records[0], "mergedId": records[1],
            "documentType": "PASSPORT", "documentNumber": "E12345678" });
        for by in [&operator, &second] {
            self.act(by, "mergeMembers", "", merge.clone()).await;
        }
        let split = json!({ "mergedId": records[1] });
        self.act(&operator, "splitMembers", "", split).await;
    }

    /// Applications, decided and taken back, and a transfer.
    async fn applications(&self, union: &str, officer: &Caller) {
        let to = self
            .world
            .organisation("GRASSROOTS", "另一个基层工会")
            .await;
        let member = self.world.person(union, 44).await;
        let herself = self.world.as_member(member);
        let apply = |key| json!({ "organisationId": to, "idempotencyKey": Uuid::from_u128(key) });
        let selection = "application { id }";
        let asked = self.act(&herself, "applyForMembership", selection, apply(31));
        let asked = asked.await["application"]["id"].clone();
        let back = json!({ "applicationId": asked, "idempotencyKey": Uuid::from_u128(32) });
        self.act(&herself, "withdrawApplication", "", back).await;
        let query = "{ me { memberships(first: 1) { nodes { id } } } }";
        let own = self.world.run(&herself, query, json!({})).await;
        let hers = json!({ "membershipId": own["memberships"]["nodes"][0]["id"] });
        self.act(&herself, "confirmMembership", "", hers).await;
        let offer = json!({ "membershipId": own["memberships"]["nodes"][0]["id"],
            "organisationId": to, "idempotencyKey": Uuid::from_u128(33) });
        let offered = self.act(officer, "offerTransfer", selection, offer).await;
        let decide = json!({ "applicationId": offered["application"]["id"], "approve": true,
            "idempotencyKey": Uuid::from_u128(34) });
        self.act(&herself, "decideApplication", "", decide).await;
    }

    async fn rosters(&self, union: &str, officer: &Caller) {
        let begun = begin(self.world, officer, union, "LIST");
        let begun = self.acts.left_by("importRoster", begun).await;
        let bad = line(16).replace("138", "128");
        let put = put(self.world, &begun["upload"]["path"], csv(&[line(15), bad])).await;
        assert_eq!(put, axum::http::StatusCode::ACCEPTED);
        settle(self.world).await;
        let id = begun["rosterImport"]["id"].clone();
        let which = json!({ "rosterImportId": id });
        let download = "download { path }";
        self.act(officer, "downloadBadRows", download, which.clone())
            .await;
        let upload = self.act(officer, "correctRoster", "upload { path }", which);
        let upload = upload.await["upload"]["path"].clone();
        let corrected = format!("行号,{HEADER}\n3,{}\n", line(16)).into_bytes();
        let put = crate::rosters::put(self.world, &upload, corrected).await;
        assert_eq!(put, axum::http::StatusCode::ACCEPTED);
        settle(self.world).await;
        let key = Uuid::from_u128(1);
        let input = json!({
            "rosterImportId": id, "idempotencyKey": key, "leaveOutBadRows": true,
        });
        self.act(officer, "commitRoster", "rosterImport { id }", input)
            .await;
    }

    /// Signs in; the tokens and who has them.
    async fn sign_in(&self, phone: &str) -> (Value, Caller) {
        let nobody = Caller::anonymous(Language::En);
        let ask = json!({ "phone": phone });
        self.act(&nobody, "requestLoginCode", "", ask).await;
        let login = json!({ "phone": phone, "code": self.world.code(phone).await });
        let selection = "tokens { refreshToken memberId loginId }";
        let done = self.act(&nobody, "login", selection, login).await;
        let tokens = done["tokens"].clone();
        let caller = caller_of(&tokens);
        (tokens, caller)
    }

    async fn logins(&self) {
        let phone = number_of_phone(12);
        let (first, _) = self.sign_in(&phone).await;
        self.world.advance(61);
        let (second, caller) = self.sign_in(&phone).await;
        let nobody = Caller::anonymous(Language::En);
        let refresh = json!({ "refreshToken": second["refreshToken"] });
        self.act(&nobody, "refreshLogin", "", refresh).await;
        let withdraw = json!({ "loginId": first["loginId"] });
        self.act(&caller, "withdrawLogin", "", withdraw).await;
        let logout = "mutation { logout { loginId userErrors { code } } }";
        let logout = self.world.run(&caller, logout, json!({}));
        let done = self.acts.left_by("logout", logout).await;
        assert_eq!(codes(&done), [""; 0]);
    }

    /// The word of other parties: nobody's at first, then linked by a phone, and a way in that is
    /// taken away.
    async fn outside_logins(&self, parties: &Parties, clock: &ManualClock) {
        let nobody = Caller::anonymous(Language::En);
        let phone = number_of_phone(12);
        let selection = "tokens { memberId loginId } link { ticket }";
        let enter = async || {
            let code = json!({ "code": parties.wechat_code("one", None).await });
            self.act(&nobody, "loginWithWechat", selection, code).await
        };
        let unknown = enter().await;
        self.world.advance(61);
        let ask = json!({ "phone": phone });
        self.act(&nobody, "requestLoginCode", "", ask).await;
        let link = json!({
            "ticket": unknown["link"]["ticket"], "phone": phone,
            "code": self.world.code(&phone).await,
        });
        self.act(&nobody, "linkLogin", "", link).await;
        let caller = caller_of(&enter().await["tokens"]);
        let key = json!({ "idempotencyKey": Uuid::from_u128(4) });
        self.act(&caller, "issuePayerToken", "payerToken { token }", key)
            .await;
        let methods = "{ me { loginMethods { id kind } } }";
        let methods = self.world.run(&caller, methods, json!({})).await;
        let mut methods = methods["loginMethods"].as_array().unwrap().iter();
        let wechat = methods.find(|it| it["kind"] == "WECHAT").unwrap();
        let unlink = json!({ "loginMethodId": wechat["id"] });
        self.act(&caller, "unlinkLoginMethod", "", unlink).await;

        // The issuer's clock was not advanced with the world's.
        let now = self.world.identity.ctx.clock.now() - kit::testing::start();
        clock.advance_ms(now.num_milliseconds());
        let issuer = json!({ "issuer": "federation", "challenge": challenge(SECRET) });
        let begun = self
            .act(&nobody, "beginOidcLogin", "login { url }", issuer)
            .await;
        let url = begun["login"]["url"].as_str().unwrap();
        let back = parties.sent(url, "one").await;
        let back = json!({ "state": back.state, "code": back.code, "secret": SECRET });
        self.act(&nobody, "loginWithOidc", selection, back).await;
        let unknown = "SELECT count(*) AS count FROM audit WHERE act = 'outside_login_unknown'";
        assert_eq!(self.world.count(unknown).await, 2, "one of each party");
    }

    /// Another phone, by both.
    async fn phones(&self) {
        let (old, new) = (number_of_phone(12), "13700000012");
        self.world.advance(61);
        let (_, caller) = self.sign_in(&old).await;
        self.world.advance(61);
        let ask = json!({ "phone": new, "idempotencyKey": Uuid::from_u128(6) });
        self.act(&caller, "requestPhoneChange", "expiresAt", ask)
            .await;
        let (old, new) = (self.world.code(&old).await, self.world.code(new).await);
        let both = json!({ "oldCode": old, "newCode": new });
        self.act(&caller, "changePhone", "memberId", both).await;
    }

    async fn consents_and_notices(&self, member: MemberId) {
        let who = self.world.as_member(member);
        let claim = json!({
            "name": name(1), "documentType": "RESIDENT_ID", "documentNumber": number(1),
            "idempotencyKey": Uuid::from_u128(5),
        });
        self.act(&who, "verifyIdentity", "verification { state }", claim)
            .await;
        let key = Uuid::from_u128(2);
        let give = json!({ "purpose": "NOTICE_SMS", "textVersion": 1, "idempotencyKey": key });
        self.act(&who, "giveConsent", "", give).await;
        let key = Uuid::from_u128(3);
        let withdraw = json!({ "purpose": "NOTICE_SMS", "idempotencyKey": key });
        self.act(&who, "withdrawConsent", "", withdraw).await;
        self.act(&who, "markNoticesRead", "", json!({})).await;
        let without = json!({ "kind": "REFUNDED", "sms": false });
        self.act(&who, "setNoticePreference", "", without).await;
    }

    async fn rights(&self, member: MemberId) {
        let who = self.world.as_member(member);
        let key = json!({ "idempotencyKey": Uuid::from_u128(104) });
        let made = self.act(&who, "exportMyData", "export { id }", key).await;
        let id = made["export"]["id"].clone();
        crate::exports::answer_all(self.world, member, &id).await;
        let file = json!({ "exportId": id, "format": "JSON" });
        self.act(&who, "downloadMyData", "download { path }", file)
            .await;
        let key = json!({ "idempotencyKey": Uuid::from_u128(105) });
        self.act(&who, "eraseMe", "", key).await;
        self.bare(&who, "recallErasure", "").await;
    }

    /// A mutation that has no input.
    pub(crate) async fn bare(&self, by: &Caller, mutation: &str, selection: &str) -> Value {
        let text = format!("mutation {{ {mutation} {{ {selection} userErrors {{ code }} }} }}");
        let run = self.world.run(by, &text, json!({}));
        let done = self.acts.left_by(mutation, run).await;
        assert_eq!(codes(&done), [""; 0], "{mutation}: {done}");
        done
    }

    async fn second_factors(&self) {
        let phone = number_of_phone(13);
        self.world.advance(61);
        let (_, caller) = self.sign_in(&phone).await;
        let begun = self
            .bare(&caller, "enrolSecondFactor", "enrolment { secret }")
            .await;
        let text = begun["enrolment"]["secret"].as_str().unwrap();
        let secret = BASE32_NOPAD.decode(text.as_bytes()).unwrap();
        let secret = Secret::from_bytes(&secret).unwrap();
        for mutation in ["confirmSecondFactor", "verifySecondFactor"] {
            let code = secret.code(step_of(self.world.identity.ctx.clock.now()));
            self.act(&caller, mutation, "", json!({ "code": code }))
                .await;
            self.world.advance(30);
        }
        let Who::Member { member, .. } = caller.who else {
            panic!("signed in")
        };
        let which = json!({ "memberId": GlobalId::of_uuid("Member", member.0) });
        let operator = self.world.as_operator();
        self.act(&operator, "resetSecondFactor", "", which).await;
        let shown = caller.clone().stepped_up(DateTime::<Utc>::MAX_UTC);
        for mutation in ["renewRecoveryCodes", "removeSecondFactor"] {
            self.bare(&shown, mutation, "").await;
        }
        let here = json!({ "keepThisDevice": false });
        self.act(&shown, "signOutEverywhere", "", here).await;
    }
}

/// Who was given these tokens.
fn caller_of(tokens: &Value) -> Caller {
    let id = |field: &str, kind| GlobalId::uuid(tokens[field].as_str().unwrap(), kind).unwrap();
    let (member, login) = (id("memberId", "Member"), id("loginId", "Login"));
    Caller::member(MemberId(member), LoginId(login), Language::En)
}

pub(crate) fn desk(partner: &str) -> Value {
    json!({
        "venueOrganisationId": partner, "documentType": "RESIDENT_ID",
        "name": name(1), "documentNumber": number(1),
    })
}

/// ASVS V16.3.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_leaves_its_row() {
    let clock = ManualClock::at(kit::testing::start().timestamp_millis());
    let parties = Parties::start("audited", Clock::Manual(clock.clone())).await;
    let world = World::with(Settings {
        wechat: Some(parties.mini_program()),
        oidc: vec![parties.issuer("federation")],
        verification: Some(parties.verification()),
        ..settings(&parties.url)
    });
    let Holder {
        world,
        partner,
        member,
        staff,
        ..
    } = holder_in(world.await).await;
    let acts = Acts::of(&world.identity.ctx);
    let play = Play {
        world: &world,
        acts: &acts,
    };
    apply(&world, granted(&world, member, 1)).await;
    let staff = world.as_member(staff);
    let at_desk = desk(&partner);
    play.act(
        &staff,
        "mintDeskCredentials",
        "credentials { text }",
        at_desk,
    )
    .await;
    let (union, officer) = officer_of(&world, "又一个基层工会", 100).await;
    play.organisations().await;
    play.people(&union, &officer).await;
    play.memberships(&union, &officer).await;
    play.merges(&union).await;
    play.applications(&union, &officer).await;
    play.rosters(&union, &officer).await;
    play.logins().await;
    play.second_factors().await;
    play.outside_logins(&parties, &clock).await;
    play.phones().await;
    play.lost_phones(&union, &officer).await;
    play.consents_and_notices(member).await;
    play.rights(member).await;
    let file = crate::renderings::waiting(&world, &union, &officer).await;
    let input = json!({ "fileId": file });
    play.act(&officer, "downloadRenderedFile", "", input).await;
    acts.assert_complete();
}
