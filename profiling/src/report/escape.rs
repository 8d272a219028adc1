//! Text made safe for HTML.

use std::fmt::{self, Display, Formatter, Write};

/// Shows text such that it can stand between tags and in quoted attributes. Control characters,
/// which HTML does not allow, become visible signs.
#[derive(Debug)]
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(' ')?,
                control if control.is_control() => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_of_html_is_escaped() {
        assert_eq!(Escaped("<a b='c\"&>").to_string(), "&lt;a b=&#39;c&quot;&amp;&gt;");
        assert_eq!(Escaped("a\u{0}b\nc").to_string(), "a\u{fffd}b c");
    }
}
