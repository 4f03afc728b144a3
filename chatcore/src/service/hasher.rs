//! Passwords: Argon2id on a bounded pool of blocking threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::error::{Error, Result};
use super::settings::HashSettings;
use crate::model::{Password, PasswordHash};

#[derive(Clone)]
pub(crate) struct Hasher {
    argon: Argon2<'static>,
    permits: Arc<Semaphore>,
    /// Checked against when there is no such user, so that both take the same work.
    decoy: PasswordHash,
    computed: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
#[error("password hashing failed: {0}")]
struct HashFailed(String);

impl Hasher {
    pub(crate) fn new(settings: HashSettings) -> Result<Self> {
        let params = Params::new(settings.memory_kib, settings.iterations, 1, None)
            .map_err(|error| Error::internal(HashFailed(error.to_string())))?;
        // A hash that nobody's password has, of the same cost. Not computed: the first unknown login after a start would take twice the time.
        let HashSettings { memory_kib, iterations, .. } = settings;
        let decoy =
            format!("$argon2id$v=19$m={memory_kib},t={iterations},p=1$c2FsdHNhbHRzYWx0c2FsdA${}", "A".repeat(43));
        Ok(Self {
            argon: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            permits: Arc::new(Semaphore::new(settings.workers.max(1))),
            decoy: PasswordHash::from_phc(decoy),
            computed: Arc::default(),
        })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Argon2<'_>) -> T + Send + 'static) -> Result<T> {
        let permit = self.permits.clone().acquire_owned().await.map_err(Error::internal)?;
        let argon = self.argon.clone();
        self.computed.fetch_add(1, Ordering::Relaxed);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&argon)
        });
        task.await.map_err(Error::internal)
    }

    pub(crate) async fn hash(&self, password: &Password) -> Result<PasswordHash> {
        let password = password.clone();
        self.blocking(move |argon| {
            let hash = argon
                .hash_password(password.reveal().as_bytes())
                .map_err(|error| Error::internal(HashFailed(error.to_string())))?;
            Ok(PasswordHash::from_phc(hash.to_string()))
        })
        .await?
    }

    /// Whether it is that password. Without a hash the answer is no, after the same work.
    pub(crate) async fn verify(&self, password: &str, hash: Option<&PasswordHash>) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.decoy).clone();
        let password = password.to_owned();
        let matches = self
            .blocking(move |argon| {
                let hash = argon2::PasswordHash::new(hash.reveal())
                    .map_err(|error| Error::internal(HashFailed(error.to_string())))?;
                Ok::<_, Error>(argon.verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await??;
        Ok(matches && known)
    }

    /// Hashes computed so far.
    pub(crate) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }
}
