//! The console: pages for people, in English and Chinese, to read what a collaboration is and did.
//!
//! Read-only but for one page (`device`: a person lets a device sign in, or not), rendered on the hub, without a line of
//! script: the policy sent with every page forbids scripts, frames and anything from elsewhere. The language stands in the
//! path (`/console/en/…`, `/console/zh/…`), so that a link shows the same page to everybody; `/console` itself follows
//! `Accept-Language`.
//!
//! Repositories are shown to whoever may see them, public ones to anybody, and what stands in their files to whoever may
//! read those: asked of the same functions as at every other door. What strangers wrote passes through `prose`.
//!
//! A reader signs in by pasting a token once; it is kept in a cookie that scripts and other sites cannot use, and that
//! serves for these pages only: `/v1` takes no cookies.
//!
//! Architecture invariant: pages show views and decide nothing; what opens a repository is decided in `repo` and `exchange`.

mod addresses;
mod chart;
mod device;
mod format;
mod markdown;
mod pages;
mod prose;
mod repositories;
mod session;
mod text;
mod theme;
mod web;

pub use addresses::lead;
pub use text::Lang;
pub use web::routes;
