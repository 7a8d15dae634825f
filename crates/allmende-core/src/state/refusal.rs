//! Why the reducer refuses an entry. Each reason has a stable code, a text with the facts, and a hint where one helps.

use crate::agreement::check::Decision;
use crate::collaboration::charter::InvalidCharter;
use crate::collaboration::decision::Outcome;
use crate::digest::Digest;
use crate::id::{CollaborationId, DecisionId, Origin, PartyId};
use crate::run::plan::{Coalition, InvalidPlan};
use crate::signature::PublicKey;
use crate::statement::{KeyClass, StatementError};
use crate::time::Timestamp;

/// A reason as the reference lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// A stable code for programs.
    pub code: &'static str,
    /// When it is given.
    pub says: &'static str,
    /// Its text, with the names of the facts in it.
    pub text: &'static str,
    /// What to do about it, where that can be said.
    pub hint: Option<&'static str>,
}

macro_rules! refusals {
    ($(#[doc = $doc:literal] $name:ident $fields:tt $code:literal $text:literal $(=> $hint:literal)?)+) => {
        refusals!(@enum $(#[doc = $doc] $name $fields $text)+);

        /// Every reason, in the order of the reference.
        pub const REASONS: &[Reason] = &[$(Reason {
            code: $code,
            says: $doc,
            text: $text,
            hint: refusals!(@hint $($hint)?),
        }),+];

        impl Refusal {
            /// All codes.
            pub const CODES: &[&str] = &[$($code),+];

            /// A stable code for programs.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code),+ }
            }

            /// What to do about it, where that can be said.
            #[must_use]
            pub const fn hint(&self) -> Option<&'static str> {
                match self { $(Self::$name { .. } => refusals!(@hint $($hint)?)),+ }
            }
        }
    };
    (@hint $hint:literal) => { Some($hint) };
    (@hint) => { None };
    (@enum $(#[$doc:meta] $name:ident $fields:tt $text:literal)+) => {
        /// Why an entry is refused.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[allow(missing_docs)]
        pub enum Refusal { $(#[$doc] #[error($text)] $name $fields),+ }
    };
}

refusals! {
    /// Not a well-formed signed statement.
    Malformed { source: StatementError } "statement.malformed" "{source}"
    /// Earlier than the entry before.
    TimeRunsBack { last: Timestamp, got: Timestamp } "ledger.time" "arrival {got} lies before the last entry's {last}"
    /// The log does not begin with its opening, or opens twice.
    Opening {} "ledger.opening" "a log begins with exactly one log.opened, signed by the key that it names"
    /// Another version of the protocol.
    Protocol { got: u32 } "ledger.protocol" "protocol {got} is not spoken here"
        => "use a release that speaks the log's protocol version"
    /// Made for another log.
    WrongOrigin { expected: Origin, got: Origin } "statement.origin" "made for the log {got}, this is {expected}"
    /// Made for another collaboration.
    WrongCollaboration { got: Option<CollaborationId> } "statement.collaboration" "made for another collaboration: {got:?}"
    /// This kind does not stand in this log.
    WrongLog { kind: &'static str } "statement.log" "{kind} does not stand in this log"
    /// The class of key may not sign this kind.
    WrongClass { kind: &'static str, class: KeyClass } "key.class" "a {class} key may not sign {kind}"
        => "terms, votes, releases and payouts need the governance key; nodes only accept, refuse, update and evaluate"
    /// The key is not, or no longer, that party's key of that class.
    NotTheirKey { party: PartyId, class: KeyClass, key: PublicKey } "key.unknown"
        "{key} is not a valid {class} key of {party} at this position of the log"
    /// Already used by a party.
    KeyInUse { key: PublicKey } "key.in-use" "{key} already serves a party"
    /// The body names another party than the signer.
    NotYours { party: PartyId } "statement.not-yours" "{party} cannot state this for another party"
    /// Out of the signer's own order: replayed, dropped or reordered.
    Sequence { expected: u64, got: u64 } "statement.sequence" "the signer's next sequence number is {expected}, not {got}"
        => "fetch the signer's chain again; a statement counts once"
    /// Does not continue the signer's chain.
    Previous {} "statement.previous" "it does not follow the signer's previous statement"
    /// The party is unknown here.
    UnknownParty { party: PartyId } "party.unknown" "{party} is not registered here"
    /// Registered already.
    PartyExists { party: PartyId } "party.exists" "{party} is registered already"
    /// Not a member.
    NotMember { party: PartyId } "collaboration.not-member" "{party} is not a member of this collaboration"
        => "join first with 'allmende collaboration join'"
    /// A member already.
    MemberExists { party: PartyId } "collaboration.member-exists" "{party} is a member already"
    /// Neither invited nor admitted.
    NotInvited { party: PartyId } "collaboration.not-invited" "{party} is neither invited by the charter nor admitted by a decision"
    /// Founded already.
    CollaborationExists {} "collaboration.exists" "this log holds a collaboration already"
    /// Not founded yet.
    NoCollaboration {} "collaboration.none" "no collaboration was proposed in this log yet"
    /// The charter breaks a rule.
    BadCharter { source: InvalidCharter } "collaboration.charter" "{source}"
    /// Joined under another charter.
    OtherCharter { expected: Digest, got: Digest } "collaboration.other-charter" "the charter here is {expected}, not {got}"
    /// The terms do not fit this log.
    TermsMismatch { field: &'static str, detail: String } "agreement.mismatch" "terms, {field}: {detail}"
    /// The terms break a rule or contradict themselves.
    BadTerms { findings: String } "agreement.invalid" "the terms cannot be signed: {findings}"
        => "run 'allmende agreement lint' on the draft"
    /// Unknown terms.
    UnknownTerms { terms: Digest } "agreement.unknown" "no terms {terms} were proposed here"
    /// Proposed already.
    TermsExist { terms: Digest } "agreement.exists" "terms {terms} were proposed already"
    /// The offer is over.
    OfferExpired { terms: Digest, at: Timestamp } "agreement.offer-expired" "the offer of {terms} is over at {at}"
        => "propose the terms anew with a later offer_expires"
    /// Signed already.
    AlreadySigned { party: PartyId } "agreement.signed-already" "{party} has signed these terms already"
    /// Not in force at this time.
    NotInForce { agreement: Option<Digest> } "agreement.not-in-force" "no agreement {agreement:?} is in force at this time"
        => "every party must have signed, and the dates must hold"
    /// Withdrawn already.
    AlreadyWithdrawn { party: PartyId } "agreement.withdrawn-already" "{party} has withdrawn already"
    /// The terms deny it.
    Denied { decision: Box<Decision> } "agreement.denied" "{decision}"
        => "see 'allmende agreement explain'"
    /// The matter is not for the members to decide under the terms in force.
    NotDecidable { matter: crate::agreement::vocabulary::Matter } "decision.matter" "no clause lets the members decide about {matter}"
    /// Unknown decision.
    UnknownDecision { decision: DecisionId } "decision.unknown" "no decision {decision} was opened"
    /// Opened already.
    DecisionExists { decision: DecisionId } "decision.exists" "decision {decision} exists already"
    /// Its subject does not stand as described.
    BadSubject { detail: &'static str } "decision.subject" "{detail}"
    /// Not open any more.
    DecisionOver { decision: DecisionId } "decision.over" "decision {decision} is over"
    /// Still open.
    DecisionOpen { decision: DecisionId } "decision.open" "decision {decision} is still open"
    /// Another outcome follows from the votes.
    WrongOutcome { expected: Outcome, got: Outcome } "decision.outcome" "the votes give {expected}, not {got}"
    /// Voted already.
    AlreadyVoted { party: PartyId } "decision.voted-already" "{party} has voted already"
    /// Has no vote here.
    NoVote { party: PartyId } "decision.no-vote" "{party} has no vote on this"
    /// A needed decision has not passed.
    NotDecided {} "decision.missing" "the members have not decided this"
        => "open a decision and let the members vote"
    /// A source's licence forbids what the terms say of results.
    LicenceForbids { reasons: String, passing: String } "licence.forbids"
        "the licences of its sources forbid this release: {reasons} (licences that would pass: {passing})"
        => "amend the results clause to a licence that would pass, or train again without these assets"
    /// Licences leave a release open, and it was not accepted so.
    LicenceOpen { reasons: String, open: String, accepted: String } "licence.open"
        "licences leave this release open: {reasons} (open: {open}; accepted: {accepted})"
        => "put it to the members with exactly what is open: 'allmende model release RUN --accept-open'"
    /// Exists already.
    AssetExists { asset: crate::id::AssetId } "asset.exists" "{asset} is registered already"
    /// Unknown or taken back.
    UnknownAsset { asset: crate::id::AssetId } "asset.unknown" "{asset} is not registered, or was taken back"
    /// Breaks a rule.
    BadAsset { detail: &'static str } "asset.invalid" "{detail}"
    /// Exists already.
    RunExists { run: crate::id::RunId } "run.exists" "run {run} exists already"
    /// Unknown run.
    UnknownRun { run: crate::id::RunId } "run.unknown" "no run {run} was proposed"
    /// The plan breaks a rule.
    BadPlan { source: InvalidPlan } "run.plan" "plan, {source}"
    /// Not what everybody computes from the log.
    WrongResult { what: &'static str, expected: String } "run.wrong-result" "{what} does not follow from the log: {expected}"
    /// Not at this point of the run.
    WrongStatus { expected: &'static str, got: &'static str } "run.status" "the run is {got}; this needs it {expected}"
    /// Not part of the run.
    NoSlot { party: PartyId } "run.no-slot" "{party} has no such place in this run"
    /// Answered already.
    AlreadyAnswered {} "run.answered" "this node's party has answered already"
    /// No such track, or it is over or dropped.
    NoTrack { coalition: Coalition } "run.track" "track {coalition:?} does not exist or is over"
    /// Another round is open.
    WrongRound { expected: u32, got: u32 } "run.round" "round {expected} is open, not {got}"
    /// Begun from another model.
    WrongModel { expected: Digest, got: Digest } "run.model" "the model is {expected}, not {got}"
    /// More weight than rows.
    Overweight { cap: u64, got: u64 } "run.weight" "weight {got} is not within 1 and the {cap} registered rows"
    /// Sent already.
    AlreadySubmitted {} "run.submitted" "this slot's contribution to this round counts already"
    /// Too early.
    TooEarly { detail: &'static str } "run.early" "{detail}"
    /// Released, measured or paid already.
    AlreadyDone { what: &'static str } "run.done" "{what} already"
    /// A limit is reached.
    Limit { what: &'static str, limit: u64 } "limit" "at most {limit} {what}"
}

impl From<StatementError> for Refusal {
    fn from(source: StatementError) -> Self {
        Self::Malformed { source }
    }
}
