//! The log, entry by entry, with the proof that each stands in it.

use allmende_core::ledger::proof::Receipt;
use maud::{Markup, html};

use super::shell::Page;
use super::terms::terms_link;
use crate::console::format::{full, number, short, table, time};
use crate::view::EntryView;

/// A page of the log, newest first.
#[must_use]
pub fn ledger(page: &Page<'_>, entries: &[EntryView], size: u64, checkpoint: &str) -> Markup {
    let say = |en, zh| page.say(en, zh);
    let (first, last) = (entries.last().map_or(0, |e| e.index), entries.first().map_or(0, |e| e.index));
    let older = (first > 0).then(|| page.link(&format!("/ledger?before={first}")));
    let newer = (last + 1 < size).then(|| {
        let before = (last + 1).saturating_add(entries.len() as u64).min(size);
        page.link(&format!("/ledger?before={before}"))
    });
    let pager = html! {
        nav.pager aria-label=(say("Pages of the log", "日志分页")) {
            @if let Some(link) = &newer { a rel="prev" href=(link) { "← " (say("Newer", "较新")) } } @else { span {} }
            span.muted { (number(first)) "–" (number(last)) " / " (number(size)) }
            @if let Some(link) = &older { a rel="next" href=(link) { (say("Older", "较旧")) " →" } } @else { span {} }
        }
    };
    let body = html! {
        p.lead { (say("Append-only and signed: nothing here can be changed or left out unnoticed. The log keeps statements, digests and counts, no rows.",
            "只增不改、逐条签名：任何改动或遗漏都会被发现。日志只含声明、摘要与计数，不含数据行。")) }
        details { summary { (say("Signed checkpoint", "已签名的检查点")) } pre.note tabindex="0" { (checkpoint) } }
        (pager)
        (table(say("Entries, newest first; times are the hub's, UTC", "条目，新者在前；时间为中心时钟，UTC"),
            &html! { th.num scope="col" { (say("Entry", "序号")) } th scope="col" { (say("Statement", "声明")) } th scope="col" { (say("Signed by", "签署方")) } th scope="col" { (say("Key", "密钥")) } th scope="col" { (say("Arrived", "到达时间")) } th scope="col" { (say("Digest", "摘要")) } },
            &html! { @for e in entries { tr {
                th.num scope="row" { a href=(page.link(&format!("/ledger/{}", e.index))) { (e.index) } }
                td { (page.lang.kind(&e.kind)) }
                td { (page.lang.code_in_words(&e.party)) }
                td { span.muted { (page.lang.code_in_words(&e.class)) } " " code.digest title=(e.key) { (e.key_short) } }
                td { (time(&e.arrived_at)) }
                td { (short(&e.digest)) }
            } } }))
        (pager)
    };
    page.render(say("Ledger", "账本"), &body)
}

/// One entry: what it says, and why it cannot be denied.
#[must_use]
pub fn entry(page: &Page<'_>, view: &EntryView, json: &str, receipt: &Receipt) -> Markup {
    let lang = page.lang;
    let say = |en, zh| page.say(en, zh);
    let checkpoint = &receipt.checkpoint.checkpoint;
    let heading = format!("{} {}: {}", say("Entry", "条目"), view.index, lang.kind(&view.kind));
    let body = html! {
        dl.facts {
            div { dt { (say("Signed by", "签署方")) } dd { (lang.code_in_words(&view.party)) ", " (lang.code_in_words(&view.class)) " " (full(&view.key)) } }
            div { dt { (say("Arrived", "到达时间")) } dd { (time(&view.arrived_at)) " UTC" } }
            div { dt { (say("Signer's clock", "签署方时钟")) } dd { (time(&view.claimed_at)) " UTC " span.muted { (say("a claim, no deadline rests on it", "仅为声称，期限不以此为准")) } } }
            @if let Some(terms) = &view.agreement { div { dt { (say("Under the terms", "依据条款")) } dd { (terms_link(page, terms)) } } }
            div { dt { (say("Digest of the statement", "声明摘要")) } dd { (full(&view.digest)) } }
            div { dt { (say("Size", "大小")) } dd { (number(view.size_bytes)) " " (say("bytes", "字节")) } }
        }
        h2 { (say("The statement, as it was signed", "签署的声明")) }
        pre.json tabindex="0" aria-label=(say("Statement as JSON", "JSON 格式的声明")) { code { (json) } }
        h2 { (say("Proof that it stands in the log", "其在日志中的证明")) }
        p { (say("The entry's hash, combined in turn with the hashes below, gives the root that the hub signed. The receipt holds all of it in one file, and is checked offline with ",
            "条目哈希依次与下列哈希组合，即得中心签名的根。回执将其集于一个文件，可离线校验：")) code.command { "allmende ledger verify" } (say(".", "。")) }
        p { a.button href=(page.link(&format!("/ledger/{}/receipt", view.index))) { (say("Download the receipt", "下载回执")) } }
        ol.path {
            li.leaf { span.label { (say("entry", "条目")) } code { (view.leaf_hash) } }
            @for hash in &receipt.hashes { li { span.label { (say("sibling", "兄弟")) } code { (hash.hex()) } } }
            li.root { span.label { (say("root of ", "根，共 ")) (number(checkpoint.size)) (say("", " 条")) } code { (checkpoint.root.hex()) } }
        }
        details { summary { (say("Signed checkpoint", "已签名的检查点")) } pre.note tabindex="0" { (receipt.checkpoint.to_string()) } }
        nav.pager aria-label=(say("Neighbouring entries", "相邻条目")) {
            @if view.index + 1 < checkpoint.size { a rel="prev" href=(page.link(&format!("/ledger/{}", view.index + 1))) { "← " (view.index + 1) } } @else { span {} }
            a href=(page.link(&format!("/ledger?before={}", (view.index + 1).saturating_add(25).min(checkpoint.size)))) { (say("In the ledger", "返回账本")) }
            @if view.index > 0 { a rel="next" href=(page.link(&format!("/ledger/{}", view.index - 1))) { (view.index - 1) " →" } } @else { span {} }
        }
    };
    page.render(&heading, &body)
}
