//! Registering, logging in, one's own profile and password.

use std::net::IpAddr;

use super::Chat;
use super::error::{AuthFailure, Error, Fields, Result};
use super::guard::Principal;
use super::tokens::RefreshToken;
use super::work::Cost;
use crate::hub::{Signal, SignalKind};
use crate::id::UserId;
use crate::model::{Account, DeviceName, DisplayName, Email, FieldCode, FieldError, Password, Session, Username};
use crate::store::{Credentials, NewUser, ProfileChange, Taken};
use crate::view::UserView;

/// What somebody registers with, as typed.
#[derive(Clone, Copy)]
pub struct RegisterInput<'a> {
    /// See [`Username::parse`].
    pub username: &'a str,
    /// See [`Email::parse`].
    pub email: &'a str,
    /// See [`Password::parse`].
    pub password: &'a str,
    /// See [`DisplayName::parse`]; the username when left out.
    pub display_name: Option<&'a str>,
}

/// What somebody logs in with, as typed.
#[derive(Clone, Copy)]
pub struct LoginInput<'a> {
    /// Username or e-mail address.
    pub login: &'a str,
    /// The password.
    pub password: &'a str,
    /// See [`DeviceName::parse`].
    pub device: Option<&'a str>,
}

/// What somebody changes of their profile, as typed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProfileInput<'a> {
    /// The new name, if it changes.
    pub display_name: Option<&'a str>,
    /// The new address, if it changes.
    pub email: Option<&'a str>,
}

/// Tokens for a session.
pub struct TokenPair {
    /// The signed access token.
    pub access_token: String,
    /// How long the access token is good for, in seconds.
    pub expires_in: u64,
    /// The refresh token.
    pub refresh_token: String,
    /// Whose they are.
    pub user: UserView,
}

impl std::fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenPair").field("user", &self.user.user.id).finish_non_exhaustive()
    }
}

fn taken(taken: Taken) -> Error {
    let mut errors = Vec::new();
    if taken.username {
        errors.push(FieldError::new("username", FieldCode::Taken, "is taken"));
    }
    if taken.email {
        errors.push(FieldError::new("email", FieldCode::Taken, "is taken"));
    }
    Error::Conflict(errors)
}

/// What attempts are counted by: the same for every spelling of a login, whether there is such an account or not.
///
/// An account has two, its username and its address, and each has half of the attempts. Counted together, those of the one would stop
/// the other, and so tell which address belongs to which username.
fn login_key(login: &str) -> String {
    let login = login.trim();
    match Email::parse(login) {
        Ok(email) => email.key(),
        Err(_) => login.to_lowercase().chars().take(Email::MAX_BYTES).collect(),
    }
}

impl Chat {
    /// Makes an account. Without an address, the attempt counts together with all others that have none.
    ///
    /// # Errors
    /// `Invalid` with every wrong field, `Conflict` with those that are taken, `RateLimited` by address.
    pub async fn register(&self, input: RegisterInput<'_>, address: Option<IpAddr>) -> Result<(Account, UserView)> {
        let mut fields = Fields::default();
        let username = fields.parse("username", Username::parse(input.username));
        let email = fields.parse("email", Email::parse(input.email));
        let password = fields.parse("password", Password::parse(input.password));
        let display_name = fields.parse_optional("display_name", input.display_name, DisplayName::parse);
        let ((username, email), password) = fields.finish(username.zip(email).zip(password))?;
        self.inner.registrations.check(&address.into())?;
        let now = self.now();
        let user = NewUser {
            id: UserId::from_uuid(self.new_id()),
            display_name: display_name.unwrap_or_else(|| DisplayName::from(&username)),
            username,
            email,
            password: self.inner.hasher.hash(&password).await?,
            created_at: now,
        };
        self.inner.storage.users.create(&user).await?.map_err(taken)?;
        self.account(user.id).await
    }

    /// Begins a session. Without an address, the attempt counts together with all others that have none.
    ///
    /// # Errors
    /// `Unauthenticated` when login or password is wrong, after the same work either way; `Invalid` for a device name that is
    /// none; `RateLimited` by account and by address.
    pub async fn login(&self, input: LoginInput<'_>, address: Option<IpAddr>) -> Result<TokenPair> {
        let mut fields = Fields::default();
        let device = fields.parse_optional("device", input.device, DeviceName::parse);
        if input.login.trim().is_empty() {
            fields.push(FieldError::new("login", FieldCode::Blank, "must not be blank"));
        }
        if input.password.is_empty() {
            fields.push(FieldError::new("password", FieldCode::Blank, "must not be blank"));
        }
        fields.done()?;
        let key = login_key(input.login);
        self.inner.logins_by_address.check(&address.into())?;
        let attempt = (key.clone(), address.into());
        self.inner.logins_by_account.check(&attempt)?;
        let credentials = self.find_credentials(input.login).await?;
        let owner = credentials.as_ref().map(|credentials| credentials.account.user.id);
        let stranger = !owner.is_some_and(|owner| self.inner.familiar.knows(owner, address));
        if stranger {
            self.inner.logins_by_strangers.check(&key)?;
        }
        let hash = credentials.as_ref().map(|credentials| &credentials.password);
        // No account has a longer one, and hashing megabytes is work that nobody should be able to ask for.
        let fits = input.password.chars().count() <= Password::MAX;
        let matches = self.inner.hasher.verify(if fits { input.password } else { "" }, hash).await? && fits;
        let Some(credentials) = credentials.filter(|_| matches) else {
            return Err(AuthFailure::Credentials.into());
        };
        // No guess: somebody who signs in and out, or on many devices, is not held up by it.
        self.inner.logins_by_account.give_back(&attempt);
        if stranger {
            self.inner.logins_by_strangers.give_back(&key);
        }
        let (chat, user) = (self.clone(), credentials.account.user.id);
        self.to_its_end(async move { chat.begin_session(user, device, &credentials.password, address).await }).await
    }

    async fn find_credentials(&self, login: &str) -> Result<Option<Credentials>> {
        let users = &self.inner.storage.users;
        let login = login.trim();
        if login.contains('@') {
            match Email::parse(login) {
                Ok(email) => Ok(users.credentials_by_email(&email).await?),
                Err(_) => Ok(None),
            }
        } else {
            match Username::parse(login) {
                Ok(username) => Ok(users.credentials_by_username(&username).await?),
                Err(_) => Ok(None),
            }
        }
    }

    pub(crate) async fn token_pair(&self, session: &Session, refresh: &RefreshToken) -> Result<TokenPair> {
        let (access_token, _) = self.inner.tokens.sign(session.user, session.id, self.now())?;
        let user = self.user_view(session.user, session.user).await?.ok_or(Error::NotFound("user"))?;
        Ok(TokenPair {
            access_token,
            expires_in: self.inner.settings.tokens.access_ttl.as_secs(),
            refresh_token: refresh.reveal(),
            user,
        })
    }

    async fn account(&self, id: UserId) -> Result<(Account, UserView)> {
        let account = self.inner.storage.users.account(id).await?.ok_or(Error::NotFound("user"))?;
        let view = self.own_view(&account);
        Ok((account, view))
    }

    fn own_view(&self, account: &Account) -> UserView {
        let user = account.user.clone();
        UserView { presence: self.inner.hub.presence_view(user.id, user.last_seen), user: user.into() }
    }

    /// The caller's own account.
    ///
    /// # Errors
    /// `NotFound` should the account be gone.
    pub async fn me(&self, caller: &Principal) -> Result<(Account, UserView)> {
        self.spend(caller, Cost::READ)?;
        self.account(caller.user).await
    }

    /// Changes the caller's profile: all fields or none. Friends and direct peers are told.
    ///
    /// # Errors
    /// `Invalid` with every wrong field, `Conflict` when the address is taken, `RateLimited` for the address.
    pub async fn update_profile(&self, caller: &Principal, input: ProfileInput<'_>) -> Result<(Account, UserView)> {
        self.spend(caller, Cost::CHANGE)?;
        let mut fields = Fields::default();
        let display_name = fields.parse_optional("display_name", input.display_name, DisplayName::parse);
        let email = fields.parse_optional("email", input.email, Email::parse);
        fields.done()?;
        if display_name.is_none() && email.is_none() {
            return self.account(caller.user).await;
        }
        if email.is_some() {
            self.inner.email_changes.check(&caller.user)?;
        }
        let (chat, user) = (self.clone(), caller.user);
        self.to_its_end(async move {
            let renamed = display_name.is_some();
            let change = ProfileChange { display_name, email };
            let updated = chat.inner.storage.users.update_profile(user, &change).await?;
            let account = updated.ok_or(Error::NotFound("user"))?.map_err(taken)?;
            if renamed {
                chat.tell_user_updated(user).await;
            }
            let view = chat.own_view(&account);
            Ok((account, view))
        })
        .await
    }

    /// Best effort, as signals are: the change itself has been made.
    async fn tell_user_updated(&self, user: UserId) {
        let told = async {
            let mut contacts = self.contacts(user).await?;
            contacts.push(user);
            for contact in contacts {
                if self.inner.hub.presence(contact).is_some()
                    && let Some(view) = self.user_view(contact, user).await?
                {
                    let kind = SignalKind::UserUpdated(Box::new(view));
                    self.inner.hub.signal_user(contact, &Signal::new(None, Some(user), kind).into());
                }
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = told.await {
            tracing::warn!(%user, error = &error as &dyn std::error::Error, "contacts were not told of a profile");
        }
    }

    /// Replaces the caller's password, and ends every other session. The same change again, by a caller who does not know whether it was
    /// made, ends them again.
    ///
    /// # Errors
    /// `Invalid`: `current_password` `wrong`, or a rule of [`Password::parse`] on `new_password`. `RateLimited` like a login.
    pub async fn change_password(&self, caller: &Principal, current: &str, new: &str) -> Result<()> {
        self.spend(caller, Cost::HASH)?;
        let mut fields = Fields::default();
        let new = fields.parse("new_password", Password::parse(new));
        if current.is_empty() {
            fields.push(FieldError::new("current_password", FieldCode::Blank, "must not be blank"));
        }
        let new = fields.finish(new)?;
        self.inner.password_changes.check(&caller.user)?;
        let credentials = self.inner.storage.users.credentials(caller.user).await?.ok_or(Error::NotFound("user"))?;
        let fits = current.chars().count() <= Password::MAX;
        let (chat, caller) = (self.clone(), *caller);
        if !fits || !self.inner.hasher.verify(current, Some(&credentials.password)).await? {
            if !fits || !self.is_password_already(caller.user, &new, &credentials).await? {
                return Err(Error::field("current_password", FieldCode::Wrong, "is not the current password"));
            }
            return self.to_its_end(async move { chat.end_other_sessions(&caller).await }).await;
        }
        let hash = self.inner.hasher.hash(&new).await?;
        self.to_its_end(async move {
            // The write first: a login that began before it either sees it, or has made its session before those are ended.
            if !chat.inner.storage.users.replace_password(caller.user, &credentials.password, &hash).await? {
                return Err(Error::Conflict(Vec::new()));
            }
            chat.end_other_sessions(&caller).await
        })
        .await
    }

    /// Whether a change of the password was made already: by a call that was stopped before it had ended the sessions, or whose answer was
    /// lost. It is one more guess, and counts as one.
    async fn is_password_already(&self, user: UserId, new: &Password, credentials: &Credentials) -> Result<bool> {
        if self.inner.password_changes.check(&user).is_err() {
            return Ok(false);
        }
        self.inner.hasher.verify(new.reveal(), Some(&credentials.password)).await
    }
}
