//! A light lexer: parts a Rust file into code and comments, line by line, and blanks strings.

use std::path::{Path, PathBuf};

/// A Rust file, its code and its comments apart.
#[derive(Debug)]
pub struct Source {
    /// The path as seen from the root of the repository.
    pub path: PathBuf,
    /// Each line as it is written.
    pub raw: Vec<String>,
    /// The code of each line: comments left out, the contents of strings blanked.
    pub code: Vec<String>,
    /// The comments of each line, with their `//`.
    pub comments: Vec<String>,
    /// Whether each line is test code.
    pub is_test: Vec<bool>,
}

impl Source {
    /// Lexes `text`; the lines of test code inside are marked, a test *file* is not.
    pub fn new(path: &Path, text: &str) -> Self {
        let (code, comments) = Lexer::new(text).run();
        let is_test = super::regions::test_lines(&code);
        let mut raw: Vec<String> = text.lines().map(String::from).collect();
        raw.resize(code.len(), String::new());
        Self { path: path.into(), raw, code, comments, is_test }
    }

    /// Each line of code outside of tests, with its index from 0.
    pub fn shipped_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().enumerate().map(|(index, line)| (index, line.as_str()));
        lines.filter(|(index, _)| !self.is_test[*index])
    }

    /// Whether the line holds a comment and no code.
    pub fn is_comment_only(&self, index: usize) -> bool {
        self.code[index].trim().is_empty() && !self.comments[index].trim().is_empty()
    }

    /// Whether the line holds an attribute and nothing else.
    pub fn is_attribute(&self, index: usize) -> bool {
        let code = self.code[index].trim();
        code.starts_with("#[") && code.ends_with(']')
    }
}

/// Each word of a line of code, with the index of its first byte.
pub fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + line[rest..].find(is_word)?;
        let length = line[start..].find(|c| !is_word(c)).unwrap_or(line.len() - start);
        rest = start + length;
        Some((start, &line[start..rest]))
    })
}

/// Whether the line holds `word` as a whole word.
pub fn has_word(line: &str, word: &str) -> bool {
    words(line).any(|(_, found)| found == word)
}

struct Lexer {
    input: Vec<char>,
    at: usize,
    code: Vec<String>,
    comments: Vec<String>,
}

impl Lexer {
    fn new(text: &str) -> Self {
        let (code, comments) = (vec![String::new()], vec![String::new()]);
        Self { input: text.chars().collect(), at: 0, code, comments }
    }

    fn run(mut self) -> (Vec<String>, Vec<String>) {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                (c, _) if c.is_alphabetic() || c == '_' => self.word_or_raw_string(),
                _ => self.keep(),
            }
        }
        (self.code, self.comments)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.input.get(self.at + ahead).copied()
    }

    fn newline(&mut self) {
        self.code.push(String::new());
        self.comments.push(String::new());
    }

    /// Moves one character on, as code.
    fn keep(&mut self) {
        if let Some(c) = self.peek(0) {
            self.put(c);
        }
    }

    /// Moves one character on, as a blank in the code (a line break stays one).
    fn blank(&mut self) {
        if let Some(c) = self.peek(0) {
            self.put(if c == '\n' { c } else { ' ' });
        }
    }

    fn put(&mut self, c: char) {
        self.at += 1;
        match (c, self.code.last_mut()) {
            ('\n', _) => self.newline(),
            (c, Some(line)) => line.push(c),
            (_, None) => {}
        }
    }

    /// Moves one character on, as part of a comment.
    fn comment(&mut self) {
        let Some(c) = self.peek(0) else { return };
        self.at += 1;
        match (c, self.comments.last_mut()) {
            ('\n', _) => self.newline(),
            (c, Some(line)) => line.push(c),
            (_, None) => {}
        }
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.comment();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => return,
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                _ => {
                    self.comment();
                    continue;
                }
            }
            self.comment();
            self.comment();
            if depth == 0 {
                return;
            }
        }
    }

    /// A string with escapes, the reader standing on its first quote.
    fn string(&mut self) {
        self.keep();
        while let Some(c) = self.peek(0) {
            match c {
                '"' => return self.keep(),
                '\\' => {
                    self.blank();
                    self.blank();
                }
                _ => self.blank(),
            }
        }
    }

    /// A raw string: `hashes` of `#`, the reader standing on the first of them (or the quote).
    fn raw_string(&mut self, hashes: usize) {
        for _ in 0..=hashes {
            self.keep();
        }
        while self.peek(0).is_some() {
            let closes = self.peek(0) == Some('"')
                && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if closes {
                for _ in 0..=hashes {
                    self.keep();
                }
                return;
            }
            self.blank();
        }
    }

    /// A character literal, or the tick of a lifetime.
    fn quote(&mut self) {
        let is_literal = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.keep();
        if !is_literal {
            return;
        }
        if self.peek(0) == Some('\\') {
            self.blank();
        }
        self.blank();
        while self.peek(0).is_some_and(|c| c != '\'' && c != '\n') {
            self.blank();
        }
        self.keep();
    }

    fn word_or_raw_string(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.keep();
        }
        let word: String = self.input[start..self.at].iter().collect();
        if ["r", "br", "cr"].contains(&word.as_str()) {
            let hashes = self.input[self.at..].iter().take_while(|c| **c == '#').count();
            if self.peek(hashes) == Some('"') {
                self.raw_string(hashes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Source {
        Source::new(Path::new("a.rs"), text)
    }

    #[test]
    fn comments_and_code_are_parted() {
        let source = lex("let a = 1; // one\n/* two\nthree */ let b;\n//! four\n");
        assert_eq!(source.code[0], "let a = 1; ");
        assert_eq!(source.comments[0], "// one");
        assert_eq!(source.comments[1], "/* two");
        assert_eq!((&*source.code[2], &*source.comments[2]), (" let b;", "three */"));
        assert!(source.is_comment_only(3) && !source.is_comment_only(0));
    }

    #[test]
    fn strings_are_blanked_and_keep_their_lines() {
        let source =
            lex("f(\"// no \\\" x\", 'a', '\\'', '\"', b\"y\");\ng(r#\"\" z\n\"#); // c\n");
        assert!(!source.code[0].contains(['x', 'y']), "{}", source.code[0]);
        assert!(source.code[0].ends_with(");"));
        assert!(!source.code[1].contains('z'));
        assert_eq!(source.code[2], "\"#); ");
        assert_eq!(source.comments[2], "// c");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_no_literals() {
        let source = lex("fn f<'a>(r#type: &'a str, c: char) -> &'a str { g('b', 'c') } // d");
        assert!(source.code[0].contains("&'a str {"), "{}", source.code[0]);
        assert!(source.code[0].contains("r#type"));
        assert_eq!(source.comments[0], "// d");
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("a.unwrap()", "unwrap"));
        assert!(!has_word("a.unwrap_or(b)", "unwrap"));
        let found: Vec<_> = words("x::Y_1(z)").collect();
        assert_eq!(found, [(0, "x"), (3, "Y_1"), (7, "z")]);
    }
}
