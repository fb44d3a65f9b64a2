//! A source as tokens: names, `::`, and single signs, without comments and literals.

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Token {
    /// Whether it may be a part of a path.
    pub(super) fn is_name(&self) -> bool {
        self.text.starts_with(begins_name)
    }
}

fn begins_name(sign: char) -> bool {
    sign.is_alphabetic() || sign == '_'
}

fn continues_name(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// What the source begins with.
enum Piece {
    Token,
    /// Comment, literal, or space.
    Nothing,
}

/// All tokens of a source, which need not compile.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let (mut rest, mut line, mut tokens) = (source, 1, Vec::new());
    while !rest.is_empty() {
        let (piece, length) = first(rest);
        let (text, after) = rest.split_at(length);
        if let Piece::Token = piece {
            tokens.push(Token { text: text.trim_start_matches("r#").to_string(), line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The kind and length of what a source begins with.
fn first(rest: &str) -> (Piece, usize) {
    if rest.starts_with("//") {
        return (Piece::Nothing, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Piece::Nothing, block_comment(rest));
    }
    if let Some(length) = raw_string(rest).or_else(|| string(rest)).or_else(|| character(rest)) {
        return (Piece::Nothing, length);
    }
    if rest.starts_with("::") {
        return (Piece::Token, 2);
    }
    let sign = rest.chars().next().unwrap_or_default();
    let raw = if rest.starts_with("r#") { 2 } else { 0 };
    match sign {
        _ if sign.is_whitespace() => (Piece::Nothing, sign.len_utf8()),
        // A lifetime's name is none of a path's.
        '\'' => (Piece::Nothing, 1 + length_while(&rest[1..], continues_name)),
        _ if begins_name(sign) => (Piece::Token, raw + length_while(&rest[raw..], continues_name)),
        _ if sign.is_ascii_digit() => (Piece::Nothing, length_while(rest, continues_name)),
        _ => (Piece::Token, sign.len_utf8()),
    }
}

fn length_while(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|sign| !is_part(sign)).unwrap_or(text.len())
}

/// Block comments may hold others.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let (step, change) = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth = depth.saturating_add_signed(change);
        if depth == 0 {
            break;
        }
    }
    at
}

/// `r"..."`, `br##"..."##` and the like.
fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = length_while(body, |sign| sign == '#');
    let text = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", &body[..hashes]);
    let length = text.find(&end).map_or(text.len(), |at| at + end.len());
    Some(rest.len() - text.len() + length)
}

fn string(rest: &str) -> Option<usize> {
    let text = rest.trim_start_matches(['b', 'c']).strip_prefix('"')?;
    Some(rest.len() - text.len() + until_closed(text, '"'))
}

/// `'x'` and `'\n'`, but not the lifetime `'x`.
fn character(rest: &str) -> Option<usize> {
    let text = rest.trim_start_matches('b').strip_prefix('\'')?;
    let mut signs = text.chars();
    let is_character = signs.next()? == '\\' || signs.next()? == '\'';
    is_character.then(|| rest.len() - text.len() + until_closed(text, '\''))
}

/// The length up to and including the closing quote.
fn until_closed(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
