//! Access tokens (JWT, RFC 7519, HS256 alone) and refresh tokens (random, stored hashed).
//!
//! `jsonwebtoken` reads and names the header's fields. Its `encode` and `decode` are not called: they sign through a provider that
//! whoever comes first installs for the whole process, which is the host's to choose. One algorithm needs no choice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, Header};
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
    /// Keyed, and copied for every token.
    mac: Hmac<Sha256>,
}

pub(crate) struct Tokens {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
    access_ttl: std::time::Duration,
}

/// Tolerated difference between the clocks of two nodes, in seconds.
const LEEWAY: i64 = 5;

/// One part of a token: JSON in base64url (RFC 7515 §2).
fn part(value: &impl Serialize) -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).map_err(Error::internal)?))
}

impl Tokens {
    /// # Errors
    /// `Internal` for a key that HMAC does not take; it takes any length.
    pub(crate) fn new(settings: &TokenSettings) -> Result<Self> {
        let keys = settings.keys.iter().map(|key| {
            let mac = Hmac::new_from_slice(key.secret.reveal()).map_err(Error::internal)?;
            Ok(Key { id: key.id.clone(), mac })
        });
        Ok(Self {
            keys: keys.collect::<Result<_>>()?,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            access_ttl: settings.access_ttl,
        })
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
        let message = format!("{}.{}", part(&header)?, part(&claims)?);
        let signature = key.mac.clone().chain_update(&message).finalize().into_bytes();
        Ok((format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)), expires_at))
    }

    /// Checks signature, issuer, audience and times.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> std::result::Result<Bearer, AuthFailure> {
        let claims = self.signed(token).ok_or(AuthFailure::Invalid)?;
        if claims.iss != self.issuer || claims.aud != self.audience {
            return Err(AuthFailure::Invalid);
        }
        if claims.exp <= now.seconds() {
            return Err(AuthFailure::Expired);
        }
        // Ours begin when they are made. One from the future is by a clock that cannot be trusted, or not ours.
        if claims.nbf.max(claims.iat) > now.seconds() + LEEWAY {
            return Err(AuthFailure::Invalid);
        }
        let user = claims.sub.parse().map_err(|_| AuthFailure::Invalid)?;
        let session = claims.sid.parse().map_err(|_| AuthFailure::Invalid)?;
        Ok(Bearer { user, session, expires_at: Timestamp::from_millis(claims.exp.saturating_mul(1000)) })
    }

    /// The claims of a token that one of the keys has signed. Nothing of the claims is read before that is known.
    fn signed(&self, token: &str) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.alg != Algorithm::HS256 {
            return None;
        }
        let key = self.keys.iter().find(|key| header.kid.as_deref() == Some(key.id.as_str()))?;
        let (message, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // In constant time, and no shorter than the whole.
        key.mac.clone().chain_update(message).verify_slice(&signature).ok()?;
        let (_, claims) = message.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hmac::EagerHash;
    use serde_json::{Value, json};
    use sha2::{Sha384, Sha512};

    use super::*;
    use crate::model::AccessSecret;
    use crate::service::settings::{Settings, SigningKey};
    use crate::testing::fixtures;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn key(id: &str, byte: u8) -> SigningKey {
        SigningKey { id: id.to_owned(), secret: AccessSecret::new([byte; 32]).unwrap() }
    }

    fn tokens(keys: Vec<SigningKey>) -> Tokens {
        let mut settings = Settings::new(AccessSecret::new([1; 32]).unwrap()).tokens;
        settings.keys = keys;
        Tokens::new(&settings).unwrap()
    }

    fn ids() -> (UserId, SessionId) {
        (fixtures::user_id(1), fixtures::session_id(1))
    }

    fn signature<D: EagerHash>(message: &str, secret: &[u8]) -> String {
        let mac = Hmac::<D>::new_from_slice(secret).unwrap().chain_update(message);
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    /// Signs what a forger might: any header, any claims. With HMAC of the header's length; under the name of an algorithm with
    /// two keys as well, since a forger has the public one at most.
    fn forge(header: &Header, change: impl FnOnce(&mut Value), secret: &[u8]) -> String {
        let (user, session) = ids();
        let now = NOW.seconds();
        let mut claims = json!({
            "iss": "chatcore", "aud": "chatcore", "sub": user.to_string(), "sid": session.to_string(),
            "iat": now, "nbf": now, "exp": now + 900,
        });
        change(&mut claims);
        let message = format!("{}.{}", part(header).unwrap(), part(&claims).unwrap());
        let signature = match header.alg {
            Algorithm::HS384 | Algorithm::RS384 | Algorithm::ES384 | Algorithm::PS384 => {
                signature::<Sha384>(&message, secret)
            }
            Algorithm::HS512 | Algorithm::RS512 | Algorithm::PS512 => signature::<Sha512>(&message, secret),
            _ => signature::<Sha256>(&message, secret),
        };
        format!("{message}.{signature}")
    }

    fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
        Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) }
    }

    /// RFC 7515, appendix A.1: key, header and claims of others, and the signature that they have to get.
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let message = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                       eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let key = URL_SAFE_NO_PAD.decode(key).unwrap();
        assert_eq!(signature::<Sha256>(message, &key), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    }

    #[test]
    fn what_is_signed_is_verified_until_it_ends() {
        let tokens = tokens(vec![key("a", 1)]);
        let (user, session) = ids();
        let (token, expires_at) = tokens.sign(user, session, NOW).unwrap();
        assert_eq!(expires_at, NOW.plus(Duration::from_secs(900)));
        assert_eq!(tokens.verify(&token, NOW), Ok(Bearer { user, session, expires_at }));
        assert!(tokens.verify(&token, expires_at.minus(Duration::from_secs(1))).is_ok());
        assert_eq!(tokens.verify(&token, expires_at), Err(AuthFailure::Expired));
    }

    #[test]
    fn every_key_verifies_and_the_first_one_signs() {
        let (user, session) = ids();
        let (old, _) = tokens(vec![key("a", 1)]).sign(user, session, NOW).unwrap();
        let rotated = tokens(vec![key("b", 2), key("a", 1)]);
        assert!(rotated.verify(&old, NOW).is_ok());
        let (new, _) = rotated.sign(user, session, NOW).unwrap();
        assert!(tokens(vec![key("b", 2)]).verify(&new, NOW).is_ok());
        assert_eq!(tokens(vec![key("b", 2)]).verify(&old, NOW), Err(AuthFailure::Invalid), "the old key is gone");
    }

    #[test]
    fn forged_tokens_are_refused() {
        let tokens = tokens(vec![key("a", 1)]);
        let ours = [1; 32];
        let a = header(Algorithm::HS256, Some("a"));
        assert!(tokens.verify(&forge(&a, |_| (), &ours), NOW).is_ok(), "the forger's tool makes good tokens too");
        let none = {
            let (head, rest) = (r#"{"alg":"none","typ":"JWT","kid":"a"}"#, forge(&a, |_| (), &ours));
            let claims = rest.split('.').nth(1).unwrap();
            format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(head))
        };
        let claim = |name: &'static str, value: Value| forge(&a, |claims| claims[name] = value, &ours);
        let algorithms = [
            Algorithm::HS384,
            Algorithm::HS512,
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ];
        for algorithm in algorithms {
            // The very secret, as for a verifier that takes whatever key it has for HMAC's.
            let forged = forge(&header(algorithm, Some("a")), |_| (), &ours);
            assert_eq!(tokens.verify(&forged, NOW), Err(AuthFailure::Invalid), "{algorithm:?}");
        }
        let good = forge(&a, |_| (), &ours);
        let cut = |characters: usize| good[..good.len() - characters].to_owned();
        let without =
            |name: &'static str| forge(&a, |claims| drop(claims.as_object_mut().unwrap().remove(name)), &ours);
        for (what, token) in [
            ("another secret", forge(&a, |_| (), &[2; 32])),
            ("an audience among others", claim("aud", json!(["chatcore"]))),
            ("a shorter signature", cut(4)),
            ("half a signature", cut(21)),
            ("an empty signature", cut(43)),
            ("a padded signature", format!("{good}=")),
            ("a fourth part", format!("{good}.{}", good.rsplit('.').next().unwrap())),
            ("no signature", none),
            ("no kid", forge(&header(Algorithm::HS256, None), |_| (), &ours)),
            ("an unknown kid", forge(&header(Algorithm::HS256, Some("b")), |_| (), &ours)),
            ("another issuer", claim("iss", json!("x"))),
            ("another audience", claim("aud", json!("x"))),
            ("not yet valid", claim("nbf", json!(NOW.seconds() + 60))),
            ("made in the future", claim("iat", json!(NOW.seconds() + 60))),
            ("no such user id", claim("sub", json!("1"))),
            ("no such session id", claim("sid", json!("1"))),
            ("an end that is no number", claim("exp", json!("never"))),
            ("no end", without("exp")),
            ("no issuer", without("iss")),
            ("no audience", without("aud")),
            ("no user", without("sub")),
            ("no session", without("sid")),
            ("nothing", String::new()),
            ("dots", "..".to_owned()),
        ] {
            assert_eq!(tokens.verify(&token, NOW), Err(AuthFailure::Invalid), "{what}");
        }
        assert_eq!(tokens.verify(&claim("exp", json!(NOW.seconds())), NOW), Err(AuthFailure::Expired));
    }

    #[test]
    fn a_token_with_any_byte_changed_is_refused() {
        let tokens = tokens(vec![key("a", 1)]);
        let (user, session) = ids();
        let (token, _) = tokens.sign(user, session, NOW).unwrap();
        // The last character of a part carries unused bits, which a decoder must not ignore either.
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(tokens.verify(&changed, NOW).is_err(), "byte {index} of {}", token.len());
        }
    }

    #[test]
    fn refresh_tokens_are_read_back_and_differ() {
        let (_, session) = ids();
        let token = RefreshToken::random(session).unwrap();
        let again = RefreshToken::parse(&token.reveal()).unwrap();
        assert_eq!(again.session(), session);
        assert_eq!(again.hash(), token.hash());
        assert_ne!(RefreshToken::random(session).unwrap().hash(), token.hash());
        for wrong in ["", "x", &token.reveal()[1..], &format!("{}A", token.reveal()), "not base64 at all ☃"] {
            assert!(RefreshToken::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
