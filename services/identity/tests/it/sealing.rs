//! What is privileged waits while audit rows are not sealed, where nothing else does.

use async_graphql::{Request, Variables};
use kit::access::Caller;
use kit::audit::LAG_SECONDS_MAX;
use kit::bus::Defect;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audited::desk;
use crate::credentials::{Holder, holder};
use crate::rosters::{compared, csv, line, officer_of};
use crate::world::{World, number, number_of_phone};

/// The code of the one top-level error of a mutation that nobody seals rows beside; `None` when it
/// is answered.
async fn refused(world: &World, by: &Caller, mutation: &str, input: &Value) -> Option<String> {
    let mut kind = mutation.to_owned();
    kind[..1].make_ascii_uppercase();
    let query = format!(
        "mutation($input: {kind}Input!) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
    );
    let request = Request::new(query)
        .variables(Variables::from_json(json!({ "input": input })))
        .data(by.clone())
        .data(by.language);
    let answer = world.schema.execute(request).await;
    let error = answer.errors.into_iter().next()?;
    let code = error.extensions?.get("code").cloned()?;
    Some(code.into_json().unwrap().as_str().unwrap().to_owned())
}

/// Where the service asks for the seal: as many as are played below.
const PLACES: usize = 13;

/// What somebody may send.
type Act = (Caller, &'static str, Value);

fn global(member: MemberId) -> String {
    GlobalId::of_uuid("Member", member.0).to_string()
}

/// What operators do with rights, phones and records.
fn of_operators(it: &Holder) -> Vec<Act> {
    let (member, other) = (global(it.member), global(it.other));
    let document = ("RESIDENT_ID", number(1));
    let seen = json!({
        "memberId": member, "phone": "13700000009",
        "documentType": document.0, "documentNumber": document.1,
    });
    let proposal = GlobalId::of_uuid("RoleProposal", Uuid::from_u128(1));
    let acts = [
        (
            "grantRole",
            json!({ "memberId": member, "organisationId": it.partner, "role": "VENUE_STAFF" }),
        ),
        ("confirmRole", json!({ "proposalId": proposal })),
        (
            "setPhone",
            json!({ "memberId": member, "phone": "13700000009" }),
        ),
        ("resetSecondFactor", json!({ "memberId": member })),
        ("confirmPhoneRecovery", seen.clone()),
        ("approvePhoneRecovery", seen),
        (
            "mergeMembers",
            json!({
                "survivorId": member, "mergedId": other,
                "documentType": document.0, "documentNumber": document.1,
            }),
        ),
        ("splitMembers", json!({ "mergedId": other })),
        (
            "showMember",
            json!({ "memberId": member, "purpose": "VERIFY" }),
        ),
    ];
    let operator = it.world.as_operator();
    let each = acts.into_iter();
    each.map(|(mutation, input)| (operator.clone(), mutation, input))
        .collect()
}

/// What gives out files with names, and codes: all of it is there.
async fn of_files(it: &Holder) -> Vec<Act> {
    let world = &it.world;
    let (union, officer) = officer_of(world, "又一个基层工会", 100).await;
    let bad = line(101).replace("138", "128");
    let file = csv(&[line(100), bad]);
    let roster = compared(world, &officer, (&union, "LIST"), file).await;
    let rendered = crate::renderings::waiting(world, &union, &officer).await;
    let herself = world.as_member(it.member);
    let key = json!({ "idempotencyKey": Uuid::from_u128(104) });
    let made = world.mutate(&herself, "exportMyData", "export { id }", key);
    let copy = made.await["export"]["id"].clone();
    crate::exports::answer_all(world, it.member, &copy).await;
    vec![
        (
            officer.clone(),
            "downloadBadRows",
            json!({ "rosterImportId": roster }),
        ),
        (
            officer,
            "downloadRenderedFile",
            json!({ "fileId": rendered }),
        ),
        (
            herself,
            "downloadMyData",
            json!({ "exportId": copy, "format": "JSON" }),
        ),
        (
            world.as_member(it.staff),
            "mintDeskCredentials",
            desk(&it.partner),
        ),
    ]
}

/// While rows wait too long for their seal, nothing is granted, given out or shown that is hidden;
/// to take away, and what is no privilege, goes on. With the guard off each goes on to its own
/// rules.
#[tokio::test]
async fn privileges_wait_for_the_sealer() {
    let it = holder().await;
    let world = &it.world;
    let operator = world.as_operator();
    let held = world.grant(it.other, &it.partner, "VENUE_STAFF").await;
    let mut acts = of_operators(&it);
    acts.extend(of_files(&it).await);
    assert_eq!(acts.len(), PLACES);
    world.seal().await;
    // The row after which nothing is sealed.
    let code = json!({ "phone": number_of_phone(1) });
    let nobody = Caller::anonymous(Language::En);
    assert_eq!(
        refused(world, &nobody, "requestLoginCode", &code).await,
        None
    );
    world.advance(LAG_SECONDS_MAX + 1);
    for (by, mutation, input) in &acts {
        let code = refused(world, by, mutation, input).await;
        assert_eq!(code.as_deref(), Some("AUDIT_LAGS"), "{mutation}");
    }
    let withdraw = json!({ "roleId": held });
    assert_eq!(
        refused(world, &operator, "withdrawRole", &withdraw).await,
        None
    );
    let unguarded = world.identity.ctx.db.faults();
    unguarded.switch_on(Defect::PrivilegedUnsealed);
    for (at, (by, mutation, input)) in acts.iter().enumerate() {
        let code = refused(world, by, mutation, input).await;
        assert_ne!(code.as_deref(), Some("AUDIT_LAGS"), "{mutation}");
        assert!(at > 0 || code.is_none(), "the grant is made");
    }
}

/// Each place where the service asks for the seal is one of those above, so that none is added or
/// taken away unseen.
#[test]
fn every_place_that_waits_is_played() {
    let commands = concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands");
    let sources = std::fs::read_dir(commands).unwrap();
    let asked = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        assert!(path.is_file(), "{}", path.display());
        let source = std::fs::read_to_string(path).unwrap();
        source.matches("require_sealing(tx)").count()
    };
    assert_eq!(sources.map(asked).sum::<usize>(), PLACES);
}
