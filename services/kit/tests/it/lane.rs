//! Lanes: one transaction for many commands, the same answers as one by one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kit::lane::{BATCH_MAX, GATHER, GATHERED_COMMANDS, Lane, QUEUE_MAX};
use kit::migrate::KIT;
use kit::testing;
use kit::{Ctx, Error, Refusal, Result};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::world::{THINGS, bump, thing};

/// Bumps one thing for each command and refuses number 13.
fn bumping(ctx: Ctx, batches: Arc<AtomicUsize>) -> Lane<Uuid, u32, i64> {
    Lane::new("bump", move |id: Uuid, commands: Vec<u32>| {
        let (ctx, batches) = (ctx.clone(), Arc::clone(&batches));
        async move {
            batches.fetch_add(1, Ordering::SeqCst);
            ctx.db
                .tx("bump", async |tx| {
                    let mut answers = Vec::new();
                    for command in &commands {
                        match command {
                            13 => answers.push(Err(unlucky().into())),
                            666 => return Err(Error::internal("it breaks its batch")),
                            _ => answers.push(Ok(bump(tx, id).await?)),
                        }
                    }
                    Ok(answers)
                })
                .await
        }
    })
}

fn unlucky() -> Refusal {
    Refusal::new("UNLUCKY", "", "不吉利".into(), "unlucky".into())
}

async fn run_all(lane: &Lane<Uuid, u32, i64>, commands: Vec<u32>) -> Vec<Result<i64>> {
    let runs = commands
        .into_iter()
        .map(|command| lane.run(thing(1), command));
    futures::future::join_all(runs).await
}

/// Many commands need few transactions; each hears its own answer, in the order of arrival.
#[tokio::test]
async fn commands_share_transactions() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let batches = Arc::new(AtomicUsize::new(0));
    let lane = bumping(test.ctx.clone(), Arc::clone(&batches));
    let answers = run_all(&lane, vec![0; 1_000]).await;
    let versions: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(versions, (1..=1_000).collect::<Vec<i64>>());
    let batches = batches.load(Ordering::SeqCst);
    assert!(
        (1_000 / BATCH_MAX..20).contains(&batches),
        "{batches} transactions"
    );
}

/// A refused command does not touch its neighbours; one that breaks the whole batch is the only
/// one that fails, since the batch is redone one by one.
#[tokio::test]
async fn nobody_suffers_for_a_neighbour() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let lane = bumping(test.ctx.clone(), Arc::default());
    let answers = run_all(&lane, vec![0, 13, 0, 666, 0]).await;
    assert_eq!(answers[0].as_ref().unwrap(), &1);
    assert!(matches!(&answers[1], Err(Error::Refused(r)) if r.code == "UNLUCKY"));
    assert_eq!(answers[2].as_ref().unwrap(), &2);
    assert!(matches!(&answers[3], Err(Error::Internal(_))));
    assert_eq!(answers[4].as_ref().unwrap(), &3);
}

/// A full queue says so at once, and takes commands again when it has room.
#[tokio::test]
async fn a_full_queue_answers_overloaded() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let lane: Lane<u8, (), ()> = Lane::new("gated", move |_, commands: Vec<()>| {
        let gate = Arc::clone(&held);
        async move {
            gate.acquire()
                .await
                .map_err(|_| Error::internal("the gate broke"))?
                .forget();
            Ok(commands.iter().map(|()| Ok(())).collect())
        }
    });
    let mut running = Vec::new();
    let mut overloaded = 0;
    for _ in 0..QUEUE_MAX + 2 * BATCH_MAX {
        let mut run = Box::pin({
            let lane = lane.clone();
            async move { lane.run(1, ()).await }
        });
        match futures::poll!(&mut run) {
            std::task::Poll::Ready(Err(Error::Overloaded)) => overloaded += 1,
            std::task::Poll::Ready(other) => panic!("answered early: {other:?}"),
            std::task::Poll::Pending => running.push(run),
        }
    }
    assert!(overloaded > 0, "the queue has no end");
    assert!(running.len() >= QUEUE_MAX);
    gate.add_permits(QUEUE_MAX);
    for run in running {
        run.await.unwrap();
    }
    lane.run(1, ()).await.unwrap();
}

/// Two processes with a lane each on the same row are slower, never wrong.
#[tokio::test]
async fn two_lanes_on_one_row_agree() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let one = bumping(test.ctx.clone(), Arc::default());
    let other = bumping(test.process().await, Arc::default());
    let (first, second) = tokio::join!(run_all(&one, vec![0; 300]), run_all(&other, vec![0; 300]));
    let mut versions: Vec<i64> = first
        .into_iter()
        .chain(second)
        .map(Result::unwrap)
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=600).collect::<Vec<i64>>());
}

/// When each batch began, and how many commands were in it.
type Begun = Arc<Mutex<Vec<(Instant, usize)>>>;

fn watched(begun: &Begun) -> Lane<u8, (), ()> {
    let begun = Arc::clone(begun);
    Lane::new("watched", move |_, commands: Vec<()>| {
        begun.lock().unwrap().push((Instant::now(), commands.len()));
        async move { Ok(commands.iter().map(|()| Ok(())).collect()) }
    })
}

/// Small batches keep their distance, and what comes meanwhile is in the next one.
#[tokio::test]
async fn small_batches_keep_their_distance() {
    let begun = Begun::default();
    let lane = watched(&begun);
    let late = |ms: u64| {
        let lane = lane.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            lane.run(1, ()).await.unwrap();
        }
    };
    let started = Instant::now();
    for _ in 0..20 {
        futures::future::join_all((0..4).map(late)).await;
    }
    let begun = begun.lock().unwrap().clone();
    let pauses = u32::try_from(begun.len() - 1).unwrap();
    let took = begun[begun.len() - 1].0 - started;
    assert!(took >= GATHER * pauses, "{pauses} pauses in {took:?}");
    let shared = begun.iter().any(|(_, commands)| *commands > 1);
    assert!(shared, "nothing was gathered: {begun:?}");
}

/// A batch that is worth its transaction waits for nobody, nor does a lone command after a while.
/// A busy machine may take its time, but not every time.
#[tokio::test]
async fn a_full_batch_and_a_lone_command_do_not_wait() {
    let begun = Begun::default();
    let lane = watched(&begun);
    let (mut full_waited, mut lone_waited) = (true, true);
    for _ in 0..50 {
        tokio::time::sleep(GATHER).await;
        let asked = Instant::now();
        lane.run(1, ()).await.unwrap();
        futures::future::join_all((0..GATHERED_COMMANDS).map(|_| lane.run(1, ()))).await;
        let begun = std::mem::take(&mut *begun.lock().unwrap());
        let [lone, full] = begun[..] else {
            panic!("they were not two batches: {begun:?}");
        };
        assert_eq!((lone.1, full.1), (1, GATHERED_COMMANDS));
        lone_waited &= lone.0 - asked >= GATHER;
        full_waited &= full.0 - lone.0 >= GATHER;
    }
    assert!(!lone_waited && !full_waited, "{lone_waited} {full_waited}");
}
