//! A repository at a glance: its card, its facts, and how to fetch it.

use allmende_core::agreement::check::Decision;
use allmende_core::agreement::vocabulary::Action;
use allmende_core::licence::{Answer, Verdict};
use allmende_formats::safetensors::Summary;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::list::{cut, marks};
use super::{Tab, Visit, bytes};
use crate::app::App;
use crate::console::format::{number, short, table, time};
use crate::console::prose::{self, Links};
use crate::content::file::File;
use crate::content::licence;
use crate::content::{ContentError, pickle, tensors};
use crate::error::ApiError;
use crate::git::tree::EntryKind;
use crate::git::{GitError, Oid};
use crate::mirror::store::{self as mirrors, Mirror};
use crate::repo::card::{self, Head};
use crate::repo::{Gate, Kind, store, terms};

/// Tags that are shown.
const MAX_TAGS: usize = 60;
/// Sentences that are shown of a verdict.
const MAX_REASONS: usize = 20;

/// What the page shows.
struct Front {
    head: Head,
    verdict: Option<Verdict>,
    parameters: Option<Summary>,
    pickles: Vec<(String, String)>,
    said: Vec<(Action, Result<(), Box<Decision>>)>,
    mirror: Option<Mirror>,
    card: Card,
}

/// The text of a card.
enum Card {
    /// It says this; and whether more follows.
    Text(String, bool),
    /// There is none.
    None,
    /// It is not for this reader.
    Closed(ApiError),
}

/// The card and the facts.
pub async fn page(State(app): State<App>, visit: Visit) -> Response {
    let made = async {
        let front = gather(&app, &visit).await?;
        render(&visit, &front)
    };
    visit.answer(made.await)
}

async fn gather(app: &App, visit: &Visit) -> Result<Front, ApiError> {
    let (repo, git) = (visit.repo(), visit.git(app));
    let kept = store::head(&mut *app.db.read().await?, &repo.id).await?;
    let head: Head = serde_json::from_str(&kept).unwrap_or_default();
    let verdict = match &head.card {
        Some(card) => Some(licence::of(app, visit.viewer.as_ref(), repo.kind, card).await?),
        None => None,
    };
    let said = terms::said(app, visit.viewer.as_ref(), repo).await?;
    let mirror = mirrors::of(&mut *app.db.read().await?, &repo.id).await?;
    let mut front = Front { head, verdict, parameters: None, pickles: Vec::new(), said, mirror, card: Card::None };
    let open = visit.may_read(app).await;
    // A repository whose main branch is gone has facts all the same.
    let Ok(commit) = git.resolve("main").await else { return Ok(front) };
    let mut entries = git.tree(commit, None, true).await?;
    entries.retain(|entry| entry.kind != EntryKind::Folder);
    front.pickles = pickle::among(app, repo, &entries).await?;
    match open {
        Err(error) => front.card = Card::Closed(error),
        Ok(()) => {
            if repo.kind == Kind::Model {
                front.parameters = tensors::parameters(app, repo, &git, &entries).await?;
            }
            front.card = text(app, visit, commit).await?;
        }
    }
    Ok(front)
}

async fn text(app: &App, visit: &Visit, commit: Oid) -> Result<Card, ApiError> {
    let file = match File::at(app, visit.repo(), &visit.git(app), commit, card::PATH).await {
        Ok(file) => file,
        Err(ContentError::Git(GitError::NoEntry(_))) => return Ok(Card::None),
        Err(error) => return Err(error.into()),
    };
    let shown = file.size.min(prose::MAX_BYTES as u64);
    let bytes = file.bytes(app, 0..shown).await?;
    visit.note(app, shown);
    let text = String::from_utf8_lossy(&bytes);
    Ok(Card::Text(card::body(&text).to_owned(), shown < file.size))
}

fn render(visit: &Visit, front: &Front) -> Result<Markup, ApiError> {
    let lang = visit.asked.lang;
    let files = visit.at("file", "main", "") + "/";
    let body = html! {
        p.labels { (marks(&visit.asked, visit.repo())) }
        @if !front.pickles.is_empty() { (pickles(visit, &front.pickles)) }
        (facts(visit, front))
        @if let Some(verdict) = &front.verdict { (judged(visit, verdict)) }
        @if !front.said.is_empty() { (said(visit, &front.said)) }
        h2 { (visit.say("Fetch it", "获取")) }
        (fetch(visit))
        h2 { (visit.say("Card", "卡片")) }
        @match &front.card {
            Card::None => p.empty { (visit.say("There is no README.md.", "没有 README.md。")) },
            Card::Closed(error) => (visit.closed(error)?),
            Card::Text(text, more) => {
                article.prose { (prose::render(text, Links { files: Some(&files), below: 2, table: lang.say("Table", "表格") })) }
                @if *more { p.muted {
                    (visit.say("The card is longer than what is shown: ", "卡片比所示更长：")) a href=(visit.at("file", "main", card::PATH)) { (card::PATH) }
                } }
            }
        }
    };
    Ok(visit.page(Tab::Card, &visit.repo().full_name(), &body))
}

fn facts(visit: &Visit, front: &Front) -> Markup {
    let (repo, head) = (visit.repo(), &front.head);
    let say = |en, zh| visit.say(en, zh);
    let all = format!("/console/{}/r?kind={}", visit.asked.lang.code(), repo.kind.plural());
    let gate = match repo.gate {
        Gate::Off => None,
        Gate::Auto => Some(say("everybody who asks may read the files", "任何人申请后即可读取文件")),
        Gate::Manual => Some(say("the owner answers each request to read the files", "读取文件的申请由所有者逐一答复")),
    };
    let licences: Vec<&str> = head.tags.iter().filter_map(|tag| tag.strip_prefix("license:")).collect();
    html! {
        dl.facts {
            div { dt { (say("Owner", "所有者")) } dd { a href=(format!("{all}&owner={}", repo.owner.name)) { (repo.owner.name) } } }
            div { dt { (say("Seen by", "可见范围")) } dd {
                @if let Some(collaboration) = &repo.collaboration {
                    (say("whom the terms let: ", "条款允许者："))
                    a href=(format!("/console/{}/c/{collaboration}", visit.asked.lang.code())) { (collaboration) }
                } @else if repo.private { (say("its owner's people", "所有者的成员")) } @else { (say("everybody", "所有人")) }
            } }
            @if let Some(mirror) = &front.mirror { div { dt { (say("Mirror of", "镜像来源")) } dd {
                (cut(&mirror.source, 200)) " " span.muted { (cut(&mirror.url, 200)) } " · "
                @match mirror.synced_at {
                    Some(at) => { (say("as of ", "截至 ")) (time(&at.to_string())) }
                    None => { span.muted { (say("nothing came yet", "尚无内容")) } }
                }
            } } }
            @if let Some(gate) = gate { div { dt { (say("Gate", "门槛")) } dd { (gate) } } }
            div { dt { (say("Licence", "许可证")) } dd {
                @if licences.is_empty() { span.muted { (say("none named", "未注明")) } } @else { (cut(&licences.join(", "), 200)) }
            } }
            @if let Some(summary) = &front.parameters { div { dt { (say("Parameters", "参数")) } dd {
                (number(summary.total())) " "
                span.muted { "(" (summary.parameters.iter().map(|(dtype, count)| format!("{dtype} {}", number(*count))).collect::<Vec<_>>().join(", ")) ")" }
            } } }
            div { dt { (say("Size", "大小")) } dd { (bytes(head.used_bytes)) } }
            div { dt { (say("Changed", "更新")) } dd { (time(&repo.modified_at.to_string())) @if !head.sha.is_empty() { " · " a href=(visit.at("commit", &head.sha, "")) { (short(&head.sha)) } } } }
            div { dt { (say("Read, liked", "下载、点赞")) } dd { (number(repo.downloads)) ", " (number(repo.likes)) } }
            @if !head.tags.is_empty() { div { dt { (say("Tags", "标签")) } dd {
                @for tag in head.tags.iter().take(MAX_TAGS) { a.tag href=(format!("{all}&tag={}", prose::quoted(tag))) { (cut(tag, 80)) } " " }
            } } }
        }
    }
}

fn judged(visit: &Visit, verdict: &Verdict) -> Markup {
    let say = |en, zh| visit.say(en, zh);
    let (tone, word) = match verdict.answer {
        Answer::Compatible => ("good", say("nothing stands against it", "未见冲突")),
        Answer::Unknown => ("calm", say("not settled", "尚不明确")),
        Answer::Incompatible => ("bad", say("conflict", "有冲突")),
    };
    html! {
        h2 { (say("Licence and sources", "许可证与来源")) }
        p { span class={ "status " (tone) } { (word) } " " span.muted { (say("by the texts of well-known licences; no counsel", "仅依据常见许可证文本，不构成法律意见")) } }
        @if !verdict.reasons.is_empty() { ul lang="en" { @for reason in verdict.reasons.iter().take(MAX_REASONS) { li { (cut(reason, 500)) } } } }
        @if !verdict.obligations.is_empty() {
            (table(say("Owed to the sources", "对来源的义务"),
                &html! { th scope="col" { (say("What", "事项")) } th scope="col" { (say("For", "来源")) } },
                &html! { @for (owed, sources) in verdict.obligations.iter().take(MAX_REASONS) { tr {
                    th scope="row" lang="en" { (owed.text()) } td.wrap { (cut(&sources.join(", "), 500)) }
                } } }))
        }
    }
}

fn pickles(visit: &Visit, files: &[(String, String)]) -> Markup {
    html! {
        div.notice.bad {
            p { strong { (visit.say("Files that run code when they are loaded", "加载时会运行代码的文件")) } }
            ul { @for (path, why) in files.iter().take(10) { li { code { (cut(path, 200)) } " – " span lang="en" { (cut(why, 200)) } } } }
            @if files.len() > 10 { p { (files.len() - 10) " " (visit.say("more", "个其他文件")) } }
        }
    }
}

fn said(visit: &Visit, said: &[(Action, Result<(), Box<Decision>>)]) -> Markup {
    let say = |en, zh| visit.say(en, zh);
    let word = |action: Action| match action {
        Action::See => say("see it", "查看"),
        Action::Read => say("read its files", "读取文件"),
        Action::Write => say("change it", "修改"),
        Action::Disclose => say("pass its rows on", "向外提供数据行"),
        Action::Release => say("publish it", "发布"),
        other => other.code(),
    };
    html! {
        h2 { (say("What the terms let you do", "条款允许您做什么")) }
        (table(say("As the agreement in force says now", "依当前生效协议"),
            &html! { th scope="col" { (say("To", "事项")) } th scope="col" { (say("Answer", "结论")) } th scope="col" { (say("Why", "理由")) } },
            &html! { @for (action, answer) in said { tr {
                th scope="row" { (word(*action)) }
                @match answer {
                    Ok(()) => { td { span.status.good { (say("allowed", "允许")) } } td {} }
                    Err(decision) => { td { span.status.bad { (say("denied", "不允许")) } } td.wrap lang="en" { (decision) } }
                }
            } } }))
    }
}

fn fetch(visit: &Visit) -> Markup {
    let base = &visit.base;
    let (repo, say) = (visit.repo(), |en, zh| visit.say(en, zh));
    let name = repo.full_name();
    let kind = match repo.kind {
        Kind::Dataset => " --repo-type dataset",
        Kind::Space => " --repo-type space",
        Kind::Kernel => " --repo-type kernel",
        Kind::Model | Kind::Code | Kind::Bucket => "",
    };
    html! {
        // The tools know no kind for code; git takes any.
        @if repo.kind != Kind::Code { pre tabindex="0" { code { "HF_ENDPOINT=" (base) " hf download " (name) (kind) } } }
        pre tabindex="0" { code { "git clone " (base) "/" (repo.kind.prefix()) (name) } }
        @if !repo.is_public() || repo.gate != Gate::Off {
            p.muted { (say("Both need a token that may read it: in HF_TOKEN, or as the password that git asks for.", "两者都需要可读取它的令牌：置于 HF_TOKEN，或作为 git 询问的密码。")) }
        }
    }
}
