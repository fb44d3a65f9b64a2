//! Which tests a person means.
//!
//! A word is a part (`2A`), a test's name (`figure8_2C`, or `figure8` if only one part has it), or
//! a piece of names (`partition`), tried in this order. No word means all tests.

use std::sync::Arc;

use harness::runner::protocol::TestInfo;

use crate::refusal::Refusal;
use crate::targets::Target;

/// A test of a target.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) target: Arc<Target>,
    index: usize,
}

impl Selected {
    pub(crate) fn test(&self) -> &TestInfo {
        &self.target.tests[self.index]
    }
}

/// Names that are told when a word fits nothing, at most.
const NEAREST: usize = 5;

/// How alike such a name is to the word, at least (Jaro-Winkler, 1 if they are equal): less than
/// this, and nobody meant it.
const ALIKE_MIN: f64 = 0.7;

/// The tests that `words` mean, in the suites' order, each once.
///
/// # Errors
/// If a word fits none: says which names are near.
pub(crate) fn select(targets: &[Arc<Target>], words: &[String]) -> Result<Vec<Selected>, Refusal> {
    let all = targets.iter().flat_map(|target| {
        (0..target.tests.len()).map(|index| Selected { target: Arc::clone(target), index })
    });
    let all: Vec<Selected> = all.collect();
    if words.is_empty() {
        return Ok(all);
    }
    let mut chosen = vec![false; all.len()];
    for word in words {
        if word.is_empty() {
            return Err(Refusal::new(
                "an empty name would fit every test; for all of them, name none",
            ));
        }
        let fits = fitting(&all, word).ok_or_else(|| no_such_test(&all, word))?;
        all.iter().zip(&mut chosen).for_each(|(test, chosen)| *chosen |= fits(test.test()));
    }
    Ok(all.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(test, _)| test).collect())
}

/// How a word is to be understood.
type Fits<'a> = Box<dyn Fn(&TestInfo) -> bool + 'a>;

/// The first understanding of a word that fits some test.
fn fitting<'a>(all: &[Selected], word: &'a str) -> Option<Fits<'a>> {
    let understandings: [Fits<'a>; 4] = [
        Box::new(move |test| test.part.eq_ignore_ascii_case(word)),
        Box::new(move |test| test.name == word),
        Box::new(move |test| short_name(test) == word),
        Box::new(move |test| test.name.contains(word)),
    ];
    understandings.into_iter().find(|fits| all.iter().any(|test| fits(test.test())))
}

/// The name without its part.
fn short_name(test: &TestInfo) -> &str {
    test.name.strip_suffix(&test.part).map_or(&*test.name, |name| name.trim_end_matches('_'))
}

fn no_such_test(all: &[Selected], word: &str) -> Refusal {
    let like = |name: &str| strsim::jaro_winkler(word, name);
    let likeness = |test: &TestInfo| like(&test.name).max(like(short_name(test)));
    let names = all.iter().map(Selected::test).map(|test| (likeness(test), &*test.name));
    let mut names: Vec<(f64, &str)> = names.filter(|(alike, _)| *alike >= ALIKE_MIN).collect();
    names.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.cmp(y)));
    names.dedup();
    names.truncate(NEAREST);
    let names: Vec<&str> = names.into_iter().map(|(_, name)| name).collect();
    let nearest = match &*names {
        [] => ": ".to_string(),
        names => format!(". The nearest names are {}; ", names.join(", ")),
    };
    let mut parts: Vec<&str> = all.iter().map(|test| &*test.test().part).collect();
    parts.sort_unstable();
    parts.dedup();
    Refusal(format!(
        "no test and no part is called {word:?}{nearest}the parts are {}",
        parts.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(names: &[&str]) -> Arc<Target> {
        let info = |name: &&str| TestInfo {
            name: name.to_string(),
            part: name.rsplit('_').next().unwrap_or_default().to_string(),
            claim: String::new(),
            paper: String::new(),
            points: 1,
            mirrored: true,
            servers: 3,
            skips: Vec::new(),
            needs_journal: false,
        };
        Arc::new(Target {
            program: "labs".into(),
            folder: ".".into(),
            name: "labs".to_string(),
            package: "mine".to_string(),
            tests: names.iter().map(info).collect(),
        })
    }

    const NAMES: [&str; 6] =
        ["basic_2A", "swarm_2A", "figure8_2C", "figure8_unreliable_2C", "swarm_2C", "basic_3A"];

    fn selected(words: &[&str]) -> Result<Vec<String>, Refusal> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let selected = select(&[target(&NAMES)], &words)?;
        Ok(selected.iter().map(|test| test.test().name.clone()).collect())
    }

    #[test]
    fn no_word_means_all() {
        assert_eq!(selected(&[]), Ok(NAMES.map(String::from).to_vec()));
    }

    #[test]
    fn a_word_is_a_part_a_name_or_a_piece_of_names_in_this_order() {
        let names = |names: &[&str]| Ok(names.iter().map(ToString::to_string).collect());
        assert_eq!(selected(&["2a"]), names(&["basic_2A", "swarm_2A"]));
        assert_eq!(selected(&["figure8_2C"]), names(&["figure8_2C"]));
        assert_eq!(selected(&["figure8"]), names(&["figure8_2C"]));
        assert_eq!(selected(&["swarm"]), names(&["swarm_2A", "swarm_2C"]));
        assert_eq!(selected(&["unreliable"]), names(&["figure8_unreliable_2C"]));
        assert_eq!(selected(&["3A", "basic"]), names(&["basic_2A", "basic_3A"]));
    }

    #[test]
    fn a_word_that_fits_nothing_is_refused_with_the_nearest_names() {
        let Err(Refusal(sentence)) = selected(&["2A", "figure9"]) else { panic!("it fits") };
        assert!(sentence.contains("\"figure9\". The nearest names are figure8_2C"), "{sentence}");
        assert!(sentence.ends_with("; the parts are 2A, 2C, 3A"), "{sentence}");
        assert!(!sentence.contains("swarm"), "it is not near: {sentence}");
        let Err(Refusal(sentence)) = selected(&["paxos"]) else { panic!("it fits") };
        let expected = "no test and no part is called \"paxos\": the parts are 2A, 2C, 3A";
        assert_eq!(sentence, expected);
    }
}
