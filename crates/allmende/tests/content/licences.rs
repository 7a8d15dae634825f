//! What licences say to each other, where people see it.

use serde_json::{Value, json};

use super::{get, python};
use crate::wire_git::Desk;
use crate::xet::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_held_against_its_sources() {
    let world = World::start(&[]).await;
    let (ada, eve) = (world.person("ada").await, world.person("eve").await);
    let script = r"
def card(id, text, kind='model', private=False):
    api.create_repo(id, repo_type=kind, private=private)
    api.upload_file(path_or_fileobj=('---\n' + text + '---\n').encode(), path_in_repo='README.md', repo_id=id, repo_type=kind)
card('ada/base', 'license: llama3.1\n')
card('ada/hidden', 'license: mit\n', private=True)
card('ada/rows', 'license: cc-by-4.0\n', kind='dataset')
card('ada/fine', 'license: llama3.1\nbase_model: ada/base\ndatasets: [ada/rows]\n')
card('ada/open', 'license: mit\nbase_model: ada/hidden\n')
card('ada/bad', 'license: apache-2.0\nbase_model: ada/base\n')
card('ada/who', 'license: mit\nbase_model: somewhere/else\n')
print('null')
";
    python(&world, &ada, script).await;
    let licence = async |who, name: &str| {
        let info = get(&world, who, &format!("/api/models/ada/{name}")).await;
        info["allmende"]["licence"].clone()
    };
    let fine = licence(&ada, "fine").await;
    assert_eq!((&fine["answer"], &fine["reasons"]), (&json!("compatible"), &json!([])));
    let owed: Vec<_> = fine["obligations"].as_array().unwrap().iter().map(|o| o["obligation"].clone()).collect();
    assert_eq!(Value::from(owed), json!(["attribution", "state-changes", "use-restrictions", "naming"]));
    assert_eq!(fine["obligations"][0]["sources"], json!(["ada/base", "ada/rows"]));
    assert_eq!(licence(&ada, "bad").await["answer"], "incompatible");
    assert_eq!(licence(&ada, "who").await["answer"], "unknown");
    // To whom a source is hidden it is as if it were elsewhere.
    assert_eq!(licence(&ada, "open").await["answer"], "compatible");
    let theirs = licence(&eve, "open").await;
    let reason = "the licence of ada/hidden is not known here";
    assert_eq!((&theirs["answer"], &theirs["reasons"]), (&json!("unknown"), &json!([reason])));

    // The client asks before it commits, and git says it after a push.
    let body = json!({ "repoType": "model", "content": "---\nlicense: apache-2.0\nbase_model: ada/base\n---\n" });
    let checked = reqwest::Client::new().post(format!("{}/api/validate-yaml", world.hub.url)).json(&body);
    let checked: Value = checked.send().await.unwrap().json().await.unwrap();
    let warning = checked["warnings"][0]["message"].as_str().unwrap();
    assert!(warning.starts_with("licence conflict: llama3.1 of ada/base"), "{checked}");
    // So does the answer to a commit, and the people's own upload command.
    let lines = [
        json!({ "key": "header", "value": { "summary": "a card" } }),
        json!({ "key": "file", "value": { "path": "README.md", "content": body["content"] } }),
    ];
    let commit = reqwest::Client::new().post(format!("{}/api/models/ada/bad/commit/main", world.hub.url));
    let commit = commit.bearer_auth(&ada.token).body(lines.map(|line| line.to_string()).join("\n"));
    let committed: Value = commit.send().await.unwrap().json().await.unwrap();
    assert!(
        committed["hookOutput"].as_str().unwrap().contains("licence conflict: llama3.1 of ada/base"),
        "{committed}"
    );
    let script = r"
import subprocess
open(tmp + '/README.md', 'w').write('---\nlicense: apache-2.0\nbase_model: ada/base\n---\nmore\n')
done = subprocess.run(['hf', 'upload', 'ada/bad', tmp + '/README.md', 'README.md'], capture_output=True, text=True)
print(json.dumps([done.returncode, done.stdout + done.stderr]))
";
    let said = python(&world, &ada, script).await;
    assert_eq!(said[0], 0, "{said}");
    assert!(said[1].as_str().unwrap().contains("licence conflict: llama3.1 of ada/base"), "{said}");
    let desk = Desk::new();
    let url = world.hub.url.replace("://", &format!("://ada:{}@", ada.token)) + "/ada/bad";
    desk.clones(&url, "a").await.fine();
    desk.commits("a", "x.txt", b"x").await;
    let said = desk.git("a", &["push", "origin", "main"]).await;
    assert!(said.err.contains("remote: warning: licence conflict: llama3.1 of ada/base"), "{}", said.err);
    said.fine();
    world.hub.stop().await;
}
