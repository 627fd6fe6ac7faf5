//! The one world of all proofs, since to start one takes longer than most of them. They act in it
//! one after the other, each with people, gates and venues of its own, and leave it as a proof
//! finds it. Each union has a Redis that belongs to it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;
use tests::TestWorld;

use crate::running::RunningWorld;
use crate::server::OwnRedis;

/// The world, as long as a proof acts in it or waits for its turn. Locked while it starts or ends,
/// so that there is never a second one.
static WORLD: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
/// Two proofs at once are more than a small machine plays in time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The world with its servers; they end after its processes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: RunningWorld,
    /// Of Chongqing and of Sichuan.
    pub(crate) redis: [OwnRedis; 2],
}

/// A proof's claim to the world. The last one ends it.
#[derive(Debug)]
pub(crate) struct Claim(Option<Arc<Shared>>);

impl Claim {
    /// Starts the world, where no other proof has.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn new() -> Result<Self> {
        let mut known = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.upgrade() {
            return Ok(Self(Some(shared)));
        }
        let redis = [OwnRedis::start("50")?, OwnRedis::start("51")?];
        let addresses = redis.each_ref().map(OwnRedis::url);
        let world = RunningWorld::start(TestWorld::with_redis("across", &addresses)?)?;
        let shared = Arc::new(Shared { world, redis });
        *known = Arc::downgrade(&shared);
        Ok(Self(Some(shared)))
    }

    /// Has the world alone, for one proof, and then looks whether all that must hold does.
    ///
    /// # Errors
    /// What the proof finds, or a broken promise.
    pub(crate) async fn prove(&self, proof: impl AsyncFnOnce(&Shared) -> Result<()>) -> Result<()> {
        let _turn = TURN.lock().await;
        let Some(shared) = &self.0 else {
            anyhow::bail!("the world was given up");
        };
        proof(shared).await?;
        shared.world.verify()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ending = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
        self.0 = None;
    }
}
