//! Licences before a release, with real processes: the command line of two members, their nodes, a hub, and a verifier.

use std::process::Stdio;
use std::time::{Duration, Instant};

use allmende_core::agreement::vocabulary::Licence;
use allmende_core::collaboration::decision::Subject;
use allmende_core::id::RunId;
use allmende_core::run::plan::Slot;
use allmende_core::state::runs::Status;
use allmende_core::statement::{Body, DecisionOpened};

use super::Doors;
use crate::crash::process::program;

/// What a member's command line says: whether it succeeded, and its words.
async fn says(doors: &Doors, who: usize, args: &[&str]) -> (Option<i32>, String) {
    let member = &doors.world.members[who];
    let home = member.home.dir().display().to_string();
    let args: Vec<&str> = ["--home", &home, "--collaboration", "digits"].iter().chain(args).copied().collect();
    let mut command = program(&args, &doors.world.dir.path().join("words.log"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

async fn done(doors: &Doors, who: usize, args: &[&str]) -> String {
    let (status, text) = says(doors, who, args).await;
    assert_eq!(status, Some(0), "{args:?}: {text}");
    text
}

/// Trains one round on north's data of this name and on east's own.
async fn trained(doors: &Doors, run: &str, asset: &str) -> RunId {
    let mut plan = doors.world.plan(1, 60_000);
    plan.slots[0] = Slot { asset: format!("north/{asset}").parse().unwrap(), ..plan.slots[0].clone() };
    let run = doors.world.propose(run, plan).await;
    assert_eq!(doors.world.ended(&run).await, Status::Finished);
    run
}

async fn card(doors: &Doors, run: &str) -> String {
    let began = Instant::now();
    loop {
        let answer = doors.get("east", &format!("/digits/{run}/resolve/main/README.md")).await;
        if answer.status == 200 {
            return String::from_utf8(answer.body).unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{}", answer.message);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the hub refuses of somebody whose program asks nothing first.
async fn refused(doors: &Doors, run: &RunId, accepted: &[&str]) -> String {
    let north = &doors.world.members[0];
    let model = north.state().await.run(run).unwrap().final_model.unwrap();
    let accepted = accepted.iter().map(|name| name.parse().unwrap()).collect();
    let subject = Subject::Release { run: run.clone(), model, accepted };
    let body = DecisionOpened { decision: "forced".parse().unwrap(), subject };
    let error = north.log.submit(&north.governance, Body::from(body), None).await.unwrap_err();
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_passes_the_licences_of_what_it_learned_from() {
    let licence = format!("licence = \"{}\"", Licence::Mit);
    let edit = |draft: String| {
        draft
            .replace("licence = \"CC-BY-NC-4.0\"", &licence)
            .replace("north/rows", "north/*")
            .replace("\"research\"", "\"research\", \"commercial\"")
    };
    let mut doors = Doors::open_to(&[], 2, edit).await;
    let rows = doors.world.dir.path().join("north.csv").display().to_string();
    for (name, licence) in [("sold", "CC-BY-NC-4.0"), ("wiki", "cc-by-sa-4.0"), ("free", "Apache-2.0")] {
        let args = ["asset", "add", &rows, "--name", name, "--classes", "3", "--licence", licence, "--yes"];
        done(&doors, 0, &args).await;
    }
    let unknown = ["asset", "add", &rows, "--name", "x", "--classes", "3", "--licence", "my-own", "--yes"];
    let (status, text) = says(&doors, 0, &unknown).await;
    assert!(status == Some(2) && text.contains("is no licence that is known"), "{text}");
    assert!(done(&doors, 1, &["asset", "list"]).await.contains("cc-by-nc-4.0"));
    doors.world.start_nodes();

    // Forbidden: nothing is decided, whoever asks and however.
    let run = trained(&doors, "first", "sold").await;
    for args in [&["model", "release", "first", "--yes"][..], &["model", "release", "first", "--yes", "--accept-open"]]
    {
        let (status, text) = says(&doors, 0, args).await;
        assert_eq!(status, Some(3), "{text}");
        assert!(text.contains("cc-by-nc-4.0 of north/sold is not for commercial use, and mit allows it"), "{text}");
        assert!(text.contains("amend the results clause to CC-BY-NC-4.0 or CC-BY-NC-SA-4.0"), "{text}");
    }
    assert!(refused(&doors, &run, &[]).await.contains("licences of its sources forbid"));
    assert!(refused(&doors, &run, &["north/sold"]).await.contains("licences of its sources forbid"));

    // Open: not without its being said, and then it stands in the decision, the log and the card.
    let run = trained(&doors, "second", "wiki").await;
    let (status, text) = says(&doors, 0, &["model", "release", "second", "--yes"]).await;
    assert!(status == Some(3) && text.contains("accept it with --accept-open"), "{text}");
    let reason = "cc-by-sa-4.0 of north/wiki has what builds upon it stand under";
    assert!(text.contains(reason), "{text}");
    assert!(refused(&doors, &run, &[]).await.contains("licences leave this release open"));
    done(&doors, 0, &["model", "release", "second", "--yes", "--accept-open"]).await;
    let shown = done(&doors, 1, &["decision", "show", "release-second"]).await;
    assert!(shown.contains("accepting that the licences of north/wiki leave it open"), "{shown}");
    done(&doors, 1, &["decision", "vote", "release-second", "yes", "--yes"]).await;
    done(&doors, 0, &["model", "release", "second", "--yes"]).await;
    let text = card(&doors, "second").await;
    assert!(text.contains("## Left open by licences") && text.contains(reason), "{text}");

    // What fits is released like everything else, and the card says what is owed.
    trained(&doors, "third", "free").await;
    done(&doors, 0, &["model", "release", "third", "--yes"]).await;
    done(&doors, 1, &["model", "release", "third", "--yes"]).await;
    let text = card(&doors, "third").await;
    assert!(text.contains("commitment `sha256:") && text.contains("`; under apache-2.0"), "{text}");
    assert!(text.contains("## Owed to the sources\n\n- north/free: name the authors"), "{text}");
    assert!(!text.contains("Left open"), "{text}");

    // The log stands by itself: whoever verifies it judges the same.
    let state = doors.world.members[1].state().await;
    let released: Vec<_> = state.runs().values().filter(|run| run.released.is_some()).map(|r| r.id.as_str()).collect();
    assert_eq!(released, ["second", "third"]);
    doors.world.judge(&[]);
}
