//! Likes.

use reqwest::Method;
use serde_json::{Value, json};

use super::World;

crate::on_both! {
    async fn likes_count_once_and_show_only_what_may_be_seen(store) {
        let world = World::start(store, &[]).await;
        world.model("ada/open", false).await;
        world.model("ada/hidden", true).await;
        let like = async |who: &str, name: &str, method: Method| {
            world.call(who, method, &format!("/api/models/ada/{name}/like"), None).await
        };
        for _ in 0..2 {
            assert_eq!(like("bob", "open", Method::POST).await.status, 200);
        }
        for name in ["open", "hidden"] {
            world.app.clock.advance_ms(10);
            assert_eq!(like("ada", name, Method::POST).await.status, 200);
        }
        let hidden = like("bob", "hidden", Method::POST).await;
        assert_eq!((hidden.status, &hidden.headers["x-error-code"]), (404, &"RepoNotFound".parse().unwrap()));
        assert_eq!(like("", "open", Method::POST).await.status, 401);
        assert_eq!(like("bob-reads", "open", Method::DELETE).await.status, 403, "a token that only reads");
        let bare = world.call("bob", Method::DELETE, "/api/models/nobodys/like", None).await;
        assert_eq!((bare.status, &bare.headers["x-error-code"]), (404, &"RepoNotFound".parse().unwrap()));

        assert_eq!(world.get("", "/api/models/ada/open").await.body["likes"], 2);
        let likers = world.get("", "/api/models/ada/open/likers?limit=1").await;
        assert_eq!(likers.body[0]["user"], "ada", "the latest first");
        let next = likers.headers["link"].to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
        let rest = world.get("", next.strip_prefix(&world.url).unwrap()).await;
        assert_eq!((&rest.body[0]["user"], rest.headers.contains_key("link")), (&json!("bob"), false));
        let names = |body: &Value| {
            body.as_array().unwrap().iter().map(|l| l["repo"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&world.get("ada", "/api/users/ada/likes").await.body), ["ada/hidden", "ada/open"]);
        assert_eq!(names(&world.get("bob", "/api/users/ada/likes").await.body), ["ada/open"]);
        assert_eq!(world.get("", "/api/users/nobody/likes").await.status, 404);

        for _ in 0..2 {
            assert_eq!(like("bob", "open", Method::DELETE).await.status, 200);
        }
        assert_eq!(world.get("", "/api/models/ada/open").await.body["likes"], 1);
        // Of what is gone nothing stays.
        let gone = json!({ "name": "open", "organization": "ada", "type": "model" });
        assert_eq!(world.call("ada", Method::DELETE, "/api/repos/delete", Some(gone)).await.status, 200);
        assert_eq!(names(&world.get("ada", "/api/users/ada/likes").await.body), ["ada/hidden"]);
        assert_eq!(allmende::hub::sweep(&world.app).await.exchange, 1);
        world.stop().await;
    }
}
