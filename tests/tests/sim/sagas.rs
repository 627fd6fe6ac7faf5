//! The sweep as tests: every saga at every place. A run of the tests takes as many places as its
//! time allows, in an order that the fresh seed decides, and `make sim` takes all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::ground::Ground;
use crate::paths::Path;
use crate::report;
use crate::seeds::{Asked, fresh};
use crate::sweep::{Again, Place, Sweep};

/// How long a run of the tests goes on with further places of one saga.
const CI_SECONDS_MAX: u64 = 4;
/// How long a play may take in which somebody asks twice.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Places of one saga that every run of the tests looks at, however slow it is.
const PLACES_MIN: usize = 3;
/// How the provider fails.
const TROUBLES: [&str; 6] = [
    "system_error",
    "frequency_limited",
    "lose",
    "bad_signature",
    "stale_timestamp",
    "signtest",
];

/// What goes wrong in one play.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Death(Place),
    Again(Again),
    Trouble(usize, &'static str),
}

/// Everything that can go wrong once in a saga, in the order in which it is tried.
fn wrongs(places: &[Place], steps: usize, asked: Asked) -> Vec<Wrong> {
    let deaths = places.iter().copied().map(Wrong::Death);
    let again = (0..steps).map(Again::At).chain([Again::Always]);
    let troubles = (0..steps).flat_map(|at| TROUBLES.map(|fault| Wrong::Trouble(at, fault)));
    let mut wrongs: Vec<Wrong> = deaths
        .chain(again.map(Wrong::Again))
        .chain(troubles)
        .collect();
    if asked.is_part() {
        wrongs.shuffle(&mut ChaCha8Rng::seed_from_u64(fresh()));
    }
    wrongs
}

/// Plays it once; what it ended as, or nothing where it did not come to what should go wrong.
async fn played(sweep: &mut Sweep<'_>, wrong: Wrong) -> anyhow::Result<Option<String>> {
    match wrong {
        Wrong::Death(place) => sweep.dying_at(place).await.map(Some),
        Wrong::Again(again) => sweep.again(again).await.map(Some),
        Wrong::Trouble(step, fault) => sweep.troubled(step, fault).await,
    }
}

/// Whatever goes wrong once, the saga ends as if it had not.
async fn ends_alike(path: Path) {
    let ground = Ground::new().await.expect("the test world is up");
    let mut sweep = Sweep::new(&ground, path).await.expect("a world");
    let (same, _) = sweep.clean().await.expect("a play in which nothing dies");
    assert!(same.contains(path.ends_with()), "{path:?}:\n{same}");
    let (clean, places) = sweep.clean().await.expect("another one");
    assert_eq!(clean, same, "{path:?}");
    let asked = Asked::told();
    let all = wrongs(&places, sweep.steps(), asked);
    let (began, mut looked, mut differ) = (Instant::now(), 0, Vec::new());
    let mut unmet = BTreeSet::from(TROUBLES);
    for wrong in &all {
        let late = began.elapsed() > Duration::from_secs(CI_SECONDS_MAX);
        if asked.is_part() && late && looked >= PLACES_MIN {
            break;
        }
        looked += 1;
        let ended = played(&mut sweep, *wrong).await;
        if let (Wrong::Trouble(_, fault), Ok(Some(_))) = (wrong, &ended) {
            unmet.remove(fault);
        }
        match ended {
            Ok(None) => {}
            Ok(Some(end)) if end == clean => {}
            Ok(Some(end)) => differ.push(format!("{wrong:?}\n{end}")),
            Err(error) => differ.push(format!("{wrong:?}\n{error:#}")),
        }
    }
    let count = all.len();
    eprintln!(
        "{path:?}: {looked} of {count}; SIM_FRESH={} takes the same",
        fresh()
    );
    let differ = differ.join("\n\n");
    assert!(differ.is_empty(), "{path:?}\n{differ}\n\nclean:\n{clean}");
    if looked == count {
        // What never happened has shown nothing.
        assert!(unmet.is_empty(), "{path:?} never met {unmet:?}");
    }
    let promises = sweep.promises().await.expect("promises");
    assert_eq!(promises, Vec::<String>::new(), "{path:?}");
    let name = format!("{path:?}").to_lowercase();
    report::write_sweep(&name, looked, count).expect("the report can be written");
}

/// Wherever a purchase, an entry or a refund dies, is done again or meets a provider that fails, it
/// ends as if it had not.
#[tokio::test]
async fn what_is_returned_ends_alike_whatever_goes_wrong_once() {
    ends_alike(Path::Returned).await;
}

/// So does a purchase that its buyer cancels.
#[tokio::test]
async fn what_is_cancelled_ends_alike_whatever_goes_wrong_once() {
    ends_alike(Path::Cancelled).await;
}

/// So does one that nobody pays for.
#[tokio::test]
async fn what_lapses_ends_alike_whatever_goes_wrong_once() {
    ends_alike(Path::Lapsed).await;
}

/// So does one that is paid too late.
#[tokio::test]
async fn what_is_paid_late_ends_alike_whatever_goes_wrong_once() {
    ends_alike(Path::PaidLate).await;
}

/// So does one that is asked back and was used meanwhile.
#[tokio::test]
async fn a_refused_return_ends_alike_whatever_goes_wrong_once() {
    ends_alike(Path::ReturnRefused).await;
}

/// Who dies just before the cancellation is committed asks again and gets an answer.
#[tokio::test]
async fn a_cancellation_that_died_uncommitted_is_asked_again() {
    let ground = Ground::new().await.expect("the test world is up");
    let mut sweep = Sweep::new(&ground, Path::Cancelled).await.expect("a world");
    let (clean, places) = sweep.clean().await.expect("a play in which nothing dies");
    let uncommitted = |place: &&Place| {
        (place.passed.point, place.passed.what) == ("tx.before_commit", "cancel_order")
    };
    let place = *places.iter().find(uncommitted).expect("a cancellation");
    let dying = tokio::time::timeout(ANSWER_WAIT, sweep.dying_at(place));
    let end = dying.await.expect("an answer in time").expect("an end");
    assert_eq!(end, clean);
}
