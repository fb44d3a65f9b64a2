//! What a line is about, under the names that people type.

use anstyle::{AnsiColor, Style};

/// A topic, as log lines and events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Election,
    Replicate,
    Commit,
    Persist,
    Snapshot,
    Rpc,
    Client,
    Test,
    Oracle,
    Disk,
    /// Whatever has no topic of these.
    Log,
}

/// Each topic with its name and its further names: what one would say instead, and the four letters
/// that the labs' students know from their log scripts.
const TOPICS: [(Topic, &str, &[&str]); 11] = [
    (
        Topic::Election,
        "election",
        &["elections", "vote", "votes", "leader", "lead", "candidate", "term", "timer", "timr"],
    ),
    (
        Topic::Replicate,
        "replicate",
        &["replication", "append", "appends", "entries", "heartbeat", "log1", "log2"],
    ),
    (Topic::Commit, "commit", &["commits", "apply", "applied", "cmit"]),
    (Topic::Persist, "persist", &["persistence", "save", "storage", "journal", "pers"]),
    (Topic::Snapshot, "snapshot", &["snapshots", "snap", "install", "compaction"]),
    (Topic::Rpc, "rpc", &["rpcs", "network", "net", "message", "messages"]),
    (Topic::Client, "client", &["clients", "clerk", "kv", "clnt"]),
    (Topic::Test, "test", &["tests", "tester", "fault", "faults"]),
    (Topic::Oracle, "oracle", &[]),
    (Topic::Disk, "disk", &["disks"]),
    (Topic::Log, "log", &["other", "others"]),
];

impl Topic {
    /// The topic of this very name, as a log line has it.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        TOPICS.iter().find(|(_, own, _)| *own == name).map(|(topic, ..)| *topic)
    }

    pub(crate) fn name(self) -> &'static str {
        TOPICS.iter().find(|(topic, ..)| *topic == self).map_or("log", |(_, name, _)| name)
    }

    /// In which colour.
    pub(crate) fn style(self) -> Style {
        match self {
            Self::Election => AnsiColor::Yellow.on_default(),
            Self::Replicate => AnsiColor::Blue.on_default(),
            Self::Commit => AnsiColor::Green.on_default(),
            Self::Persist | Self::Disk => AnsiColor::Magenta.on_default(),
            Self::Snapshot => AnsiColor::Cyan.on_default(),
            Self::Rpc => Style::new().dimmed(),
            Self::Client => AnsiColor::BrightBlue.on_default(),
            Self::Test => Style::new().bold(),
            Self::Oracle => AnsiColor::Red.on_default(),
            Self::Log => Style::new(),
        }
    }
}

/// The topic that a person means.
pub(crate) fn topic(text: &str) -> Result<Topic, String> {
    let word = text.trim().to_lowercase();
    let means = |name: &str, others: &[&str]| name == word || others.contains(&&*word);
    let found = TOPICS.iter().find(|(_, name, others)| means(name, others));
    found.map(|(topic, ..)| *topic).ok_or_else(|| {
        let names: Vec<&str> = TOPICS.iter().map(|(_, name, _)| *name).collect();
        format!("the topics are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_topic_is_known_by_its_name_and_by_what_students_would_type() {
        let means = [
            ("election", Topic::Election),
            ("vote", Topic::Election),
            ("VOTE", Topic::Election),
            ("append", Topic::Replicate),
            ("cmit", Topic::Commit),
            ("apply", Topic::Commit),
            ("save", Topic::Persist),
            ("disk", Topic::Disk),
            ("snap", Topic::Snapshot),
            ("network", Topic::Rpc),
            ("clerk", Topic::Client),
            (" test", Topic::Test),
        ];
        for (word, meant) in means {
            assert_eq!(topic(word), Ok(meant), "{word}");
        }
    }

    #[test]
    fn an_unknown_topic_is_refused_by_naming_those_there_are() {
        let expected = "the topics are election, replicate, commit, persist, snapshot, rpc, \
                        client, test, oracle, disk, log";
        for wrong in ["", "elektion", "vot", "vote,commit"] {
            assert_eq!(topic(wrong), Err(expected.to_string()), "{wrong}");
        }
    }

    #[test]
    fn no_word_means_two_topics_and_each_topic_is_listed_once() {
        let words = TOPICS.iter().flat_map(|(_, name, others)| others.iter().chain([name]));
        let words: Vec<&&str> = words.collect();
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
        let topics: BTreeSet<Topic> = TOPICS.iter().map(|(topic, ..)| *topic).collect();
        assert_eq!(topics.len(), TOPICS.len());
        assert!(TOPICS.iter().all(|(topic, name, _)| topic.name() == *name));
    }
}
