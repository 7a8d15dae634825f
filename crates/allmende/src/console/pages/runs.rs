//! Runs: how far, how good, by whom.

use maud::{Markup, html};

use super::benefit::shares;
use super::shell::Page;
use super::terms::terms_link;
use crate::console::chart;
use crate::console::format::{full, number, short, status, table, time};
use crate::console::text::Lang;
use crate::view::{ContributionView, RunSummary, RunView};

/// All runs.
#[must_use]
pub fn runs(page: &Page<'_>, all: &[RunSummary]) -> Markup {
    let say = |en, zh| page.say(en, zh);
    let body = html! {
        p.lead { (say("Each run was checked against the agreement, decided by the members, and checked again by every node before it trained.",
            "每次运行先依协议核查、由成员决定，并在训练前由各节点再次核查。")) }
        @if all.is_empty() { p.empty { (say("No run was proposed yet.", "尚无运行提议。")) } }
        @else { (table(say("Runs, newest first", "运行，新者在前"),
            &html! { th scope="col" { (say("Run", "运行")) } th scope="col" { (say("Status", "状态")) } th.num scope="col" { (say("Rounds", "轮次")) } th.num scope="col" { (say("Accuracy", "准确率")) } th scope="col" { (say("Parties", "参与方")) } th scope="col" { (say("Proposed", "提议时间")) } },
            &html! { @for r in all { tr {
                th scope="row" { a href=(page.link(&format!("/runs/{}", r.id))) { (r.id) } }
                td { (status(&r.status, page.lang)) @if let Some(f) = &r.failure { " " span.muted { (page.lang.code_in_words(f)) } } }
                td.num { (r.rounds_done) " / " (r.rounds) }
                td.num { (r.accuracy.as_deref().unwrap_or("–")) }
                td { (r.parties.join(", ")) }
                td { (time(&r.proposed_at)) }
            } } })) }
    };
    page.render(say("Runs", "运行"), &body)
}

/// One run.
#[must_use]
pub fn run(page: &Page<'_>, view: &RunView, contribution: Option<&ContributionView>) -> Markup {
    let lang = page.lang;
    let say = |en, zh| page.say(en, zh);
    let s = &view.summary;
    let forbade = s.status == "forbidden";
    let body = html! {
        p.statusline {
            (status(&s.status, lang))
            @if let Some(f) = &s.failure { " " (lang.code_in_words(f)) }
            " · " (say("proposed by ", "提议：")) (s.proposed_by) (say(", ", "，")) (time(&s.proposed_at)) " UTC"
        }
        @if let Some(point) = view.curve.last() {
            div.figures {
                div { span.big { (point.accuracy) } span.label { (say("of held-out rows right", "留出行预测正确")) } }
                div { span.big { (s.rounds_done) "/" (s.rounds) } span.label { (say("rounds", "轮次")) } }
                div { span.big { (s.parties.len()) } span.label { (say("parties", "参与方")) } }
                div { span.big { (number(view.parameters)) } span.label { (say("parameters", "参数")) } }
            }
            h2 { (say("Accuracy", "准确率")) }
            (chart::curve(&view.curve, s.rounds, lang))
        }
        @if !view.results.is_empty() {
            h2 { (say("Per party", "各方结果")) }
            (table(say("Each party's own held-out rows, counted on its own node", "各方在自有节点上对自有留出行的计数"),
                &html! { th scope="col" { (say("Party", "参与方")) } th.num scope="col" { (say("Right", "正确")) } th.num scope="col" { (say("Rows", "行数")) } th.num scope="col" { (say("Accuracy", "准确率")) } th.num scope="col" { (say("After round", "轮次")) } },
                &html! { @for r in &view.results { tr {
                    th scope="row" { (r.party) } td.num { (number(r.correct)) } td.num { (number(r.total)) } td.num { (r.accuracy) } td.num { (r.round) }
                } } }))
        }
        @if let Some(confusion) = &view.confusion {
            h2 { (say("Confusion", "混淆矩阵")) }
            (chart::confusion(confusion, lang))
        }
        @if let Some(contribution) = contribution {
            h2 { (say("Contributions", "贡献")) }
            (shares(page, contribution))
            p { a href=(page.link("/benefit")) { (say("How benefits were shared", "收益如何分配")) } }
        }
        h2 { (say("What was agreed", "依据")) }
        dl.facts {
            div { dt { (say("Agreement", "协议")) } dd { (terms_link(page, &view.agreement)) } }
            div { dt { @if forbade { (say("Forbidden by", "禁止的条款")) } @else { (say("Allowed by clauses", "允许的条款")) } } dd { @if view.clauses.is_empty() { "–" } @else { (view.clauses.join(", ")) } } }
            div { dt { (say("Purpose", "用途")) } dd { (lang.code_in_words(&view.purpose)) } }
            div { dt { (say("Model", "模型")) } dd { (technical(lang, &view.model)) (say(", ", "，")) (number(view.parameters)) " " (say("parameters", "个参数")) } }
            div { dt { (say("Local training", "本地训练")) } dd { (technical(lang, &view.training)) } }
            div { dt { (say("Aggregation", "聚合")) } dd { (technical(lang, &view.outer)) (say("; ", "；")) (say("at least ", "至少 ")) (view.min_parties) " " (say("updates a round", "份更新/轮")) } }
            div { dt { (say("Plan", "计划")) } dd { (full(&view.plan)) } }
            @if let Some(model) = &view.final_model { div { dt { (say("Final model", "最终模型")) } dd { (full(model)) } } }
            @if let Some(licence) = &view.licence { div { dt { (say("Released", "已发布")) } dd { (licence) @if let Some(at) = &view.released_at { ", " (time(at)) " UTC" } } } }
        }
        h2 { (say("Nodes and trainings", "节点与训练")) }
        (table(say("What the nodes said", "节点的答复"),
            &html! { th scope="col" { (say("Party", "参与方")) } th scope="col" { (say("Dataset", "数据集")) } th scope="col" { (say("Answer", "答复")) } },
            &html! { @for a in &view.answers { tr {
                th scope="row" { (a.party) } td { (a.asset) }
                td { (status(&a.answer, lang)) @if let Some(code) = &a.code { " " span.muted { (lang.code_in_words(code)) } } @if a.absent { " " span.muted { (say("not heard of since a deadline", "逾期未应")) } } }
            } } }))
        @if !view.tracks.is_empty() {
            (table(say("Trainings: the whole first, then smaller coalitions to measure contribution", "训练：先全体，后为衡量贡献的较小联盟"),
                &html! { th scope="col" { (say("Who trains", "训练者")) } th.num scope="col" { (say("Rounds", "轮次")) } th scope="col" { (say("Status", "状态")) } th scope="col" { (say("Newest model", "最新模型")) } },
                &html! { @for t in &view.tracks { tr {
                    th scope="row" { (t.parties.join(" + ")) } td.num { (t.rounds_done) " / " (s.rounds) } td { (status(&t.status, lang)) } td { (short(&t.model)) }
                } } }))
        }
    };
    page.render(&s.id, &body)
}

/// The few words in the views' short descriptions of models and training, in the page's language.
fn technical(lang: Lang, text: &str) -> String {
    const WORDS: [(&str, &str); 8] = [
        ("weighted mean", "加权平均"),
        ("linear", "线性"),
        ("momentum", "动量"),
        ("batch", "批量"),
        ("epochs", "遍数"),
        ("rate", "步长"),
        (", ", "，"),
        ("; ", "；"),
    ];
    match lang {
        Lang::En => text.to_owned(),
        Lang::Zh => WORDS.iter().fold(text.to_owned(), |text, (en, zh)| text.replace(en, zh)),
    }
}
