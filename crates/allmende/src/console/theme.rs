//! The console's one style sheet and its sign.

use std::sync::LazyLock;

use allmende_core::digest::Digest;

/// The style sheet.
pub const STYLE: &str = include_str!("style.css");
/// The sign: three fields and one common ground.
pub const ICON: &str = include_str!("icon.svg");

/// The style sheet's file name: its digest, so that it can be kept for ever and never be stale.
pub fn style_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| format!("{}.css", Digest::of(STYLE.as_bytes()).short()));
    &NAME
}
