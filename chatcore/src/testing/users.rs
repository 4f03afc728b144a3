//! Contracts of [`UserStore`](crate::store::UserStore), but for the search.

use super::fixtures::{at, display_name, email, new_user, password, user_id, username};
use super::tools::{Must, RACERS, assert_same, race};
use crate::model::{Account, User};
use crate::store::{NewUser, ProfileChange, Storage, Taken};

const NAME_TAKEN: Taken = Taken { username: true, email: false };
const EMAIL_TAKEN: Taken = Taken { username: false, email: true };
const BOTH_TAKEN: Taken = Taken { username: true, email: true };

fn account_of(new: &NewUser) -> Account {
    Account {
        user: User {
            id: new.id,
            username: new.username.clone(),
            display_name: new.display_name.clone(),
            created_at: new.created_at,
            last_seen: None,
        },
        email: new.email.clone(),
    }
}

async fn create(storage: &Storage, user: &NewUser) -> Result<(), Taken> {
    storage.users.create(user).await.must()
}

/// An account is found whole under its id, its name and its address, the last one in any case.
pub async fn an_account_is_found_by_all_its_names(storage: Storage) {
    let mut new = new_user(1);
    new.email = email("Ada.Lovelace@Example.org");
    new.display_name = display_name("Ada Lovelace 👩🏽‍💻 Åß");
    assert_eq!(create(&storage, &new).await, Ok(()));
    let want = account_of(&new);
    let users = &storage.users;
    assert_eq!(users.account(new.id).await.must(), Some(want.clone()));
    assert_eq!(users.by_username(&new.username).await.must(), Some(want.user.clone()));
    assert_eq!(users.users(&[new.id]).await.must(), std::slice::from_ref(&want.user));
    for found in [
        users.credentials(new.id).await.must(),
        users.credentials_by_username(&new.username).await.must(),
        users.credentials_by_email(&new.email).await.must(),
        users.credentials_by_email(&email("ada.lovelace@example.ORG")).await.must(),
    ] {
        let found = found.expect("the account is there");
        assert_eq!(found.account, want);
        assert_eq!(found.password, new.password);
    }
}

/// What is not there is `None`, not an error.
pub async fn an_unknown_account_is_none(storage: Storage) {
    assert_eq!(create(&storage, &new_user(1)).await, Ok(()));
    let users = &storage.users;
    assert_eq!(users.account(user_id(2)).await.must(), None);
    assert_eq!(users.by_username(&username("user2")).await.must(), None);
    assert!(users.credentials(user_id(2)).await.must().is_none());
    assert!(users.credentials_by_username(&username("user2")).await.must().is_none());
    assert!(users.credentials_by_email(&email("user2@example.org")).await.must().is_none());
}

/// Many ids at once: the unknown are left out, the repeated come once.
pub async fn users_come_once_each(storage: Storage) {
    for number in 1..=3 {
        assert_eq!(create(&storage, &new_user(number)).await, Ok(()));
    }
    let ids = [user_id(3), user_id(9), user_id(1), user_id(3), user_id(3)];
    let found = storage.users.users(&ids).await.must();
    assert_same(found.into_iter().map(|user| user.id), [user_id(1), user_id(3)]);
    assert_eq!(storage.users.users(&[]).await.must(), []);
    let many: Vec<_> = (0..1_000).map(user_id).collect();
    assert_eq!(storage.users.users(&many).await.must().len(), 3);
}

/// The same `create` again answers as the first one did, and changes nothing.
pub async fn create_is_repeatable(storage: Storage) {
    let first = new_user(1);
    assert_eq!(create(&storage, &first).await, Ok(()));
    assert_eq!(create(&storage, &first).await, Ok(()));
    assert_eq!(storage.users.account(first.id).await.must(), Some(account_of(&first)));

    let second = NewUser { username: first.username.clone(), ..new_user(2) };
    assert_eq!(create(&storage, &second).await, Err(NAME_TAKEN));
    assert_eq!(create(&storage, &second).await, Err(NAME_TAKEN));
}

/// A refusal names every value that is taken, and leaves nothing behind.
pub async fn create_names_all_that_is_taken(storage: Storage) {
    let first = new_user(1);
    assert_eq!(create(&storage, &first).await, Ok(()));
    let other_case = email("USER1@example.org");
    let by_name = NewUser { username: first.username.clone(), ..new_user(2) };
    let by_email = NewUser { email: other_case.clone(), ..new_user(2) };
    let by_both = NewUser { username: first.username.clone(), email: other_case, ..new_user(2) };
    assert_eq!(create(&storage, &by_name).await, Err(NAME_TAKEN));
    assert_eq!(create(&storage, &by_email).await, Err(EMAIL_TAKEN));
    assert_eq!(create(&storage, &by_both).await, Err(BOTH_TAKEN));
    assert_eq!(storage.users.account(user_id(2)).await.must(), None);
    assert_eq!(create(&storage, &new_user(2)).await, Ok(()), "neither the name nor the address had been kept");
}

/// The name and the address may be taken by two different accounts.
pub async fn create_is_refused_by_two_accounts(storage: Storage) {
    assert_eq!(create(&storage, &new_user(1)).await, Ok(()));
    assert_eq!(create(&storage, &new_user(2)).await, Ok(()));
    let torn = NewUser { username: username("user1"), email: email("user2@example.org"), ..new_user(3) };
    assert_eq!(create(&storage, &torn).await, Err(BOTH_TAKEN));
}

/// Of many who want a name at once, one gets it.
pub async fn a_name_is_given_once_under_a_race(storage: Storage) {
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let new = NewUser { username: username("wanted"), ..new_user(index as u32) };
        async move { create(&storage, &new).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(NAME_TAKEN))), "{answers:?}");
    let winner = answers.iter().position(Result::is_ok).expect("one got it") as u64;
    let owner = storage.users.by_username(&username("wanted")).await.must().expect("the account is there");
    assert_eq!(owner.id, user_id(winner));
}

/// Of many who want an address at once, in whatever case, one gets it.
pub async fn an_address_is_given_once_under_a_race(storage: Storage) {
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let wanted = if index % 2 == 0 { "wanted@example.org" } else { "Wanted@Example.ORG" };
        let new = NewUser { email: email(wanted), ..new_user(index as u32) };
        async move { create(&storage, &new).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(EMAIL_TAKEN))), "{answers:?}");
}

/// The same `create` many times at once makes one account, and all are told that it is theirs.
pub async fn create_is_repeatable_under_a_race(storage: Storage) {
    let answers = race(RACERS, |_| {
        let storage = storage.clone();
        async move { create(&storage, &new_user(1)).await }
    })
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(storage.users.account(user_id(1)).await.must(), Some(account_of(&new_user(1))));
}

/// A change of the profile changes what it names, and nothing else.
pub async fn a_profile_changes_field_by_field(storage: Storage) {
    let new = new_user(1);
    assert_eq!(create(&storage, &new).await, Ok(()));
    let mut want = account_of(&new);
    let none = ProfileChange::default();
    assert_eq!(storage.users.update_profile(new.id, &none).await.must(), Some(Ok(want.clone())));
    want.user.display_name = display_name("Another");
    let name = ProfileChange { display_name: Some(display_name("Another")), email: None };
    assert_eq!(storage.users.update_profile(new.id, &name).await.must(), Some(Ok(want.clone())));
    want.email = email("other@example.org");
    let address = ProfileChange { display_name: None, email: Some(want.email.clone()) };
    assert_eq!(storage.users.update_profile(new.id, &address).await.must(), Some(Ok(want.clone())));
    want.email = email("OTHER@example.org");
    let own = ProfileChange { display_name: None, email: Some(want.email.clone()) };
    assert_eq!(storage.users.update_profile(new.id, &own).await.must(), Some(Ok(want.clone())), "one's own address");
    assert_eq!(storage.users.account(new.id).await.must(), Some(want));
    assert!(storage.users.credentials_by_email(&new.email).await.must().is_none(), "the old address is nobody's");
    assert_eq!(create(&storage, &NewUser { email: new.email, ..new_user(2) }).await, Ok(()), "and free");
    assert_eq!(storage.users.update_profile(user_id(9), &none).await.must(), None);
}

/// A taken address is refused, and then the name does not change either.
pub async fn a_profile_changes_whole_or_not_at_all(storage: Storage) {
    assert_eq!(create(&storage, &new_user(1)).await, Ok(()));
    assert_eq!(create(&storage, &new_user(2)).await, Ok(()));
    let change = ProfileChange { display_name: Some(display_name("Another")), email: Some(email("User2@example.org")) };
    assert_eq!(storage.users.update_profile(user_id(1), &change).await.must(), Some(Err(EMAIL_TAKEN)));
    assert_eq!(storage.users.account(user_id(1)).await.must(), Some(account_of(&new_user(1))));
    assert_eq!(storage.users.update_profile(user_id(9), &change).await.must(), None, "nobody's profile");
}

/// Of many who change to one address at once, one gets it.
pub async fn a_changed_address_is_given_once_under_a_race(storage: Storage) {
    for number in 0..RACERS as u32 {
        assert_eq!(create(&storage, &new_user(number)).await, Ok(()));
    }
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let change = ProfileChange { display_name: None, email: Some(email("wanted@example.org")) };
        async move { storage.users.update_profile(user_id(index as u64), &change).await.must().expect("a user") }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.is_ok() || *answer == Err(EMAIL_TAKEN)), "{answers:?}");
}

/// A password is replaced by who knows the present one; the same call again answers the same.
pub async fn a_password_is_compared_and_replaced(storage: Storage) {
    let new = new_user(1);
    assert_eq!(create(&storage, &new).await, Ok(()));
    let (first, second, third) = (&new.password, &password(2), &password(3));
    assert!(!storage.users.replace_password(new.id, second, third).await.must(), "not the present one");
    assert!(storage.users.replace_password(new.id, first, second).await.must());
    assert!(storage.users.replace_password(new.id, first, second).await.must(), "made again");
    assert!(!storage.users.replace_password(new.id, first, third).await.must(), "somebody was faster");
    let kept = storage.users.credentials(new.id).await.must().expect("the account is there");
    assert_eq!(kept.password, *second);
    assert!(!storage.users.replace_password(user_id(9), first, second).await.must(), "no such user");
}

/// Of many who replace one password by different ones at once, one does.
pub async fn a_password_is_replaced_once_under_a_race(storage: Storage) {
    let new = new_user(1);
    assert_eq!(create(&storage, &new).await, Ok(()));
    let answers = race(RACERS, |index| {
        let (storage, old) = (storage.clone(), new.password.clone());
        async move { storage.users.replace_password(user_id(1), &old, &password(100 + index as u64)).await.must() }
    })
    .await;
    assert_eq!(answers.iter().filter(|replaced| **replaced).count(), 1, "{answers:?}");
    let winner = answers.iter().position(|replaced| *replaced).expect("one did") as u64;
    let kept = storage.users.credentials(new.id).await.must().expect("the account is there");
    assert_eq!(kept.password, password(100 + winner));
}

/// Whoever reads credentials after a replacement has answered sees the new hash, whichever way, and however many read at once.
pub async fn a_replaced_password_is_seen_at_once(storage: Storage) {
    let new = new_user(1);
    assert_eq!(create(&storage, &new).await, Ok(()));
    let mut present = new.password.clone();
    for round in 0..8 {
        let next = password(100 + round);
        assert!(storage.users.replace_password(new.id, &present, &next).await.must());
        let seen = race(RACERS, |index| {
            let (storage, new) = (storage.clone(), new.clone());
            async move {
                let users = &storage.users;
                let credentials = match index % 3 {
                    0 => users.credentials_by_username(&new.username).await,
                    1 => users.credentials_by_email(&new.email).await,
                    _ => users.credentials(new.id).await,
                };
                credentials.must().expect("the account is there").password
            }
        })
        .await;
        assert!(seen.iter().all(|password| *password == next), "in round {round}");
        present = next;
    }
}

/// The time when a user was last seen goes forward only; a batch may name one twice, or a stranger.
pub async fn last_seen_goes_forward_only(storage: Storage) {
    assert_eq!(create(&storage, &new_user(1)).await, Ok(()));
    assert_eq!(create(&storage, &new_user(2)).await, Ok(()));
    let seen = |number| {
        let storage = storage.clone();
        async move { storage.users.account(user_id(number)).await.must().expect("a user").user.last_seen }
    };
    let users = &storage.users;
    users.touch_seen(&[(user_id(1), at(20)), (user_id(9), at(20)), (user_id(1), at(15))]).await.must();
    assert_eq!(seen(1).await, Some(at(20)));
    assert_eq!(seen(2).await, None);
    users.touch_seen(&[(user_id(1), at(10)), (user_id(2), at(5)), (user_id(2), at(7))]).await.must();
    assert_eq!(seen(1).await, Some(at(20)));
    assert_eq!(seen(2).await, Some(at(7)));
    users.touch_seen(&[]).await.must();
    users.touch_seen(&[(user_id(1), at(21))]).await.must();
    assert_eq!(seen(1).await, Some(at(21)));
}
