//! The contract: its prose, who signed it when, and who enforces what.

use maud::{Markup, html};

use super::shell::Page;
use crate::console::format::{full, short, status, table, time};
use crate::console::markdown;
use crate::view::{AgreementSummary, AgreementView, enforcer_in_words};

/// All terms ever proposed.
#[must_use]
pub fn terms_list(page: &Page<'_>, all: &[AgreementSummary]) -> Markup {
    let say = |en, zh| page.say(en, zh);
    let link = |digest: &str| page.link(&format!("/terms/{}", digest.trim_start_matches("sha256:")));
    let body = html! {
        p.lead { (say(
            "Terms are in force when every party's key has signed the same digest. Every access, run, release and payout is checked against them.",
            "当各方密钥均对同一摘要签名时，条款生效。每次访问、运行、发布与分配都依条款核查。")) }
        @if all.is_empty() { p.empty { (say("No terms were offered yet.", "尚未提出条款。")) } }
        @else { (table(say("Terms, newest first", "条款，新者在前"),
            &html! { th scope="col" { (say("Title", "标题")) } th scope="col" { (say("Status", "状态")) } th.num scope="col" { (say("Signed", "已签")) } th scope="col" { (say("Term", "期限")) } th scope="col" { (say("Digest", "摘要")) } },
            &html! { @for a in all { tr {
                th scope="row" { a href=(link(&a.digest)) { (a.title) } }
                td { (status(&a.status, page.lang)) }
                td.num { (a.signed) " / " (a.parties) }
                td { (a.starts) " – " (a.ends) }
                td { (short(&a.digest)) }
            } } })) }
    };
    page.render(say("Agreement", "协议"), &body)
}

/// Terms in full.
#[must_use]
pub fn terms(page: &Page<'_>, view: &AgreementView) -> Markup {
    let lang = page.lang;
    let say = |en, zh| page.say(en, zh);
    let s = &view.summary;
    let body = html! {
        p.statusline { (status(&s.status, lang)) @if let Some(at) = &view.status_at { " " (say("since ", "自 ")) (time(at)) " UTC" } }
        (table(say("Parties and their signatures", "各方及其签名"),
            &html! { th scope="col" { (say("Party", "参与方")) } th scope="col" { (say("Signs through", "签署职务")) } th scope="col" { (say("Signed (UTC)", "签署时间（UTC）")) } th scope="col" { (say("Key", "密钥")) } },
            &html! { @for p in &view.signatures { tr {
                th scope="row" { (p.party) }
                td { (p.signatory) }
                td { @match &p.signed_at { Some(at) => { span.tick aria-hidden="true" { "✓ " } (time(at)) }, None => span.muted { (say("not yet", "尚未")) } }
                    @if let Some(from) = &p.withdrawn_from { " " span.muted { (say("leaves ", "退出于 ")) (time(from)) } } }
                td { (short(&p.key)) }
            } } }))
        @if !view.consent_needed.is_empty() {
            p { (say("Whose signature is needed in every mode: ", "任何模式下都须签署者：")) (view.consent_needed.join(", ")) }
        }
        dl.facts {
            div { dt { (say("Digest", "摘要")) } dd { (full(&s.digest)) } }
            @if let Some(d) = &view.replaces { div { dt { (say("Replaces", "替换")) } dd { (full(d)) } } }
            @if let Some(d) = &view.replaced_by { div { dt { (say("Replaced by", "被替换为")) } dd { (full(d)) } } }
        }
        details.enforced {
            summary { (say("Who gives each clause effect", "各条款由谁执行")) }
            (table(say("Clauses and who enforces them", "条款及其执行者"),
                &html! { th scope="col" { (say("Clause", "条款")) } th scope="col" { (say("Kind", "类别")) } th scope="col" { (say("Enforced by", "执行者")) } },
                &html! { @for c in &view.clauses { tr {
                    th scope="row" { (c.id) }
                    td { code { (c.kind) } }
                    td { (c.enforced_by.iter().map(|e| enforcer_in_words(e, lang.language())).collect::<Vec<_>>().join(lang.say(", ", "、"))) }
                } } }))
        }
        article.contract { (markdown::render(&view.prose, 2)) }
    };
    page.render(&s.title, &body)
}

/// For pages that only name terms.
#[must_use]
pub fn terms_link(page: &Page<'_>, digest: &str) -> Markup {
    let path = page.link(&format!("/terms/{}", digest.trim_start_matches("sha256:")));
    html! { a href=(path) { (short(digest)) } }
}
