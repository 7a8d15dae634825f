//! Tensors of models in one file and in several.

use reqwest::Method;
use serde_json::json;

use super::{ask, get, python};
use crate::xet::World;

/// Makes safetensors files by hand: names, types, shapes, and the byte that fills them.
const MAKE: &str = r#"
def make(path, tensors):
    header, data = {}, b''
    for name, (dtype, shape, fill) in tensors.items():
        count = 1
        for d in shape: count *= d
        size = count * {'F32': 4, 'F16': 2, 'I64': 8}[dtype]
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [len(data), len(data) + size]}
        data += bytes([fill]) * size
    header = json.dumps(header).encode()
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    open(path, 'wb').write(struct.pack('<Q', len(header)) + header + data)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_counted_and_listed() {
    let world = World::start(&[]).await;
    let ada = world.person("ada").await;
    let script = format!(
        "{MAKE}{}",
        r#"
api.create_repo('ada/one', private=True)
make(tmp + '/model.safetensors', {'a': ('F32', [300000, 10], 1), 'b': ('F16', [7], 2), 'c': ('I64', [], 0)})
api.upload_folder(repo_id='ada/one', folder_path=tmp)
info = api.model_info('ada/one', expand=['safetensors'])
whole = api.model_info('ada/one')
meta = api.get_safetensors_metadata('ada/one')
file = api.parse_safetensors_file_metadata('ada/one', 'model.safetensors')
api.create_repo('ada/many', private=True)
os.remove(tmp + '/model.safetensors')
make(tmp + '/m-1.safetensors', {'a': ('F32', [10], 1)})
make(tmp + '/m-2.safetensors', {'b': ('F32', [5], 1), 'c': ('F16', [3], 1)})
index = {'metadata': {'total_size': 66}, 'weight_map': {'a': 'm-1.safetensors', 'b': 'm-2.safetensors', 'c': 'm-2.safetensors'}}
json.dump(index, open(tmp + '/model.safetensors.index.json', 'w'))
api.upload_folder(repo_id='ada/many', folder_path=tmp)
many = api.model_info('ada/many').safetensors
sharded = api.get_sharded_safetensors_metadata('ada/many')
slow = api.get_safetensors_metadata('ada/many')
assert sharded.weight_map == slow.weight_map and sharded.metadata == slow.metadata == {'total_size': 66}
assert {k: v.tensors for k, v in sharded.files_metadata.items()} == {k: v.tensors for k, v in slow.files_metadata.items()}
print(json.dumps({
    'one': [info.safetensors.parameters, info.safetensors.total], 'same': whole.safetensors.total,
    'count': meta.parameter_count, 'file': file.parameter_count, 'shape': file.tensors['a'].shape,
    'many': [many.parameters, many.total], 'slow': slow.parameter_count,
}))
"#
    );
    let found = python(&world, &ada, &script).await;
    let counts = json!({ "F32": 3_000_000, "F16": 7, "I64": 1 });
    assert_eq!(found["one"], json!([counts, 3_000_008]));
    assert_eq!((&found["same"], &found["count"], &found["file"]), (&json!(3_000_008), &counts, &counts));
    assert_eq!(found["shape"], json!([300_000, 10]));
    assert_eq!(found["many"], json!([{ "F32": 15, "F16": 3 }, 18]));
    assert_eq!(found["slow"], json!({ "F32": 15, "F16": 3 }));

    let listed = get(&world, &ada, "/api/models/ada/one/tensors/main/model.safetensors?limit=2").await;
    assert_eq!((&listed["total"], &listed["count"], &listed["size"]), (&json!(3_000_008), &json!(3), &listed["size"]));
    let names: Vec<_> = listed["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(listed["tensors"][1]["offsets"], json!([12_000_000, 12_000_014]));
    let path = "/api/models/ada/one/tensors/main/model.safetensors?limit=2";
    let next = ask(&world, Some(&ada), Method::GET, path, None).await.2.unwrap();
    let (_, rest, last) = ask(&world, Some(&ada), Method::GET, &next, None).await;
    assert_eq!((rest["tensors"][0]["name"].as_str(), last), (Some("c"), None));

    // What somebody may not see is not there, what is no model is said to be none, and what is gated is not told.
    let eve = world.person("eve").await;
    assert_eq!(ask(&world, Some(&eve), Method::GET, path, None).await.0, 404);
    let (status, said, _) =
        ask(&world, Some(&ada), Method::GET, "/api/models/ada/one/tensors/main/.gitattributes", None).await;
    assert_eq!(status, 422, "{said}");
    let body = json!({ "gated": "manual", "visibility": "public" });
    assert_eq!(ask(&world, Some(&ada), Method::PUT, "/api/models/ada/one/settings", Some(body)).await.0, 200);
    assert_eq!(ask(&world, Some(&eve), Method::GET, path, None).await.0, 403);
    let info = get(&world, &eve, "/api/models/ada/one").await;
    assert!(info.get("safetensors").is_none() && info["id"] == "ada/one", "{info}");
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_are_compared_tensor_by_tensor() {
    let world = World::start(&[]).await;
    let ada = world.person("ada").await;
    let script = format!(
        "{MAKE}{}",
        r#"
api.create_repo('ada/m', private=True)
path = tmp + '/model.safetensors'
make(path, {'same': ('F32', [100000], 1), 'gone': ('F32', [1], 1), 'shape': ('F32', [4], 1), 'bytes': ('F32', [100000], 1)})
one = api.upload_folder(repo_id='ada/m', folder_path=tmp).oid
os.remove(path)
make(tmp + '/m-1.safetensors', {'same': ('F32', [100000], 1), 'new': ('F16', [2], 3)})
make(tmp + '/m-2.safetensors', {'shape': ('F32', [2, 2], 1), 'bytes': ('F32', [100000], 1)})
raw = bytearray(open(tmp + '/m-2.safetensors', 'rb').read())
raw[-1] ^= 1; raw[-300000] ^= 1; raw[-300001] ^= 9
open(tmp + '/m-2.safetensors', 'wb').write(raw)
two = api.upload_folder(repo_id='ada/m', folder_path=tmp, delete_patterns=['model.safetensors']).oid
print(json.dumps([one, two]))
"#
    );
    let commits = python(&world, &ada, &script).await;
    let (one, two) = (commits[0].as_str().unwrap(), commits[1].as_str().unwrap());
    let path = format!("/api/models/ada/m/tensors-diff/{one}...main");
    let found = get(&world, &ada, &path).await;
    let words: Vec<_> = found["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| format!("{} {}", t["status"].as_str().unwrap(), t["name"].as_str().unwrap()))
        .collect();
    assert_eq!(words, ["changed bytes", "removed gone", "added new", "reshaped shape"]);
    let bytes = &found["tensors"][0];
    assert_eq!(bytes["bytes"], json!({ "compared": 400_000, "differing": 3, "partial": false }));
    assert_eq!(
        (&bytes["base"]["file"], &bytes["head"]["file"]),
        (&json!("model.safetensors"), &json!("m-2.safetensors"))
    );
    assert_eq!((&found["equalHere"], &found["count"], &found["partial"]), (&json!(1), &json!(5), &json!(false)));
    // A page at a time, with what is equal.
    let (mut next, mut seen) = (Some(format!("{path}?all=true&limit=2")), Vec::new());
    while let Some(page) = next.take() {
        let (status, answer, more) = ask(&world, Some(&ada), Method::GET, &page, None).await;
        assert_eq!(status, 200);
        seen.extend(answer["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()));
        next = more;
    }
    assert_eq!(seen, ["bytes", "gone", "new", "same", "shape"]);
    let same = get(&world, &ada, &format!("/api/models/ada/m/tensors-diff/{two}...main")).await;
    assert_eq!((&same["count"], &same["files"]["unchanged"]), (&json!(0), &json!(2)));
    let bad = format!("/api/models/ada/m/tensors-diff/{one}");
    assert_eq!(ask(&world, Some(&ada), Method::GET, &bad, None).await.0, 400);
    world.hub.stop().await;
}
