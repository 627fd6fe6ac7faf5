//! The fields of `authorised` that came with what a person may do by herself, with what two do, and
//! with other parties' words.

use std::sync::Mutex;

use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::authorised::{Play, place};
use crate::oidc::{SECRET, challenge};
use crate::world::{codes, name, number, number_of_phone, person};

/// Seconds until a phone may be sent another code.
const PAUSE_SECONDS: i64 = 61;
/// The member among the people of the world.
const MEMBER: u32 = 200;
const EVER: &str = "'2026-01-01', '2099-01-01'";

impl Play {
    fn key(&self) -> Uuid {
        Uuid::from_u128(self.person().into())
    }

    async fn plant(&self, sql: &str) {
        self.world.test.ctx.db.execute(sql, []).await.unwrap();
    }

    fn id_of(&self, actor: &str) -> Uuid {
        GlobalId::uuid(&self.member(actor), "Member").unwrap()
    }

    fn union(&self) -> Uuid {
        GlobalId::uuid(&self.places["union"], "Organisation").unwrap()
    }

    async fn done(&self, by: &Caller, mutation: &str, selection: &str, input: Value) -> Value {
        let done = self.world.mutate(by, mutation, selection, input).await;
        assert_eq!(codes(&done), [""; 0], "{mutation}: {done}");
        done
    }

    /// A file with names that waits for an officer; its id.
    async fn file(&self, actor: &str) -> String {
        let (id, asker, union) = (self.key(), self.id_of(actor), self.union());
        self.plant(&format!(
            "INSERT INTO rendering (id, version, service, template, about, asker, organisation,
               title, state, content, asked_at, expires_at)
             VALUES ('{id}', 1, 'passes', 'signed_receipts', '{id}', '{asker}', '{union}',
               '签收表', 'ready', '{{\"columns\": [], \"rows\": []}}', {EVER})"
        ))
        .await;
        GlobalId::of_uuid("RenderedFile", id).to_string()
    }

    /// A role of somebody else's that the world's first operator has proposed; the proposal's id.
    async fn proposal(&self) -> String {
        let (id, union, by) = (self.key(), self.union(), self.world.operator);
        let (member, _) = self.joined().await;
        let member = GlobalId::uuid(&member, "Member").unwrap();
        self.plant(&format!(
            "INSERT INTO role_proposal (id, member, organisation, role, ends_at, proposed_by,
               created_at, expires_at, state) VALUES ('{id}', '{member}', '{union}', 'approver',
               '2027-01-01', '{by}', {EVER}, 'open')"
        ))
        .await;
        GlobalId::of_uuid("RoleProposal", id).to_string()
    }

    /// What there must be for each field of what is one's own to say something.
    async fn own_rows(&self) {
        let (member, id) = (self.id_of("member"), self.key());
        for sql in [
            format!(
                "INSERT INTO verification (id, member, kind, state, source, asked_at, expires_at,
                   answered_at)
                 VALUES ('{id}', '{member}', 3, 'matched', 'national', {EVER}, '2026-01-01')"
            ),
            format!(
                "INSERT INTO export (id, version, member, state, asked_at, deadline)
                 VALUES ('{id}', 1, '{member}', 'gathering', {EVER})"
            ),
            format!(
                "INSERT INTO erasure (member, version, state, login, asked_at, grace_until,
                   deadline, ended_at)
                 VALUES ('{member}', 1, 'recalled', '{id}', {EVER}, '2099-01-01', '2026-01-02')"
            ),
        ] {
            self.plant(&sql).await;
        }
        let new = format!("136{:08}", self.person());
        crate::phone_recoveries::plant(&self.world, MemberId(member), &new, None).await;
        let _ = (self.file("member").await, self.file("officer").await);
    }

    pub(crate) async fn own(&self) {
        self.own_rows().await;
        let of = json!({ "id": self.member("member") });
        let own = |field: &str| {
            format!("query($id: ID!) {{ node(id: $id) {{ ... on Member {{ {field} }} }} }}")
        };
        let one = own("consents { FIELD }");
        self.view("Consent", &one, of.clone(), &["node", "consents"])
            .await;
        let one = own("loginMethods { FIELD }");
        self.view("LoginMethod", &one, of.clone(), &["node", "loginMethods"])
            .await;
        let one = own("notices(first: 5) { nodes { FIELD } }");
        let path = &["node", "notices", "nodes"];
        self.view("Notice", &one, of.clone(), path).await;
        let one = own("verifiedIdentity { FIELD }");
        let path = &["node", "verifiedIdentity"];
        self.view("IdentityVerification", &one, of.clone(), path)
            .await;
        let one = own("dataExport { FIELD }");
        self.view("DataExport", &one, of.clone(), &["node", "dataExport"])
            .await;
        let one = own("phoneRecovery { FIELD }");
        let path = &["node", "phoneRecovery"];
        self.view("PhoneRecovery", &one, of.clone(), path).await;
        let one = own("erasure { FIELD }");
        self.view("Erasure", &one, of, &["node", "erasure"]).await;
        let one = own("renderedFiles { FIELD }");
        let officer = json!({ "id": self.member("officer") });
        self.view("RenderedFile", &one, officer, &["node", "renderedFiles"])
            .await;
    }

    /// What waits for officers and operators, and whom they find.
    pub(crate) async fn queues(&self) {
        let _open = self.proposal().await;
        let all = "{ roleProposals(first: 5) { nodes { FIELD } } }";
        let path = &["roleProposals", "nodes"];
        self.view("RoleProposal", all, json!({}), path).await;
        self.query("roleProposals", &all.replace("FIELD", "id"), json!({}))
            .await;
        let _waits = self.application().await;
        let of = json!({ "id": self.places["union"] });
        let all = "query($id: ID!) { membershipApplications(organisationId: $id, first: 5) {
            nodes { FIELD } } }";
        let path = &["membershipApplications", "nodes"];
        self.view("MembershipApplication", all, of, path).await;
        let all = all.replace("FIELD", "id");
        let of = json!({ "id": self.places["union"], "name": name(MEMBER) });
        self.query("membershipApplications", &all, of.clone()).await;
        let all = "query($id: ID!, $name: String!) {
            members(organisationId: $id, search: $name, first: 5) { nodes { id } } }";
        self.query("members", all, of).await;
    }

    /// An application to the branch, by somebody of another one; its id.
    async fn application(&self) -> Value {
        let other = &self.places["other"];
        let member = self.world.person(other, self.person()).await;
        let input = json!({ "organisationId": self.places["union"], "idempotencyKey": self.key() });
        let who = self.world.as_member(member);
        let asked = self
            .done(&who, "applyForMembership", "application { id }", input)
            .await;
        asked["application"]["id"].clone()
    }

    /// A union that nobody is in; its id.
    async fn new_union(&self) -> String {
        let named = format!("新的{}工会", self.person());
        place(&self.world, &self.places["root"], ("GRASSROOTS", &named)).await
    }

    pub(crate) async fn applications(&self) {
        let apply = async || {
            let union = self.new_union().await;
            json!({ "organisationId": union, "idempotencyKey": self.key() })
        };
        self.mutation("applyForMembership", &apply).await;
        self.mutation("withdrawApplication", async || {
            let asked = self
                .done(
                    self.caller("member"),
                    "applyForMembership",
                    "application { id }",
                    apply().await,
                )
                .await;
            json!({ "applicationId": asked["application"]["id"], "idempotencyKey": self.key() })
        })
        .await;
        self.mutation("decideApplication", async || {
            json!({ "applicationId": self.application().await, "approve": true,
                "idempotencyKey": self.key() })
        })
        .await;
        self.mutation("offerTransfer", async || {
            json!({ "membershipId": self.membership().await, "organisationId": self.places["other"],
                "idempotencyKey": self.key() })
        })
        .await;
    }

    /// Two records of one person, and the number of her passport.
    async fn two_records(&self) -> Value {
        let (at, operator) = (self.person(), self.world.as_operator());
        let passport = format!("E{:08}", at);
        let mut ids = Vec::new();
        for (kind, document) in [("RESIDENT_ID", number(at)), ("PASSPORT", passport.clone())] {
            let mut one = person(at);
            one["documentType"] = json!(kind);
            one["documentNumber"] = json!(document);
            one["phone"] = Value::Null;
            let input = json!({ "organisationId": self.places["union"], "person": one });
            let made = self
                .done(
                    &operator,
                    "addMembership",
                    "membership { member { id } }",
                    input,
                )
                .await;
            ids.push(made["membership"]["member"]["id"].clone());
        }
        json!({ "survivorId": ids[0], "mergedId": ids[1], "documentType": "PASSPORT",
            "documentNumber": passport })
    }

    /// What takes two, and what shows a person as she is.
    pub(crate) async fn by_two(&self) {
        for mutation in ["confirmRole", "withdrawRoleProposal"] {
            self.mutation(
                mutation,
                async || json!({ "proposalId": self.proposal().await }),
            )
            .await;
        }
        self.mutation("mergeMembers", async || self.two_records().await)
            .await;
        self.mutation("splitMembers", async || {
            let pair = self.two_records().await;
            for by in [&self.world.as_operator(), self.caller("operator")] {
                self.done(by, "mergeMembers", "", pair.clone()).await;
            }
            json!({ "mergedId": pair["mergedId"] })
        })
        .await;
        self.mutation(
            "showMember",
            async || json!({ "memberId": self.joined().await.0, "purpose": "VERIFY" }),
        )
        .await;
        self.mutation(
            "downloadRenderedFile",
            async || json!({ "fileId": self.file("officer").await }),
        )
        .await;
    }

    /// A copy of the member's that is ready; its id.
    async fn copy(&self) -> String {
        let (id, member) = (self.key(), self.id_of("member"));
        self.plant(&format!(
            "INSERT INTO export (id, version, member, state, asked_at, deadline, ready_at,
               expires_at) VALUES ('{id}', 1, '{member}', 'ready', {EVER}, {EVER})"
        ))
        .await;
        GlobalId::of_uuid("DataExport", id).to_string()
    }

    pub(crate) async fn rights_of_persons(&self) {
        let key = async || json!({ "idempotencyKey": self.key() });
        self.mutation("exportMyData", &key).await;
        self.mutation(
            "downloadMyData",
            async || json!({ "exportId": self.copy().await, "format": "JSON" }),
        )
        .await;
        self.mutation("eraseMe", &key).await;
        self.bare("recallErasure", async || {}).await;
        self.mutation("giveConsent", async || {
            json!({ "purpose": "NOTICE_SMS", "textVersion": 1, "idempotencyKey": self.key() })
        })
        .await;
        self.mutation(
            "withdrawConsent",
            async || json!({ "purpose": "NOTICE_SMS", "idempotencyKey": self.key() }),
        )
        .await;
        self.mutation("markNoticesRead", async || json!({})).await;
        self.mutation(
            "setNoticePreference",
            async || json!({ "kind": "REFUNDED", "sms": false }),
        )
        .await;
        self.mutation("verifyIdentity", async || {
            json!({ "name": name(MEMBER), "documentType": "RESIDENT_ID",
                "documentNumber": number(MEMBER), "idempotencyKey": self.key() })
        })
        .await;
    }

    /// Both codes of a change from one phone to another that the member asks for.
    async fn change(&self, from: &str, to: &str) -> Value {
        self.world.advance(PAUSE_SECONDS);
        let ask = json!({ "phone": to, "idempotencyKey": self.key() });
        self.done(self.caller("member"), "requestPhoneChange", "", ask)
            .await;
        json!({ "oldCode": self.world.code(from).await, "newCode": self.world.code(to).await })
    }

    pub(crate) async fn phones(&self) {
        let phone = || format!("137{:08}", self.person());
        let has = Mutex::new(number_of_phone(MEMBER));
        self.mutation("changePhone", async || {
            let (from, to) = (has.lock().unwrap().clone(), phone());
            let both = self.change(&from, &to).await;
            *has.lock().unwrap() = to;
            both
        })
        .await;
        let from = has.lock().unwrap().clone();
        let back = self.change(&from, &number_of_phone(MEMBER)).await;
        self.done(self.caller("member"), "changePhone", "", back)
            .await;
        self.mutation("requestPhoneChange", async || {
            self.world.advance(PAUSE_SECONDS);
            json!({ "phone": phone(), "idempotencyKey": self.key() })
        })
        .await;
    }

    /// A way to sign in of somebody who is nobody's yet, to be linked to who has this phone.
    async fn link(&self, user: &str, phone: &str) -> Value {
        let nobody = Caller::anonymous(Language::En);
        let code = json!({ "code": self.parties.wechat_code(user, None).await });
        let unknown = self
            .done(&nobody, "loginWithWechat", "link { ticket }", code)
            .await;
        self.world.advance(PAUSE_SECONDS);
        // This play asks for more codes of one phone than a day allows.
        self.plant("UPDATE login_code SET asked_at = '{}'").await;
        let ask = json!({ "phone": phone });
        self.done(&nobody, "requestLoginCode", "", ask).await;
        json!({ "ticket": unknown["link"]["ticket"], "phone": phone,
            "code": self.world.code(phone).await })
    }

    /// The words of other parties.
    pub(crate) async fn outside(&self) {
        let user = || format!("user-{}", self.person());
        self.mutation(
            "loginWithWechat",
            async || json!({ "code": self.parties.wechat_code(&user(), None).await }),
        )
        .await;
        self.mutation("linkLogin", async || {
            let (_, phone) = self.joined().await;
            self.link(&user(), &phone).await
        })
        .await;
        let begin = async || json!({ "issuer": "federation", "challenge": challenge(SECRET) });
        self.mutation("beginOidcLogin", &begin).await;
        // The issuer's clock is not advanced with the world's.
        let now = self.world.identity.ctx.clock.now() - kit::testing::start();
        self.clock.advance_ms(now.num_milliseconds());
        self.mutation("loginWithOidc", async || {
            let nobody = Caller::anonymous(Language::En);
            let begun = self
                .done(&nobody, "beginOidcLogin", "login { url }", begin().await)
                .await;
            let url = begun["login"]["url"].as_str().unwrap();
            let back = self.parties.sent(url, &user()).await;
            json!({ "state": back.state, "code": back.code, "secret": SECRET })
        })
        .await;
        let link = self.link(&user(), &number_of_phone(MEMBER)).await;
        let nobody = Caller::anonymous(Language::En);
        self.done(&nobody, "linkLogin", "", link).await;
        self.mutation(
            "issuePayerToken",
            async || json!({ "idempotencyKey": self.key() }),
        )
        .await;
        self.mutation("unlinkLoginMethod", async || {
            let (id, member) = (self.key(), self.id_of("member"));
            self.plant(&format!(
                "INSERT INTO login_method (id, member, kind, subject, blind, created_at)
                 VALUES ('{id}', '{member}', 'wechat', 'sealed',
                   sha256(convert_to('{id}', 'UTF8')), '2026-01-01')"
            ))
            .await;
            json!({ "loginMethodId": GlobalId::of_uuid("LoginMethod", id) })
        })
        .await;
    }
}
