//! The claims of the paper about elections and logs, one script each: `tests/scripts/<claim>`.
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
    leader_appends_and_replicates,
    only_the_leader_takes_commands,
    entry_is_committed_once_a_majority_has_it_on_disk,
    leader_counts_its_own_entry_only_when_durable,
    entry_may_be_committed_before_the_leader_has_it_on_disk,
    append_does_not_wait_for_the_leaders_disk,
    cluster_of_one_commits_what_its_disk_has,
    append_is_not_answered_before_it_is_durable,
    follower_rejects_append_without_the_entry_before,
    conflicting_entries_are_replaced,
    late_append_never_shortens_the_log,
    duplicated_append_changes_nothing,
    stale_answer_starts_no_second_chain,
    answer_of_an_older_term_moves_nothing,
    stale_rejection_backs_nothing_up,
    rejection_backs_up_a_term_at_a_time,
    leader_tries_after_its_last_entry_of_the_conflicting_term,
    figure_7_followers_a_to_f_converge,
    figure_8_d_entry_of_an_older_term_is_not_committed_by_counting,
    figure_8_e_entries_before_one_of_the_own_term_are_committed_with_it,
    followers_learn_of_commits_with_the_next_append,
    commit_stops_at_the_last_entry_known_to_match,
    follower_that_lags_behind_commits_as_it_catches_up,
    restarted_server_reloads_its_log,
    lost_append_is_sent_again_with_the_heartbeat,
    commands_that_come_meanwhile_go_in_one_batch,
    batch_is_limited_in_bytes,
    slow_follower_does_not_hold_up_the_others,
    candidate_without_a_committed_entry_cannot_win,
    new_leader_forces_its_log_on_the_others_and_keeps_its_own,
    append_restarts_the_election_timer_though_the_logs_differ,
    replacing_a_committed_entry_is_a_broken_invariant,
    crashed_leaders_entries_survive_with_its_followers,
    leader_sends_its_snapshot_when_what_a_follower_needs_is_compacted,
    install_drops_a_tail_of_another_term,
    install_keeps_a_matching_tail,
    older_snapshot_changes_nothing,
    duplicated_snapshot_changes_nothing,
    late_answer_to_a_snapshot_moves_nothing_back,
    late_append_from_before_the_snapshot_is_taken_from_there_on,
    snapshot_is_not_answered_before_it_is_durable,
    snapshot_restarts_the_election_timer,
    stale_leaders_snapshot_is_refused,
    one_snapshot_at_a_time_to_a_follower,
    lost_snapshot_is_sent_again_to_a_follower_that_answers,
    silent_follower_gets_no_entries_until_it_answers,
    crash_around_a_snapshot_leaves_the_old_or_the_new,
    restarted_server_begins_at_its_snapshot,
    compacted_log_is_as_up_to_date_as_before,
    no_command_is_applied_again_after_a_snapshot,
    snapshot_of_what_is_not_committed_is_a_broken_invariant,
}
