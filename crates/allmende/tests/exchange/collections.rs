//! Collections.

use reqwest::Method;
use serde_json::{Value, json};

use super::World;

fn ids(collection: &Value) -> Vec<String> {
    collection["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn titles(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|c| c["title"].as_str().unwrap()).collect()
}

async fn made(world: &World, who: &str, title: &str, space: &str, private: bool) -> String {
    world.app.clock.advance_ms(10);
    let body = json!({ "title": title, "namespace": space, "private": private });
    let answer = world.post(who, "/api/collections", body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body["slug"].as_str().unwrap().to_owned()
}

crate::on_both! {
    async fn of_what_may_not_be_seen_nothing_shows(store) {
        let world = World::start(store, &[]).await;
        world.model("ada/open", false).await;
        world.model("ada/hidden", true).await;
        let open = made(&world, "ada", "Ä good list, 100%", "ada", false).await;
        assert!(open.starts_with("ada/good-list-100-"), "{open}");
        let secret = made(&world, "ada", "secret list", "ada", true).await;
        let path = format!("/api/collections/{open}");
        for (kind, id) in [("model", "ada/hidden"), ("model", "ada/open"), ("collection", &secret)] {
            let added = world.post("ada", &format!("{path}/items"), json!({ "item": { "type": kind, "id": id } })).await;
            assert_eq!(added.status, 200, "{kind} {id}");
        }
        assert_eq!(ids(&world.get("ada", &path).await.body), ["ada/hidden", "ada/open", &secret]);
        assert_eq!(ids(&world.get("bob", &path).await.body), ["ada/open"]);
        assert_eq!(world.get("bob", &format!("/api/collections/{secret}")).await.status, 404);
        // Neither by what stands in it.
        let holds = async |who: &str, item: &str| {
            world.get(who, &format!("/api/collections?item={item}")).await.body.as_array().unwrap().len()
        };
        assert_eq!((holds("ada", "models/ada/hidden").await, holds("bob", "models/ada/hidden").await), (1, 0));
        assert_eq!((holds("bob", "models/ada/open").await, holds("bob", "papers/2401.1").await), (1, 0));
        let list = async |who: &str, query: &str| world.get(who, &format!("/api/collections?{query}")).await;
        // Both were changed at the same instant of the test's clock: their order is by chance.
        let own = list("ada", "owner=ada").await.body;
        let mut own = titles(&own);
        own.sort_unstable();
        assert_eq!(own, ["secret list", "Ä good list, 100%"]);
        assert_eq!(titles(&list("bob", "owner=ada").await.body), ["Ä good list, 100%"]);
        assert_eq!(titles(&list("", "q=ä%20GOOD").await.body), ["Ä good list, 100%"]);
        assert!(titles(&list("", "q=_").await.body).is_empty(), "no pattern");
        assert!(titles(&list("", "owner=nobody").await.body).is_empty());
        assert_eq!(list("", "sort=size").await.status, 400);
        // What somebody may not see they cannot add, and what they add is judged anew for each.
        let bobs = made(&world, "bob", "mine", "bob", false).await;
        let add = json!({ "item": { "type": "model", "id": "ada/hidden" } });
        assert_eq!(world.post("bob", &format!("/api/collections/{bobs}/items"), add).await.status, 404);
        world.stop().await;
    }

    async fn who_may_write_in_the_space_may_change_it(store) {
        let world = World::start(store, &[]).await;
        let slug = made(&world, "ada", "norths", "north", false).await;
        let path = format!("/api/collections/{slug}");
        let rename = async |who: &str| world.call(who, Method::PATCH, &path, Some(json!({ "title": "x" }))).await.status;
        let refused = [rename("carl").await, rename("bob").await, rename("ada-reads").await, rename("").await];
        assert_eq!(refused, [403, 403, 403, 401]);
        let body = json!({ "title": "t", "namespace": "north", "private": false });
        assert_eq!(world.post("carl", "/api/collections", body).await.status, 403, "who reads makes none");
        for (bad, why) in [
            (json!({ "title": "" }), "empty"),
            (json!({ "title": "x".repeat(121) }), "long"),
            (json!({ "title": "a\u{202e}b" }), "reads differently"),
            (json!({ "theme": "mauve" }), "no theme"),
            (json!({ "position": -1 }), "no place"),
        ] {
            assert_eq!(world.call("ada", Method::PATCH, &path, Some(bad)).await.status, 400, "{why}");
        }
        let removed = world.call("carl", Method::DELETE, &path, None).await;
        assert_eq!(removed.status, 403);
        assert_eq!(world.call("ada", Method::DELETE, &path, None).await.status, 200);
        assert_eq!(world.call("ada", Method::DELETE, &path, None).await.status, 404);
        world.stop().await;
    }

    async fn lists_go_on_where_they_ended(store) {
        let world = World::start(store, &[]).await;
        for n in 0..5 {
            made(&world, "ada", &format!("list {n}"), "ada", false).await;
        }
        let (mut path, mut found) = ("/api/collections?owner=ada&limit=2".to_owned(), Vec::new());
        loop {
            let answer = world.get("", &path).await;
            found.extend(titles(&answer.body).into_iter().map(str::to_owned));
            assert!(answer.body[0].get("position").is_none(), "clients count themselves");
            let Some(link) = answer.headers.get("link") else { break };
            path = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().replace(&world.url, "");
        }
        assert_eq!(found, ["list 4", "list 3", "list 2", "list 1", "list 0"]);
        world.stop().await;
    }
}
