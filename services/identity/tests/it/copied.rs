//! A person's copy is whole: each column that names her, and each that is sealed of her, is in a
//! section of it, or is not for a reason that stands here.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use identity::store::people;
use identity::vault::Cell;
use kit::Tx;
use kit::types::MemberId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::consents::give;
use crate::exports::{answer_all, download, export, fetch};
use crate::together::{BY_DATA_KEY, planted};
use crate::together_merged::link_wechat;
use crate::world::{World, codes, number_of_phone};

const FORMER: &str = "13600001111";
const NEW: &str = "13600002222";

/// Columns that name a person or are sealed of her, with the section that tells of them.
const COPIED: [(&str, &str); 37] = [
    ("consent.member", "consent"),
    ("document.member", "document"),
    ("document.number", "document"),
    ("erasure.member", "erasure"),
    ("export.member", "data_copy"),
    ("former_phone.member", "former_phone"),
    ("former_phone.subject", "former_phone"),
    ("login.device", "login"),
    ("login.member", "login"),
    ("login.network", "login"),
    ("login_method.member", "sign_in_method"),
    ("login_method.subject", "sign_in_method"),
    ("member_merge.merged", "merge"),
    ("member_merge.survivor", "merge"),
    ("membership.member", "membership"),
    ("membership_application.member", "application"),
    ("network_identity.member", "network_identity"),
    ("notice.member", "notice"),
    ("notice_preference.member", "notice_preference"),
    ("person.member", "person"),
    ("person.name", "person"),
    ("phone_change.member", "phone_change"),
    ("phone_change.phone", "phone_change"),
    ("phone_recovery.member", "phone_recovery"),
    ("phone_setting.member", "phone_setting"),
    ("recovery_code.member", "second_factor"),
    ("rendering.asker", "rendered_file"),
    ("role.member", "role"),
    ("role_proposal.member", "role_proposal"),
    ("role_proposal.proposed_by", "role_proposal"),
    ("roster_row.member", "roster"),
    ("second_factor.member", "second_factor"),
    ("second_factor_reset.member", "second_factor_reset"),
    ("sms_message.member", "message"),
    ("verification.member", "verification"),
    // They name a person by another row.
    ("login_method.kind", "phone"),
    ("membership_review.membership", "membership_review"),
];
/// How many of them are found by no reference to a person.
const BY_ANOTHER_ROW: usize = 2;

const OFFICE: &str = "what she did in an office is about somebody else; the trail has it";
const OF_AN_OFFICE: &str = "an office's file, of whoever is in it, until it is committed";
const CLAIMED: &str = "what is claimed of her may be another's word";
const NOBODY: &str = "it is of no person";

/// The other ones, and why she is not given them.
const NOT_COPIED: [(&str, &str); 35] = [
    ("audit.member", "the trail is evidence, and names others"),
    ("entitlement.member", "passes tells of her passes"),
    ("erasure_answer.member", "she reads it with her wish"),
    ("erasure_applied.member", "nobody is left to be told"),
    ("export_address.member", "the way to the copy itself"),
    ("export_part.sealed", "the copy itself"),
    ("member.merged_into", "the section of merges says it"),
    ("member_merge.asked_by", OFFICE),
    ("member_merge.done_by", OFFICE),
    ("member_merge.undone_by", OFFICE),
    ("membership_application.asked_by", OFFICE),
    ("membership_application.decided_by", OFFICE),
    ("membership_review.closed_by", OFFICE),
    ("membership_review.corrected_by", OFFICE),
    ("once.caller", "a number that her own program chose"),
    ("phone_recovery.approved_by", OFFICE),
    ("phone_recovery.claim", CLAIMED),
    ("phone_recovery.confirmed_by", OFFICE),
    ("phone_recovery.ended_by", OFFICE),
    ("phone_recovery.phone", CLAIMED),
    ("phone_setting.asked_by", OFFICE),
    ("phone_setting.confirmed_by", OFFICE),
    ("role_proposal.decided_by", OFFICE),
    ("roster.file", OF_AN_OFFICE),
    ("roster.officer", OFFICE),
    ("roster.told", OF_AN_OFFICE),
    ("roster_address.officer", OFFICE),
    ("roster_row.sealed", OF_AN_OFFICE),
    ("search_term.member", "it is made of her name"),
    ("second_factor.secret", "who reads it can show her factor"),
    ("second_factor_reset.asked_by", OFFICE),
    ("second_factor_reset.confirmed_by", OFFICE),
    ("vault_check.sealed", NOBODY),
    ("vault_kek.sealed", NOBODY),
    ("verification.claim", "it is gone when it is answered"),
];

/// Whoever adds a column that names a person says where her copy tells of it, or why it does not.
#[tokio::test]
async fn every_column_is_copied_or_has_a_reason() {
    let world = World::new().await;
    let naming = "SELECT c.conrelid::regclass::text || '.' || a.attname::text AS name
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
        WHERE c.contype = 'f' AND c.confrelid IN
          ('member'::regclass, 'person'::regclass, 'erasure'::regclass)
        UNION SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
        JOIN information_schema.tables t USING (table_schema, table_name)
        WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.udt_name = 'uuid'
          AND c.column_name IN ('member', 'officer', 'asker', 'caller')";
    let mut found: BTreeSet<String> = world.names(naming).await.into_iter().collect();
    assert!(found.len() > 40, "the search finds what is there");
    found.extend(BY_DATA_KEY.map(|(table, column)| format!("{table}.{column}")));
    let listed = COPIED.len() - BY_ANOTHER_ROW;
    let copied: &[(&str, &str)] = &COPIED;
    let known = copied[..listed].iter().chain(&NOT_COPIED);
    let known: BTreeSet<String> = known.map(|(column, _)| (*column).to_owned()).collect();
    assert_eq!(known.len(), listed + NOT_COPIED.len(), "each stands once");
    assert_eq!(found, known);
    assert!(NOT_COPIED.iter().all(|(_, reason)| reason.len() > 10));
}

/// What [`planted`] leaves out, or cannot seal.
async fn plant_the_rest(world: &World, member: MemberId) {
    let (operator, later) = (world.operator, "'2026-04-01', '2099-01-01'");
    for sql in [
        format!(
            "INSERT INTO role (id, version, member, organisation, role, granted_at)
             SELECT gen_random_uuid(), 1, member, organisation, 'officer', '2026-04-01'
             FROM membership WHERE member = '{member}'"
        ),
        format!(
            "INSERT INTO membership_review (id, membership, version, reason, since_before,
               since_after, corrected_by, created_at)
             SELECT gen_random_uuid(), id, 2, 'decision', '2020-01-01', '2021-01-01',
               '{operator}', '2026-04-01' FROM membership WHERE member = '{member}'"
        ),
        format!(
            "INSERT INTO second_factor (id, member, secret, created_at)
             VALUES (gen_random_uuid(), '{member}', 'sealed', '2026-04-01')"
        ),
        format!(
            "INSERT INTO erasure (member, version, state, login, asked_at, grace_until, deadline,
               ended_at) VALUES ('{member}', 1, 'recalled', gen_random_uuid(), {later},
               '2099-01-01', '2026-04-02')"
        ),
        format!(
            "INSERT INTO notice (id, member, kind, params, created_at, sms)
             VALUES (gen_random_uuid(), '{member}', 'on_roster', '{{}}', '2026-04-01', 'none')"
        ),
        format!(
            "WITH made AS (INSERT INTO roster (id, organisation, officer, login, purpose, complete,
               state, created_at, expires_at, committed_at)
               SELECT gen_random_uuid(), organisation, '{operator}', gen_random_uuid(), 'list',
                 false, 'committed', {later}, '2026-04-02'
               FROM membership WHERE member = '{member}' RETURNING id)
             INSERT INTO roster_row (roster, place, change, member)
             SELECT id, 1, 'unchanged', '{member}' FROM made"
        ),
    ] {
        world.test.ctx.db.execute(&sql, []).await.unwrap();
    }
    seal(world, member, ("former_phone", "subject"), FORMER).await;
    seal(world, member, ("phone_change", "phone"), NEW).await;
}

/// Seals a phone as the one row of this table has it.
async fn seal(world: &World, member: MemberId, (table, column): (&str, &str), phone: &str) {
    let sql = format!("SELECT id::text AS name FROM {table}");
    let id: Uuid = world.names(&sql).await[0].parse().unwrap();
    let cell = match table {
        // As it was while she signed in by it.
        "former_phone" => Cell::new("login_method", "subject", id),
        _ => Cell::new("phone_change", "phone", id),
    };
    let vault = &world.identity.vault;
    let sealed = async |tx: &Tx| {
        let person = people::active(tx, member).await?.unwrap();
        let key = vault.data_key(person.member, &person.data_key)?;
        let sealed = key.seal(tx.ids(), cell, phone.as_bytes())?;
        let sql = format!("UPDATE {table} SET {column} = $1");
        tx.execute(&sql, [sealed.into()]).await
    };
    assert_eq!(world.identity.ctx.db.tx("seal", sealed).await.unwrap(), 1);
}

/// The file of somebody of whom each table has a row.
async fn file_of(world: &World, member: MemberId) -> Value {
    let who = world.as_member(member);
    let made = export(world, &who, 2).await;
    assert_eq!(codes(&made), [""; 0], "{made}");
    let id = &made["export"]["id"];
    answer_all(world, member, id).await;
    let given = download(world, &who, (id, "JSON"), None).await;
    assert_eq!(codes(&given), [""; 0], "{given}");
    let (status, file) = fetch(world, Method::GET, &given["download"]["path"]).await;
    assert_eq!(status, StatusCode::OK);
    serde_json::from_slice(&file).unwrap()
}

/// Her copy has every section, tells what she signs in by and is reached at in clear, and names
/// nobody else.
#[tokio::test]
async fn a_copy_names_every_section() {
    let (world, member) = crate::consents::member().await;
    let _login = world.sign_in(&number_of_phone(1)).await;
    let given = give(&world, &world.as_member(member), "VISITS_TO_VENUES", 1).await;
    assert_eq!(codes(&given), [""; 0], "{given}");
    world.advance(1);
    let wechat = link_wechat(&world, member, "one").await;
    let _rows = planted(&world, member).await;
    plant_the_rest(&world, member).await;
    let file = file_of(&world, member).await;
    let own = file["services"]["identity"].as_object().unwrap();
    let found: BTreeSet<&str> = own.keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = COPIED.iter().map(|(_, section)| *section).collect();
    assert_eq!(found, wanted);
    let of = |section: &str, at: usize, field: &str| own[section][at][field].clone();
    assert_eq!(of("sign_in_method", 0, "number"), number_of_phone(1));
    let (party, name) = wechat.split_once('\n').unwrap();
    assert_eq!(of("sign_in_method", 1, "kind"), "wechat");
    assert_eq!(of("sign_in_method", 1, "party"), party);
    assert_eq!(of("sign_in_method", 1, "name"), name);
    assert_eq!(of("former_phone", 0, "number"), FORMER);
    assert_eq!(of("phone_change", 0, "number"), NEW);
    assert_eq!(of("membership_review", 0, "reason"), "decision");
    assert_eq!(of("second_factor", 0, "recovery_codes_left"), json!(0));
    let operator = world.operator.to_string();
    assert!(!file["services"]["identity"].to_string().contains(&operator));
}
