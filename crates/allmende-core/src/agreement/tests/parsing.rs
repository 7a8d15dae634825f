//! What can and cannot be written in terms.

use super::*;
use crate::agreement::terms::InvalidTerms;
use crate::canonical;

fn refused(toml: &str) -> String {
    Terms::from_toml(toml).expect_err("must be refused").to_string()
}

fn draft() -> String {
    template(&inputs())
}

#[test]
fn canonical_bytes_survive() {
    let terms = terms();
    let again = Terms::from_canonical(terms.canonical()).expect("canonical");
    assert_eq!(again, terms);
    assert_eq!(canonical::to_bytes(&again).expect("strict"), terms.canonical());
    let nested: Terms = canonical::from_bytes(terms.canonical()).expect("as a field of a statement");
    assert_eq!(nested.digest(), terms.digest());
}

#[test]
fn json_that_is_not_exact_is_refused() {
    let text = String::from_utf8(terms().canonical().to_vec()).expect("text");
    let without_default = text.replacen(r#""by":["all"],"data""#, r#""data""#, 1);
    assert_ne!(text, without_default);
    assert_eq!(Terms::from_canonical(without_default.as_bytes()), Err(InvalidTerms::NotExact));
    let null = text.replacen(r#""currency""#, r#""contract":null,"currency""#, 1);
    assert_eq!(Terms::from_canonical(null.as_bytes()), Err(InvalidTerms::NotExact));
}

#[test]
fn unknown_fields_kinds_codes_and_parties_are_refused_by_name() {
    let error = refused(&draft().replacen("min_parties = 3", "min_partys = 3", 1));
    assert!(error.contains("clause 2.1") && error.contains("min_partys"), "{error}");
    let error = refused(&draft().replacen("currency ", "colour = 1\ncurrency ", 1));
    assert!(error.contains("colour"), "{error}");
    let error = refused(&draft().replacen("kind = \"exit\"", "kind = \"privacy\"", 1));
    assert!(error.contains("clause 7.1") && error.contains("privacy"), "{error}");
    let error = refused(&draft().replacen("\"research\"", "\"war\"", 1));
    assert!(error.contains("war"), "{error}");
    let error = refused(&draft().replacen("west/digits\"", "south/digits\"", 1));
    assert!(error.contains("clause 2.1") && error.contains("south/digits"), "{error}");
    let error = refused(&draft().replacen("party = \"north\"", "party = \"south\"", 1));
    assert!(error.contains("south"), "{error}");
    let error = refused(&draft().replacen("id = \"2.2\"", "id = \"2.1\"", 1));
    assert!(error.contains("same number"), "{error}");
    let error = refused(&draft().replacen("vocabulary    = 1", "vocabulary    = 2", 1));
    assert!(error.contains("vocabulary 2"), "{error}");
    let error = refused(&draft().replacen("fund = 5", "fund = 5.5", 1));
    assert!(error.contains("whole number"), "{error}");
    let error = refused(&draft().replacen("id = \"east\"", "id = \"handwriting\"", 1));
    assert!(error.contains("called handwriting"), "{error}");
}

#[test]
fn combinations_that_exclude_each_other_are_refused() {
    for (from, to, says) in [
        ("min_parties = 3", "coalitions = [1]", "only measure"),
        ("coalitions = [1, 2]", "coalitions = [1, 2]\nmin_parties = 2", "excludes"),
        ("coalitions = [1, 2]", "coalitions = [2, 1]", "ascending"),
        ("coalitions = [1, 2]\n", "", "sizes"),
        ("rule = \"shapley\"", "rule = \"equal\"", "belong to shapley"),
        ("utility = \"correct\"\n", "", "states utility"),
        ("empty = 0", "empty = 1", "worth 0"),
        ("fund = 5", "fund = 101", "100"),
        ("fund = 5", "fund = -1", "clause 5.1"),
        ("min_parties = 3", "min_parties = 0", "1 to 64"),
        ("place = \"owner\"", "place = \"owner\"\npurpose = [\"care\"]", "not a purpose"),
        ("data = [\"record\"]", "data = []", "name classes"),
        ("by = [\"all\"]", "by = []", "name parties"),
        ("by = [\"all\"]", "by = [\"all\", \"north\"]", "stands alone"),
        ("\"EUR\"", "\"Eur\"", "capital"),
        ("ends          = 2027", "ends          = 2025", "before"),
        ("offer_expires = 2026", "offer_expires = 2028", "after the end"),
        ("notice_days = 30", "notice_days = 99999", "3650"),
    ] {
        let text = draft().replacen(from, to, 1);
        assert_ne!(text, draft(), "{from}");
        let error = refused(&text);
        assert!(error.contains(says), "{to}: {error}");
    }
}

#[test]
fn shares_sum_to_one_hundred() {
    for owners in ["north = 40, east = 30, west = 31", "north = 100, east = 0", "north = 99"] {
        let error = refused(&draft().replacen("north = 34, east = 33, west = 33", owners, 1));
        assert!(error.contains("clause 3.1, owners"), "{error}");
    }
}

#[test]
fn text_cannot_deceive_or_flood() {
    let error = refused(&draft().replacen("first model", "first\\nmodel", 1));
    assert!(error.contains("title"), "{error}");
    let error = refused(&draft().replacen("first model", "first \\u202emodel", 1));
    assert!(error.contains("202e"), "{error}");
    let error = refused(&draft().replacen("kind = \"exit\"", "note = \"a\\u0007\"\nkind = \"exit\"", 1));
    assert!(error.contains("clause 7.1, note"), "{error}");
    assert!(refused(&"#".repeat(70_000)).contains("65536"));
    let many: String =
        (0..201).map(|i| format!("[[clause]]\nid='{i}'\nkind='exit'\nnotice_days=1\nkeeps='nothing'\n")).collect();
    let error = refused(&format!("{}\n{many}", draft().split("\n[[clause]]").next().expect("head")));
    assert!(error.contains("200"), "{error}");
    let same_key = draft().replace(&inputs().parties[1].key.to_string(), &inputs().parties[0].key.to_string());
    assert!(refused(&same_key).contains("same key"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[a-z=\\[\\]\"\n .0-9#{},]{0,200}") {
        let _ = Terms::from_toml(&text);
        let _ = Terms::from_toml(&format!("{}\n{text}", draft()));
        let _ = Terms::from_canonical(text.as_bytes());
    }
}
