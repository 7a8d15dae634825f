//! Contributions and payouts.

use maud::{Markup, html};

use super::shell::Page;
use crate::console::chart::bar;
use crate::console::format::{number, table};
use crate::view::{AccountView, ContributionView, PayoutView};

/// Who gave what, who received what.
#[must_use]
pub fn benefit(
    page: &Page<'_>,
    contributions: &[ContributionView],
    payouts: &[PayoutView],
    accounts: &[AccountView],
) -> Markup {
    let say = |en, zh| page.say(en, zh);
    let body = html! {
        p.lead { (say("Contributions are computed exactly from the evaluations in the log, and every payout from the contributions. Anyone with the log gets the same numbers.",
            "贡献由日志中的评估精确计算，每笔分配由贡献得出。任何持有日志的人都会得到相同的数字。")) }
        h2 { (say("Contributions", "贡献")) }
        @if contributions.is_empty() { p.empty { (say("Nothing was measured yet.", "尚未衡量。")) } }
        @for c in contributions {
            h3 { a href=(page.link(&format!("/runs/{}", c.run))) { (c.run) } " " span.muted { (page.lang.code_in_words(&c.rule)) "; " (c.fund_percent) " % " (say("to the fund first", "先入基金")) } }
            (shares(page, c))
            @if !c.coalitions.is_empty() {
                (table(say("What each coalition's model achieves over all held-out rows", "各联盟模型在全部留出行上的成绩"),
                    &html! { th scope="col" { (say("Trained by", "训练者")) } th.num scope="col" { (say("Right", "正确")) } th.num scope="col" { (say("Rows", "行数")) } th.num scope="col" { (say("Accuracy", "准确率")) } },
                    &html! { @for v in &c.coalitions { tr { th scope="row" { (v.parties.join(" + ")) } td.num { (number(v.correct)) } td.num { (number(v.total)) } td.num { (v.accuracy) } } } }))
            }
        }
        h2 { (say("Payouts", "分配")) }
        @if payouts.is_empty() { p.empty { (say("Nothing was paid out yet.", "尚无分配。")) } }
        @for p in payouts {
            h3 { (p.payout) " " span.muted { (p.pool) " " (p.currency) (say(", paid by ", "，支付方 ")) (p.payer) (say(", for ", "，对应 ")) (p.run) } }
            (table(&format!("{} {}", say("Parts of", "明细："), p.payout),
                &html! { th scope="col" { (say("To", "收款方")) } th.num scope="col" { (say("Amount", "金额")) " (" (p.currency) ")" } },
                &html! { @for part in &p.parts { tr { th scope="row" { (page.lang.code_in_words(&part.to)) } td.num { (part.amount) } } }
                    tr.sum { th scope="row" { (say("Together", "合计")) } td.num { (p.pool) } } }))
        }
        @if !accounts.is_empty() {
            h2 { (say("Accounts", "账户")) }
            (table(say("Double-entry accounts: all balances add up to zero", "复式账户：全部余额之和为零"),
                &html! { th scope="col" { (say("Account", "账户")) } th.num scope="col" { (say("Given", "付出")) } th.num scope="col" { (say("Received", "收到")) } th.num scope="col" { (say("Balance", "余额")) } },
                &html! { @for a in accounts { tr { th scope="row" { code { (a.account) } } td.num { (a.debits) } td.num { (a.credits) } td.num { (a.balance) } } } }))
        }
    };
    page.render(say("Benefits", "收益"), &body)
}

/// Each party's share.
pub fn shares(page: &Page<'_>, view: &ContributionView) -> Markup {
    let say = |en, zh| page.say(en, zh);
    let part = |percent: &str| percent.trim_end_matches(" %").parse::<f64>().unwrap_or(0.0);
    table(
        say("Each party's weight in the benefit", "各方在收益中的权重"),
        &html! { th scope="col" { (say("Party", "参与方")) } th.num scope="col" { (say("Weight, exact", "精确权重")) } th.num scope="col" { (say("Share", "占比")) } th.barcell scope="col" { span.sr { (say("Share as a bar", "占比条")) } } },
        &html! { @for s in &view.shares { tr {
            th scope="row" { (s.party) } td.num { (s.weight) } td.num { (s.percent) } td.barcell { (bar(part(&s.percent))) }
        } } },
    )
}
