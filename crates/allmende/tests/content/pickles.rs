//! Files that run code, at every door.

use allmende::account::Rights;
use allmende::repo::Kind;
use serde_json::json;

use super::{allow_pickles, get, python, write};
use crate::wire_git::{Desk, Someone, address};
use crate::xet::World;

/// A pickle as an attacker writes it.
const ATTACK: &[u8] =
    b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.";

#[tokio::test(flavor = "multi_thread")]
async fn the_api_takes_none_unless_they_are_allowed() {
    let world = World::start(&[]).await;
    let ada = world.person("ada").await;
    let script = r#"
import pickle, zipfile, io, collections
def refused(kind, name, data):
    try:
        api.upload_file(path_or_fileobj=data, path_in_repo=name, repo_id='ada/m', repo_type=kind)
    except hub.errors.HfHubHTTPError as e:
        return e.response.status_code, str(e)
    return 200, ''
small = pickle.dumps(collections.OrderedDict(a=1))
text = pickle.dumps(collections.OrderedDict(a=1), protocol=0)
large = pickle.dumps(['x' * 12_000_000, collections.OrderedDict(a=1)])
def archive(size):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        z.writestr('archive/data/0', os.urandom(size))
        z.writestr('archive/data.pkl', small)
    return out.getvalue()
found = {}
for kind in ['model', 'dataset', 'space']:
    api.create_repo('ada/m', repo_type=kind, **({'space_sdk': 'static'} if kind == 'space' else {}))
    found[kind] = {name: refused(kind, name, data) for name, data in {
        'pytorch_model.bin': small, 'a/b.txt': text, 'big.pt': large, 'zip.pt': archive(10), 'zip.bin': archive(12_000_000),
        'plain.bin': b'just text', 'plain.pkl': b'no pickle', 'noise.bin': os.urandom(12_000_000),
    }.items()}
import hashlib
pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n' % (hashlib.sha256(large).hexdigest(), len(large))
found['pointer'] = refused('model', 'by_hand.txt', pointer.encode())
print(json.dumps(found))
"#;
    let found = python(&world, &ada, script).await;
    // What was uploaded gets no name by a pointer that is written by hand either.
    assert_eq!(found["pointer"][0], 400, "{}", found["pointer"][1]);
    for kind in ["model", "dataset"] {
        for name in ["pytorch_model.bin", "a/b.txt", "big.pt", "zip.pt", "zip.bin"] {
            let [status, said] = [&found[kind][name][0], &found[kind][name][1]];
            assert_eq!(*status, 400, "{kind} {name}: {said}");
            let said = said.as_str().unwrap();
            assert!(said.contains(name) && said.contains("safetensors") && said.contains("picklesAllowed"), "{said}");
        }
        for name in ["plain.bin", "plain.pkl", "noise.bin"] {
            assert_eq!(found[kind][name][0], 200, "{kind} {name}: {}", found[kind][name][1]);
        }
    }
    // A space is a program anyway.
    for (name, outcome) in found["space"].as_object().unwrap() {
        assert_eq!(outcome[0], 200, "{name}");
    }
    // Nothing of what was refused stands there.
    let info = get(&world, &ada, "/api/models/ada/m").await;
    let mut names: Vec<_> =
        info["siblings"].as_array().unwrap().iter().map(|f| f["rfilename"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, [".gitattributes", "noise.bin", "plain.bin", "plain.pkl"]);
    assert_eq!(info["allmende"]["pickles"], json!({ "allowed": false, "files": [] }));

    allow_pickles(&world, &ada, "models/ada/m", true).await;
    let script = r#"
import pickle, collections
data = pickle.dumps(collections.OrderedDict(a=1))
api.upload_file(path_or_fileobj=data, path_in_repo='pytorch_model.bin', repo_id='ada/m')
api.upload_file(path_or_fileobj=b'x' * 11_000_000, path_in_repo='x.bin', repo_id='ada/m')
print(json.dumps(None))
"#;
    python(&world, &ada, script).await;
    let info = get(&world, &ada, "/api/models/ada/m?expand=allmende").await;
    let files = json!([{ "path": "pytorch_model.bin", "why": "it is a Python pickle" }]);
    assert_eq!(info["allmende"]["pickles"], json!({ "allowed": true, "files": files }));
    allow_pickles(&world, &ada, "models/ada/m", false).await;
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_looked_into() {
    let world = World::start(&[]).await;
    let app = &world.hub.app;
    let carla = Someone::new(app, "carla", Rights::Write).await;
    carla.creates(app, Kind::Model, "bert", true).await;
    let desk = Desk::new();
    let url = address(&world.hub, &carla, "carla/bert");
    desk.clones(&url, "a").await.fine();
    desk.commits("a", "fine.txt", b"fine").await;
    desk.git("a", &["push", "--quiet", "origin", "main"]).await.fine();
    desk.commits("a", "deep/model.ckpt", ATTACK).await;
    // It is refused even when a later commit takes it away again: the history would hold it.
    desk.git("a", &["rm", "--quiet", "deep/model.ckpt"]).await.fine();
    desk.git("a", &["commit", "--quiet", "-m", "gone"]).await.fine();
    desk.git("a", &["push", "origin", "main"]).await.refused("deep/model.ckpt: it is a Python pickle");
    let body = json!({ "picklesAllowed": true });
    let put = reqwest::Client::new().put(format!("{}/api/models/carla/bert/settings", world.hub.url));
    assert_eq!(put.bearer_auth(&carla.secret).json(&body).send().await.unwrap().status(), 200);
    let said = desk.git("a", &["push", "origin", "main"]).await;
    assert!(said.err.contains("remote: warning: deep/model.ckpt: it is a Python pickle"), "{}", said.err);
    said.fine();

    // The same blob under a name that counts, once it stands there under one that does not.
    let off = json!({ "picklesAllowed": false });
    let put = reqwest::Client::new().put(format!("{}/api/models/carla/bert/settings", world.hub.url));
    assert_eq!(put.bearer_auth(&carla.secret).json(&off).send().await.unwrap().status(), 200);
    desk.commits("a", "notes.gz", b"\x1f\x8b\x08 compressed").await;
    desk.git("a", &["push", "--quiet", "origin", "main"]).await.fine();
    desk.commits("a", "model.joblib", b"\x1f\x8b\x08 compressed").await;
    desk.git("a", &["push", "origin", "main"]).await.refused("model.joblib");
    desk.git("a", &["reset", "--quiet", "--hard", "origin/main"]).await.fine();

    // Beside git, by git-lfs.
    desk.git("a", &["lfs", "install", "--local"]).await.fine();
    desk.git("a", &["lfs", "track", "*.pt"]).await.fine();
    write(&desk.path("a").join("model.pt"), &[ATTACK, &vec![7; 100_000]].concat());
    desk.git("a", &["add", "--all"]).await.fine();
    desk.git("a", &["commit", "--quiet", "-m", "large"]).await.fine();
    desk.git("a", &["push", "origin", "main"]).await.refused("model.pt: it is a Python pickle");
    world.hub.stop().await;
}
