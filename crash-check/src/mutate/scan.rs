//! Lists the ordering sites of a source text, without running anything.
//!
//! A scan over characters, not a parser: comments, strings and `#[cfg(test)]` modules are blanked
//! out first, then calls of the atomics' methods that name an ordering, fences, barriers, futex
//! wakes and `statement!` are listed with the function they stand in.

/// A site found in a source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1, of the method's name or the function's path.
    pub column: u32,
    /// The name: `load`, `compare_exchange`, `fence`, ..
    pub call: String,
    /// The innermost function it stands in; empty outside of any.
    pub function: String,
}

/// Methods that are sites if their arguments name an ordering, as those called `fetch_` something.
const METHODS: &[&str] = &["load", "store", "swap", "compare_exchange", "compare_exchange_weak"];
const FUNCTIONS: &[&str] = &["fence", "light_barrier", "heavy_barrier", "wake", "futex_wake"];
const ORDERINGS: &[&str] = &["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// Lists the sites of `source` in the order of the text.
///
/// ```
/// let found = crash_check::mutate::scan("fn publish(w: &AtomicU32) { w.store(1, Release) }");
/// assert_eq!((found[0].call.as_str(), found[0].function.as_str()), ("store", "publish"));
/// ```
#[must_use]
pub fn scan(source: &str) -> Vec<Listed> {
    let mut text: Vec<char> = source.chars().collect();
    blank_comments_and_literals(&mut text);
    blank_test_modules(&mut text);
    Walk::new(&text).run()
}

/// The innermost function around each line (index 0: line 1).
pub(super) fn functions_by_line(source: &str) -> Vec<String> {
    let mut text: Vec<char> = source.chars().collect();
    blank_comments_and_literals(&mut text);
    let mut walk = Walk::new(&text);
    walk.run();
    walk.function_of_line
}

fn blank_comments_and_literals(text: &mut [char]) {
    let mut at = 0;
    while at < text.len() {
        let end = match text[at] {
            '/' if text.get(at + 1) == Some(&'/') => find(text, at, |rest| rest[0] == '\n'),
            '/' if text.get(at + 1) == Some(&'*') => {
                find(text, at + 2, |rest| rest.starts_with(&['*', '/'])) + 2
            }
            '"' => end_of_string(text, at),
            'r' if is_raw_string(text, at) => end_of_raw_string(text, at),
            '\'' if is_char_literal(text, at) => {
                let body = if text.get(at + 1) == Some(&'\\') { at + 3 } else { at + 2 };
                find(text, body, |rest| rest[0] == '\'') + 1
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(text.len());
        blank(&mut text[at..end]);
        at = end;
    }
}

fn blank(text: &mut [char]) {
    for c in text {
        if *c != '\n' {
            *c = ' ';
        }
    }
}

/// First place from `from` on where `f` holds of the rest; the end if nowhere.
fn find(text: &[char], from: usize, f: impl Fn(&[char]) -> bool) -> usize {
    (from..text.len()).find(|&at| f(&text[at..])).unwrap_or(text.len())
}

fn end_of_string(text: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn is_raw_string(text: &[char], at: usize) -> bool {
    let inside_a_name = at > 0 && is_name(text[at - 1]) && text[at - 1] != 'b';
    let after = find(text, at + 1, |rest| rest[0] != '#');
    !inside_a_name && text.get(after) == Some(&'"')
}

fn end_of_raw_string(text: &[char], start: usize) -> usize {
    let quote = find(text, start, |rest| rest[0] == '"');
    let hashes = vec!['#'; quote - start - 1];
    let close = find(text, quote + 1, |rest| rest[0] == '"' && rest[1..].starts_with(&hashes));
    close + 1 + hashes.len()
}

/// A quote that does not begin a lifetime or a label.
fn is_char_literal(text: &[char], at: usize) -> bool {
    text.get(at + 1) == Some(&'\\') || text.get(at + 2) == Some(&'\'')
}

fn blank_test_modules(text: &mut [char]) {
    let marker: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut from = 0;
    loop {
        let at = find(text, from, |rest| rest.starts_with(&marker));
        if at == text.len() {
            return;
        }
        let open = find(text, at, |rest| matches!(rest[0], '{' | ';'));
        let end = if text.get(open) == Some(&'{') { closing(text, open) } else { open };
        let end = (end + 1).min(text.len());
        blank(&mut text[at..end]);
        from = end;
    }
}

/// Place of the bracket that closes the one at `open`.
fn closing(text: &[char], open: usize) -> usize {
    let (up, down) = if text[open] == '(' { ('(', ')') } else { ('{', '}') };
    let mut depth = 0_usize;
    for (at, &c) in text.iter().enumerate().skip(open) {
        if c == up {
            depth += 1;
        } else if c == down {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    text.len()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Walk<'a> {
    text: &'a [char],
    depth: usize,
    /// Open parentheses and square brackets.
    inner: usize,
    /// Functions around the current place, with the depth of their bodies.
    functions: Vec<(String, usize)>,
    /// A function whose body has not begun.
    announced: Option<String>,
    /// Functions of this text that are marked `#[track_caller]`.
    wrappers: Vec<String>,
    found: Vec<Listed>,
    function_of_line: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(text: &'a [char]) -> Self {
        let (functions, found, function_of_line) = (Vec::new(), Vec::new(), Vec::new());
        let wrappers = wrappers(text);
        Self {
            text,
            depth: 0,
            inner: 0,
            functions,
            announced: None,
            wrappers,
            found,
            function_of_line,
        }
    }

    fn run(&mut self) -> Vec<Listed> {
        let (mut at, mut line, mut line_start) = (0, 1, 0);
        while at < self.text.len() {
            let c = self.text[at];
            if is_name(c) {
                let end = find(self.text, at, |rest| !is_name(rest[0]));
                self.name(at, end, line, at - line_start + 1);
                at = end;
                continue;
            }
            self.bracket(c);
            if c == '\n' {
                self.function_of_line.push(self.function());
                (line, line_start) = (line + 1, at + 1);
            }
            at += 1;
        }
        self.function_of_line.push(self.function());
        std::mem::take(&mut self.found)
    }

    fn function(&self) -> String {
        self.functions.last().map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn bracket(&mut self, c: char) {
        match c {
            '{' => {
                self.depth += 1;
                if let Some(name) = self.announced.take() {
                    self.functions.push((name, self.depth));
                }
            }
            '}' => {
                if self.functions.last().is_some_and(|(_, depth)| *depth == self.depth) {
                    self.functions.pop();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            '(' | '[' => self.inner += 1,
            ')' | ']' => self.inner = self.inner.saturating_sub(1),
            // A declaration without a body, and not the `[T; N]` of a signature.
            ';' if self.inner == 0 => self.announced = None,
            _ => {}
        }
    }

    fn name(&mut self, at: usize, end: usize, line: u32, column: usize) {
        let name: String = self.text[at..end].iter().collect();
        if follows_fn(self.text, at) {
            self.announced = Some(name);
            return;
        }
        if !self.is_site(&name, at, end) || self.wrappers.contains(&self.function()) {
            return;
        }
        // The compiler's column is that of a method's name, but of a function's whole path.
        let path = self.text[..at].iter().rev().take_while(|&&c| is_name(c) || c == ':').count();
        let column = u32::try_from(column - path).unwrap_or(u32::MAX);
        self.found.push(Listed { line, column, call: name, function: self.function() });
    }

    fn is_site(&self, name: &str, at: usize, end: usize) -> bool {
        let is_method = self.text[..at].iter().rev().find(|c| !c.is_whitespace()) == Some(&'.');
        match self.text.get(end) {
            Some('!') => name == "statement",
            Some('(') if self.wrappers.iter().any(|wrapper| wrapper == name) => true,
            Some('(') if is_method => {
                let arguments = &self.text[end..closing(self.text, end)];
                name == "with_mut"
                    || (METHODS.contains(&name) || name.starts_with("fetch_"))
                        && names_an_ordering(arguments)
            }
            Some('(') => FUNCTIONS.contains(&name),
            _ => false,
        }
    }
}

/// Is the name at `at` the one of a function being declared?
fn follows_fn(text: &[char], at: usize) -> bool {
    let before = &text[..at];
    let Some(last) = before.iter().rposition(|c| !c.is_whitespace()) else { return false };
    last + 1 < at
        && last >= 1
        && before[last - 1..=last] == ['f', 'n']
        && (last == 1 || !is_name(before[last - 2]))
}

/// Names of the functions that follow a `#[track_caller]`.
fn wrappers(text: &[char]) -> Vec<String> {
    let marker: Vec<char> = "#[track_caller]".chars().collect();
    let mut wrappers = Vec::new();
    let mut from = 0;
    loop {
        let at = find(text, from, |rest| rest.starts_with(&marker));
        if at == text.len() {
            return wrappers;
        }
        from = at + marker.len();
        let begins = |at: &usize| is_name(text[*at]) && follows_fn(text, *at);
        if let Some(name) = (from..text.len()).find(begins) {
            let end = find(text, name, |rest| !is_name(rest[0]));
            wrappers.push(text[name..end].iter().collect());
        }
    }
}

fn names_an_ordering(arguments: &[char]) -> bool {
    let text: String = arguments.iter().collect();
    text.split(|c: char| !is_name(c)).any(|word| ORDERINGS.contains(&word) || word == "order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(source: &str) -> Vec<(String, String, u32, u32)> {
        let found = scan(source).into_iter();
        found.map(|site| (site.function, site.call, site.line, site.column)).collect()
    }

    fn site(function: &str, call: &str, line: u32, column: u32) -> (String, String, u32, u32) {
        (function.to_owned(), call.to_owned(), line, column)
    }

    #[test]
    fn calls_with_an_ordering_are_listed_with_their_functions() {
        let source = "impl Ring {\n    fn push(&self) {\n        self.tail\n            \
                      .store(1, Ordering::Release);\n    }\n    fn pop(&self) {\n        \
                      if self.tail.load(Acquire) == 0 { fence(order) }\n    }\n}\n";
        let expected =
            [site("push", "store", 4, 14), site("pop", "load", 7, 22), site("pop", "fence", 7, 43)];
        assert_eq!(listed(source), expected);
    }

    #[test]
    fn comments_strings_and_other_methods_are_not_listed() {
        let source = "fn f<'a>(v: &'a mut [u8]) {\n  // w.load(Acquire)\n  /* w.load(Acquire) */\n  \
                      v.swap(0, 1); let s = \"w.load(Acquire)\"; let r = r#\"w.load(Acquire)\"#;\n  \
                      let q = '\"'; w.swap(1, Relaxed);\n}";
        assert_eq!(listed(source), [site("f", "swap", 5, 18)]);
    }

    #[test]
    fn a_wrapper_is_no_place_but_its_calls_are() {
        let source = "#[track_caller]\nfn set(c: &Cell, v: u8) { c.with_mut(|c| v) }\n\
                      fn recover() {\n  set(c, 1);\n  c.with_mut(|c| 2);\n}\n";
        assert_eq!(
            listed(source),
            [site("recover", "set", 4, 3), site("recover", "with_mut", 5, 5)]
        );
    }

    #[test]
    fn test_modules_and_declarations_are_not_listed() {
        let source = "fn wake(w: &W) {}\nfn g(_: [u8; 2]) { statement!(x); futex::wake(w, 1); x.wake(); }\n\
                      #[cfg(test)]\nmod tests {\n  fn t() { w.load(Acquire); }\n}\n";
        assert_eq!(listed(source), [site("g", "statement", 2, 20), site("g", "wake", 2, 35)]);
    }
}
