//! Parts that meet in one person: her phone beside merges, wishes and logins underway; each table
//! that she is in, when she is forgotten and in her copy; and each column by what seals it.

use identity::commands::phone_changes::change_phone;
use identity::domain::merge::UNDO_DAYS;
use identity::domain::subject::{Kind, Subject};
use identity::store::keks::Place;
use identity::store::login_methods::{self, NewMethodRow};
use identity::store::logins::{self, LoginRow};
use identity::store::people::{self, Blind};
use identity::vault::guarded::GUARDED_TABLES;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::testing::overtaken;
use kit::types::{LoginId, MemberId};
use kit::{Ctx, Result, Tx};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::erasures::erase;
use crate::exports::{answer_all, export};
use crate::merges::{Cast, cast};
use crate::races::login_row;
use crate::world::{World, codes, number_of_phone};

const NEW: &str = "13700001111";

/// A person who has asked for another phone, with the codes of both, and who signs in by WeChat.
struct Changing {
    world: World,
    member: MemberId,
    caller: Caller,
    login: LoginId,
    codes: [String; 2],
    subject: Blind,
}

async fn ask(world: &World, who: &Caller, key: u128) -> Value {
    let input = json!({ "phone": NEW, "idempotencyKey": Uuid::from_u128(key) });
    world
        .mutate(who, "requestPhoneChange", "expiresAt", input)
        .await
}

async fn change(world: &World, who: &Caller, codes: &[String; 2]) -> Value {
    let input = json!({ "oldCode": codes[0], "newCode": codes[1] });
    world.mutate(who, "changePhone", "memberId", input).await
}

impl Changing {
    async fn new() -> Self {
        let world = World::new().await;
        let union = world.organisation("GRASSROOTS", "基层工会").await;
        let member = world.person(&union, 1).await;
        let session = world.sign_in(&number_of_phone(1)).await;
        world.advance(61);
        let caller = Caller::member(member, session.login, Language::En);
        let asked = ask(&world, &caller, 1).await;
        assert_eq!(codes(&asked), [""; 0], "{asked}");
        let codes = [world.code(&number_of_phone(1)).await, world.code(NEW).await];
        let subject = Subject::new(Kind::Wechat, "wx50", "one").unwrap();
        let subject = world.identity.vault.blind_subject(&subject).unwrap();
        let linked = world.identity.ctx.db.tx("link", async |tx| {
            let row = NewMethodRow {
                id: tx.uuid(),
                member: member.0,
                kind: Kind::Wechat,
                subject: vec![0],
                blind: subject,
            };
            login_methods::insert(tx, row).await
        });
        linked.await.unwrap();
        Self {
            world,
            member,
            caller,
            login: session.login,
            codes,
            subject,
        }
    }

    async fn change_by(&self, ctx: &Ctx) -> Result<MemberId> {
        let mut identity = self.world.identity.clone();
        identity.ctx = ctx.clone();
        let [old, new] = &self.codes;
        change_phone(&identity, &self.caller, (old.as_str(), new.as_str())).await
    }

    /// What another one does meanwhile with her WeChat.
    async fn login_by_word(&self, ctx: &Ctx) -> Result<()> {
        ctx.db
            .tx("outside_login", async |tx| {
                assert!(
                    login_methods::by_subject(tx, &self.subject)
                        .await?
                        .is_some()
                );
                logins::insert_login(tx, &self.row(tx)).await
            })
            .await
    }

    fn row(&self, tx: &Tx) -> LoginRow {
        LoginRow {
            member: self.member.0,
            expires_at: tx.now() + chrono::TimeDelta::days(1),
            ..login_row(tx, 8, &self.world)
        }
    }

    /// Logins that count, but for the device that asked.
    async fn others(&self) -> i64 {
        let sql = format!(
            "SELECT count(*) AS count FROM login WHERE withdrawn_at IS NULL AND id <> '{}'",
            self.login
        );
        self.world.count(&sql).await
    }
}

/// A login that is underway when she changes her phone is waited for and ended, as where an
/// operator changes it; she reads that her phone was changed, in both languages.
#[tokio::test]
async fn a_login_underway_ends_with_the_phone() {
    let it = Changing::new().await;
    let other = it.world.test.process().await;
    let ctx = &it.world.identity.ctx;
    let (login, changed) =
        overtaken(&it.world.test, it.login_by_word(ctx), it.change_by(&other)).await;
    login.unwrap();
    assert_eq!(changed.unwrap(), it.member);
    assert_eq!(it.others().await, 0);
    let about = "{ me { notices(first: 9) { nodes { kind text } } } }";
    for (language, said) in [(Language::Zh, "更换"), (Language::En, "another phone")] {
        let caller = Caller {
            language,
            ..it.caller.clone()
        };
        let seen = it.world.run(&caller, about, json!({})).await;
        let told = seen["notices"]["nodes"].as_array().unwrap();
        let mut told = told.iter().filter(|one| one["kind"] == "PHONE_CHANGED");
        let one = told.next().unwrap();
        assert!(one["text"].as_str().unwrap().contains(said), "{one}");
        assert_eq!(told.next(), None);
    }
}

/// Without its lock, the login would outlive the phone.
#[tokio::test]
async fn without_its_lock_a_login_would_outlive_the_change() {
    let it = Changing::new().await;
    let other = it.world.test.process().await;
    let underway = it.world.identity.ctx.db.tx("outside_login", async |tx| {
        // It looks as `by_subject` does, and locks nothing.
        let seen = people::with_phone(tx, &[it.member.0]).await?;
        assert_eq!(seen, [it.member.0]);
        it.change_by(&other).await?;
        logins::insert_login(tx, &it.row(tx)).await
    });
    underway.await.unwrap();
    assert_eq!(it.others().await, 1);
}

/// Who wishes to be forgotten keeps her phone until she takes that back, whether she wished so
/// before she asked for another one or after.
#[tokio::test]
async fn a_wish_keeps_the_phone() {
    let it = Changing::new().await;
    let shown = it
        .caller
        .clone()
        .stepped_up(chrono::DateTime::<chrono::Utc>::MAX_UTC);
    let wish = erase(&it.world, &shown, None, 2).await;
    assert_eq!(codes(&wish), [""; 0], "{wish}");
    let refused = change(&it.world, &it.caller, &it.codes).await;
    assert_eq!(codes(&refused), ["ERASURE_WAITS"]);
    assert_eq!(
        codes(&ask(&it.world, &it.caller, 3).await),
        ["ERASURE_WAITS"]
    );
    let recall = "mutation { recallErasure { userErrors { code } } }";
    let _ = it.world.run(&it.caller, recall, json!({})).await;
    let changed = change(&it.world, &it.caller, &it.codes).await;
    assert_eq!(codes(&changed), [""; 0], "{changed}");
}

/// While two operators are about to merge her record, by either name, her phone stays; the merge
/// over, she may.
#[tokio::test]
async fn a_merge_that_waits_keeps_the_phone() {
    let cast = cast().await;
    let world = &cast.world;
    let session = world.sign_in(&number_of_phone(72)).await;
    let who = Caller::member(cast.merged, session.login, Language::En);
    world.advance(61);
    let asked = cast.ask(&world.as_operator()).await;
    assert_eq!(asked["merge"]["state"], "ASKED", "{asked}");
    assert_eq!(codes(&ask(world, &who, 1).await), ["MERGE_WAITS"]);
    world.advance(identity::domain::merge::ASK_SECONDS);
    let asked = ask(world, &who, 2).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    // A merge that is done takes the phone along, and what was to follow it is over.
    cast.merge().await;
    let kept = "SELECT count(*) AS count FROM phone_change";
    assert_eq!(world.count(kept).await, 0);
    cast.assert_invariants().await;
}

/// Rows of each table that a person is in, by herself or as who asked, with what sees them.
fn rows(of: MemberId, by: MemberId, union: Uuid) -> Vec<String> {
    let later = "'2026-04-01', '2099-01-01'";
    vec![
        format!("INSERT INTO search_term (term, member) VALUES (7, '{of}')"),
        format!(
            "INSERT INTO verification (id, member, kind, state, source, asked_at, expires_at,
               answered_at) VALUES (gen_random_uuid(), '{of}', 3, 'matched', 'national', {later},
               '2026-04-01')"
        ),
        format!(
            "INSERT INTO network_identity (blind, member, since)
             VALUES (decode(repeat('07', 32), 'hex'), '{of}', '2026-04-01')"
        ),
        format!(
            "INSERT INTO phone_change (member, id, phone, blind, new_code, old_code, expires_at)
             VALUES ('{of}', gen_random_uuid(), 'sealed', decode(repeat('07', 32), 'hex'),
               gen_random_uuid(), gen_random_uuid(), '2099-01-01')"
        ),
        format!(
            "INSERT INTO former_phone (id, member, subject, blind, until) VALUES
             (gen_random_uuid(), '{of}', 'sealed', decode(repeat('07', 32), 'hex'), '2099-01-01')"
        ),
        format!(
            "INSERT INTO phone_recovery (id, member, state, phone, blind, asked_at, expires_at)
             VALUES (gen_random_uuid(), '{of}', 'claimed', 'sealed',
               decode(repeat('08', 32), 'hex'), {later})"
        ),
        format!(
            "INSERT INTO membership_application (id, member, organisation, asked_by, asked_at,
               state)
             VALUES (gen_random_uuid(), '{of}', '{union}', '{of}', '2026-04-01', 'waiting')"
        ),
        format!("INSERT INTO notice_preference VALUES ('{of}', 'refunded', false)"),
        format!(
            "INSERT INTO role_proposal (id, member, organisation, role, created_at, expires_at,
               ends_at, proposed_by, state) VALUES (gen_random_uuid(), '{of}', '{union}',
               'approver', {later}, '2099-01-01', '{by}', 'open')"
        ),
        format!(
            "INSERT INTO role_proposal (id, member, organisation, role, created_at, expires_at,
               ends_at, proposed_by, state) VALUES (gen_random_uuid(), '{by}', '{union}',
               'deputy', {later}, '2099-01-01', '{of}', 'open')"
        ),
        format!(
            "INSERT INTO second_factor_reset (id, member, state, asked_by, asked_at, expires_at)
             VALUES (gen_random_uuid(), '{of}', 'asked', '{by}', {later})"
        ),
        format!(
            "INSERT INTO second_factor_reset (id, member, state, asked_by, asked_at, expires_at)
             VALUES (gen_random_uuid(), '{by}', 'asked', '{of}', {later})"
        ),
        format!(
            "INSERT INTO rendering (id, version, service, template, about, asker, organisation,
               title, state, content, asked_at, expires_at)
             VALUES (gen_random_uuid(), 1, 'passes', 'signed_receipts', gen_random_uuid(), '{of}',
               '{union}', '签收表', 'ready', '{{\"columns\": [], \"rows\": []}}', {later})"
        ),
        format!(
            "INSERT INTO rendering_address (hash, rendering, login, expires_at)
             SELECT decode(repeat('07', 32), 'hex'), id, gen_random_uuid(), '2099-01-01'
             FROM rendering WHERE asker = '{of}' AND state = 'ready'"
        ),
        format!(
            "WITH made AS (INSERT INTO roster (id, organisation, officer, login, purpose, complete,
               state, created_at, expires_at) VALUES (gen_random_uuid(), '{union}', '{by}',
               gen_random_uuid(), 'list', false, 'ready', {later}) RETURNING id)
             INSERT INTO roster_row (roster, place, change, member)
             SELECT id, 1, 'unchanged', '{of}' FROM made"
        ),
    ]
}

/// More of them: a phone that operators set, a merge with another record, and a message.
fn more_rows(of: MemberId, by: MemberId, other: MemberId) -> Vec<String> {
    let later = "'2026-04-01', '2099-01-01'";
    let set = |member: MemberId, asked_by: MemberId| {
        format!(
            "INSERT INTO phone_setting (id, member, state, blind, asked_by, asked_at, expires_at)
             VALUES (gen_random_uuid(), '{member}', 'asked', decode(repeat('07', 32), 'hex'),
               '{asked_by}', {later})"
        )
    };
    vec![
        set(of, by),
        set(by, of),
        format!(
            "INSERT INTO member_merge (id, survivor, merged, state, asked_by, asked_at,
               expires_at, networks) VALUES (gen_random_uuid(), '{of}', '{other}', 'expired',
               '{by}', {later}, ARRAY[decode(repeat('09', 32), 'hex')])"
        ),
        format!(
            "INSERT INTO sms_message (id, service, template, about, member, purpose, content,
               asked_at, valid_until, state, handed_over_at)
             VALUES (gen_random_uuid(), 'passes', 'pass_to_activate', gen_random_uuid(), '{of}',
               'contract', '[]', {later}, 'handed_over', '2026-04-01')"
        ),
    ]
}

/// Somebody of whom each table that a person is in has a row, and what would write them.
pub(crate) async fn planted(world: &World, of: MemberId) -> Vec<String> {
    let union = union_of(world, of).await;
    let id = GlobalId::of_uuid("Organisation", union).to_string();
    let other = world.person(&id, 2).await;
    let mut all = rows(of, world.operator, union);
    all.extend(more_rows(of, world.operator, other));
    for sql in &all {
        world.test.ctx.db.execute(sql, []).await.unwrap();
    }
    all
}

async fn union_of(world: &World, member: MemberId) -> Uuid {
    let sql =
        format!("SELECT organisation::text AS name FROM membership WHERE member = '{member}'");
    world.names(&sql).await[0].parse().unwrap()
}

const GONE: &str = "identity.erased_is_gone";

/// Nothing of her is left in any table, whatever was under way when she was forgotten; the
/// invariant that says so sees a row of each.
#[tokio::test]
async fn nothing_is_left_in_any_table() {
    let (world, member) = crate::consents::member().await;
    crate::erasures::closing(&world, &world.as_member(member)).await;
    let rows = planted(&world, member).await;
    crate::erasures::nothing_keeps(&world, member, 2).await;
    crate::rosters::settle(&world).await;
    assert_eq!(world.broken("identity.person_has_vault").await, 0);
    assert_eq!(world.broken(GONE).await, 0);
    let erased = "SELECT count(*) AS count FROM member WHERE state = 'erased'";
    assert_eq!(world.count(erased).await, 1);
    // The service that has asked for the file hears that it is over.
    assert_eq!(world.events_of("RenderingChanged").await.len(), 1);
    // Her terms cannot come back without her.
    for (seen, sql) in rows.iter().skip(1).enumerate() {
        world.test.ctx.db.execute(sql, []).await.unwrap();
        assert_eq!(world.broken(GONE).await, seen + 1, "unseen: {sql}");
    }
}

/// A copy of who was two records names the merge, and what stayed with the other one.
#[tokio::test]
async fn a_copy_names_the_merge() {
    let cast: Cast = cast().await;
    cast.merge().await;
    let world = &cast.world;
    world.advance(UNDO_DAYS * 86_400);
    let who = world.as_member(cast.survivor);
    let made = export(world, &who, 1).await;
    assert_eq!(codes(&made), [""; 0], "{made}");
    answer_all(world, cast.survivor, &made["export"]["id"]).await;
    let ids = [cast.survivor.0, cast.merged.0];
    let found = world.identity.ctx.db.tx("own_rows", async |tx| {
        identity::store::exports::own_rows(tx, &ids, 99).await
    });
    let found = found.await.unwrap();
    let merges: Vec<&Value> = found
        .iter()
        .filter(|it| it.section == "merge")
        .map(|it| &it.value)
        .collect();
    assert_eq!(merges.len(), 1);
    assert_eq!(merges[0]["state"], "done");
    cast.assert_invariants().await;
}

/// What a data key seals, which goes with its person or its roster, and which no rotation walks.
pub(crate) const BY_DATA_KEY: [(&str, &str); 17] = [
    ("document", "number"),
    ("export_part", "sealed"),
    ("former_phone", "subject"),
    ("login", "device"),
    ("login", "network"),
    ("login_method", "subject"),
    ("person", "name"),
    ("phone_change", "phone"),
    ("phone_recovery", "claim"),
    ("phone_recovery", "phone"),
    ("roster", "file"),
    ("roster", "told"),
    ("roster_row", "sealed"),
    ("second_factor", "secret"),
    ("verification", "claim"),
    // The check value of each KEK goes with it.
    ("vault_kek", "sealed"),
    ("vault_check", "sealed"),
];
/// Hashes whose names alone do not say so.
const HASHES: [(&str, &str); 5] = [
    ("attempt", "subject"),
    ("login_code", "phone"),
    ("oidc_request", "state"),
    ("phone_code", "phone"),
    ("vault_kek", "id"),
];
/// Names of columns that hold hashes, keys that are public, and messages.
const UNSEALED: [&str; 15] = [
    "basis",
    "blind",
    "bytes",
    "challenge",
    "checksum",
    "hash",
    "kek",
    "key",
    "networks",
    "outcome",
    "payload",
    "public",
    "request_hash",
    "signature",
    "text_digest",
];

/// Names of columns that hold what somebody is found by.
const FINDING: [&str; 2] = ["blind", "networks"];

/// Every column of bytes is known by what seals it: what a KEK seals is walked by a rotation and
/// refers to its KEK. Whoever adds a column says which it is. A table that has sealed anything of a
/// person, or finds her, is guarded.
#[tokio::test]
async fn every_column_is_sealed_by_a_known_key() {
    let world = World::new().await;
    let columns = "SELECT c.table_name || ' ' || c.column_name AS name
        FROM information_schema.columns c JOIN information_schema.tables t
          ON t.table_schema = c.table_schema AND t.table_name = c.table_name
        WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
          AND c.udt_name IN ('bytea', '_bytea') ORDER BY name";
    let place = |(table, column): &(&str, &str)| format!("{table} {column}");
    let by_kek = Place::ALL.iter().map(|it| it.cell(Uuid::nil()));
    let by_kek: Vec<String> = by_kek
        .map(|cell| place(&(cell.table, cell.column)))
        .collect();
    let others: Vec<String> = BY_DATA_KEY.iter().chain(&HASHES).map(place).collect();
    let all = world.names(columns).await;
    for place in by_kek.iter().chain(&others) {
        assert!(all.contains(place), "{place} is not there");
    }
    let unknown = all.iter().filter(|it| {
        let column = it.split_once(' ').unwrap().1;
        !by_kek.contains(it) && !others.contains(it) && !UNSEALED.contains(&column)
    });
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&String>::new());
    let open = all.iter().filter(|it| {
        let (table, column) = it.split_once(' ').unwrap();
        let is_hers = by_kek.contains(it) || others.contains(it) || FINDING.contains(&column);
        is_hers && !GUARDED_TABLES.contains(&table)
    });
    assert_eq!(open.collect::<Vec<_>>(), Vec::<&String>::new());
    let tables = "SELECT DISTINCT c.conrelid::regclass::text AS name FROM pg_constraint c
        WHERE c.confrelid = 'vault_kek'::regclass AND c.contype = 'f' ORDER BY name";
    let mut walked: Vec<&str> = by_kek
        .iter()
        .map(|it| it.split_once(' ').unwrap().0)
        .collect();
    walked.sort_unstable();
    assert_eq!(world.names(tables).await, walked);
}
