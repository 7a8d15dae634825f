//! Rows of datasets, as the datasets-server shows them and as `datasets` loads them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, get, python};
use crate::xet::{Person, World};

/// Lets somebody upload files to a dataset of theirs.
async fn dataset(world: &World, person: &Person, name: &str, files: &[(&str, &[u8])]) {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        super::write(&dir.path().join(path), bytes);
    }
    let script = format!(
        "api.create_repo('{name}', repo_type='dataset', private=True)\n\
         api.upload_folder(repo_id='{name}', repo_type='dataset', folder_path={:?})\nprint('null')",
        dir.path().to_str().unwrap()
    );
    python(world, person, &script).await;
}

fn names(answer: &Value) -> Vec<&str> {
    answer["features"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect()
}

const SNAPPY: &[u8] = include_bytes!("../../../allmende-formats/testdata/snappy.parquet");
const ROWS: &str = include_str!("../../../allmende-formats/testdata/rows.jsonl");

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_shown_of_every_format() {
    let world = World::start(&[]).await;
    let ada = world.person("ada").await;
    let csv: String = std::iter::once("n,half,word,yes\n".to_owned())
        .chain((0..250).map(|i| format!("{i},{},\"w, {i}\",{}\n", f64::from(i) / 2.0, i % 2 == 0)))
        .collect();
    let card = b"---\nlicense: mit\nconfigs:\n- config_name: lines\n  data_files:\n  - {split: train, path: lines/a.jsonl}\n  - {split: test, path: lines/b.jsonl}\n- config_name: table\n  data_files: t.csv\n- config_name: columns\n  data_files: data/*.parquet\n---\n";
    let files: &[(&str, &[u8])] = &[
        ("README.md", card),
        ("lines/a.jsonl", b"{\"a\": 1, \"b\": [\"x\"]}\n{\"a\": 2.5, \"c\": {\"d\": true}}\n"),
        ("lines/b.jsonl", b"{\"a\": 3}\n"),
        ("t.csv", csv.as_bytes()),
        ("data/one.parquet", SNAPPY),
        ("data/two.parquet", SNAPPY),
    ];
    dataset(&world, &ada, "ada/d", files).await;
    let base = "/datasets-server";
    let whole = get(&world, &ada, &format!("{base}/is-valid?dataset=ada/d")).await;
    assert_eq!((&whole["viewer"], &whole["preview"]), (&json!(true), &json!(true)));
    let splits = get(&world, &ada, "/splits?dataset=ada/d").await;
    let parts: Vec<_> =
        splits["splits"].as_array().unwrap().iter().map(|s| format!("{}/{}", s["config"], s["split"])).collect();
    assert_eq!(parts.join(" ").replace('"', ""), "lines/train lines/test table/train columns/train");

    let first = get(&world, &ada, &format!("{base}/first-rows?dataset=ada/d&config=table&split=train")).await;
    assert_eq!(names(&first), ["n", "half", "word", "yes"]);
    let kinds: Vec<_> =
        first["features"].as_array().unwrap().iter().map(|f| f["type"]["dtype"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["int64", "float64", "string", "bool"]);
    assert_eq!((first["rows"].as_array().unwrap().len(), &first["truncated"]), (100, &json!(true)));
    assert_eq!(first["rows"][3]["row"], json!({ "n": 3, "half": 1.5, "word": "w, 3", "yes": false }));
    let page =
        get(&world, &ada, &format!("{base}/rows?dataset=ada/d&config=table&split=train&offset=245&length=20")).await;
    assert_eq!(
        (page["rows"].as_array().unwrap().len(), &page["num_rows_total"], &page["partial"]),
        (5, &json!(250), &json!(false))
    );
    assert_eq!((&page["rows"][0]["row_idx"], &page["rows"][4]["row"]["n"]), (&json!(245), &json!(249)));

    let lines = get(&world, &ada, &format!("{base}/rows?dataset=ada/d&config=lines&split=train")).await;
    assert_eq!(names(&lines), ["a", "b", "c"]);
    assert_eq!(lines["features"][0]["type"]["dtype"], "float64");
    assert_eq!(lines["rows"][1]["row"], json!({ "a": 2.5, "c": { "d": true } }));

    // Over the seam of two files.
    let wanted: Vec<Value> = ROWS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seam = get(&world, &ada, &format!("{base}/rows?dataset=ada/d&config=columns&offset=198&length=4")).await;
    let rows: Vec<_> = seam["rows"].as_array().unwrap().iter().map(|r| r["row"].clone()).collect();
    assert_eq!(rows, [&wanted[198], &wanted[199], &wanted[0], &wanted[1]].map(Clone::clone));
    assert_eq!(seam["num_rows_total"], 400);

    let size = get(&world, &ada, &format!("{base}/size?dataset=ada/d")).await["size"].take();
    assert_eq!((&size["dataset"]["num_rows"], size["splits"].as_array().unwrap().len()), (&json!(653), 4));
    assert_eq!(size["configs"][1]["num_bytes_original_files"], csv.len());
    let info = get(&world, &ada, &format!("{base}/info?dataset=ada/d&config=table")).await;
    assert_eq!(info["dataset_info"]["splits"]["train"]["num_examples"], 250);
    let listed = get(&world, &ada, &format!("{base}/parquet?dataset=ada/d")).await;
    assert_eq!(listed["parquet_files"].as_array().unwrap().len(), 2);
    let listed = get(&world, &ada, "/api/datasets/ada/d/parquet").await;
    let url = listed["columns"]["train"][1].as_str().unwrap();
    let bytes = reqwest::Client::new().get(url).bearer_auth(&ada.token).send().await.unwrap().bytes().await.unwrap();
    assert!(bytes == SNAPPY);
    assert_eq!(get(&world, &ada, "/api/datasets/ada/d/parquet/columns/train").await, listed["columns"]["train"]);

    // The right is asked for at each of them.
    let eve = world.person("eve").await;
    for path in ["is-valid", "splits", "first-rows", "rows", "size", "info", "parquet"] {
        let path = format!("{base}/{path}?dataset=ada/d");
        assert_eq!(ask(&world, Some(&eve), Method::GET, &path, None).await.0, 404, "{path}");
        assert_eq!(ask(&world, None, Method::GET, &path, None).await.0, 401, "{path}");
    }
    let open = json!({ "gated": "manual", "visibility": "public" });
    assert_eq!(ask(&world, Some(&ada), Method::PUT, "/api/datasets/ada/d/settings", Some(open)).await.0, 200);
    assert_eq!(ask(&world, Some(&eve), Method::GET, "/rows?dataset=ada/d", None).await.0, 403);
    for bad in
        ["/rows", "/rows?dataset=ada/d&length=101", "/rows?dataset=ada/d&config=none", "/rows?dataset=ada/d&offset=x"]
    {
        let status = ask(&world, Some(&ada), Method::GET, bad, None).await.0;
        assert!(status.is_client_error(), "{bad}: {status}");
    }
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_said_to_be() {
    let world = World::start(&[]).await;
    let ada = world.person("ada").await;
    let zstd = include_bytes!("../../../allmende-formats/testdata/zstd.parquet");
    for (name, path, bytes, said) in [
        ("ada/a", "x.csv", b"a,b\n1\n".as_slice(), "row 0 has 1 values"),
        ("ada/b", "x.jsonl", b"{\"a\":1}\nno\n", "row 1 is no JSON object"),
        ("ada/c", "x.parquet", b"PAR1 and nothing\x09\0\0\0PAR1", "damaged"),
        ("ada/d", "x.parquet", zstd, "Zstandard"),
    ] {
        dataset(&world, &ada, name, &[(path, bytes)]).await;
        let (status, answer, _) = ask(&world, Some(&ada), Method::GET, &format!("/rows?dataset={name}"), None).await;
        assert_eq!(status, 422, "{name}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{name}: {answer}");
    }
    world.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_loads_what_is_here() {
    let world = World::start(&[]).await;
    let ada = world.person("ada").await;
    dataset(&world, &ada, "ada/csv", &[("train.csv", b"a,b\n1,x\n2,y\n"), ("test.csv", b"a,b\n3,z\n")]).await;
    dataset(&world, &ada, "ada/lines", &[("all.jsonl", ROWS.as_bytes())]).await;
    dataset(&world, &ada, "ada/columns", &[("data/train-00000-of-00001.parquet", SNAPPY)]).await;
    let script = "
from datasets import load_dataset
csv = load_dataset('ada/csv')
lines = load_dataset('ada/lines', split='train')
columns = load_dataset('ada/columns', split='train')
stream = load_dataset('ada/columns', split='train', streaming=True)
print(json.dumps({
    'csv': {k: v.to_list() for k, v in csv.items()}, 'lines': [len(lines), lines[5]['text']],
    'columns': [len(columns), columns[5]['text']], 'stream': [row['u8'] for row in stream][0],
}))
";
    let found = python(&world, &ada, script).await;
    assert_eq!(found["csv"]["train"], json!([{ "a": 1, "b": "x" }, { "a": 2, "b": "y" }]));
    assert_eq!(found["csv"]["test"], json!([{ "a": 3, "b": "z" }]));
    assert_eq!(found["lines"], json!([200, "row 0 ä"]));
    assert_eq!(found["columns"], json!([200, "row 0 ä"]));
    assert_eq!(found["stream"], 0);
    world.hub.stop().await;
}
