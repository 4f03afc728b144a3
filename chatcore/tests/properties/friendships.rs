//! The rules of friendship, played by two users in random order.

use chatcore::model::{Friendship, FriendshipStatus, Relation};
use chatcore::policy::friendship::{Refusal, Request, answer, end, request};
use chatcore::testing::fixtures::{at, friendship_id, user_id};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Request,
    Answer(bool),
    End,
    Block,
    Unblock,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Request),
        3 => any::<bool>().prop_map(Step::Answer),
        2 => Just(Step::End),
        1 => Just(Step::Block),
        2 => Just(Step::Unblock),
    ]
}

/// What a store keeps of two users.
#[derive(Debug, Default)]
struct Pair {
    row: Option<Friendship>,
    blocks: [bool; 2],
}

impl Pair {
    fn relation(&self, user: usize) -> Relation {
        Relation { friendship: self.row.clone(), blocks: self.blocks[user], blocked: self.blocks[1 - user] }
    }

    /// Does what the rule says, as a store would.
    fn play(&mut self, by: usize, step: Step) {
        let users = [user_id(0), user_id(1)];
        let pending = Friendship {
            id: friendship_id(1),
            status: FriendshipStatus::Pending,
            requester: users[by],
            addressee: users[1 - by],
            created_at: at(0),
            updated_at: at(0),
        };
        let row = self.row.as_mut();
        match step {
            Step::Request => match (request(&self.relation(by), users[by]), self.row.as_mut()) {
                (Ok(Request::Create | Request::Reopen), _) => self.row = Some(pending),
                (Ok(Request::Accept), Some(row)) => row.status = FriendshipStatus::Accepted,
                _ => {}
            },
            Step::Answer(accept) => {
                if let Some(row) = row
                    && answer(row, users[by], accept) == Ok(true)
                {
                    row.status = if accept { FriendshipStatus::Accepted } else { FriendshipStatus::Rejected };
                }
            }
            Step::End => {
                if row.is_some_and(|row| end(row, users[by]).is_ok()) {
                    self.row = None;
                }
            }
            Step::Block => {
                self.blocks[by] = true;
                self.row = None;
            }
            Step::Unblock => self.blocks[by] = false,
        }
    }

    /// What holds whatever has been done.
    fn check(&self) -> Result<(), TestCaseError> {
        let users = [user_id(0), user_id(1)];
        let blocked = self.blocks[0] || self.blocks[1];
        prop_assert!(!(blocked && self.row.is_some()), "never blocked and anything else");
        for user in [0, 1] {
            let asked = request(&self.relation(user), users[user]);
            prop_assert_eq!(asked == Err(Refusal::Blocked), blocked, "only a block bars from asking");
        }
        let Some(row) = &self.row else { return Ok(()) };
        let may_answer = users.map(|user| answer(row, user, true) == Ok(true) || answer(row, user, false) == Ok(true));
        let may_end = users.map(|user| end(row, user).is_ok());
        let asks = users.map(|user| request(&self.relation(usize::from(user == users[1])), user));
        let requester = usize::from(row.requester == users[1]);
        match row.status {
            FriendshipStatus::Pending => {
                prop_assert_eq!(may_answer, [requester == 1, requester == 0], "the other one answers");
                prop_assert_eq!(may_end, [requester == 0, requester == 1], "who asks may take it back");
                prop_assert_eq!(asks[requester], Ok(Request::Keep));
                prop_assert_eq!(asks[1 - requester], Ok(Request::Accept));
            }
            FriendshipStatus::Accepted => {
                prop_assert_eq!((may_answer, may_end), ([false; 2], [true; 2]));
                prop_assert_eq!(asks, [Err(Refusal::AlreadyFriends); 2]);
            }
            FriendshipStatus::Rejected => {
                prop_assert_eq!((may_answer, may_end), ([false; 2], [false; 2]));
                prop_assert_eq!(asks, [Ok(Request::Reopen); 2], "either may ask again");
            }
        }
        let stranger = user_id(2);
        prop_assert_eq!(answer(row, stranger, true), Err(Refusal::NotParty));
        prop_assert_eq!(end(row, stranger), Err(Refusal::NotParty));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_users_keep_the_rules(steps in prop::collection::vec((0..2_usize, step()), 0..40)) {
        let mut pair = Pair::default();
        for (by, step) in steps {
            pair.play(by, step);
            pair.check()?;
        }
    }

    /// Friendship needs both: what one alone does never makes it.
    #[test]
    fn nobody_makes_friends_alone(steps in prop::collection::vec(step(), 0..40)) {
        let mut pair = Pair::default();
        for step in steps {
            pair.play(0, step);
            prop_assert!(!pair.relation(0).are_friends());
        }
    }
}
