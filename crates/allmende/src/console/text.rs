//! The console's own words, in both languages side by side.

use allmende_core::agreement::vocabulary::Language;

/// A language of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Chinese.
    Zh,
}

impl Lang {
    /// Its part of a path, which is its language tag too.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The language that a path names.
    #[must_use]
    pub fn of_path(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Self::En),
            "zh" => Some(Self::Zh),
            _ => None,
        }
    }

    /// The better one for a browser with this `Accept-Language`.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let mut best = (Self::En, 0.0);
        for item in header.split(',').take(20) {
            let mut parts = item.split(';');
            let tag = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            let quality = parts.find_map(|p| p.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let language = match tag.split('-').next() {
                Some("zh") => Self::Zh,
                Some("en") => Self::En,
                _ => continue,
            };
            if quality > best.1 {
                best = (language, quality);
            }
        }
        best.0
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::En => Self::Zh,
            Self::Zh => Self::En,
        }
    }

    /// As the agreement's prose knows it.
    #[must_use]
    pub const fn language(self) -> Language {
        match self {
            Self::En => Language::En,
            Self::Zh => Language::Zh,
        }
    }

    /// The one of two texts that is in this language.
    #[must_use]
    pub const fn say<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }

    /// A code of the log in words; a code without words stands for itself.
    #[must_use]
    pub fn code_in_words(self, code: &str) -> &str {
        let Some((_, en, zh)) = CODES.iter().find(|(known, ..)| *known == code) else { return code };
        self.say(en, zh)
    }

    /// A kind of statement in words.
    #[must_use]
    pub fn kind(self, kind: &str) -> &str {
        let Some((_, en, zh)) = KINDS.iter().find(|(known, ..)| *known == kind) else { return kind };
        self.say(en, zh)
    }
}

const CODES: &[(&str, &str, &str)] = &[
    ("offered", "offered", "待签署"),
    ("in-force", "in force", "生效中"),
    ("replaced", "replaced", "已被替换"),
    ("ended", "ended", "已终止"),
    ("open", "open", "表决中"),
    ("passed", "passed", "通过"),
    ("rejected", "rejected", "否决"),
    ("expired", "expired", "过期"),
    ("forbidden", "forbidden", "条款禁止"),
    ("proposed", "proposed", "已提议"),
    ("approved", "approved", "已批准"),
    ("started", "under way", "进行中"),
    ("finished", "finished", "已完成"),
    ("failed", "failed", "失败"),
    ("active", "active", "进行中"),
    ("complete", "complete", "已完成"),
    ("dropped", "given up", "已放弃"),
    ("waiting", "waiting", "等待中"),
    ("accepted", "accepted", "接受"),
    ("refused", "refused", "拒绝"),
    ("yes", "yes", "赞成"),
    ("no", "no", "反对"),
    ("abstain", "abstains", "弃权"),
    ("shapley", "Shapley value", "沙普利值"),
    ("equal", "equal parts", "均分"),
    ("fixed", "fixed shares", "固定份额"),
    ("record", "rows, kept by the owner", "数据行，留在所有者处"),
    ("reference", "shared openly", "公开共享"),
    ("research", "research", "研究"),
    ("education", "education", "教学"),
    ("care", "care", "诊疗"),
    ("commercial", "commercial", "商业"),
    ("hub", "hub", "中心"),
    ("fund", "compensation fund", "补偿基金"),
    ("root", "root key", "根密钥"),
    ("recovery", "recovery key", "恢复密钥"),
    ("governance", "governance key", "治理密钥"),
    ("node", "node key", "节点密钥"),
    ("minimum-not-met", "too few updates in time", "按时到达的更新不足"),
    ("no-answer", "too few answers in time", "按时答复不足"),
    ("not-allowed", "no longer allowed", "不再被允许"),
    ("diverged", "the average was not finite", "平均值发散"),
    ("terms", "the terms deny it", "条款不允许"),
    ("owner", "the owner's policy denies it", "所有者策略不允许"),
    ("declined", "the owner declined", "所有者拒绝"),
    ("data", "the dataset is not there", "缺少数据集"),
    ("mismatch", "hub and log differ", "中心与日志不符"),
    ("stopped", "the owner stopped the node", "所有者停止了节点"),
];

const KINDS: &[(&str, &str, &str)] = &[
    ("log.opened", "Log opened", "日志开启"),
    ("party.registered", "Party registered", "参与方登记"),
    ("key.delegated", "Node key delegated", "节点密钥授权"),
    ("key.rotated", "Key rotated", "密钥更换"),
    ("key.revoked", "Key revoked", "密钥吊销"),
    ("collaboration.proposed", "Collaboration founded", "合作发起"),
    ("collaboration.joined", "Joined", "加入合作"),
    ("agreement.proposed", "Terms offered", "条款提出"),
    ("agreement.signed", "Terms signed", "条款签署"),
    ("agreement.withdrawn", "Withdrawn from terms", "退出协议"),
    ("decision.opened", "Decision opened", "表决发起"),
    ("decision.voted", "Vote", "投票"),
    ("decision.closed", "Decision closed", "表决结束"),
    ("asset.registered", "Asset registered", "资产登记"),
    ("asset.revoked", "Asset taken back", "资产收回"),
    ("repository.placed", "Repository under the terms", "仓库纳入条款"),
    ("repository.withdrawn", "Repository taken back", "仓库收回"),
    ("access.granted", "Access granted", "授予访问"),
    ("reads.counted", "Reads counted", "读取计数"),
    ("run.proposed", "Run proposed", "运行提议"),
    ("run.checked", "Run checked against the terms", "运行依条款核查"),
    ("run.accepted", "Node accepted", "节点接受"),
    ("run.refused", "Node refused", "节点拒绝"),
    ("run.started", "Run started", "运行开始"),
    ("update.submitted", "Update submitted", "提交更新"),
    ("run.round_closed", "Round closed", "轮次结束"),
    ("run.track_dropped", "Measuring given up", "放弃衡量"),
    ("evaluation.reported", "Evaluation reported", "评估报告"),
    ("run.finished", "Run finished", "运行完成"),
    ("run.failed", "Run failed", "运行失败"),
    ("model.released", "Model released", "模型发布"),
    ("contribution.measured", "Contribution measured", "贡献衡量"),
    ("payout.posted", "Payout posted", "收益入账"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_their_language() {
        for (header, expected) in [
            ("", Lang::En),
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::Zh),
            ("en-GB,en;q=0.9,zh;q=0.8", Lang::En),
            ("fr,zh;q=0.5,en;q=0.4", Lang::Zh),
            ("de", Lang::En),
            ("zh;q=0,en;q=0.1", Lang::En),
        ] {
            assert_eq!(Lang::accepted(header), expected, "{header}");
        }
    }

    #[test]
    fn every_kind_of_statement_has_words() {
        for row in allmende_core::statement::TABLE {
            assert!(KINDS.iter().any(|(kind, ..)| *kind == row.kind), "{}", row.kind);
        }
    }
}
