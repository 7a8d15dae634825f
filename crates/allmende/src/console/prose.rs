//! What strangers write, as HTML: cards of repositories and comments, in the Markdown that people know.
//!
//! A list of what is let through, not of what is kept out: only the tags that are written here ever come out. HTML stands
//! there as text, pictures are named and not fetched, links lead to `http`, `https` or into the same repository. Whatever
//! is written, the work and the depth of what comes out are bounded.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, Render as _};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::git::RepoPath;

/// Most bytes of a text that are shown.
pub const MAX_BYTES: usize = 256 << 10;
/// Deepest nesting that is shown as such; what lies deeper stands flat.
const MAX_DEPTH: usize = 12;
/// Longest address of a link, in bytes.
const MAX_LINK_BYTES: usize = 2_000;

/// Where links of a text lead.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    /// The address that a path in the repository is put behind; none where relative links lead nowhere.
    pub files: Option<&'a str>,
    /// The level that headings begin below.
    pub below: u8,
    /// What a table is called for those who cannot see it.
    pub table: &'a str,
}

/// `text` as HTML, of at most [`MAX_BYTES`] of it.
#[must_use]
pub fn render(text: &str, links: Links<'_>) -> Markup {
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer { out: String::new(), open: Vec::new(), links, level: links.below, skipped: 0 };
    for event in Parser::new_ext(text, options) {
        writer.event(event);
    }
    while let Some(end) = writer.open.pop() {
        writer.out.push_str(&end);
    }
    PreEscaped(writer.out)
}

struct Writer<'a> {
    out: String,
    /// What closes each tag that is open, the innermost last; empty for one that was not written.
    open: Vec<String>,
    links: Links<'a>,
    /// Of the last heading.
    level: u8,
    /// Tags that are open and were not counted, because they lie too deep.
    skipped: usize,
}

impl Writer<'_> {
    fn text(&mut self, text: &str) {
        self.out.push_str(&text.render().0);
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            // Whatever it says it is, it is text.
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) => {
                self.out.push_str("<code>");
                self.text(&text);
                self.out.push_str("</code>");
            }
            Event::SoftBreak => self.out.push('\n'),
            Event::HardBreak => self.out.push_str("<br>"),
            Event::Rule => self.out.push_str("<hr>"),
            Event::TaskListMarker(done) => self.out.push_str(if done { "☑ " } else { "☐ " }),
            Event::FootnoteReference(text) | Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text),
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        if self.open.len() >= MAX_DEPTH {
            self.skipped += 1;
            return;
        }
        let (begin, end) = self.tags(tag);
        self.out.push_str(&begin);
        self.open.push(end);
    }

    fn end(&mut self, tag: TagEnd) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        let end = self.open.pop().unwrap_or_default();
        self.out.push_str(&end);
        if tag == TagEnd::TableHead {
            self.out.push_str("<tbody>");
        }
    }

    /// What opens and what closes a tag.
    fn tags(&mut self, tag: &Tag<'_>) -> (String, String) {
        let both = |name: &str| (format!("<{name}>"), format!("</{name}>"));
        match tag {
            Tag::Paragraph => both("p"),
            Tag::Heading { level, .. } => both(self.heading(*level)),
            Tag::BlockQuote(_) => both("blockquote"),
            Tag::CodeBlock(kind) => {
                // A word for the language is kept for people who copy it; it does nothing.
                let lang = match kind {
                    CodeBlockKind::Fenced(lang) => lang.split([' ', ',', '{']).next().unwrap_or_default(),
                    CodeBlockKind::Indented => "",
                };
                let title = if lang.is_empty() { String::new() } else { format!(" title=\"{}\"", lang.render().0) };
                (format!("<pre tabindex=\"0\"{title}><code>"), "</code></pre>".to_owned())
            }
            Tag::List(None) => both("ul"),
            Tag::List(Some(start)) => (format!("<ol start=\"{start}\">"), "</ol>".to_owned()),
            Tag::Item => both("li"),
            Tag::Emphasis => both("em"),
            Tag::Strong => both("strong"),
            Tag::Strikethrough => both("del"),
            Tag::Table(_) => {
                let caption = self.links.table.render().0;
                let begin =
                    format!("<div class=\"scroll\" tabindex=\"0\"><table><caption class=\"sr\">{caption}</caption>");
                (begin, "</tbody></table></div>".to_owned())
            }
            Tag::TableHead => ("<thead><tr>".to_owned(), "</tr></thead>".to_owned()),
            Tag::TableRow => both("tr"),
            Tag::TableCell => both("td"),
            Tag::Link { dest_url, .. } => match self.address(dest_url) {
                Some(address) => (anchor(&address), "</a>".to_owned()),
                None => Default::default(),
            },
            // A picture is its name in brackets: fetching it would tell others who reads here.
            Tag::Image { dest_url, .. } => match self.address(dest_url) {
                Some(address) => (format!("{}[", anchor(&address)), "]</a>".to_owned()),
                None => ("[".to_owned(), "]".to_owned()),
            },
            _ => Default::default(),
        }
    }

    /// The tag of a heading: never one level deeper than the page has come, as readers by ear go by levels.
    fn heading(&mut self, level: HeadingLevel) -> &'static str {
        let wanted = self.links.below + level as u8;
        self.level = wanted.min(self.level + 1).min(4);
        match self.level {
            0..=2 => "h2",
            3 => "h3",
            _ => "h4",
        }
    }

    /// Where a link leads, if it leads anywhere that is let through.
    fn address(&self, link: &str) -> Option<String> {
        let link = link.trim();
        if link.len() > MAX_LINK_BYTES || link.chars().any(char::is_control) {
            return None;
        }
        let lower = link.to_ascii_lowercase();
        if lower.starts_with("https://") || lower.starts_with("http://") {
            return Some(link.to_owned());
        }
        let path = link.split(['#', '?']).next().unwrap_or_default();
        // A colon makes a scheme of what stands before it; whatever begins with a slash leads out of the repository.
        if path.is_empty() || path.contains(':') || path.starts_with('/') {
            return None;
        }
        let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
        let path: RepoPath = percent_decoded(path)?.parse().ok()?;
        Some(format!("{}{}", self.links.files?, quoted(path.as_str())))
    }
}

fn anchor(address: &str) -> String {
    format!("<a href=\"{}\" rel=\"nofollow noopener noreferrer\">", address.render().0)
}

/// A path as it stands in an address.
#[must_use]
pub fn quoted(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            // Writing into a text does not fail.
            byte => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(bytes.next())? << 4 | digit(bytes.next())?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: Links<'_> = Links { files: Some("/f/"), below: 1, table: "T" };

    fn html(text: &str) -> String {
        render(text, LINKS).0
    }

    #[test]
    fn cards_read_well() {
        for (text, expected) in [
            ("# A\n\ntext *b*\nc", "<h2>A</h2><p>text <em>b</em>\nc</p>"),
            ("### deep", "<h2>deep</h2>"),
            ("# a\n\n###### b", "<h2>a</h2><h3>b</h3>"),
            ("```py\nx < 1\n```", "<pre tabindex=\"0\" title=\"py\"><code>x &lt; 1\n</code></pre>"),
            ("3. a\n4. b", "<ol start=\"3\"><li>a</li><li>b</li></ol>"),
            (
                "|a|\n|-|\n|1|",
                "<div class=\"scroll\" tabindex=\"0\"><table><caption class=\"sr\">T</caption><thead><tr><td>a</td></tr></thead><tbody><tr><td>1</td></tr></tbody></table></div>",
            ),
            ("[a](docs/x.md#y)", "<p><a href=\"/f/docs/x.md\" rel=\"nofollow noopener noreferrer\">a</a></p>"),
            ("[a](./b%20c)", "<p><a href=\"/f/b%20c\" rel=\"nofollow noopener noreferrer\">a</a></p>"),
            (
                "<https://a.example/?b&c>",
                "<p><a href=\"https://a.example/?b&amp;c\" rel=\"nofollow noopener noreferrer\">https://a.example/?b&amp;c</a></p>",
            ),
            (
                "![a **b**](https://e.example/x.png)",
                "<p><a href=\"https://e.example/x.png\" rel=\"nofollow noopener noreferrer\">[a <strong>b</strong>]</a></p>",
            ),
        ] {
            assert_eq!(html(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_but_the_tags_written_here_comes_out() {
        for text in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<svg/onload=alert(1)>",
            "<style>*{display:none}</style>",
            "<iframe src=\"https://e.example\"></iframe>",
            "[a](javascript:alert(1))",
            "[a](JaVaScRiPt:alert(1))",
            "[a](java\nscript:alert(1))",
            "[a](&#106;avascript:alert(1))",
            "[a](javascript&colon;alert(1))",
            "<javascript:alert(1)>",
            "[a](data:text/html,<script>)",
            "[a](vbscript:x)",
            "[a](//e.example/x)",
            "[a](/console/en/logout)",
            "[a](\\\\e.example)",
            "[a](../../x)",
            "[a](b/../../x)",
            "[a](%2e%2e/x)",
            "[a](x \"t\\\" onmouseover=alert(1)\")",
            "[a]: javascript:alert(1)\n\n[a]",
            "![a](javascript:alert(1))",
            "![\"><script>](x.png)",
            "```\"><script>\nx\n```",
            "| <script> |\n|-|\n| <b onclick=x> |",
        ] {
            let html = html(text).to_lowercase();
            for never in [
                "<script",
                "<img",
                "<svg",
                "<style",
                "<iframe",
                "<b ",
                "=\"javascript",
                "=\"data",
                "=\"//",
                "=\"/console",
            ] {
                assert!(!html.contains(never), "{never} of {text}: {html}");
            }
            // An attribute of the writer's own stands only inside what was escaped.
            assert!(!html.contains(" onmouseover=\"") && !html.contains("href=\".."), "{text}: {html}");
        }
        let nowhere = Links { files: None, ..LINKS };
        assert_eq!(render("[a](b)", nowhere).0, "<p>a</p>");
    }

    #[test]
    fn what_is_huge_or_deep_stays_bounded() {
        let deep = html(&">".repeat(100_000));
        assert!(deep.matches("<blockquote>").count() <= MAX_DEPTH, "{}", deep.len());
        let lists: String = (0..500).map(|i| format!("{}- a\n", "  ".repeat(i))).collect();
        let shown = html(&lists);
        assert_eq!(shown.matches("<ul>").count(), shown.matches("</ul>").count());
        for text in ["*a ".repeat(100_000), "[".repeat(200_000), "`a".repeat(100_000), "![a](b ".repeat(40_000)] {
            assert!(html(&text).len() < 4 * MAX_BYTES);
        }
        assert!(html(&"é".repeat(MAX_BYTES)).len() < 2 * MAX_BYTES);
    }
}
