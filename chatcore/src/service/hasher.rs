//! Passwords: Argon2id on a bounded pool of blocking threads, with one reusable buffer per worker.
//!
//! Argon2 wants megabytes for each hash. Allocated and freed each time, by whichever thread comes first, they stay with the
//! allocator, one set per thread, long after the last hash. So the buffers are lent out from a pool: as many as hash at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use zeroize::{Zeroize as _, Zeroizing};

use super::error::{Error, Result};
use super::settings::HashSettings;
use crate::model::{Password, PasswordHash};

/// Bytes of the salt (RFC 9106 §3.1).
const SALT: usize = 16;

#[derive(Clone)]
pub(crate) struct Hasher {
    params: Params,
    permits: Arc<Semaphore>,
    buffers: Arc<Buffers>,
    /// Checked against when there is no such user, so that both take the same work.
    decoy: PasswordHash,
    computed: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
#[error("password hashing failed: {0}")]
struct HashFailed(String);

fn failed(error: impl std::fmt::Display) -> Error {
    Error::internal(HashFailed(error.to_string()))
}

impl Hasher {
    pub(crate) fn new(settings: HashSettings) -> Result<Self> {
        let params = Params::new(settings.memory_kib, settings.iterations, 1, None).map_err(failed)?;
        // A hash that nobody's password has, of the same cost. Not computed: the first unknown login after a start would take twice the time.
        let HashSettings { memory_kib, iterations, .. } = settings;
        let decoy =
            format!("$argon2id$v=19$m={memory_kib},t={iterations},p=1$c2FsdHNhbHRzYWx0c2FsdA${}", "A".repeat(43));
        Ok(Self {
            buffers: Arc::new(Buffers::new(params.block_count())),
            params,
            permits: Arc::new(Semaphore::new(settings.workers.max(1))),
            decoy: PasswordHash::from_phc(decoy),
            computed: Arc::default(),
        })
    }

    /// Runs `work` on a thread that may block, with a buffer, once one of the workers is free.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.permits.clone().acquire_owned().await.map_err(Error::internal)?;
        let buffers = self.buffers.clone();
        self.computed.fetch_add(1, Ordering::Relaxed);
        let task = tokio::task::spawn_blocking(move || {
            // Dropped in the opposite order: the buffer is back before the permit is, so there are never more buffers than permits.
            let _permit = permit;
            let mut loan = Loan::of(&buffers);
            work(&mut loan.blocks)
        });
        task.await.map_err(Error::internal)?
    }

    pub(crate) async fn hash(&self, password: &Password) -> Result<PasswordHash> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(failed)?;
        let (password, params) = (password.clone(), self.params.clone());
        self.blocking(move |blocks| {
            let output = compute(&HASHING, &params, password.reveal().as_bytes(), &salt, blocks)?;
            let hash = argon2::PasswordHash {
                algorithm: HASHING.0.ident(),
                version: Some(HASHING.1.into()),
                params: ParamsString::try_from(&params).map_err(failed)?,
                salt: Some(Salt::new(&salt).map_err(failed)?),
                hash: Some(output),
            };
            Ok(PasswordHash::from_phc(hash.to_string()))
        })
        .await
    }

    /// Whether it is that password. Without a hash the answer is no, after the same work.
    ///
    /// A hash says itself what it was made with: one from before the settings changed is still good.
    pub(crate) async fn verify(&self, password: &str, hash: Option<&PasswordHash>) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.decoy).clone();
        let password = Zeroizing::new(password.to_owned());
        let matches = self
            .blocking(move |blocks| {
                let hash = argon2::PasswordHash::new(hash.reveal()).map_err(failed)?;
                let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(failed)?;
                let version = hash.version.map(Version::try_from).transpose().map_err(failed)?.unwrap_or_default();
                let params = Params::try_from(&hash).map_err(failed)?;
                let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
                    return Err(failed("the stored hash has no salt, or no hash"));
                };
                let computed = compute(&(algorithm, version), &params, password.as_bytes(), salt, blocks)?;
                // Compared in constant time, as `Output` says of its equality.
                Ok(computed == *expected)
            })
            .await?;
        Ok(matches && known)
    }

    /// Hashes computed so far.
    pub(crate) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    /// Bytes of all buffers there are.
    pub(crate) fn memory(&self) -> u64 {
        self.buffers.lock().blocks.saturating_mul(Block::SIZE as u64)
    }

    /// Gives back the buffers that nobody has needed since the last call.
    pub(crate) fn release_idle(&self) {
        let idle: Vec<Vec<Block>> = {
            let mut state = self.buffers.lock();
            let idle = state.spare.min(state.free.len());
            // The ones below were lent last, if at all: the pool is a stack.
            let idle = state.free.drain(..idle).collect();
            state.spare = state.free.len();
            idle
        };
        for blocks in idle {
            self.buffers.forget(&blocks);
        }
    }
}

/// What new hashes are made with.
const HASHING: (Algorithm, Version) = (Algorithm::Argon2id, Version::V0x13);

fn compute(
    kind: &(Algorithm, Version),
    params: &Params,
    password: &[u8],
    salt: &[u8],
    blocks: &mut Vec<Block>,
) -> Result<Output> {
    let wanted = params.block_count();
    if blocks.len() < wanted {
        blocks.resize(wanted, Block::new());
    }
    let mut bytes = Zeroizing::new([0; Output::MAX_LENGTH]);
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let out = bytes.get_mut(..length).ok_or_else(|| failed("the stored hash is too long"))?;
    let argon = Argon2::new(kind.0, kind.1, params.clone());
    argon.hash_password_into_with_memory(password, salt, out, blocks).map_err(failed)?;
    Output::new(out).map_err(failed)
}

/// Buffers that are lent to whoever hashes, each to one at a time. Those that are free hold nothing but zeros.
struct Buffers {
    /// Blocks of a buffer, by the settings.
    length: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<Vec<Block>>,
    /// Least number of free ones since idle ones were last given back.
    spare: usize,
    /// Blocks of all buffers, lent ones included.
    blocks: u64,
    /// Buffers made so far.
    made: u64,
}

impl Buffers {
    fn new(length: usize) -> Self {
        Self { length, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, blocks: &[Block]) {
        let mut state = self.lock();
        state.blocks = state.blocks.saturating_sub(blocks.len() as u64);
    }
}

/// A buffer that goes back to the pool, overwritten, also when its work panics.
struct Loan<'a> {
    buffers: &'a Buffers,
    blocks: Vec<Block>,
}

impl<'a> Loan<'a> {
    fn of(buffers: &'a Buffers) -> Self {
        let free = {
            let mut state = buffers.lock();
            let free = state.free.pop();
            state.spare = state.spare.min(state.free.len());
            if free.is_none() {
                state.made += 1;
                state.blocks += buffers.length as u64;
            }
            free
        };
        Self { buffers, blocks: free.unwrap_or_else(|| vec![Block::new(); buffers.length]) }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.iter_mut().for_each(Block::zeroize);
        // One that an old hash has made larger does not stay so.
        blocks.truncate(self.buffers.length);
        blocks.shrink_to_fit();
        self.buffers.lock().free.push(blocks);
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher as _;

    use super::*;

    fn settings(workers: usize) -> HashSettings {
        HashSettings { memory_kib: 64, iterations: 1, workers }
    }

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    /// Made by the library's own way, with parameters that are not ours.
    fn foreign(text: &str, algorithm: Algorithm, memory_kib: u32, lanes: u32, length: usize) -> PasswordHash {
        let params = Params::new(memory_kib, 3, lanes, Some(length)).unwrap();
        let argon = Argon2::new(algorithm, Version::V0x13, params);
        let hash = argon.hash_password_with_salt(text.as_bytes(), b"salt of eighteen b").unwrap();
        PasswordHash::from_phc(hash.to_string())
    }

    #[tokio::test]
    async fn a_hash_is_read_by_others_and_theirs_by_us() {
        let hasher = Hasher::new(settings(2)).unwrap();
        let hash = hasher.hash(&password("correct horse")).await.unwrap();
        assert!(hash.reveal().starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", hash.reveal());
        let parsed = argon2::PasswordHash::new(hash.reveal()).unwrap();
        let theirs = argon2::password_hash::PasswordVerifier::verify_password;
        assert!(theirs(&Argon2::default(), b"correct horse", &parsed).is_ok());
        assert!(theirs(&Argon2::default(), b"battery staple", &parsed).is_err());
        for algorithm in [Algorithm::Argon2id, Algorithm::Argon2i, Algorithm::Argon2d] {
            // Smaller than our buffers, larger, in several lanes, shorter and longer.
            for (memory, lanes, length) in [(32, 1, 32), (64, 2, 16), (1000, 1, 64), (1024, 4, 32)] {
                let hash = foreign("correct horse", algorithm, memory, lanes, length);
                assert!(hasher.verify("correct horse", Some(&hash)).await.unwrap(), "{}", hash.reveal());
                assert!(!hasher.verify("battery staple", Some(&hash)).await.unwrap(), "{}", hash.reveal());
            }
        }
        assert_eq!(hasher.memory(), 64 * 1024, "large ones went back to what the settings say");
        for broken in
            ["", "x", "$argon2id$v=19$m=64,t=1,p=1", "$scrypt$ln=16,r=8,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"]
        {
            let broken = PasswordHash::from_phc(broken.to_owned());
            assert!(hasher.verify("correct horse", Some(&broken)).await.is_err());
        }
    }

    #[tokio::test]
    async fn an_unknown_account_is_never_let_in() {
        let hasher = Hasher::new(settings(1)).unwrap();
        assert!(!hasher.verify("correct horse", None).await.unwrap());
        assert_eq!(hasher.computed(), 1, "after the same work");
    }

    /// One buffer serves all that hash one after another, on whichever thread; as many as workers serve all that hash at once.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn there_are_no_more_buffers_than_workers() {
        let hasher = Hasher::new(settings(3)).unwrap();
        for _ in 0..200 {
            hasher.verify("correct horse", None).await.unwrap();
        }
        assert_eq!(hasher.buffers.lock().made, 1);
        assert_eq!(hasher.memory(), 64 * 1024);
        let all = (0..100).map(|_| hasher.verify("correct horse", None));
        futures::future::try_join_all(all).await.unwrap();
        let state = hasher.buffers.lock();
        assert!((1..=3).contains(&state.made), "{}", state.made);
        assert_eq!(state.free.len() as u64, state.made, "all are back");
        assert_eq!(state.blocks, 64 * state.made);
    }

    #[tokio::test]
    async fn what_is_lent_comes_back_overwritten_also_after_a_panic() {
        let hasher = Hasher::new(settings(1)).unwrap();
        hasher.hash(&password("correct horse")).await.unwrap();
        let zeros = |buffers: &Buffers| {
            let state = buffers.lock();
            assert_eq!(state.free.len(), 1);
            state.free[0].iter().all(|block| block.as_ref().iter().all(|word| *word == 0))
        };
        assert!(zeros(&hasher.buffers));
        let panicked = hasher.blocking::<()>(|blocks| {
            blocks[7].as_mut()[3] = 1;
            panic!("on purpose");
        });
        assert!(panicked.await.is_err());
        assert!(zeros(&hasher.buffers));
        assert!(hasher.hash(&password("correct horse")).await.is_ok(), "and the worker with it");
    }

    #[tokio::test]
    async fn buffers_that_nobody_needs_are_given_back() {
        let hasher = Hasher::new(settings(4)).unwrap();
        let all: Vec<_> = (0..4).map(|_| Loan::of(&hasher.buffers)).collect();
        hasher.release_idle();
        assert_eq!(hasher.memory(), 4 * 64 * 1024, "they are in use");
        drop(all);
        hasher.release_idle();
        assert_eq!(hasher.memory(), 4 * 64 * 1024, "they were in use a moment ago");
        hasher.verify("correct horse", None).await.unwrap();
        hasher.release_idle();
        assert_eq!(hasher.memory(), 64 * 1024, "one was needed since");
        hasher.release_idle();
        assert_eq!(hasher.memory(), 0);
        assert!(hasher.hash(&password("correct horse")).await.is_ok());
    }
}
