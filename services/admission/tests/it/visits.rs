//! Where a pass was used, shown to staff of a company that it did not happen at: while its holder
//! consents, and each time on record.

use admission::commands::look_up::{Found, Number, look_up};
use admission::commands::shift::open_shift;
use admission::commands::venue::create_venue;
use kit::access::{FRESH_SECONDS, seed};
use kit::consent;
use kit::types::{OrganisationId, Processing};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::bounds::{let_in, looked_up, opened};
use crate::world::{Device, World, details, id};

/// A pass that was used once at its own venue, and a door of another company's.
async fn used() -> (World, Device, Device) {
    let (world, door) = opened().await;
    let _ = let_in(&world, looked_up(&door, 1)).await.unwrap();
    let rival = OrganisationId(Uuid::from_u128(11));
    let key = world.uuid();
    let theirs = create_venue(world.ctx(), &world.operator, key, rival, details("动物园"))
        .await
        .unwrap();
    let theirs = world.device(theirs.id).await;
    open_shift(world.ctx(), &world.rival(), theirs.venue, None)
        .await
        .unwrap();
    (world, door, theirs)
}

async fn found(world: &World, door: &Device) -> Result<Found> {
    let mut all = look_up(
        world.ctx(),
        &world.rival(),
        door.venue,
        &Number::Pass(id(1)),
    )
    .await?;
    assert_eq!(all.len(), 1);
    Ok(all.remove(0))
}

const SHOWN: &str = "SELECT count(*) FROM audit WHERE act = 'show_visits'
    AND detail->'passes'->>0 = '0000000000000001'";

/// Without a consent staff see how the pass stands and nothing of where it was; with one they see
/// it, and that they did is on record; withdrawn, they see nothing of it from then on.
#[tokio::test(flavor = "multi_thread")]
async fn visits_elsewhere_are_shown_while_the_holder_consents() {
    let (world, own, theirs) = used().await;
    let seen = found(&world, &theirs).await.unwrap();
    assert_eq!((seen.uses.len(), seen.elsewhere), (0, false));
    world.consents(2, true).await;
    let seen = found(&world, &theirs).await.unwrap();
    assert_eq!(seen.uses.len(), 0, "another holder's consent");
    assert_eq!(world.count(SHOWN).await, 0);

    world.consents(1, true).await;
    let seen = found(&world, &theirs).await.unwrap();
    assert_eq!((seen.uses.len(), seen.elsewhere), (1, true));
    assert!(!seen.uses[0].own);
    assert_eq!(world.count(SHOWN).await, 1);

    world.consents(1, false).await;
    let seen = found(&world, &theirs).await.unwrap();
    assert_eq!((seen.uses.len(), seen.elsewhere), (0, false));
    assert_eq!(world.count(SHOWN).await, 1);
    // Of their own company's venues staff see all, whatever the holder says.
    let number = Number::Pass(id(1));
    let own = look_up(world.ctx(), &world.manager, own.venue, &number);
    let own = own.await.unwrap();
    assert_eq!((own[0].uses.len(), own[0].uses[0].own), (1, true));
    assert_eq!(world.count(SHOWN).await, 1);
}

/// A withdrawal is effective within a minute, whatever is broken between identity and here: who
/// has not heard of identity for that long shows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shown_by_who_cannot_know() {
    let (world, _, theirs) = used().await;
    world.consents(1, true).await;
    world
        .ctx()
        .clock
        .advance(chrono::TimeDelta::seconds(FRESH_SECONDS + 1));
    assert!(matches!(
        found(&world, &theirs).await,
        Err(Error::Unavailable(_))
    ));
    let heard = world.ctx().db.tx("heartbeat", seed::heartbeat);
    heard.await.unwrap();
    assert_eq!(found(&world, &theirs).await.unwrap().uses.len(), 1);
}

/// While a look-up has read the consent, nobody withdraws it; the look-up that reads without the
/// guard's lock shows what was withdrawn before its own end.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_does_not_come_in_between() {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let (world, _, _) = used().await;
    world.consents(1, true).await;
    let other = world.db.process().await;
    let free = "SELECT count(*) AS count FROM (SELECT entitlement
        FROM replica_entitlement_consent FOR UPDATE SKIP LOCKED) free";
    let free = async || {
        other
            .db
            .one::<Count>(free, [])
            .await
            .unwrap()
            .unwrap()
            .count
    };
    let visits = Processing::VisitsToVenues;
    let guarded = async |tx: &Tx| {
        let shown = consent::holders_consent(tx, &[id(1)], visits).await?;
        assert!(shown.contains(&id(1)));
        assert_eq!(free().await, 0, "it could be withdrawn meanwhile");
        Ok(())
    };
    world.ctx().db.tx("guarded", guarded).await.unwrap();

    let given = "SELECT count(*) AS count FROM replica_entitlement_consent WHERE given";
    let unguarded = async |tx: &Tx| {
        let read = tx.one::<Count>(given, []).await?.unwrap().count;
        let withdraw = async |tx: &Tx| consent::seed::holder(tx, id(1), visits, false).await;
        other.db.tx("withdraw", withdraw).await?;
        let now = tx.one::<Count>(given, []).await?.unwrap().count;
        assert_eq!((read, now), (1, 0), "shown by what is not true any more");
        Ok(())
    };
    world.ctx().db.tx("unguarded", unguarded).await.unwrap();
}
