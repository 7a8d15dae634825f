//! The contract's prose as HTML.
//!
//! Reads exactly the Markdown that the core writes: headings, paragraphs, lists, quotations, strong, emphasis, code and
//! backslash escapes. Anything else is text, and all text is escaped.

use maud::{Markup, PreEscaped, Render as _, html};

/// The blocks of `text`. Headings begin at `top`, the level of the page's own.
pub fn render(text: &str, top: u8) -> Markup {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let mut block = |first: &str, strip: fn(&str) -> Option<&str>| {
            let mut items = vec![first.to_owned()];
            while let Some(item) = lines.peek().and_then(|line| strip(line)) {
                items.push(item.to_owned());
                lines.next();
            }
            items
        };
        let markup = if let Some((level, title)) = heading(line) {
            match (top + level - 1).min(6) {
                1 | 2 => html! { h2 { (inline(title)) } },
                3 => html! { h3 { (inline(title)) } },
                _ => html! { h4 { (inline(title)) } },
            }
        } else if let Some(first) = quote(line) {
            let lines = block(first, quote);
            html! { blockquote { @for line in &lines { p { (inline(line)) } } } }
        } else if let Some(first) = numbered(line) {
            let items = block(first, numbered);
            html! { ol { @for item in &items { li { (inline(item)) } } } }
        } else if let Some(first) = line.strip_prefix("- ") {
            let items = block(first, |line| line.strip_prefix("- "));
            html! { ul { @for item in &items { li { (inline(item)) } } } }
        } else {
            html! { p { (inline(line)) } }
        };
        out.push_str(&markup.0);
    }
    PreEscaped(out)
}

fn heading(line: &str) -> Option<(u8, &str)> {
    let title = line.trim_start_matches('#');
    let level = u8::try_from(line.len() - title.len()).ok().filter(|level| (1..=6).contains(level))?;
    Some((level, title.strip_prefix(' ')?))
}

fn quote(line: &str) -> Option<&str> {
    line.strip_prefix('>').map(|rest| rest.strip_prefix(' ').unwrap_or(rest))
}

fn numbered(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(". ")?;
    (!number.is_empty() && number.len() < 4 && number.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
}

/// Strong, emphasis, code and escapes of one line. Marks that do not close are text.
pub fn inline(line: &str) -> Markup {
    let mut out = String::new();
    let mut plain = String::new();
    let mut rest = line;
    let flush = |plain: &mut String, out: &mut String| {
        out.push_str(&plain.as_str().render().0);
        plain.clear();
    };
    while let Some(c) = rest.chars().next() {
        let marked = [("**", "strong"), ("*", "em"), ("`", "code")].into_iter().find_map(|(mark, tag)| {
            let (inner, after) = enclosed(rest, mark)?;
            Some((inner, after, tag))
        });
        if let Some((inner, after, tag)) = marked {
            flush(&mut plain, &mut out);
            let inner = if tag == "code" { inner.render() } else { inline(inner) };
            out.push_str(&format!("<{tag}>{}</{tag}>", inner.0));
            rest = after;
            continue;
        }
        let escaped = rest.strip_prefix('\\').and_then(|r| r.chars().next()).filter(char::is_ascii_punctuation);
        plain.push(escaped.unwrap_or(c));
        rest = &rest[c.len_utf8() + escaped.map_or(0, char::len_utf8)..];
    }
    flush(&mut plain, &mut out);
    PreEscaped(out)
}

/// What stands between `mark` at the beginning and the next one that is not escaped.
fn enclosed<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let inner = text.strip_prefix(mark)?;
    let mut from = 0;
    loop {
        let at = from + inner[from..].find(mark)?;
        // An even number of backslashes before it escapes itself, not the mark.
        let slashes = inner[..at].bytes().rev().take_while(|&b| b == b'\\').count();
        if at > 0 && slashes.is_multiple_of(2) {
            return Some((&inner[..at], &inner[at + mark.len()..]));
        }
        from = at + mark.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_core_writes_reads_well_and_nothing_slips_through() {
        for (text, html) in [
            ("**2.1 Permit** All may *(remark)*", "<p><strong>2.1 Permit</strong> All may <em>(remark)</em></p>"),
            ("> Free:\n> a \\*b\\* \\<i\\>", "<blockquote><p>Free:</p><p>a *b* &lt;i&gt;</p></blockquote>"),
            ("1. **n**, key `ed:1`\n2. x", "<ol><li><strong>n</strong>, key <code>ed:1</code></li><li>x</li></ol>"),
            ("- a\n- b\n\nc", "<ul><li>a</li><li>b</li></ul><p>c</p>"),
            ("# T <script>", "<h2>T &lt;script&gt;</h2>"),
            ("a **b", "<p>a **b</p>"),
            ("`<b>`", "<p><code>&lt;b&gt;</code></p>"),
            ("中文 **甲** \\", "<p>中文 <strong>甲</strong> \\</p>"),
            ("**a\\** b**", "<p><strong>a** b</strong></p>"),
        ] {
            assert_eq!(render(text, 2).0, html, "{text}");
        }
    }
}
