//! The pages on which a person lets a device sign in with their account, or does not. The only ones here that change
//! something: a form says so, which this reader's page carries a seal for, so that no other site can send it.

use allmende_core::digest::from_hex;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Redirect, Response};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

use super::format::time;
use super::pages::document;
use super::session::{self, Viewer};
use super::text::Lang;
use super::web::{Asked, fault, page};
use crate::account::device::{self, Key, Loan, UserCode, Waiting};
use crate::account::{Kind, Principal, Rights};
use crate::app::App;
use crate::auth::constant_time_eq;
use crate::error::{ApiError, Code};
use crate::extract::{Form, Query};
use crate::transaction;

/// The client that `hf auth login` names itself by.
const HF: &str = "26be6b09-91c5-47da-9861-d2d2bb7a7e36";

/// Routes of this group.
pub fn routes() -> Router<App> {
    Router::new().route("/console/device", get(entrance)).route("/console/{lang}/device", get(show).post(decide))
}

/// Where a device sends people: to the page in their language.
async fn entrance(headers: HeaderMap, RawQuery(query): RawQuery) -> Redirect {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    Redirect::to(&format!("/console/{}/device{query}", Lang::accepted(accepted).code()))
}

/// Who may let a device sign in: a person, by a token of theirs.
fn person(viewer: Result<Viewer, ApiError>) -> Result<Principal, ApiError> {
    let principal = viewer?.0.ok_or_else(|| ApiError::new(Code::Unauthenticated, "not signed in"))?;
    if principal.account.kind != Kind::User {
        let text = "A device signs in with the account of a person: this token is an organization's";
        return Err(ApiError::new(Code::Forbidden, text).hint("sign out, and sign in with a token of your own"));
    }
    Ok(principal)
}

#[derive(Debug, Deserialize)]
struct Typed {
    #[serde(default)]
    code: String,
}

/// Asks for the code, or shows who waits with it.
async fn show(
    State(app): State<App>,
    asked: Asked,
    viewer: Result<Viewer, ApiError>,
    Query(Typed { code }): Query<Typed>,
) -> Response {
    let made = async {
        let principal = person(viewer)?;
        if code.trim().is_empty() {
            return Ok((StatusCode::OK, ask(&asked, false)));
        }
        let (key, now) = (Key::of(&app.hub_key), app.clock.now());
        let account = Some(principal.account.id.as_str());
        let found = transaction!(app.db, tx => { device::look_up(tx, &key, account, &code, now).await })?;
        let Some((code, waiting)) = found else { return Ok((StatusCode::NOT_FOUND, ask(&asked, true))) };
        let age_s = now.0.saturating_sub(waiting.created_at.0) / 1_000;
        let seal = key.seal(&principal.token.id, &code).hex();
        Ok((StatusCode::OK, question(&asked, &principal, &code, &waiting, age_s, &seal)))
    };
    match made.await {
        Ok((status, markup)) => page(status, markup),
        Err(error) => fault(&asked, &error),
    }
}

#[derive(Debug, Deserialize)]
struct Decided {
    code: String,
    seal: String,
    decision: String,
    #[serde(default)]
    may: String,
}

/// Takes a person's word.
async fn decide(
    State(app): State<App>,
    asked: Asked,
    viewer: Result<Viewer, ApiError>,
    headers: HeaderMap,
    form: Result<Form<Decided>, ApiError>,
) -> Response {
    let made = async {
        let principal = person(viewer)?;
        let Form(decided) = form?;
        let foreign =
            || ApiError::new(Code::Forbidden, "this form came from another site, or from before you signed in");
        let code = UserCode::parse(&decided.code).ok_or_else(foreign)?;
        let (key, now) = (Key::of(&app.hub_key), app.clock.now());
        let given: Option<[u8; 32]> = from_hex(&decided.seal);
        let sealed = given.is_some_and(|given| constant_time_eq(&given, &key.seal(&principal.token.id, &code).0));
        if !session::is_own_form(&headers) || !sealed {
            return Err(foreign());
        }
        let loan = match decided.decision.as_str() {
            "approve" => {
                let seconds = app.config.device_token_lifetime_s.min(app.config.token_max_lifetime_s);
                let ends_at = now.plus_ms(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000));
                // Whoever says nothing of writing lends none.
                Some(Loan::of(&principal.account, &principal.token, decided.may != "write", ends_at))
            }
            "deny" => None,
            _ => return Err(ApiError::new(Code::BadRequest, "a decision is approve or deny")),
        };
        transaction!(app.db, tx => { device::decide(tx, &key, &code, loan.as_ref(), now).await })?;
        Ok(done(&asked, loan.as_ref(), principal.account.name.as_str()))
    };
    match made.await {
        Ok(markup) => page(StatusCode::OK, markup),
        Err(error) => fault(&asked, &error),
    }
}

fn around(asked: &Asked, body: &Markup) -> Markup {
    let lang = asked.lang;
    // Without the query: a link to the other language asks for the code again.
    let path = format!("/console/{}/device", lang.code());
    document(lang, &path, lang.say("Sign a device in", "设备登录"), asked.signed_in, &html! {}, body)
}

fn ask(asked: &Asked, unknown: bool) -> Markup {
    let say = |en, zh| asked.lang.say(en, zh);
    around(
        asked,
        &html! {
            section.login {
                h1 { (say("Sign a device in", "设备登录")) }
                p { (say("Type the code that the device shows.", "请输入设备上显示的代码。")) }
                @if unknown {
                    p.error role="alert" id="refused" {
                        (say("No sign-in waits with this code: it is mistyped, over, or was decided already.", "没有等待此代码的登录请求：输入有误、已过期或已处理。"))
                    }
                }
                form method="get" action=(format!("/console/{}/device", asked.lang.code())) {
                    label for="code" { (say("Code", "代码")) }
                    input id="code" name="code" type="text" autocomplete="off" autocapitalize="characters" spellcheck="false" required
                        maxlength="20" placeholder="BCDF-GHJK" aria-describedby=[unknown.then_some("refused")];
                    button type="submit" { (say("Continue", "继续")) }
                }
            }
        },
    )
}

/// Rights in words.
fn rights(lang: Lang, rights: &Rights) -> Markup {
    match rights {
        Rights::Read => html! { (lang.say("read what you may read", "读取您可读取的内容")) },
        Rights::Write => html! { (lang.say("read and write whatever you may", "读写您有权读写的一切")) },
        Rights::FineGrained { grants } => html! {
            @for grant in grants {
                code { (grant.place) } " " (if grant.write { lang.say("read and write", "读写") } else { lang.say("read", "读取") }) " "
            }
        },
    }
}

fn question(
    asked: &Asked,
    principal: &Principal,
    code: &UserCode,
    waiting: &Waiting,
    age_s: i64,
    seal: &str,
) -> Markup {
    let lang = asked.lang;
    let say = |en, zh| lang.say(en, zh);
    let Waiting { asking, expires_at, .. } = waiting;
    let own = &principal.token.rights;
    let may_write = match own {
        Rights::Read => false,
        Rights::Write => true,
        Rights::FineGrained { grants } => grants.iter().any(|grant| grant.write),
    };
    around(
        asked,
        &html! {
            section.login {
                h1 { (say("Let this device sign in?", "允许此设备登录吗？")) }
                p { (say("Only if you started this yourself, just now, and the device shows this very code:", "仅当这是您本人刚刚发起、且设备上显示的正是此代码时，才应允许：")) }
                p { strong { code { (code) } } }
                table {
                    tbody {
                        tr { th scope="row" { (say("Account", "账户")) } td { (principal.account.name) } }
                        tr { th scope="row" { (say("Client, by its own word", "客户端（自称）")) }
                            td { code { (asking.client) } @if asking.client == HF { " (hf auth login)" } } }
                        tr { th scope="row" { (say("Program, by its own word", "程序（自称）")) } td { (asking.agent) } }
                        tr { th scope="row" { (say("Asked from", "请求来源")) } td { code { (asking.address) } } }
                        tr { th scope="row" { (say("Asked", "请求时间")) }
                            td { (age_s) " " (say("seconds ago; good until", "秒前；有效至")) " " (time(&expires_at.to_string())) } }
                        tr { th scope="row" { (say("Your token here may", "您此处的令牌可以")) } td { (rights(lang, own)) } }
                    }
                }
                form method="post" action=(format!("/console/{}/device", lang.code())) {
                    input type="hidden" name="code" value=(code);
                    input type="hidden" name="seal" value=(seal);
                    label for="may" { (say("The device may", "设备可以")) }
                    select id="may" name="may" {
                        @if may_write { option value="write" selected { (say("do the same", "同样操作")) } }
                        option value="read" selected[!may_write] { (say("read only", "仅读取")) }
                    }
                    button type="submit" name="decision" value="approve" { (say("Approve", "允许")) }
                    " "
                    button.quiet type="submit" name="decision" value="deny" { (say("Deny", "拒绝")) }
                }
            }
        },
    )
}

fn done(asked: &Asked, loan: Option<&Loan>, account: &str) -> Markup {
    let lang = asked.lang;
    let say = |en, zh| lang.say(en, zh);
    around(
        asked,
        &html! {
            section.login {
                @match loan {
                    Some(loan) => {
                        h1 { (say("Approved", "已允许")) }
                        p { (say("The device signs in as ", "设备将以此账户登录：")) strong { (account) } ". "
                            (say("It may ", "它可以")) (rights(lang, &loan.rights)) " "
                            (say("until ", "，有效至 ")) (time(&loan.ends_at.to_string())) "." }
                        p.muted { (say("You can close this page.", "您可以关闭此页面。")) }
                    }
                    None => {
                        h1 { (say("Denied", "已拒绝")) }
                        p { (say("The device was told so.", "设备已收到通知。")) }
                    }
                }
            }
        },
    )
}
