//! Which events a person wants to see.

use std::collections::BTreeSet;

use labrt::time::Duration;

use super::event::{self, Event, Who};
use super::layout::milliseconds;
use super::topic::{Topic, topic};

/// What is shown; without any option, everything.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Show these topics alone: election, replicate, commit, persist, snapshot, rpc, client, test
    #[arg(long, value_name = "TOPICS", value_delimiter = ',', value_parser = topic)]
    only: Vec<Topic>,
    /// Leave these topics out
    #[arg(long, value_name = "TOPICS", value_delimiter = ',', value_parser = topic)]
    drop: Vec<Topic>,
    /// Begin at this time of the run: 13.9s, 250ms
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Duration>,
    /// End at this time of the run
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Duration>,
    /// Show these columns alone: S1,S3,test
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = column)]
    server: Vec<Who>,
}

impl Filter {
    pub(crate) fn passes(&self, event: &Event) -> bool {
        // As it is shown: what a person types is what stands on the screen.
        let time = Duration::from_millis(milliseconds(event.time_ns));
        (self.only.is_empty() || self.only.contains(&event.topic))
            && !self.drop.contains(&event.topic)
            && self.from.is_none_or(|from| time >= from)
            && self.to.is_none_or(|to| time <= to)
            && (self.server.is_empty() || self.server.contains(&event.who))
    }

    /// The columns that were asked for, if some were.
    pub(crate) fn columns(&self) -> Option<BTreeSet<Who>> {
        (!self.server.is_empty()).then(|| self.server.iter().copied().collect())
    }
}

/// A time of the run. A number without a unit is seconds, as logs print them.
fn moment(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let seconds = match unit {
        "" | "s" => Some(1.0),
        "ms" => Some(1e-3),
        "m" => Some(60.0),
        _ => None,
    };
    let number: Option<f64> = text[..text.len() - unit.len()].parse().ok();
    let moment = number.zip(seconds).map(|(number, seconds)| number * seconds);
    moment
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "it must be a time of the run, as in 13.9s, 250ms or 2m".to_string())
}

/// A column by its name, or a server by its number.
fn column(text: &str) -> Result<Who, String> {
    let name = text.trim().to_lowercase();
    let who = match &*name {
        "client" | "clients" | "tests" => Some(Who::Test),
        name => event::who(name).or_else(|| {
            let number = name.strip_prefix('s').unwrap_or(name);
            number.parse().ok().map(Who::Server)
        }),
    };
    who.ok_or_else(|| "it must be a server, as in S1, or test".to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::event::Kind;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: Filter,
    }

    fn refusal(arguments: &str) -> String {
        let line = Line::try_parse_from(format!("logs {arguments}").split(' '));
        line.map(|_| ()).expect_err("it is refused").to_string()
    }

    fn event(milliseconds: u64, who: Who, topic: Topic) -> Event {
        let text = String::new();
        Event { time_ns: milliseconds * 1_000_000, who, topic, kind: Kind::Note, text }
    }

    /// Which of some events, by number, pass.
    fn passing(arguments: &str) -> Vec<usize> {
        let words = ["logs"].into_iter().chain(arguments.split_whitespace());
        let filter = Line::try_parse_from(words).expect("it is understood").filter;
        let events = [
            event(0, Who::Test, Topic::Test),
            event(100, Who::Server(0), Topic::Election),
            event(200, Who::Server(1), Topic::Persist),
            event(300, Who::Server(1), Topic::Rpc),
            event(400, Who::Server(10), Topic::Commit),
        ];
        (0..events.len()).filter(|&number| filter.passes(&events[number])).collect()
    }

    #[test]
    fn topics_times_and_columns_are_chosen_and_all_choices_count() {
        assert_eq!(passing(""), [0, 1, 2, 3, 4]);
        assert_eq!(passing("--only vote,cmit"), [1, 4]);
        assert_eq!(passing("--only vote --only commit"), [1, 4]);
        assert_eq!(passing("--drop persist,rpc"), [0, 1, 4]);
        assert_eq!(passing("--only vote,rpc --drop rpc"), [1]);
        assert_eq!(passing("--from 100ms --to 0.3s"), [1, 2, 3]);
        assert_eq!(passing("--from 0.3001"), [4]);
        assert_eq!(passing("--server S1,test"), [0, 2, 3]);
        assert_eq!(passing("--server 10 --to 0.4"), [4]);
        assert_eq!(passing("--server s1 --only rpc --from 200ms"), [3]);
    }

    #[test]
    fn a_time_as_it_is_shown_holds_all_that_is_shown_with_it() {
        let filter = |arguments: [&str; 2]| {
            Line::try_parse_from(["logs"].into_iter().chain(arguments)).expect("it is understood")
        };
        for time_ns in [6_481_500_000, 6_482_499_999] {
            let event = Event { time_ns, ..event(0, Who::Test, Topic::Test) };
            assert!(filter(["--from", "6.482s"]).filter.passes(&event), "{time_ns}");
            assert!(filter(["--to", "6.482s"]).filter.passes(&event), "{time_ns}");
            assert!(!filter(["--to", "6.481s"]).filter.passes(&event), "{time_ns}");
            assert!(!filter(["--from", "6.483s"]).filter.passes(&event), "{time_ns}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        let topics = "invalid value 'elektion' for '--only <TOPICS>': the topics are election, \
                      replicate, commit, persist, snapshot, rpc, client, test, oracle, disk, log";
        assert!(refusal("--only vote,elektion").contains(topics));
        assert!(refusal("--drop x").contains("the topics are election, "));
        assert!(refusal("--server S1,X").contains("it must be a server, as in S1, or test"));
        for wrong in ["ten", "1h", "s", "1.2.3s", "-1s", "nan", "1e999", "13,9s"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        assert!(refusal("--from soon").contains("as in 13.9s, 250ms or 2m"));
    }

    #[test]
    fn times_have_units_and_seconds_are_usual() {
        for text in ["13.9", "13.9s", "13900ms", " 13.9s"] {
            assert_eq!(moment(text), Ok(Duration::from_millis(13_900)), "{text}");
        }
        assert_eq!(moment("2m"), Ok(Duration::from_secs(120)));
    }
}
