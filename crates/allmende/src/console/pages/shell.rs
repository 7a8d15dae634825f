//! What surrounds every page: head, brand, language, tabs.

use maud::{DOCTYPE, Markup, html};

use crate::console::text::Lang;
use crate::console::theme;
use crate::error::{Code, Problem};

/// A tab of a collaboration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// Who, what for, what was decided.
    Overview,
    /// The contract.
    Terms,
    /// Runs and their results.
    Runs,
    /// Contributions and payouts.
    Benefit,
    /// The log.
    Ledger,
}

const TABS: [(Tab, &str, &str, &str); 5] = [
    (Tab::Overview, "", "Overview", "概览"),
    (Tab::Terms, "/terms", "Agreement", "协议"),
    (Tab::Runs, "/runs", "Runs", "运行"),
    (Tab::Benefit, "/benefit", "Benefits", "收益"),
    (Tab::Ledger, "/ledger", "Ledger", "账本"),
];

/// A page of a collaboration.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The language.
    pub lang: Lang,
    /// The address of this page.
    pub path: &'a str,
    /// The collaboration's name.
    pub collaboration: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Which tab is shown.
    pub tab: Tab,
}

impl Page<'_> {
    /// A link below this collaboration.
    #[must_use]
    pub fn link(&self, rest: &str) -> String {
        format!("/console/{}/c/{}{rest}", self.lang.code(), self.collaboration)
    }

    /// The English or the Chinese text.
    #[must_use]
    pub const fn say<'a>(&self, en: &'a str, zh: &'a str) -> &'a str {
        self.lang.say(en, zh)
    }

    /// The whole page around `body`, `heading` being what it shows.
    pub fn render(&self, heading: &str, body: &Markup) -> Markup {
        let tabs = html! {
            p.of { a href=(format!("/console/{}/", self.lang.code())) { (self.say("Collaborations", "合作")) } " / " span { (self.title) } }
            nav.tabs aria-label=(self.say("Collaboration", "合作")) {
                ul {
                    @for (tab, path, en, zh) in TABS {
                        @let current = if tab == self.tab { Some("page") } else { None };
                        li { a href=(self.link(path)) aria-current=[current] { (self.say(en, zh)) } }
                    }
                }
            }
        };
        document(
            self.lang,
            self.path,
            &format!("{heading} – {}", self.title),
            true,
            &tabs,
            &html! { h1 { (heading) } (body) },
        )
    }
}

/// A document around `body`.
pub fn document(lang: Lang, path: &str, title: &str, reader: bool, above: &Markup, body: &Markup) -> Markup {
    let other = lang.other();
    let here = format!("/console/{}/", lang.code());
    let there = path.strip_prefix(&here).map(|rest| format!("/console/{}/{rest}", other.code()));
    let is_of_repositories = path.strip_prefix(&here).is_some_and(|rest| rest.split(['/', '?']).next() == Some("r"));
    let there = there.unwrap_or_else(|| format!("/console/{}/", other.code()));
    let tag = |lang: Lang| lang.say("en", "zh-Hans");
    html! {
        (DOCTYPE)
        html lang=(tag(lang)) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · Allmende" }
                link rel="stylesheet" href=(format!("/console/style/{}", theme::style_name()));
                link rel="icon" type="image/svg+xml" href="/console/icon.svg";
            }
            body {
                a.skip href="#main" { (lang.say("Skip to content", "跳至内容")) }
                header {
                    div.inner {
                        a.brand href=(here) { img src="/console/icon.svg" alt="" width="26" height="26"; span { "Allmende" } }
                        div.tools {
                            a href=(format!("{here}r")) { (lang.say("Repositories", "仓库")) }
                            a href=(there) hreflang=(tag(other)) lang=(tag(other)) { (lang.say("中文", "English")) }
                            @if reader {
                                form method="post" action=(format!("/console/{}/logout", lang.code())) {
                                    button.quiet type="submit" { (lang.say("Sign out", "退出")) }
                                }
                            } @else if !path.contains("/login") {
                                a href=(format!("{here}login")) { (lang.say("Sign in", "登录")) }
                            }
                        }
                    }
                }
                main id="main" { (above) (body) }
                footer {
                    @if is_of_repositories { p {
                        (lang.say("Repositories are git and large files beside it. Everything shown here can be fetched with the usual tools.", "仓库即 git 加上旁置的大文件。此处所示皆可用常用工具获取。"))
                    } } @else { p { (lang.say(
                        "The agreement is the program. Everything shown here follows from a signed log that every member can verify offline: ",
                        "协议即程序。此处所示皆源自一份签名日志，任何成员均可离线验证："))
                        code.command { "allmende ledger verify" } } }
                }
            }
        }
    }
}

/// The page that asks for a token.
#[must_use]
pub fn login(lang: Lang, next: &str, refused: Option<Code>) -> Markup {
    let path = format!("/console/{}/login", lang.code());
    let body = html! {
        section.login {
            h1 { (lang.say("Sign in to read", "登录以查看")) }
            p { (lang.say(
                "Paste a token that may read. It is kept in a cookie until you close the browser, and serves for these pages only.",
                "请粘贴一个可读取的令牌。它保存在 Cookie 中，关闭浏览器即失效，且仅用于这些页面。")) }
            @if let Some(code) = refused {
                p.error role="alert" id="refused" {
                    @match code {
                        Code::MissingScope => (lang.say("This token may not read.", "该令牌没有读取权限。")),
                        _ => (lang.say("This token is unknown, expired or revoked.", "该令牌不存在、已过期或已撤销。")),
                    }
                }
            }
            form method="post" action=(path) {
                label for="token" { (lang.say("Token", "令牌")) }
                input id="token" name="token" type="password" autocomplete="off" required maxlength="200" placeholder="alm_… / hf_…"
                    aria-describedby=[refused.map(|_| "refused")];
                input type="hidden" name="next" value=(next);
                button type="submit" { (lang.say("Sign in", "登录")) }
            }
            p.muted { (lang.say("Get one on your own machine: ", "在您自己的机器上获取：")) code.command { "allmende token create" } }
        }
    };
    document(lang, &path, lang.say("Sign in", "登录"), false, &html! {}, &body)
}

/// What went wrong, as a page.
#[must_use]
pub fn fault(lang: Lang, path: &str, signed_in: bool, problem: &Problem) -> Markup {
    let body = html! {
        section.fault {
            p.code { (problem.status) }
            h1 { @if problem.status == 404 { (lang.say("There is nothing here that you may see", "此处没有您可查看的内容")) } @else { (problem.title) } }
            // For an address that names nothing the heading says all; other texts are the interface's own, in English.
            @if problem.status != 404 { p lang="en" { (problem.detail) } }
            @if !problem.clauses.is_empty() { p { (lang.say("Clauses: ", "条款：")) (problem.clauses.join(", ")) } }
            @if let Some(hint) = &problem.hint { p lang="en" { (hint) } }
            @if let Some(id) = &problem.request_id { p.muted { (lang.say("Request ", "请求编号 ")) code { (id) } } }
            p { a href=(format!("/console/{}/", lang.code())) { (lang.say("To your collaborations", "返回您的合作")) } }
        }
    };
    document(lang, path, &problem.title, signed_in, &html! {}, &body)
}
