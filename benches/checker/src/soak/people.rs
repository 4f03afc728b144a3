//! The accounts that a soak needs: two bystanders and a few attackers, within the limits that everybody has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::place::Failure;
use crate::rest::{Answer, Rest};

/// How long a call is made again where the server is busy.
const BUSY: Duration = Duration::from_secs(60);

/// Everybody's password.
pub const PASSWORD: &str = "correct horse";

/// A user, at an address of their own: where limits count addresses, nobody shares any.
#[derive(Debug, Clone)]
pub struct Person {
    /// The user name.
    pub name: String,
    /// The user's id.
    pub id: String,
    /// Where their connections come from.
    pub from: Ipv4Addr,
    /// An access token.
    pub token: String,
    /// What the next one is had with.
    pub refresh_token: String,
    /// Where the server is.
    pub server: SocketAddr,
    /// Their connection for calls.
    pub rest: Rest,
}

impl Person {
    /// Registers somebody, and logs them in.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn register(server: SocketAddr, name: &str, from: Ipv4Addr) -> Result<Self, Failure> {
        let rest = Rest::from(IpAddr::V4(from));
        let account = json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
        let account = expect(rest.call(server, "POST", "/auth/register", "", Some(&account)).await?)?;
        let mut person = Self {
            name: name.to_owned(),
            id: text(&account["id"])?,
            from,
            token: String::new(),
            refresh_token: String::new(),
            server,
            rest,
        };
        person.login().await?;
        Ok(person)
    }

    /// Begins a session of its own.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn login(&mut self) -> Result<(), Failure> {
        let login = json!({"login": self.name, "password": PASSWORD});
        let tokens = expect(self.rest.call(self.server, "POST", "/auth/login", "", Some(&login)).await?)?;
        self.take(&tokens)
    }

    /// Gets a new access token.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn refresh(&mut self) -> Result<(), Failure> {
        let body = json!({"refresh_token": self.refresh_token});
        let tokens = expect(self.rest.call(self.server, "POST", "/auth/refresh", "", Some(&body)).await?)?;
        self.take(&tokens)
    }

    fn take(&mut self, tokens: &Value) -> Result<(), Failure> {
        self.token = text(&tokens["access_token"])?;
        self.refresh_token = text(&tokens["refresh_token"])?;
        Ok(())
    }

    /// Makes a call that has to be answered with a success.
    ///
    /// # Errors
    /// When it is not.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        expect(self.rest.call(self.server, method, path, &self.token, body).await?)
    }

    /// Makes a group with others.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn group(&self, name: &str, others: &[Person]) -> Result<String, Failure> {
        let members: Vec<_> = others.iter().map(|other| &other.id).collect();
        let room = json!({"kind": "group", "name": name, "member_ids": members});
        text(&self.call("POST", "/chat-rooms", Some(&room)).await?["id"])
    }

    /// Adds up the events of all their rooms. Asks again for a while where the server is too busy with attackers.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn events(&self) -> Result<u64, Failure> {
        let began = Instant::now();
        loop {
            match self.call("GET", "/chat-rooms?limit=100", None).await {
                Ok(page) if page["next"].is_null() => {
                    let rooms = page["items"].as_array().into_iter().flatten();
                    return Ok(rooms.filter_map(|room| room["head"].as_u64()).sum());
                }
                Ok(_) => return Err("more rooms than a page has".into()),
                Err(_) if began.elapsed() < BUSY => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn expect(answer: Answer) -> Result<Value, Failure> {
    if answer.ok() {
        Ok(answer.body)
    } else {
        Err(format!("a call was answered {}: {}", answer.status, answer.body).into())
    }
}

fn text(value: &Value) -> Result<String, Failure> {
    Ok(value.as_str().ok_or_else(|| format!("not a string: {value}"))?.to_owned())
}
