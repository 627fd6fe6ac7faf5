//! How often codes may be asked for, by phone and by address.

use identity::commands::codes::request_login_code;
use kit::Error;
use kit::access::Caller;
use kit::graphql::Language;

use crate::world::{World, phone};

async fn ask(world: &World, number: &str, address: &str, per_address: i32) -> bool {
    let caller = Caller {
        client: address.to_owned(),
        ..Caller::anonymous(Language::En)
    };
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    match request_login_code(ctx, vault, &caller, &phone(number), per_address).await {
        Ok(()) => true,
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.code, "TOO_MANY_CODES");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// One in a minute, five in an hour, ten in a day, known phone or not.
#[tokio::test]
async fn a_phone_gets_only_so_many_codes() {
    let world = World::new().await;
    let mut sent = 0;
    for second in (0..86_400).step_by(30) {
        if second > 0 {
            world.advance(30);
        }
        // Once the limit of a day is reached, hours go by faster.
        if (sent == 10 && second % 3_600 != 0) || (sent == 5 && second < 3_600 && second > 600) {
            continue;
        }
        sent += i32::from(ask(&world, "13700000000", "192.0.2.1", 1_000).await);
    }
    assert_eq!(sent, 10);
    world.advance(86_400);
    assert!(ask(&world, "13700000000", "192.0.2.1", 1_000).await);
}

/// Requests at once for one phone: one code. Each phone has its own count.
#[tokio::test]
async fn codes_asked_for_at_once_are_one() {
    let world = World::new().await;
    let asks = (0..20).map(|_| ask(&world, "13700000000", "192.0.2.1", 1_000));
    let sent = futures::future::join_all(asks).await;
    assert_eq!(sent.into_iter().filter(|sent| *sent).count(), 1);
    assert!(ask(&world, "13700000001", "192.0.2.1", 1_000).await);
}

/// What is refused counts too: an address that asks on and on for one phone has asked.
#[tokio::test]
async fn what_is_refused_counts_for_the_address() {
    let world = World::new().await;
    assert!(ask(&world, "13700000000", "192.0.2.1", 3).await);
    for _ in 0..2 {
        assert!(!ask(&world, "13700000000", "192.0.2.1", 3).await);
    }
    assert!(!ask(&world, "13700000001", "192.0.2.1", 3).await);
    assert!(ask(&world, "13700000001", "192.0.2.2", 3).await);
}

/// One address cannot go through phones without end; another address is not held up.
#[tokio::test]
async fn an_address_gets_only_so_many_codes() {
    let world = World::new().await;
    let asks = (0..12).map(|at| {
        let world = &world;
        async move { ask(world, &format!("1370000{at:04}"), "192.0.2.1", 7).await }
    });
    let sent = futures::future::join_all(asks).await;
    assert_eq!(sent.into_iter().filter(|sent| *sent).count(), 7);
    assert!(ask(&world, "13700001000", "192.0.2.2", 7).await);
    world.advance(3_600);
    assert!(ask(&world, "13700002000", "192.0.2.1", 7).await);
}
