//! The list of collaborations, and one of them at a glance.

use maud::{Markup, html};

use super::shell::{Page, document};
use crate::console::format::{full, number, short, status, table, time, time_or_dash};
use crate::console::text::Lang;
use crate::view::{AssetView, CollaborationView, DecisionView};

/// The collaborations of the reader's party.
#[must_use]
pub fn collaborations(lang: Lang, path: &str, party: &str, items: &[CollaborationView], next: Option<&str>) -> Markup {
    let heading = lang.say("Your collaborations", "您的合作");
    let body = html! {
        p.eyebrow { (lang.say("Reading as ", "当前身份：")) strong { (party) } }
        h1 { (heading) }
        @if items.is_empty() {
            p.empty { (lang.say("Your party is in no collaboration on this hub yet.", "贵方尚未参与此中心上的任何合作。")) }
        }
        ul.cards {
            @for item in items {
                li {
                    h2 { a href=(format!("/console/{}/c/{}", lang.code(), item.id)) { (item.title) } }
                    p { (item.goal) }
                    p.muted {
                        (item.members.len()) " " (lang.say("members", "个成员")) " · "
                        (number(item.size)) " " (lang.say("entries in the log", "条日志")) " · "
                        (lang.say("last ", "最近 ")) (time(&item.last_arrival))
                    }
                }
            }
        }
        @if let Some(next) = next { p { a href={ "?after=" (next) } { (lang.say("More", "更多")) } } }
    };
    document(lang, path, heading, true, &html! {}, &body)
}

/// A collaboration: goal, members, decisions, assets.
#[must_use]
pub fn overview(page: &Page<'_>, view: &CollaborationView, assets: &[AssetView]) -> Markup {
    let lang = page.lang;
    let say = |en, zh| page.say(en, zh);
    let body = html! {
        p.lead { (view.goal) }
        dl.facts {
            div { dt { (say("How members decide", "决策方式")) } dd { (view.mode_in_words) } }
            div { dt { (say("Log", "日志")) } dd {
                a href=(page.link("/ledger")) { (number(view.size)) " " (say("entries", "条")) }
                ", " (say("last ", "最近 ")) (time(&view.last_arrival))
            } }
            div { dt { (say("Origin", "日志来源")) } dd { code { (view.origin) } } }
            div { dt { (say("Hub key", "中心密钥")) } dd { (full(&view.hub_key)) } }
        }

        h2 { (say("Members", "成员")) }
        (table(say("Members and their keys", "成员及其密钥"),
            &html! { th scope="col" { (say("Party", "参与方")) } th scope="col" { (say("Joined", "加入时间")) } th scope="col" { (say("Governance key", "治理密钥")) } th scope="col" { (say("Nodes", "节点")) } },
            &html! { @for m in &view.members { tr {
                th scope="row" { (m.party) }
                td { (time(&m.joined_at)) }
                td { @match &m.governance { Some(key) => (short(key)), None => span.muted { (say("revoked", "已吊销")) } } }
                td { @for (i, node) in m.nodes.iter().enumerate() { @if i > 0 { (say(", ", "、")) } (node.name) " " (short(&node.key)) } @if m.nodes.is_empty() { span.muted { "–" } } }
            } } }))
        @if !view.invited.is_empty() {
            p { (say("Invited, not joined yet: ", "已邀请、尚未加入：")) (view.invited.join(say(", ", "、"))) }
        }

        h2 { (say("Decisions", "决策")) }
        @if view.decisions.is_empty() { p.empty { (say("Nothing has been put to the members yet.", "尚无事项提交表决。")) } }
        @else { (decisions(page, &view.decisions)) }

        h2 { (say("Assets", "资产")) }
        @if assets.is_empty() { p.empty { (say("None registered yet.", "尚无登记。")) } }
        @else { (table(say("Registered assets; rows stay with their owners", "已登记资产；数据行留在所有者处"),
            &html! { th scope="col" { (say("Asset", "资产")) } th scope="col" { (say("Holds", "内容")) } th.num scope="col" { (say("Features", "特征")) } th.num scope="col" { (say("Classes", "类别")) } th.num scope="col" { (say("Training rows", "训练行")) } th.num scope="col" { (say("Held out", "留出行")) } th scope="col" { (say("Licence", "许可证")) } th scope="col" { (say("Commitment", "承诺")) } },
            &html! { @for a in assets { tr {
                th scope="row" { (a.asset) @if let Some(at) = &a.revoked_at { " " span.muted { (say("taken back ", "已收回 ")) (time(at)) } } }
                td { (lang.code_in_words(&a.class)) }
                td.num { (a.features) } td.num { (a.classes) } td.num { (number(a.train_rows)) } td.num { (number(a.held_out_rows)) }
                td { @if let Some(licence) = &a.licence { (licence) } @else { span.muted { (say("the terms", "按条款")) } } }
                td { (short(&a.commitment)) }
            } } })) }

        @if !view.milestones.is_empty() {
            h2 { (say("Milestones", "里程碑")) }
            ol.milestones { @for m in &view.milestones { li { span.when { time datetime=(m.due) { (m.due) } } div { strong { (m.name) } p { (m.text) } } } } }
        }
    };
    page.render(&view.title, &body)
}

fn decisions(page: &Page<'_>, decisions: &[DecisionView]) -> Markup {
    let lang = page.lang;
    let say = |en, zh| page.say(en, zh);
    table(
        say("Matters put to the members, newest first", "提交成员表决的事项，新者在前"),
        &html! { th scope="col" { (say("Matter", "事项")) } th scope="col" { (say("Outcome", "结果")) } th scope="col" { (say("Votes", "投票")) } th scope="col" { (say("Until", "截止")) } },
        &html! { @for d in decisions { tr {
            th scope="row" { (d.subject) " " span.muted { (say("opened by ", "发起：")) (d.opened_by) } }
            td { (status(&d.status, lang)) }
            td { @for (i, vote) in d.votes.iter().enumerate() {
                @if i > 0 { (say(", ", "、")) }
                (vote.party) " " @match &vote.vote { Some(v) => (lang.code_in_words(v)), None => span.muted { (say("not yet", "未投")) } }
            } }
            td { (time_or_dash(d.until.as_deref())) }
        } } },
    )
}
