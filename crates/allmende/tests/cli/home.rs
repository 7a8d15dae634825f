//! An organization's folder and its key files.

use std::os::unix::fs::PermissionsExt as _;

use allmende::client::home::sealed::{Effort, Fresh, KeyFile, Passphrase, Protection, SealedError, seal};
use allmende::client::home::{Home, HomeError, PartyFile};
use allmende_core::digest::from_hex;
use allmende_core::signature::SecretKey;
use allmende_core::statement::KeyClass;

/// Little work, so that tests are quick.
const LIGHT: Effort = Effort { memory_kib: 64, passes: 1, lanes: 1 };

fn with(passphrase: &str) -> Protection {
    Protection::Passphrase(Passphrase::new(passphrase), LIGHT)
}

fn make(dir: &std::path::Path, protection: &Protection) -> Result<Home, HomeError> {
    let party = PartyFile::new("north".parse().unwrap(), "node-1".parse().unwrap(), None);
    Home::create(dir, party, protection).map(|(home, _)| home)
}

/// Written once by other implementations (argon2-cffi 25.1 and libsodium's XChaCha20-Poly1305): see `known_answer.py`.
#[test]
fn the_format_is_what_it_was() {
    let kept = include_str!("key-v1.txt");
    let fresh = Fresh { salt: [7; 16], nonce: [9; 24] };
    let key = SecretKey::from_seed(&[42; 32]);
    let text = seal(KeyClass::Governance, &key, &with("correct horse"), &fresh).unwrap();
    assert_eq!(text.as_str(), kept);
    let file = KeyFile::parse(kept).unwrap();
    assert_eq!(file.open(Some(&Passphrase::new("correct horse"))).unwrap().seed(), [42; 32]);
    assert_eq!(file.open(Some(&Passphrase::new("correct horsf"))).unwrap_err(), SealedError::WrongPassphrase);
    assert_eq!(file.open(None).unwrap_err(), SealedError::NeedsPassphrase);
    assert!(!format!("{file:?}").contains("2a2a"));
}

#[test]
fn any_changed_character_is_noticed() {
    let kept = include_str!("key-v1.txt");
    let passphrase = Passphrase::new("correct horse");
    for i in 0..kept.len() {
        for change in [1_u8, 2] {
            let mut bytes = kept.as_bytes().to_vec();
            bytes[i] ^= change;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let opened = KeyFile::parse(&text).and_then(|file| file.open(Some(&passphrase)));
            assert!(opened.is_err(), "byte {i}: {text}");
        }
        // A file that was cut short.
        assert!(KeyFile::parse(&kept[..i]).is_err(), "cut at {i}");
    }
    let greedy = kept.replace("m=64 ", "m=4294967295 ");
    assert_eq!(KeyFile::parse(&greedy).unwrap_err(), SealedError::TooMuchWork);
}

#[test]
fn keys_are_made_once_and_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let home = make(dir.path(), &with("long enough")).unwrap();
    for class in [KeyClass::Root, KeyClass::Governance, KeyClass::Recovery, KeyClass::Node] {
        let path = home.key_path(class);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{class}");
        assert_eq!(home.key_file(class).unwrap().is_encrypted(), class != KeyClass::Node);
    }
    let before = std::fs::read(home.key_path(KeyClass::Root)).unwrap();
    assert!(matches!(make(dir.path(), &Protection::None), Err(HomeError::Exists { .. })));
    assert_eq!(std::fs::read(home.key_path(KeyClass::Root)).unwrap(), before);

    let home = Home::open(dir.path()).unwrap();
    home.node_key().unwrap();
    let key = home.key::<HomeError>(KeyClass::Governance, || Ok(Passphrase::new("long enough"))).unwrap();
    assert_eq!(key.public(), home.key_file(KeyClass::Governance).unwrap().public);
    assert!(matches!(home.hub(), Err(HomeError::NotJoined { .. })));

    std::fs::set_permissions(home.key_path(KeyClass::Node), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(home.node_key().unwrap_err().to_string().contains("chmod 600"));
    // One class of key cannot pass for another.
    std::fs::copy(home.key_path(KeyClass::Root), home.key_path(KeyClass::Governance)).unwrap();
    assert!(matches!(home.key_file(KeyClass::Governance), Err(HomeError::Content { .. })));
}

#[test]
fn a_replaced_key_stays_beside_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let home = make(dir.path(), &Protection::None).unwrap();
    let old = home.key_file(KeyClass::Node).unwrap().public;
    let staged = home.key_path(KeyClass::Node).with_extension("new");
    let new = allmende::client::home::make_key(&staged, KeyClass::Node, &Protection::None).unwrap().public();
    home.replace_key(KeyClass::Node, &staged).unwrap();
    assert_eq!(home.key_file(KeyClass::Node).unwrap().public, new);
    assert!(home.key_path(KeyClass::Node).with_extension(format!("{}.old", old.short())).exists());
    assert!(!staged.exists());
}

#[test]
fn names_and_files_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let party = PartyFile::new("hub".parse().unwrap(), "node-1".parse().unwrap(), None);
    assert!(matches!(Home::create(dir.path(), party, &Protection::None), Err(HomeError::Reserved)));
    assert!(matches!(Home::open(dir.path()), Err(HomeError::Missing { .. })));
    for bad in [
        "version = 2\nparty = \"north\"\nnode = \"n\"\n",
        "party = 1",
        "version = 1\nparty = \"north\"\nnode = \"n\"\nx = 1\n",
    ] {
        std::fs::write(dir.path().join("party.toml"), bad).unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::Content { .. })), "{bad}");
    }
    assert!(from_hex::<2>("0a0b").is_some());
}
