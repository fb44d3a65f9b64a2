//! What the names in a source stand for, as far as its own imports tell.

use std::collections::BTreeMap;

use super::tokens::Token;

/// One name that a `use` brings in; `*` for all of a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) line: usize,
}

/// What a name at the beginning of a path stands for.
#[derive(Default)]
pub(super) struct Imports {
    /// By name; none where there is nothing more to say: it is told of where it is imported, or a
    /// file gives one name two meanings.
    names: BTreeMap<String, Option<String>>,
    globs: Vec<String>,
}

impl Imports {
    pub(super) fn new(imported: &[Import], is_told: impl Fn(&str) -> bool) -> Self {
        let mut imports = Self::default();
        for Import { path, name, .. } in imported {
            let meaning = Some(path.clone()).filter(|path| !is_told(path));
            if name == "*" {
                imports.globs.push(path.clone());
            } else if imports.names.get(name).is_some_and(|known| *known != meaning) {
                imports.names.insert(name.clone(), None);
            } else {
                imports.names.insert(name.clone(), meaning);
            }
        }
        imports
    }

    /// What `path` may stand for. Of what a glob brings in, types alone: a function's name is also
    /// a variable's and a field's.
    pub(super) fn meanings(&self, path: &str) -> Vec<String> {
        let (first, rest) = path.find("::").map_or((path, ""), |at| path.split_at(at));
        match self.names.get(first) {
            Some(meaning) => meaning.iter().map(|meaning| format!("{meaning}{rest}")).collect(),
            None if first.starts_with(char::is_uppercase) => {
                self.globs.iter().map(|glob| format!("{glob}::{path}")).collect()
            }
            None => vec![path.to_string()],
        }
    }
}

/// Parts `use` declarations from all the rest.
pub(super) fn split_imports(tokens: &[Token]) -> (Vec<Import>, Vec<Token>) {
    let (mut imports, mut rest) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.text == "use" {
            at = tree(tokens, at + 1, "", &mut imports);
        } else {
            rest.push(token.clone());
            at += 1;
        }
    }
    (imports, rest)
}

/// Reads one tree of a `use`, as `std::{sync::{Arc, Mutex as Lock}, thread}`, that begins at `at`
/// below `prefix`. Returns where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &str, imports: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_string();
    let mut name = None;
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        at += 1;
        match &*token.text {
            "{" => return branches(tokens, at, &path, imports),
            "::" => {}
            "as" => {
                name = tokens.get(at).map(|token| token.text.clone());
                at += 1;
            }
            "*" | "self" => {
                let last = path.rsplit("::").next().unwrap_or_default();
                let named = if token.text == "*" { "*" } else { last };
                name = Some(named.to_string());
            }
            text if token.is_name() => {
                path = if path.is_empty() { text.to_string() } else { format!("{path}::{text}") };
                name = Some(text.to_string());
            }
            _ => {
                at -= 1;
                break;
            }
        }
    }
    imports.extend(name.map(|name| Import { path, name, line }));
    at
}

/// Reads the trees between braces, from behind the opening one. Returns what is behind the closing
/// one.
fn branches(tokens: &[Token], mut at: usize, path: &str, imports: &mut Vec<Import>) -> usize {
    while let Some(token) = tokens.get(at) {
        match &*token.text {
            "}" => return at + 1,
            "," => at += 1,
            // Not a source that compiles.
            ";" => return at,
            _ => at = tree(tokens, at, path, imports).max(at + 1),
        }
    }
    at
}

/// Each path, as `thread::sleep`, and its line.
pub(super) fn paths(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if !token.is_name() {
            continue;
        }
        let mut path = token.text.clone();
        while let [colons, next, ..] = &tokens[at..]
            && colons.text == "::"
            && next.is_name()
        {
            path = format!("{path}::{}", next.text);
            at += 2;
        }
        paths.push((path, token.line));
    }
    paths
}

/// Leaves out attributes, and each item of which one allows what is disallowed; all, if an
/// attribute of the file does.
pub(super) fn without_allowed(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let is_of_file = tokens.get(at + 1).is_some_and(|next| next.text == "!");
        let bracket = at + 1 + usize::from(is_of_file);
        if token.text != "#" || tokens.get(bracket).is_none_or(|next| next.text != "[") {
            kept.push(token.clone());
            at += 1;
            continue;
        }
        let end = end_of_item(tokens, bracket);
        match (allows(&tokens[bracket..end]), is_of_file) {
            (false, _) => at = end,
            (true, true) => return Vec::new(),
            (true, false) => at = end_of_item(tokens, end),
        }
    }
    kept
}

fn allows(attribute: &[Token]) -> bool {
    let is = |text: &str| attribute.iter().any(|token| token.text == text);
    (is("allow") || is("expect")) && (is("disallowed_types") || is("disallowed_methods"))
}

/// Where the item (or field, or statement, or attribute's bracket) ends that begins at `at`: behind
/// the brace that closes it, or the semicolon or comma after it.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    let is_bracket = tokens.get(at).is_some_and(|token| token.text == "[");
    while let Some(token) = tokens.get(at) {
        at += 1;
        match &*token.text {
            "#" if depth == 0 => at = end_of_item(tokens, at),
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at - 1,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 && (token.text == "}" || is_bracket) {
                    return at;
                }
            }
            ";" | "," if depth == 0 => return at,
            _ => {}
        }
    }
    at
}
