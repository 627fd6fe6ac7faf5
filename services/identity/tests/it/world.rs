//! A world of one test: a database of its own, keys, the root's organisation and an operator.

use async_graphql::{Request, Variables};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use credential::keyset::Issuer;
use ed25519_dalek::SigningKey;
use identity::domain::identifier::Phone;
use identity::domain::name::PersonName;
use identity::domain::organisation::root_id;
use identity::domain::origin::Origin;
use identity::domain::role::{self, Of, Role};
use identity::domain::{code, keys::Purpose};
use identity::graphql::IdentitySchema;
use identity::store::roles::{self, Held};
use identity::{Identity, Settings, SmsSettings, commands};
use kit::access::Caller;
use kit::audit::seal::seal_rows;
use kit::graphql::{GlobalId, Language, Mode};
use kit::replica::Roots;
use kit::testing::TestDb;
use kit::types::{LoginId, MemberId, OrganisationId, Union};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

/// Partitions of identity's topic in tests.
pub(crate) const PARTITIONS: i32 = 12;
pub(crate) const OPERATOR_PHONE: &str = "13900000001";
pub(crate) const OPERATOR_NAME: &str = "运维一";

/// Seconds after which nothing of now counts in an hour any more, wherever in it that was.
pub(crate) const HOUR_OVER: i64 = 3_660;
/// As [`HOUR_OVER`], in a day.
pub(crate) const DAY_OVER: i64 = 87_840;

pub(crate) struct World {
    pub(crate) test: TestDb,
    pub(crate) identity: Identity,
    pub(crate) root: SigningKey,
    pub(crate) schema: IdentitySchema,
    pub(crate) operator: MemberId,
}

/// An event of the outbox.
#[derive(Debug, FromQueryResult)]
pub(crate) struct Emitted {
    pub(crate) kind: String,
    pub(crate) key: Vec<u8>,
    pub(crate) version: i64,
    pub(crate) payload: Vec<u8>,
}

impl Emitted {
    pub(crate) fn decode<M: prost::Message + Default>(&self) -> M {
        M::decode(self.payload.as_slice()).unwrap()
    }
}

pub(crate) fn settings(sms_url: &str) -> Settings {
    let key = |byte: u8| STANDARD.encode([byte; 32]).into();
    Settings {
        kek: key(1),
        other_keks: Vec::new(),
        blind_index_key: key(2),
        code_key: key(3),
        idtag_key: key(4),
        sms: SmsSettings {
            url: sms_url.to_owned(),
            key: "key".into(),
        },
        wechat: None,
        oidc: Vec::new(),
        verification: None,
        root_key_file: None,
        second_factor_optional: false,
        codes_per_address_hour_max: 1_000,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(settings("http://127.0.0.1:9")).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let test = kit::testing::db("identity", identity::ALL_MIGRATIONS).await;
        let root = SigningKey::from_bytes(&[77; 32]);
        let roots = Roots::from([(Issuer::Chongqing, root.verifying_key())]);
        let identity = Identity::new(test.ctx.clone(), settings, roots, PARTITIONS).unwrap();
        identity.open().await.unwrap();
        for purpose in Purpose::ALL {
            commands::keys::rotate(&identity.ctx, &identity.vault, purpose)
                .await
                .unwrap();
        }
        commands::keys::publish(&identity.ctx, &root).await.unwrap();
        let operator = commands::operator::create_first_operator(
            &identity.ctx,
            &identity.vault,
            &phone(OPERATOR_PHONE),
            &PersonName::parse(OPERATOR_NAME).unwrap(),
            None,
        )
        .await
        .unwrap();
        let schema = identity::schema(&identity, Mode::Development);
        Self {
            test,
            identity,
            root,
            schema,
            operator,
        }
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.identity.ctx.clock.advance(TimeDelta::seconds(seconds));
    }

    /// A caller with a login that exists nowhere: fine for what asks for roles. Her second factor
    /// is shown; for who has shown none see the tests of second factors.
    pub(crate) fn as_member(&self, member: MemberId) -> Caller {
        let login = LoginId(Uuid::from_u128(99));
        Caller::member(member, login, Language::En).stepped_up(DateTime::<Utc>::MAX_UTC)
    }

    pub(crate) fn as_operator(&self) -> Caller {
        self.as_member(self.operator)
    }

    /// What the process's sealer does beside its requests.
    pub(crate) async fn seal(&self) {
        let sealed = self.test.ctx.db.tx("audit_seal", seal_rows).await;
        sealed.unwrap();
    }

    pub(crate) async fn ask(&self, caller: &Caller, query: &str, variables: Value) -> Value {
        self.seal().await;
        let request = Request::new(query)
            .variables(Variables::from_json(variables))
            .data(caller.clone())
            .data(caller.language);
        serde_json::to_value(self.schema.execute(request).await).unwrap()
    }

    /// Why a query is not answered at all: who asks is not signed in, or may not. None where it
    /// is answered.
    pub(crate) async fn barred(
        &self,
        caller: &Caller,
        query: &str,
        variables: Value,
    ) -> Option<&'static str> {
        let request = Request::new(query)
            .variables(Variables::from_json(variables))
            .data(caller.clone())
            .data(caller.language);
        let answer = self.schema.execute(request).await;
        let error = answer.errors.first()?;
        let source = error.source.as_ref();
        let why = source.and_then(|it| it.downcast_ref::<kit::Error>());
        if matches!(why, Some(kit::Error::Unauthenticated(_))) {
            Some("UNAUTHENTICATED")
        } else if matches!(why, Some(kit::Error::Forbidden(_))) {
            Some("FORBIDDEN")
        } else {
            panic!("{error:?}")
        }
    }

    /// The one field of a mutation's answer, with no top-level error.
    pub(crate) async fn run(&self, caller: &Caller, query: &str, variables: Value) -> Value {
        let mut answer = self.ask(caller, query, variables).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        let data = answer["data"].as_object_mut().unwrap();
        assert_eq!(data.len(), 1);
        let (_, field) = data.into_iter().next().unwrap();
        field.take()
    }

    /// As [`World::run`] with one variable `input`, in a mutation of this name and selection.
    pub(crate) async fn mutate(
        &self,
        caller: &Caller,
        name: &str,
        selection: &str,
        input: Value,
    ) -> Value {
        let mut input_type = name.to_owned();
        input_type[..1].make_ascii_uppercase();
        let query = format!(
            "mutation($input: {input_type}Input!) {{ {name}(input: $input) {{ {selection}
               userErrors {{ code field message }} }} }}"
        );
        self.run(caller, &query, json!({ "input": input })).await
    }

    /// Sends a mutation in both languages: the code of its one error, then what is read in
    /// Chinese and in English.
    pub(crate) async fn answered(&self, who: &Caller, name: &str, input: &Value) -> [String; 3] {
        let mut told = Vec::new();
        for language in [Language::Zh, Language::En] {
            let who = Caller {
                language,
                ..who.clone()
            };
            let answer = self.mutate(&who, name, "", input.clone()).await;
            let errors = answer["userErrors"].as_array().unwrap();
            assert_eq!(errors.len(), 1, "{answer}");
            let text = |field: &str| errors[0][field].as_str().unwrap().to_owned();
            told.push([text("code"), text("message")]);
        }
        let [zh, en] = <[[String; 2]; 2]>::try_from(told).unwrap();
        assert_eq!(zh[0], en[0]);
        let [code, zh] = zh;
        let [_, en] = en;
        [code, zh, en]
    }

    /// How many things break a promise of `bashu verify`.
    pub(crate) async fn broken(&self, id: &str) -> usize {
        let all = identity::verify::INVARIANTS;
        let invariant = all.iter().find(|it| it.id == id).unwrap();
        let found = kit::verify::check(&self.test.ctx.db, invariant).await;
        found.unwrap().len()
    }

    pub(crate) async fn events(&self) -> Vec<Emitted> {
        self.test
            .ctx
            .db
            .all(
                "SELECT kind, key, version, payload FROM outbox ORDER BY id",
                [],
            )
            .await
            .unwrap()
    }

    pub(crate) async fn events_of(&self, kind: &str) -> Vec<Emitted> {
        let all = self.events().await;
        all.into_iter()
            .filter(|event| event.kind.ends_with(kind))
            .collect()
    }

    /// What a statement changes or counts, past the service.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        #[derive(FromQueryResult)]
        struct Row {
            count: i64,
        }
        self.test
            .ctx
            .db
            .one::<Row>(sql, [])
            .await
            .unwrap()
            .unwrap()
            .count
    }

    /// The column `name` of what a statement finds.
    pub(crate) async fn names(&self, sql: &str) -> Vec<String> {
        #[derive(FromQueryResult)]
        struct Row {
            name: String,
        }
        let rows = self.test.ctx.db.all::<Row>(sql, []).await.unwrap();
        rows.into_iter().map(|row| row.name).collect()
    }

    /// The code that was sent to a phone last, for whatever purpose, as the service would send it.
    pub(crate) async fn code(&self, number: &str) -> String {
        #[derive(FromQueryResult)]
        struct Row {
            id: Uuid,
        }
        let blind = self.identity.vault.blind_phone(&phone(number)).unwrap();
        let row = self
            .test
            .ctx
            .db
            .one::<Row>(
                "SELECT id FROM (
                   SELECT id, created_at, 1 AS rank FROM login_code WHERE phone = $1
                   UNION ALL SELECT id, created_at, 2 FROM phone_code WHERE phone = $1) c
                 ORDER BY created_at DESC, rank LIMIT 1",
                [blind.to_vec().into()],
            )
            .await
            .unwrap()
            .unwrap();
        code::digits(&self.identity.vault.code_hash(row.id, &blind))
    }

    /// Signs a phone in; its tokens.
    pub(crate) async fn sign_in(&self, number: &str) -> commands::logins::Session {
        let (ctx, vault) = (&self.identity.ctx, &self.identity.vault);
        let caller = Caller::anonymous(Language::En);
        commands::codes::request_login_code(ctx, vault, &caller, &phone(number), 1_000)
            .await
            .unwrap();
        let code = self.code(number).await;
        let origin = Origin::default();
        commands::logins::login(&self.identity, &phone(number), &code, &origin)
            .await
            .unwrap()
    }

    /// An organisation under the root; its global id.
    pub(crate) async fn organisation(&self, kind: &str, name: &str) -> String {
        let input = json!({ "kind": kind, "name": name, "division": "500103" });
        let made = self
            .mutate(
                &self.as_operator(),
                "createOrganisation",
                "organisation { id }",
                input,
            )
            .await;
        assert_eq!(made["userErrors"], json!([]));
        made["organisation"]["id"].as_str().unwrap().to_owned()
    }

    /// A person in an organisation, added by the operator.
    pub(crate) async fn person(&self, organisation: &str, at: u32) -> MemberId {
        let input = json!({ "organisationId": organisation, "person": person(at) });
        let made = self
            .mutate(
                &self.as_operator(),
                "addMembership",
                "membership { member { id } }",
                input,
            )
            .await;
        assert_eq!(made["userErrors"], json!([]), "{made}");
        let member = member_of(&made["membership"]["member"]["id"]);
        // That somebody has added her is told in tests of that alone.
        let told = "DELETE FROM notice WHERE kind = 'on_roster' AND member = $1";
        let db = &self.test.ctx.db;
        db.execute(told, [member.0.into()]).await.unwrap();
        member
    }

    /// A role, granted by the operator. What takes two is there as if it were made on the command
    /// line: how two make it see the tests of proposals.
    pub(crate) async fn grant(&self, member: MemberId, organisation: &str, role: &str) -> String {
        let name = Role::parse(&role.to_lowercase()).unwrap();
        if name.is_powerful() {
            return self.plant(member, organisation, name).await;
        }
        let input = json!({
            "memberId": GlobalId::of_uuid("Member", member.0).to_string(),
            "organisationId": organisation,
            "role": role,
        });
        let made = self
            .mutate(&self.as_operator(), "grantRole", "role { id }", input)
            .await;
        assert_eq!(made["userErrors"], json!([]));
        made["role"]["id"].as_str().unwrap().to_owned()
    }

    async fn plant(&self, member: MemberId, organisation: &str, role: Role) -> String {
        let of = Of {
            member,
            organisation: organisation_of(organisation),
            role,
        };
        let db = &self.identity.ctx.db;
        let planted = db.tx("plant", async |tx| {
            let held = held(tx, of, role::Origin::Before);
            roles::insert(tx, &held).await?;
            tx.emit(identity::publish::role(&held));
            Ok(held.id)
        });
        GlobalId::of_uuid("RoleHolding", planted.await.unwrap()).to_string()
    }

    pub(crate) fn root_id(&self) -> OrganisationId {
        root_id(Union::Chongqing)
    }
}

/// A role without an end, as its row is.
pub(crate) fn held(tx: &kit::Tx, of: Of, origin: role::Origin) -> Held {
    Held {
        id: tx.uuid(),
        version: 1,
        of,
        withdrawn: false,
        ends_at: None,
        origin,
    }
}

pub(crate) fn phone(number: &str) -> Phone {
    Phone::parse(number).unwrap()
}

pub(crate) fn member_of(id: &Value) -> MemberId {
    MemberId(GlobalId::uuid(id.as_str().unwrap(), "Member").unwrap())
}

pub(crate) fn organisation_of(id: &str) -> OrganisationId {
    OrganisationId(GlobalId::uuid(id, "Organisation").unwrap())
}

/// The `at`-th made-up person: a valid number that belongs to nobody known, a name, a phone.
pub(crate) fn person(at: u32) -> Value {
    json!({
        "name": name(at),
        "documentType": "RESIDENT_ID",
        "documentNumber": number(at),
        "phone": number_of_phone(at),
    })
}

pub(crate) fn name(at: u32) -> String {
    let given = "一二三四五六七八九十"
        .chars()
        .nth(at as usize % 10)
        .unwrap();
    format!("测{given}员")
}

pub(crate) fn number_of_phone(at: u32) -> String {
    format!("138{:08}", at)
}

pub(crate) fn number(at: u32) -> String {
    let body = format!("50010319{:02}0101{:03}", 60 + at / 1000, at % 1000);
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = body
        .bytes()
        .zip(weights)
        .map(|(b, w)| u32::from(b - b'0') * w)
        .sum();
    format!("{body}{}", char::from(b"10X98765432"[(sum % 11) as usize]))
}

/// The codes of the user errors.
pub(crate) fn codes(payload: &Value) -> Vec<&str> {
    payload["userErrors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["code"].as_str().unwrap())
        .collect()
}
