//! Several who do the same at the same instant, as several processes of a hub let them.

use serde_json::json;

use super::World;

crate::on_both! {
    async fn of_several_who_create_the_same_repository_one_does(store) {
        let world = World::start(store, &[]).await;
        for round in 0..4 {
            let body = json!({ "name": format!("r{round}"), "type": "model" });
            let all = (0..8).map(|_| world.post("ada", "/api/repos/create", body.clone()));
            let mut statuses: Vec<u16> = futures::future::join_all(all).await.iter().map(|a| a.status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
        }
        world.stop().await;
    }

    async fn discussions_opened_at_once_have_numbers_of_their_own(store) {
        let world = World::start(store, &[]).await;
        world.model("ada/m", false).await;
        let body = json!({ "title": "words", "description": "more" });
        let all = (0..12).map(|_| world.post("ada", "/api/models/ada/m/discussions", body.clone()));
        let answers = futures::future::join_all(all).await;
        let mut numbers: Vec<u64> = answers.iter().filter_map(|answer| answer.body["num"].as_u64()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=12).collect::<Vec<u64>>());
        world.stop().await;
    }
}
