//! Contracts of the search for users.

use super::fixtures::{display_name, email, new_user, user_id, username};
use super::tools::{Must, pages};
use crate::model::{SearchKey, User};
use crate::store::{NewUser, ProfileChange, SearchPosition, Storage};

/// Makes `user_id(number)` under these names.
async fn user(storage: &Storage, number: u32, name: &str, display: &str) {
    let new = NewUser { username: username(name), display_name: display_name(display), ..new_user(number) };
    assert_eq!(storage.users.create(&new).await.must(), Ok(()));
}

fn key(prefix: &str) -> SearchKey {
    SearchKey::parse(prefix).expect("a prefix")
}

/// Where a page that ends with this user ended.
fn position(prefix: &SearchKey, user: &User) -> SearchPosition {
    if user.username.as_str().starts_with(prefix.as_str()) {
        SearchPosition::Username(user.username.clone())
    } else {
        SearchPosition::DisplayName(user.display_name.search_key(), user.id)
    }
}

async fn found(storage: &Storage, prefix: &str) -> Vec<String> {
    let users = storage.users.search(&key(prefix), None, 100).await.must();
    users.into_iter().map(|user| user.username.to_string()).collect()
}

/// Usernames that match come first, by name; then those of whom only the display name does, by its key, then id.
pub async fn search_is_sorted(storage: Storage) {
    user(&storage, 1, "adam", "Zoe").await;
    user(&storage, 2, "zed", "Ada Z").await;
    user(&storage, 3, "ada.b", "Ada Bee").await;
    user(&storage, 4, "yan", "ada a").await;
    user(&storage, 5, "ada", "Nobody").await;
    user(&storage, 6, "xia", "ADA A").await;
    user(&storage, 7, "bob", "Bob Adams").await;
    assert_eq!(found(&storage, "ad").await, ["ada", "ada.b", "adam", "yan", "xia", "zed"]);
    assert_eq!(found(&storage, "ADA").await, ["ada", "ada.b", "adam", "yan", "xia", "zed"]);
    assert_eq!(found(&storage, "ada a").await, ["yan", "xia"]);
    assert_eq!(found(&storage, "nobody here").await, [""; 0]);
}

/// A prefix is text: what is a wild card or a weight to a database is neither here.
pub async fn search_compares_by_bytes(storage: Storage) {
    user(&storage, 1, "a_b", "50% off").await;
    user(&storage, 2, "axb", "500 off").await;
    user(&storage, 3, "cat", "Résumé").await;
    user(&storage, 4, "dog", "Resume").await;
    user(&storage, 5, "eel", "back\\slash").await;
    user(&storage, 6, "fox", "👍👍 up").await;
    user(&storage, 7, "gnu", "👎👎 down").await;
    user(&storage, 8, "hen", "Straße").await;
    assert_eq!(found(&storage, "a_").await, ["a_b"]);
    assert_eq!(found(&storage, "50%").await, ["a_b"]);
    assert_eq!(found(&storage, "re").await, ["dog"]);
    assert_eq!(found(&storage, "RÉ").await, ["cat"]);
    assert_eq!(found(&storage, "back\\").await, ["eel"]);
    assert_eq!(found(&storage, "👍👍").await, ["fox"]);
    assert_eq!(found(&storage, "strass").await, [""; 0]);
    assert_eq!(found(&storage, "straß").await, ["hen"]);
    assert_eq!(found(&storage, "%%").await, [""; 0]);
    assert_eq!(found(&storage, "__").await, [""; 0]);
}

/// Pages of every length, put together, are the whole list.
pub async fn search_pages_join_up(storage: Storage) {
    for number in 0..6 {
        user(&storage, number, &format!("ada{number}"), "Ada").await;
    }
    for number in 6..12 {
        // Two of each display name, so that a page also ends between two of the same.
        user(&storage, number, &format!("other{number}"), &format!("Ada {}", number / 2)).await;
    }
    let prefix = key("ad");
    let all = storage.users.search(&prefix, None, 100).await.must();
    let want: Vec<_> = (0..12).map(user_id).collect();
    assert_eq!(all.iter().map(|user| user.id).collect::<Vec<_>>(), want);
    for limit in 1..=12 {
        let read = async |after: Option<_>| storage.users.search(&prefix, after.as_ref(), limit).await.must();
        let paged = pages(limit, read, |last| position(&prefix, last)).await;
        assert_eq!(paged, all, "in pages of {limit}");
    }
}

/// Who is there all the while comes once, whoever comes in between.
pub async fn search_pages_bear_new_users(storage: Storage) {
    for number in 0..4 {
        user(&storage, number, &format!("ada{}5", number + 1), "Ada").await;
        user(&storage, 10 + number, &format!("other{number}"), &format!("Ada {number}5")).await;
    }
    let prefix = key("ad");
    let mut seen = Vec::new();
    let mut after = None;
    for round in 0..100 {
        let page = storage.users.search(&prefix, after.as_ref(), 1).await.must();
        let Some(last) = page.last() else { break };
        after = Some(position(&prefix, last));
        seen.extend(page.iter().map(|user| user.id));
        if round < 8 {
            // One before everybody and one behind the others of its part.
            user(&storage, 100 + round, &format!("ada0{round}"), "New").await;
            user(&storage, 200 + round, &format!("new{round}"), &format!("Ada 0{round}")).await;
        }
    }
    let old = |id: &&_| (0..4).chain(10..14).any(|number| user_id(number) == **id);
    let seen_old: Vec<_> = seen.iter().filter(old).copied().collect();
    let want: Vec<_> = (0..4).chain(10..14).map(user_id).collect();
    assert_eq!(seen_old, want);
    let mut once = seen.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), seen.len(), "nobody twice");
}

/// A changed display name is found under the new one alone.
pub async fn search_follows_the_profile(storage: Storage) {
    user(&storage, 1, "somebody", "Ada").await;
    let change = ProfileChange { display_name: Some(display_name("Grace")), email: Some(email("new@example.org")) };
    assert!(matches!(storage.users.update_profile(user_id(1), &change).await.must(), Some(Ok(_))));
    assert_eq!(found(&storage, "ada").await, [""; 0]);
    assert_eq!(found(&storage, "gra").await, ["somebody"]);
    assert_eq!(found(&storage, "some").await, ["somebody"]);
}
