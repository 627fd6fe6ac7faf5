//! What a consumer leaves to others has no effect on it, and yet its position comes past it.

use crate::consumer::number;
use crate::world::{CHANGED, Copying, UNKNOWN, World, change, effect_count, event, thing, until};

/// How far the consumer got in the partition that has something.
const NUMBERS: &str = "SELECT COALESCE(max(last_pseq), 0) AS n FROM watermark";

/// What a consumer leaves to others has no effect and parks nothing, and its position still comes
/// past it: by itself after a moment, at once when it leaves, and together with the next effect.
#[tokio::test]
async fn what_is_left_to_others_moves_the_position() {
    let world = World::new().await;
    let (alpha, beta) = (&world.alpha.ctx, &world.beta.ctx);
    let others = async |times: i64| {
        alpha
            .db
            .tx("others", async |tx| {
                for _ in 0..times {
                    tx.emit(event(thing(1), UNKNOWN, 1, b"fine"));
                }
                Ok(())
            })
            .await
            .unwrap();
        world.publish().await;
    };
    let numbers = async || number(beta, NUMBERS).await;
    others(1_200).await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || numbers().await == 1_200).await;
    // Another one's position in the way: it is met although nothing has an effect.
    let moved = "UPDATE watermark SET next_offset = next_offset - 100, last_pseq = last_pseq - 100
                 WHERE last_pseq = 1200";
    beta.db.execute(moved, []).await.unwrap();
    others(300).await;
    until(&mut consumer, async || numbers().await == 1_500).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(consumer.run(stop.clone()));
    others(7).await;
    change(alpha, thing(1), CHANGED, b"fine").await;
    world.publish().await;
    while effect_count(beta).await < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        numbers().await,
        1_508,
        "the effect came without its position"
    );
    stop.cancel();
    running.await.unwrap();
    assert_eq!(effect_count(beta).await, 1);
    assert!(kit::parked::list(&beta.db, None).await.unwrap().is_empty());
}

/// A consumer that leaves stores how far it got, also where nothing had an effect: who comes after
/// it, and who checks, would take it for late.
#[tokio::test]
async fn a_consumer_that_leaves_stores_how_far_it_got() {
    let world = World::new().await;
    let (alpha, beta) = (&world.alpha.ctx, &world.beta.ctx);
    world.change(thing(1)).await;
    world.publish().await;
    let mut consumer = world.consumer(Copying::default());
    until(&mut consumer, async || effect_count(beta).await == 1).await;
    change(alpha, thing(1), UNKNOWN, b"fine").await;
    world.publish().await;
    // Until it has met the record, which is before it stores that it did.
    while consumer.step().await.unwrap() == 0 {}
    consumer.close().await;
    assert_eq!(number(beta, NUMBERS).await, 2);
}
