//! The key that access tokens are signed with: given, or made at the first start and kept beside the database.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chatcore::model::AccessSecret;

use crate::settings::{Settings, Store};

pub(crate) fn load(settings: &Settings) -> io::Result<AccessSecret> {
    if let Some(secret) = &settings.jwt_secret {
        return AccessSecret::new(secret.as_bytes())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("--jwt-secret {error}")));
    }
    match &settings.store {
        Store::Memory => random().and_then(|bytes| wrap(&bytes)),
        Store::Sqlite(url) => kept(&beside(url)),
        Store::MySql(_) | Store::Mongo(_) => kept(Path::new("chatcore.secret")),
    }
}

/// `sqlite:chat.db` → `chat.db.secret`
fn beside(url: &str) -> PathBuf {
    let file = url.trim_start_matches("sqlite:");
    let file = file.strip_prefix("//").unwrap_or(file);
    let file = file.split('?').next().unwrap_or(file);
    PathBuf::from(format!("{file}.secret"))
}

fn kept(path: &Path) -> io::Result<AccessSecret> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let secret = random()?;
            file.write_all(&secret).and_then(|()| file.sync_all()).map_err(named)?;
            wrap(&secret)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut secret = Vec::new();
            let mut file = std::fs::File::open(path).map_err(named)?;
            file.read_to_end(&mut secret).map_err(named)?;
            wrap(&secret).map_err(named)
        }
        Err(error) => Err(named(error)),
    }
}

fn random() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(secret)
}

fn wrap(secret: &[u8]) -> io::Result<AccessSecret> {
    AccessSecret::new(secret).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("the key {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db.secret");
        let first = kept(&path).unwrap();
        assert_eq!(kept(&path).unwrap(), first);
        std::fs::write(&path, "short").unwrap();
        assert!(kept(&path).is_err());
    }

    #[test]
    fn it_lies_beside_the_database() {
        assert_eq!(beside("sqlite:chat.db"), PathBuf::from("chat.db.secret"));
        assert_eq!(beside("sqlite:///var/chat.db"), PathBuf::from("/var/chat.db.secret"));
        assert_eq!(beside("sqlite:/var/chat.db?mode=rwc"), PathBuf::from("/var/chat.db.secret"));
    }
}
