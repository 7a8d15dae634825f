//! A difference as git writes it, line by line.

use maud::{Markup, html};

use super::list::cut;
use crate::console::text::Lang;

/// Most lines that are shown.
const MAX_LINES: usize = 3_000;
/// Longest line, in characters.
const MAX_LINE_CHARS: usize = 500;

/// The difference in its own box. The signs at the beginnings of lines say what the colours say.
pub(super) fn render(lang: Lang, text: &str) -> Markup {
    if text.is_empty() {
        return html! { p.empty { (lang.say("No file differs.", "没有文件变动。")) } };
    }
    let more = text.lines().nth(MAX_LINES).is_some();
    html! {
        pre.diff tabindex="0" { code {
            @for line in text.lines().take(MAX_LINES) { span class=(class(line)) { (cut(line, MAX_LINE_CHARS)) "\n" } }
        } }
        @if more { p.muted { (lang.say("What follows is not shown: fetch the repository to see all of it.", "其余未显示：请获取仓库以查看全部。")) } }
    }
}

fn class(line: &str) -> &'static str {
    match line.as_bytes() {
        [b'd', b'i', b'f', b'f', b' ', ..] => "file",
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => "same",
        [b'+', ..] => "new",
        [b'-', ..] => "gone",
        [b'@', b'@', ..] => "place",
        _ => "same",
    }
}
