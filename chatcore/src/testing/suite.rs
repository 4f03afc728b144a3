//! The list of all contracts, and the macro that makes a test of each.

/// Makes one test of every contract of [`crate::store`], in a module for each family, so that a failure has a name.
///
/// Takes an expression that is called for every test and makes an empty store: `async fn() -> (Storage, Guard)`, or a
/// closure like it. The guard is whatever has to live as long as the store does (a temporary folder, a server); it is
/// dropped after the test. One that needs a server may answer an `Option` of them: with `None` the test is left out. The crate that calls this needs `tokio` with `macros` and `rt-multi-thread`.
///
/// ```
/// mod conformance {
///     use std::sync::Arc;
///     use chatcore::{memory::MemoryStore, store::Storage};
///
///     async fn store() -> (Storage, ()) {
///         (Storage::single(Arc::new(MemoryStore::new())), ())
///     }
///
///     chatcore::testing::conformance!(store);
/// }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __conformance {
    ($builder:expr) => {
        $crate::__conformance! { @tests $builder;
            users {
                an_account_is_found_by_all_its_names
                an_unknown_account_is_none
                users_come_once_each
                create_is_repeatable
                create_names_all_that_is_taken
                create_is_refused_by_two_accounts
                a_name_is_given_once_under_a_race
                an_address_is_given_once_under_a_race
                create_is_repeatable_under_a_race
                a_profile_changes_field_by_field
                a_profile_changes_whole_or_not_at_all
                a_changed_address_is_given_once_under_a_race
                a_password_is_compared_and_replaced
                a_password_is_replaced_once_under_a_race
                a_replaced_password_is_seen_at_once
                last_seen_goes_forward_only
            }
            search {
                search_is_sorted
                search_compares_by_bytes
                search_pages_join_up
                search_pages_bear_new_users
                search_follows_the_profile
            }
            sessions {
                a_session_is_alive_until_it_expires
                create_is_repeatable
                a_refresh_moves_the_session
                a_refresh_of_no_session_is_unknown
                a_repeated_refresh_within_the_grace_is_fresh
                a_repeated_refresh_after_the_grace_ends_the_session
                a_token_before_the_last_ends_the_session
                a_strange_token_ends_the_session
                live_tokens_are_bounded
                the_same_refresh_again_counts_once
                many_tabs_refresh_at_once
                sessions_are_listed_newest_first
                a_session_is_ended_once_by_its_user
                all_others_are_ended
                a_session_made_before_is_ended_with_the_others
                expired_sessions_are_purged
            }
            friendships {
                a_request_is_pending
                a_crossing_request_accepts
                an_answer_is_given_once
                a_rejected_request_may_be_asked_again
                an_end_removes_the_row
                a_request_is_made_once_under_a_race
                crossing_requests_make_friends_under_a_race
                an_answer_is_given_once_under_a_race
                an_end_happens_once_under_a_race
                lists_come_newest_first
                friends_are_all_of_them
            }
            blocks {
                a_block_has_a_direction
                a_block_ends_the_row
                nobody_asks_across_a_block
                a_block_is_made_once
                a_block_and_a_row_never_stand_together
                the_blocked_come_newest_first
                blocks_are_found_among_many
            }
            rooms {
                a_group_is_made_whole
                a_direct_room_has_two_sides
                a_pair_has_one_direct_room_under_a_race
                a_client_id_makes_one_group
                a_client_id_makes_one_group_under_a_race
                create_is_repeatable
                a_creation_cut_off_is_whole_or_not_at_all
                standings_come_in_the_order_asked
                rooms_are_found_by_user
                members_come_oldest_first
            }
            members {
                add_lets_in_who_is_new
                add_is_all_or_nothing
                add_is_for_admins_of_groups
                a_room_fills_up_once_under_a_race
                a_member_comes_in_once_under_a_race
                a_member_goes_whole
                remove_is_for_who_ranks_higher
                two_owners_leave_at_once
                roles_are_given_by_owners
                two_owners_demote_each_other
                a_room_is_renamed
            }
            intents {
                intents_come_in_the_order_of_recording
                settle_forgets_and_numbers
                a_late_settle_does_not_number_a_new_member
                unsettled_rooms_are_found
                markers_never_go_back
                markers_end_at_the_greatest_under_a_race
            }
            append {
                every_kind_of_event_comes_back
                rooms_are_numbered_apart
                a_duplicate_answers_the_first
                a_duplicate_within_a_batch_answers_the_first
                keys_are_told_apart
                a_duplicate_comes_before_a_rejection
                rejections_are_one_by_one
                a_key_is_free_after_a_rejection
                drafts_see_those_before_them
                what_is_so_already_is_unchanged
                text_comes_back_byte_by_byte
                a_large_batch_goes_through
            }
            states {
                a_message_begins_as_posted
                an_edit_changes_the_message_not_the_log
                a_deletion_takes_the_bodies_out
                a_tombstone_stays
                reactions_are_counted_in_order
                reactions_are_compared_by_bytes
                different_reactions_are_limited
                reactors_come_in_order
            }
            pages {
                events_are_read_from_both_ends
                an_empty_log_is_no_error
                message_pages_go_back
                message_pages_go_forward
                message_pages_surround_a_position
                messages_are_found_by_number
            }
            digests {
                heads_tell_where_logs_end
                unread_counts_what_others_wrote
                an_own_post_moves_the_marker
                unread_is_capped
                a_digest_shows_the_last_message
                digests_of_many_rooms
                last_posts_of_many_users
            }
            concurrency {
                logs_are_dense_at_every_moment
                opposite_orders_do_not_lock_each_other_out
                one_key_is_appended_once_under_a_race
                reactions_hold_their_limit_under_a_race
                nothing_outlives_a_deletion
                a_page_shows_what_its_head_has_made
                an_append_cut_off_is_there_or_not
                appends_cut_off_beside_others_leave_dense_logs
            }
        }
    };
    (@tests $builder:expr; $($family:ident { $($contract:ident)* })*) => {
        $crate::__conformance! { @families ($builder) $($family { $($contract)* })* }
    };
    (@families $builder:tt $($family:ident $contracts:tt)*) => {
        $($crate::__conformance! { @family $builder $family $contracts })*
    };
    (@family ($builder:expr) $family:ident { $($contract:ident)* }) => {
        mod $family {
            use super::*;
            $(
                #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $contract() {
                    $crate::testing::check($builder, $crate::testing::$family::$contract).await;
                }
            )*
        }
    };
}

pub use crate::__conformance as conformance;

use crate::store::Storage;

/// What a builder answers: a store and its guard, or `None` where the server that it needs is not to be had. It has said so then.
pub trait Built {
    /// Lives as long as the store.
    type Guard;

    /// The store, if there is one.
    fn built(self) -> Option<(Storage, Self::Guard)>;
}

impl<G> Built for (Storage, G) {
    type Guard = G;

    fn built(self) -> Option<(Storage, G)> {
        Some(self)
    }
}

impl<G> Built for Option<(Storage, G)> {
    type Guard = G;

    fn built(self) -> Self {
        self
    }
}

/// Runs one contract on a store of its own. What [`conformance!`](crate::testing::conformance) makes its tests of.
pub async fn check<B: Built>(builder: impl AsyncFnOnce() -> B, contract: impl AsyncFnOnce(Storage)) {
    let Some((storage, guard)) = builder().await.built() else { return };
    storage.ping().await.expect("a store that was just made answers");
    contract(storage).await;
    drop(guard);
}

#[cfg(test)]
mod tests {
    /// A contract that is written but not listed would never run.
    #[test]
    fn every_contract_is_listed() {
        let list = include_str!("suite.rs");
        let families = [
            ("users", include_str!("users.rs")),
            ("search", include_str!("search.rs")),
            ("sessions", include_str!("sessions.rs")),
            ("friendships", include_str!("friendships.rs")),
            ("blocks", include_str!("blocks.rs")),
            ("rooms", include_str!("rooms.rs")),
            ("members", include_str!("members.rs")),
            ("intents", include_str!("intents.rs")),
            ("append", include_str!("append.rs")),
            ("states", include_str!("states.rs")),
            ("pages", include_str!("pages.rs")),
            ("digests", include_str!("digests.rs")),
            ("concurrency", include_str!("concurrency.rs")),
        ];
        for (family, source) in families {
            let block = list.split_once(&format!("            {family} {{\n")).expect("the family is listed").1;
            let listed: Vec<_> = block.lines().take_while(|line| line.trim() != "}").map(str::trim).collect();
            let contract = |line: &'static str| line.strip_prefix("pub async fn ")?.split('(').next();
            let written: Vec<_> = source.lines().filter_map(contract).collect();
            assert_eq!(listed, written, "in {family}");
        }
    }
}
