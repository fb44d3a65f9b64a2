//! The claims of the paper about elections, one script each: `tests/scripts/<claim>`.
//!
//! A script says what happens to a cluster, and shows below each `---` what the servers did. After
//! a change that is meant to show, run with `UPDATE_GOLDENFILES=1` and review the difference.
//! The commands are explained in `harness/commands.rs`.

mod harness;

use std::collections::BTreeSet;
use std::path::Path;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

/// A test for each script, so that a failure names the claim that no longer holds.
macro_rules! claims {
    ($($claim:ident),* $(,)?) => {
        $(
            #[test]
            fn $claim() {
                let script = Path::new(SCRIPTS).join(stringify!($claim));
                goldenscript::run(&mut harness::Runner::default(), script)
                    .expect("the script must be readable, and its commands must make sense");
            }
        )*

        #[test]
        fn every_script_is_a_claim() {
            let claims = BTreeSet::from([$(stringify!($claim).to_owned()),*]);
            let scripts: BTreeSet<_> = std::fs::read_dir(SCRIPTS)
                .expect("the scripts are beside this file")
                .map(|entry| entry.expect("the directory is readable").file_name())
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            assert_eq!(scripts, claims);
        }
    };
}

claims! {
    servers_start_as_followers,
    follower_becomes_candidate_after_election_timeout,
    election_timeout_is_drawn_anew_each_time,
    majority_wins,
    even_cluster_needs_more_than_half,
    cluster_of_one_elects_itself,
    at_most_one_vote_per_term_first_come_first_served,
    vote_is_granted_again_to_the_same_candidate,
    granted_vote_resets_the_timer,
    refused_vote_does_not_reset_the_timer,
    candidate_returns_to_follower_on_current_leader,
    candidate_follows_leader_of_newer_term,
    candidate_rejects_stale_leader,
    split_vote_times_out_and_starts_new_term,
    leader_sends_heartbeats,
    heartbeat_prevents_election,
    stale_heartbeat_does_not_reset_the_timer,
    stale_term_request_is_refused,
    higher_term_in_request_steps_down,
    higher_term_in_reply_steps_down,
    duplicated_votes_count_once,
    duplicated_prevotes_count_once,
    late_votes_of_an_older_term_are_ignored,
    late_votes_reach_a_follower_in_vain,
    prevotes_of_an_older_term_are_ignored,
    voter_with_later_last_term_refuses,
    voter_with_longer_log_refuses,
    equal_logs_are_up_to_date,
    refused_candidate_leaves_the_vote_free,
    vote_survives_restart,
    vote_is_not_answered_before_it_is_durable,
    crash_before_the_write_forgets_vote_and_answer,
    own_vote_counts_only_when_durable,
    own_vote_waits_for_its_own_write,
    messages_wait_for_the_latest_write,
    term_is_durable_before_a_heartbeat_is_answered,
    prevote_majority_starts_the_election,
    granting_prevote_changes_nothing,
    prevote_without_majority_keeps_the_term,
    prevote_of_a_partitioned_server_does_not_disturb,
    without_prevote_a_partitioned_server_disturbs,
    prevote_is_refused_while_a_leader_is_heard,
    prevote_is_refused_to_a_stale_log,
    prevote_for_a_term_that_is_reached_is_refused,
    prevote_of_a_newer_term_spreads_no_term,
    pre_candidate_that_votes_returns_to_follower,
    pre_candidate_returns_to_follower_on_current_leader,
    split_vote_asks_for_prevotes_again,
    two_leaders_in_one_term_are_a_broken_invariant,
}
