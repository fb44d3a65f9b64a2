//! Whom a client asks next. No time, no thread, no chance: those are the client's.
//!
//! A client asks the server that answered it last, for that one probably leads. If it has to look
//! further, it goes in *turns*: in a turn each server is asked once, in order, unless one of them
//! knows better. When a turn has found nobody, the client pauses before the next one, and longer
//! each time: there may be no leader, and an election does not get faster by being asked about.
//!
//! Servers name the leader by their own numbers, and the client's ends may be in another order. So
//! it learns each server's number when that one refuses, and follows a hint when it knows the way.
//!
//! A hint may be wrong, and two servers may name each other. So within a turn nobody is asked again
//! who has refused or has not answered in time. Only a call that was *lost* says nothing about the
//! server: it is repeated once, at once if that server led a moment ago, or when a hint leads
//! there.
//!
//! A server that was silent may be dead for long. From then on it is asked in its turn, but nobody
//! waits for it, until it is heard of again: otherwise each turn would be as long as one's patience
//! with the dead, and the next leader be found that much later.

use std::time::Duration;

/// The first pause, about the time that a message takes on a bad day.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause: an election takes about twice as long.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How far a server was asked in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    NotYet,
    /// Once, and the call was lost.
    Lost,
    /// There is no use in asking it again.
    Enough,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this server, by the number of the client's end, and wait for it.
    Ask(usize),
    /// Ask this server and go on: it was silent before.
    Try(usize),
    /// Nobody was found: wait about so long.
    Pause(Duration),
}

/// The search for the leader.
#[derive(Debug)]
pub(crate) struct Search {
    /// The servers' own numbers, as far as they are known.
    numbers: Vec<Option<usize>>,
    asked: Vec<Asked>,
    /// Who has not answered in time, and was not heard of since.
    is_silent: Vec<bool>,
    /// Where a turn begins: who answered last, or the beginning of the last turn.
    first: usize,
    /// Whether `first` answered last.
    answered_last: bool,
    /// Whom to ask out of turn.
    out_of_turn: Option<usize>,
    pause: Duration,
}

impl Search {
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            numbers: vec![None; servers],
            asked: vec![Asked::NotYet; servers],
            is_silent: vec![false; servers],
            first: 0,
            answered_last: false,
            out_of_turn: None,
            pause: PAUSE_MIN,
        }
    }

    /// What to do next. Servers that are not `available` are left out.
    pub(crate) fn next(&mut self, available: impl Fn(usize) -> bool) -> Step {
        if let Some(server) = self.out_of_turn.take().filter(|&server| available(server)) {
            return Step::Ask(server);
        }
        let servers = self.asked.len();
        let in_turn = (0..servers).map(|offset| (self.first + offset) % servers);
        let mut not_asked = in_turn.filter(|&server| self.asked[server] == Asked::NotYet);
        match not_asked.find(|&server| available(server)) {
            Some(server) if self.is_silent[server] => {
                self.asked[server] = Asked::Enough;
                Step::Try(server)
            }
            Some(server) => Step::Ask(server),
            None => Step::Pause(self.end_turn()),
        }
    }

    fn end_turn(&mut self) -> Duration {
        self.asked.fill(Asked::NotYet);
        self.answered_last = false;
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause
    }

    /// The server has answered: the search is over.
    pub(crate) fn found(&mut self, server: usize) {
        self.asked.fill(Asked::NotYet);
        self.first = server;
        self.answered_last = true;
        self.out_of_turn = None;
        self.pause = PAUSE_MIN;
        self.heard(server);
    }

    /// The server lives, whatever it said.
    pub(crate) fn heard(&mut self, server: usize) {
        self.is_silent[server] = false;
    }

    /// The server is there, under its own number, and does not lead. It may know who does.
    pub(crate) fn refused(&mut self, server: usize, number: usize, leader: Option<usize>) {
        self.numbers[server] = Some(number);
        self.asked[server] = Asked::Enough;
        let hint = leader.and_then(|leader| self.numbers.iter().position(|&n| n == Some(leader)));
        self.out_of_turn = hint.filter(|&server| self.asked[server] != Asked::Enough);
    }

    /// The call, or its answer, was lost, as the network says; the server may be dead.
    pub(crate) fn lost(&mut self, server: usize) {
        self.asked[server] = match self.asked[server] {
            Asked::NotYet => Asked::Lost,
            Asked::Lost | Asked::Enough => Asked::Enough,
        };
        let is_worth_it = self.asked[server] == Asked::Lost && self.is_last_answered(server);
        self.out_of_turn = is_worth_it.then_some(server);
    }

    /// The server has not answered in time.
    pub(crate) fn silent(&mut self, server: usize) {
        self.asked[server] = Asked::Enough;
        self.is_silent[server] = true;
    }

    fn is_last_answered(&self, server: usize) -> bool {
        self.answered_last && self.first == server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(search: &mut Search) -> Option<usize> {
        match search.next(|_| true) {
            Step::Ask(server) => Some(server),
            Step::Try(server) => panic!("{server} was not silent"),
            Step::Pause(_) => None,
        }
    }

    /// A turn in which everybody refuses, and knows nothing.
    fn vain_turn(search: &mut Search) -> Vec<usize> {
        let ask = || {
            let server = asks(search)?;
            search.refused(server, server, None);
            Some(server)
        };
        std::iter::from_fn(ask).collect()
    }

    #[test]
    fn a_turn_asks_everybody_once_beginning_with_who_answered_last() {
        let mut search = Search::new(4);
        search.found(2);
        assert_eq!(vain_turn(&mut search), [2, 3, 0, 1]);
        assert_eq!(vain_turn(&mut search), [2, 3, 0, 1]);
    }

    #[test]
    fn pauses_grow_to_a_limit_until_somebody_answers() {
        let mut search = Search::new(1);
        let pause = |search: &mut Search| {
            search.refused(0, 0, None);
            match search.next(|_| true) {
                Step::Pause(pause) => pause,
                Step::Ask(_) | Step::Try(_) => panic!("the only server was asked"),
            }
        };
        let pauses: Vec<_> = (0..7).map(|_| pause(&mut search).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 250, 250]);
        search.found(0);
        assert_eq!(pause(&mut search), PAUSE_MIN);
    }

    #[test]
    fn a_hint_is_followed_once_the_way_is_known() {
        let mut search = Search::new(3);
        // The ends are in another order than the servers: end 0 is S2, end 1 S0, end 2 S1.
        search.refused(0, 2, Some(1));
        assert_eq!(asks(&mut search), Some(1), "nobody knows where S1 is: in turn");
        search.refused(1, 0, Some(2));
        assert_eq!(asks(&mut search), Some(2), "S2 has refused already");
        search.refused(2, 1, None);
        assert_eq!(asks(&mut search), None);
        search.refused(0, 2, Some(1));
        assert_eq!(asks(&mut search), Some(2), "S1, by its own number");
    }

    #[test]
    fn servers_that_name_each_other_do_not_keep_a_client() {
        let mut search = Search::new(3);
        for _ in 0..2 {
            let mut asked = 0;
            while let Some(server) = asks(&mut search) {
                search.refused(server, server, Some((server + 1) % 2));
                asked += 1;
            }
            assert_eq!(asked, 3);
        }
    }

    #[test]
    fn a_lost_call_is_repeated_once_where_the_leader_was() {
        let mut search = Search::new(3);
        search.found(1);
        search.lost(1);
        assert_eq!(asks(&mut search), Some(1));
        search.lost(1);
        assert_eq!(asks(&mut search), Some(2));
        search.lost(2);
        assert_eq!(asks(&mut search), Some(0), "it is not known to lead: no second call");
    }

    #[test]
    fn a_hint_leads_back_to_where_a_call_was_lost_and_not_to_who_is_silent() {
        let mut search = Search::new(3);
        (0..3).for_each(|server| search.refused(server, server, None));
        assert_eq!(asks(&mut search), None);
        search.lost(1);
        search.silent(2);
        search.refused(0, 0, Some(1));
        assert_eq!(asks(&mut search), Some(1));
        search.refused(1, 1, Some(2));
        assert_eq!(asks(&mut search), None);
    }

    #[test]
    fn nobody_waits_for_who_was_silent_until_it_is_heard_of() {
        let mut search = Search::new(2);
        search.silent(0);
        search.refused(1, 1, None);
        assert_eq!(asks(&mut search), None);
        for _ in 0..3 {
            assert_eq!(search.next(|_| true), Step::Try(0));
            assert_eq!(asks(&mut search), Some(1));
            search.refused(1, 1, Some(0));
            assert_eq!(asks(&mut search), None);
        }
        search.heard(0);
        assert_eq!(asks(&mut search), Some(0));
    }

    #[test]
    fn who_is_not_available_is_left_out() {
        let mut search = Search::new(3);
        assert_eq!(search.next(|server| server != 0), Step::Ask(1));
        assert!(matches!(search.next(|_| false), Step::Pause(_)));
    }
}
