//! The rules of rooms, played by a few users in random order.

use std::collections::BTreeMap;

use chatcore::model::{Role, RoomKind};
use chatcore::policy::room::{Facts, Refusal, add, change_role, remove, rename};
use proptest::prelude::*;
use proptest::sample::select;

const USERS: u8 = 5;
const MAX: u32 = 4;

#[derive(Debug, Clone, Copy)]
enum Step {
    Add(u8),
    Remove(u8),
    ChangeRole(u8, Role),
    Rename,
}

fn role() -> impl Strategy<Value = Role> {
    select(&[Role::Member, Role::Admin, Role::Owner][..])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..USERS).prop_map(Step::Add),
        4 => (0..USERS).prop_map(Step::Remove),
        4 => (0..USERS, role()).prop_map(|(user, role)| Step::ChangeRole(user, role)),
        1 => Just(Step::Rename),
    ]
}

/// The members of a room.
type Room = BTreeMap<u8, Role>;

fn facts(kind: RoomKind, room: &Room, actor: u8) -> Facts {
    Facts {
        kind,
        actor: room.get(&actor).copied(),
        members: room.len() as u32,
        owners: room.values().filter(|role| **role == Role::Owner).count() as u32,
    }
}

/// Does what the rule says, as a store would; whether it changed anything, or why not.
fn play(kind: RoomKind, room: &mut Room, by: u8, step: Step) -> Result<bool, Refusal> {
    let facts = facts(kind, room, by);
    match step {
        Step::Add(user) => {
            let new = u32::from(!room.contains_key(&user));
            add(&facts, new, MAX)?;
            room.entry(user).or_insert(Role::Member);
            Ok(new > 0)
        }
        Step::Remove(user) => {
            let done = remove(&facts, room.get(&user).copied(), by == user)?;
            if done {
                room.remove(&user);
            }
            Ok(done)
        }
        Step::ChangeRole(user, role) => {
            let done = change_role(&facts, room.get(&user).copied(), role)?;
            room.insert(user, role);
            Ok(done)
        }
        Step::Rename => rename(&facts).map(|()| true),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_group_keeps_its_rules(steps in prop::collection::vec((0..USERS, step()), 0..60)) {
        let mut room = Room::from([(0, Role::Owner)]);
        for (by, step) in steps {
            let before = room.clone();
            let acts_as = before.get(&by).copied();
            let done = play(RoomKind::Group, &mut room, by, step);
            prop_assert!(room.is_empty() || room.values().any(|role| *role == Role::Owner), "an owner is left");
            prop_assert!(room.len() <= MAX as usize);
            prop_assert_eq!(done == Ok(true), room != before || done == Ok(true) && matches!(step, Step::Rename));
            if done.is_err() {
                prop_assert_eq!(&room, &before, "a refusal changes nothing");
            }
            // Nobody does what their role does not allow.
            if done == Ok(true) {
                let needed = match step {
                    Step::Remove(user) if user == by => Role::Member,
                    Step::Remove(user) if before[&user] > Role::Member => Role::Owner,
                    Step::ChangeRole(..) => Role::Owner,
                    Step::Add(_) | Step::Remove(_) | Step::Rename => Role::Admin,
                };
                prop_assert!(acts_as.is_some_and(|role| role >= needed), "{step:?} by {acts_as:?}");
            }
            if room.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whoever is in a group may go, but for the only owner of others.
    #[test]
    fn nobody_is_held(others in prop::collection::vec(role(), 0..4), own in role()) {
        let mut room: Room = others.into_iter().zip(1..).map(|(role, user)| (user, role)).collect();
        room.insert(0, own);
        let only_owner = own == Role::Owner && facts(RoomKind::Group, &room, 0).owners == 1 && room.len() > 1;
        let want = if only_owner { Err(Refusal::LastOwner) } else { Ok(true) };
        prop_assert_eq!(play(RoomKind::Group, &mut room, 0, Step::Remove(0)), want);
    }

    #[test]
    fn a_direct_room_never_changes(steps in prop::collection::vec((0..USERS, step()), 0..60)) {
        let mut room = Room::from([(0, Role::Member), (1, Role::Member)]);
        let before = room.clone();
        for (by, step) in steps {
            let done = play(RoomKind::Direct, &mut room, by, step);
            prop_assert_eq!(&room, &before);
            prop_assert!(done != Ok(true));
            let outside = !before.contains_key(&by);
            prop_assert!(outside || done == Err(Refusal::DirectRoom));
        }
    }
}
