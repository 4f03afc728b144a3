//! Passwords: Argon2id on a bounded pool of blocking threads.

use std::sync::Arc;

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
    decoy: Arc<tokio::sync::OnceCell<PasswordHash>>,
}

#[derive(Debug, thiserror::Error)]
#[error("password hashing failed: {0}")]
struct HashFailed(String);

impl Hasher {
    pub(crate) fn new(settings: HashSettings) -> Result<Self> {
        let params = Params::new(settings.memory_kib, settings.iterations, 1, None)
            .map_err(|error| Error::internal(HashFailed(error.to_string())))?;
        Ok(Self {
            argon: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            permits: Arc::new(Semaphore::new(settings.workers.max(1))),
            decoy: Arc::default(),
        })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Argon2<'_>) -> T + Send + 'static) -> Result<T> {
        let permit = self.permits.clone().acquire_owned().await.map_err(Error::internal)?;
        let argon = self.argon.clone();
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
        let hash = match hash {
            Some(hash) => hash.clone(),
            None => self.decoy().await?,
        };
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

    async fn decoy(&self) -> Result<PasswordHash> {
        let make = || async {
            let password = Password::parse("correct horse battery staple").map_err(Error::internal)?;
            self.hash(&password).await
        };
        self.decoy.get_or_try_init(make).await.cloned()
    }
}
