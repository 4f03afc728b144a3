//! Access tokens (JWT, RFC 7519, HS256 alone) and refresh tokens (random, stored hashed).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{AuthFailure, Error, Result};
use super::settings::TokenSettings;
use crate::id::{SessionId, UserId};
use crate::model::TokenHash;
use crate::time::Timestamp;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Whom an access token names. Says nothing yet of whether the session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) expires_at: Timestamp,
}

struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

pub(crate) struct Tokens {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    access_ttl: std::time::Duration,
    validation: Validation,
}

/// Tolerated difference between the clocks of two nodes, in seconds.
const LEEWAY: i64 = 5;

impl Tokens {
    pub(crate) fn new(settings: &TokenSettings) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Times are compared with the injected clock, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let keys = settings.keys.iter().map(|key| Key {
            id: key.id.clone(),
            encoding: EncodingKey::from_secret(key.secret.reveal()),
            decoding: DecodingKey::from_secret(key.secret.reveal()),
        });
        Self {
            keys: keys.collect(),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            access_ttl: settings.access_ttl,
            validation,
        }
    }

    /// Signs an access token; answers it with its end.
    pub(crate) fn sign(&self, user: UserId, session: SessionId, now: Timestamp) -> Result<(String, Timestamp)> {
        let key = self.keys.first().ok_or_else(|| Error::internal(NoKey))?;
        let expires_at = Timestamp::from_millis(now.plus(self.access_ttl).seconds() * 1000);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.to_string(),
            sid: session.to_string(),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: expires_at.seconds(),
        };
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding).map_err(Error::internal)?;
        Ok((token, expires_at))
    }

    /// Checks signature, issuer, audience and times.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> std::result::Result<Bearer, AuthFailure> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthFailure::Invalid)?;
        let key =
            self.keys.iter().find(|key| header.kid.as_deref() == Some(key.id.as_str())).ok_or(AuthFailure::Invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation)
            .map_err(|_| AuthFailure::Invalid)?
            .claims;
        if claims.exp <= now.seconds() {
            return Err(AuthFailure::Expired);
        }
        if claims.nbf > now.seconds() + LEEWAY {
            return Err(AuthFailure::Invalid);
        }
        let user = claims.sub.parse().map_err(|_| AuthFailure::Invalid)?;
        let session = claims.sid.parse().map_err(|_| AuthFailure::Invalid)?;
        Ok(Bearer { user, session, expires_at: Timestamp::from_millis(claims.exp.saturating_mul(1000)) })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no signing key is set")]
struct NoKey;

#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
struct NoRandomness(String);

/// A refresh token: the session's id and 32 random bytes, in base64url.
pub(crate) struct RefreshToken {
    session: SessionId,
    secret: [u8; 32],
}

impl RefreshToken {
    pub(crate) fn random(session: SessionId) -> Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| Error::internal(NoRandomness(error.to_string())))?;
        Ok(Self { session, secret })
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 48] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (id, secret) = bytes.split_at(16);
        let session = SessionId::from_uuid(uuid::Uuid::from_slice(id).ok()?);
        Some(Self { session, secret: secret.try_into().ok()? })
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash::from_bytes(Sha256::digest(self.secret).into())
    }

    /// The token, for its owner alone.
    pub(crate) fn reveal(&self) -> String {
        let mut bytes = self.session.uuid().into_bytes().to_vec();
        bytes.extend_from_slice(&self.secret);
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
