//! Who was forgotten is found by nothing that stays: neither by what records that were one were
//! found by, nor by codes of a phone that was hers, nor by what was counted of her document.

use identity::vault::Vault;
use kit::types::MemberId;

use crate::consents::member;
use crate::erasures::{closing, nothing_keeps};
use crate::phone_recoveries::Lost;
use crate::rosters::settle;
use crate::world::{World, codes, number, number_of_phone, phone};

const FORMER: &str = "13600001111";
const DAY_SECONDS: i64 = 86_400;

async fn plant(world: &World, sql: &str) {
    world.test.ctx.db.execute(sql, []).await.unwrap();
}

/// Nothing keeps her, and she is forgotten.
async fn forgotten(world: &World, member: MemberId) {
    nothing_keeps(world, member, 2).await;
    settle(world).await;
    let gone =
        format!("SELECT count(*) AS count FROM member WHERE id = '{member}' AND state = 'erased'");
    assert_eq!(world.count(&gone).await, 1);
    assert_eq!(world.broken("identity.erased_is_gone").await, 0);
}

/// That two records were one stays on record; what was verified of one of them is found by nothing
/// there, whichever of the two she had and whether or not they are two again.
#[tokio::test]
async fn no_hash_of_a_merge_outlives_her() {
    let (world, member) = member().await;
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let (other, second) = (world.person(&union, 2).await, world.person(&union, 3).await);
    closing(&world, &world.as_member(member)).await;
    let operator = world.operator;
    for (survivor, merged) in [(member, other), (other, member), (other, second)] {
        let undone = format!(
            "INSERT INTO member_merge (id, survivor, merged, state, asked_by, asked_at,
               expires_at, done_by, done_at, undone_by, undone_at, networks)
             VALUES (gen_random_uuid(), '{survivor}', '{merged}', 'undone', '{operator}',
               '2026-01-01', '2026-01-02', '{by}', '2026-01-01', '{operator}', '2026-01-03',
               ARRAY[decode(repeat('07', 32), 'hex')])",
            by = if second == merged { member } else { second },
        );
        plant(&world, &undone).await;
    }
    forgotten(&world, member).await;
    let kept = "SELECT count(*) AS count FROM member_merge";
    assert_eq!(world.count(kept).await, 3);
    let found = format!("{kept} WHERE networks <> '{{}}'");
    assert_eq!(world.count(&found).await, 1, "of those who are there");
}

fn code_of(vault: &Vault, number: &str) -> String {
    let blind = hex::encode(vault.blind_phone(&phone(number)).unwrap());
    format!(
        "INSERT INTO login_code (phone, id, created_at, wrong, asked_at)
         VALUES ('\\x{blind}', gen_random_uuid(), '2099-01-01', 0, '{{}}')"
    )
}

/// The codes of a phone that she had lately go with her, unless somebody else signs in by it now.
#[tokio::test]
async fn codes_of_a_former_phone_go_with_her() {
    let (world, member) = member().await;
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let _other = world.person(&union, 2).await;
    closing(&world, &world.as_member(member)).await;
    let vault = &world.identity.vault;
    let theirs = number_of_phone(2);
    for number in [FORMER, theirs.as_str()] {
        let blind = hex::encode(vault.blind_phone(&phone(number)).unwrap());
        let had = format!(
            "INSERT INTO former_phone (id, member, subject, blind, until)
             VALUES (gen_random_uuid(), '{member}', 'sealed', '\\x{blind}', '2099-01-01')"
        );
        plant(&world, &had).await;
        plant(&world, &code_of(vault, number)).await;
    }
    forgotten(&world, member).await;
    let blind = hex::encode(vault.blind_phone(&phone(&theirs)).unwrap());
    let left = "SELECT encode(phone, 'hex') AS name FROM login_code";
    assert_eq!(world.names(left).await, [blind]);
}

/// What counts the claims of a document from an address finds neither, and is another one the next
/// day: it stays after whoever is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_of_a_document_finds_nobody() {
    let lost = Lost::start("counts").await;
    for at in 0..2 {
        let claimed = lost
            .recover(&format!("1370000{:04}", 7_000 + at), 1, &number(1))
            .await;
        assert_eq!(codes(&claimed), [""; 0], "{claimed}");
        lost.advance(DAY_SECONDS);
    }
    let counted = "SELECT count(DISTINCT subject) AS count FROM attempt
        WHERE scope = 'recovery_document_day' AND octet_length(subject) = 32";
    assert_eq!(lost.world.count(counted).await, 2);
    let found = "SELECT count(*) AS count FROM attempt a JOIN document d
        ON position(d.blind IN a.subject) > 0";
    assert_eq!(lost.world.count(found).await, 0);
}
