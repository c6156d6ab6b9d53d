//! Deploying to an Arroyo that answers as Arroyo does, and handing over a source that notes what is done to it.
#![allow(clippy::unwrap_used)]

#[path = "support/arroyo.rs"]
mod arroyo;

use std::time::Duration;

use arroyo::{Shared, World};
use async_trait::async_trait;
use millrace_pipelines::deploy::{
    ArroyoClient, CommitMode, Connection, DeployError, DeployOptions, DeployReport, FunctionState, Handover, Hold,
    Outcome, Plan, check_there, deploy, list, running,
};
use millrace_pipelines::{Pipeline, built_in};
use millrace_schemas::Topic;
use millrace_storage::LogError;

const NAME: &str = "10_reception";

/// A source that tells the world what is done to it.
struct Source {
    world: Shared,
    is_reached: bool,
    members: usize,
}

struct Holding(Shared);

#[async_trait]
impl Handover for Source {
    async fn members(&self, _: &str) -> Result<usize, LogError> {
        Ok(self.members)
    }

    async fn hold(&self, _: &str, _: Topic, _: Duration) -> Result<Box<dyn Hold>, LogError> {
        self.world.lock().event("hold");
        Ok(Box::new(Holding(self.world.clone())))
    }

    async fn is_reached(&self, _: &str, _: Topic, _: &[u64]) -> Result<bool, LogError> {
        Ok(self.is_reached)
    }

    async fn is_held_at(&self, _: Topic, _: &[u64]) -> Result<bool, LogError> {
        Ok(true)
    }

    async fn stands(&self, _: &str, _: Topic) -> Result<Vec<u64>, LogError> {
        Ok(self.world.lock().group.0.clone())
    }

    async fn is_exact(&self, _: &str, _: Topic) -> Result<bool, LogError> {
        Ok(self.world.lock().group.1)
    }

    async fn set(&self, _: &str, _: Topic, positions: &[u64]) -> Result<(), LogError> {
        let mut world = self.world.lock();
        world.event(format!("set {positions:?}"));
        world.group = (positions.to_vec(), true);
        Ok(())
    }

    async fn earlier(&self, _: &str, _: Topic, _: Duration) -> Result<Vec<u64>, LogError> {
        Ok(vec![3, 4])
    }
}

#[async_trait]
impl Hold for Holding {
    fn positions(&self) -> &[u64] {
        &[17, 18]
    }

    async fn release(self: Box<Self>) -> Result<(), LogError> {
        self.0.lock().event("release");
        Ok(())
    }
}

struct Bench {
    world: Shared,
    client: ArroyoClient,
    source: Source,
    options: DeployOptions,
}

impl Bench {
    async fn new() -> Self {
        let (world, url) = arroyo::serve().await;
        let connection = Connection {
            brokers: "127.0.0.1:9092".to_owned(),
            schema_registry: "http://127.0.0.1:8080/schemas".to_owned(),
            has_registry_password: false,
            is_tls: false,
            ca_file: None,
            sasl: None,
            commit_mode: CommitMode::ExactlyOnce,
        };
        let mut options = DeployOptions::new(connection);
        options.poll_interval = Duration::from_millis(2);
        options.settle_time = Duration::from_millis(10);
        options.drain_timeout = Duration::from_millis(300);
        options.stop_timeout = Duration::from_millis(500);
        // Of the metrics' clock, which goes 10 s a look.
        options.quiet_time = Duration::from_secs(15);
        // Nobody has read yet.
        world.lock().group = (vec![5, 6], false);
        let source = Source { world: world.clone(), is_reached: true, members: 0 };
        Self { client: ArroyoClient::new(&url).unwrap(), world, source, options }
    }

    fn plan(&self) -> Plan {
        Plan::new(&built_in().unwrap(), &self.options).unwrap()
    }

    /// The same pipeline with another word in it.
    fn changed(&self, from: &str, to: &str) -> Plan {
        let pipeline = &built_in().unwrap()[0];
        let changed = Pipeline::load(NAME, &pipeline.sql().replace(from, to)).unwrap();
        Plan::new(&[changed], &self.options).unwrap()
    }

    async fn deploy(&self, plan: &Plan) -> DeployReport {
        deploy(plan, &self.client, &self.source, &self.options).await.unwrap()
    }

    async fn outcome(&self, plan: &Plan) -> Result<Outcome, DeployError> {
        self.deploy(plan).await.pipelines.remove(0).outcome
    }

    /// Deploys `plan`, and gives the name of its version.
    async fn running(&self, plan: &Plan) -> String {
        assert!(self.outcome(plan).await.is_ok());
        let mut world = self.world.lock();
        assert!(!world.group.1, "what runs has moved its group");
        world.events.clear();
        plan.pipelines[0].full_name()
    }

    fn events(&self) -> Vec<String> {
        self.world.lock().events.clone()
    }

    fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock())
    }
}

#[tokio::test]
async fn a_first_deployment_makes_functions_and_the_pipeline() {
    let bench = Bench::new().await;
    let plan = bench.plan();
    let report = bench.deploy(&plan).await;
    assert!(report.is_complete(), "{report}");
    assert!(report.functions.iter().all(|(_, state)| matches!(state, Ok(FunctionState::Made))));
    assert_eq!(*report.pipelines[0].outcome.as_ref().unwrap(), Outcome::Started);
    let events = bench.events();
    assert_eq!(events.len(), 8, "{events:?}");
    let created = format!("created {}", plan.pipelines[0].full_name());
    assert_eq!(events[6..], ["set [5, 6]".to_owned(), created], "where it begins is noted before");
    let query = &bench.world.lock().pipelines[0].query;
    assert!(query.contains("'sink.commit_mode' = 'exactly_once'"));
    assert!(query.ends_with("\n-- begins at 5,6\n"), "{query}");
    assert!(report.pipelines[0].untold.is_empty(), "{report}");
}

#[tokio::test]
async fn a_repeated_deployment_changes_nothing() {
    let bench = Bench::new().await;
    let plan = bench.plan();
    bench.running(&plan).await;
    let report = bench.deploy(&plan).await;
    assert!(report.functions.iter().all(|(_, state)| matches!(state, Ok(FunctionState::Unchanged))));
    assert_eq!(*report.pipelines[0].outcome.as_ref().unwrap(), Outcome::Unchanged);
    assert_eq!(bench.events(), [""; 0]);
}

#[tokio::test]
async fn an_old_version_is_drained_and_stopped_before_its_successor_is_made() {
    let bench = Bench::new().await;
    let old = bench.running(&bench.plan()).await;
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    let new = plan.pipelines[0].full_name();
    assert_ne!(old, new);
    assert_eq!(bench.outcome(&plan).await.unwrap(), Outcome::TookOver(vec![old.clone()]));
    let stop = format!("stop checkpoint {old}");
    let wanted = [
        "hold".to_owned(),
        stop,
        "set [17, 18]".to_owned(),
        "release".to_owned(),
        format!("created {new}"),
        format!("deleted {old}"),
    ];
    assert_eq!(bench.events(), wanted);
}

#[tokio::test]
async fn an_old_version_that_has_more_to_do_goes_on() {
    let mut bench = Bench::new().await;
    let old = bench.running(&bench.plan()).await;
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    bench.with(|world| world.is_busy = true);
    let error = bench.outcome(&plan).await.unwrap_err();
    assert!(matches!(error, DeployError::NotHandedOver { .. }), "{error}");
    assert_eq!(bench.events(), ["hold", "release"]);
    assert_eq!(bench.world.lock().named(&old).unwrap().state, "Running");
    bench.with(|world| world.is_busy = false);
    bench.source.is_reached = false;
    assert!(matches!(bench.outcome(&plan).await, Err(DeployError::NotHandedOver { .. })));
    bench.source.is_reached = true;
    assert!(bench.outcome(&plan).await.is_ok());
}

#[tokio::test]
async fn a_function_that_does_not_compile_leaves_everything_as_it_was() {
    let bench = Bench::new().await;
    bench.running(&bench.plan()).await;
    bench.with(|world| {
        world.broken.insert("summarise".to_owned());
        world.udfs.iter_mut().for_each(|udf| udf["definition"] = "an older one".into());
    });
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    let report = bench.deploy(&plan).await;
    let (_, state) = report.functions.iter().find(|(name, _)| *name == "summarise").unwrap();
    assert!(matches!(state, Err(DeployError::Function { name: "summarise", errors }) if errors.contains("E0425")));
    assert!(matches!(report.pipelines[0].outcome, Err(DeployError::FunctionMissing(_))));
    assert!(!report.is_complete());
    let events = bench.events();
    assert!(!events.iter().any(|event| event.contains("summarise") || event.contains(NAME)), "{events:?}");
    assert!(report.to_string().contains("E0425"), "{report}");
    bench.with(|world| world.broken.clear());
    assert!(bench.deploy(&plan).await.is_complete());
}

#[tokio::test]
async fn a_text_that_arroyo_does_not_plan_leaves_everything_as_it_was() {
    let bench = Bench::new().await;
    bench.running(&bench.plan()).await;
    bench.with(|world| world.unplanned = Some("unread".to_owned()));
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    let error = bench.outcome(&plan).await.unwrap_err().to_string();
    assert!(error.contains("line 97: column 'body' not found; and more"), "{error}");
    assert_eq!(bench.events(), [""; 0]);
    let report = check_there(&plan, &bench.client).await.unwrap();
    assert!(!report.is_ok() && report.to_string().contains("line 97"), "{report}");
}

#[tokio::test]
async fn a_version_that_fails_to_start_is_replaced_by_one_that_does() {
    let bench = Bench::new().await;
    let old = bench.running(&bench.plan()).await;
    for word in ["fails", "flaps"] {
        bench.with(|world| (world.fails, world.flaps) = (Some("fails".to_owned()), Some("flaps".to_owned())));
        let wrong = bench.changed("'fetched' AS stage", &format!("'{word}' AS stage"));
        let error = bench.outcome(&wrong).await.unwrap_err().to_string();
        assert!(error.contains(if word == "fails" { "worker exited" } else { "fetch_body: no bucket" }), "{error}");
    }
    bench.with(|world| (world.fails, world.flaps) = (None, None));
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    assert!(bench.outcome(&plan).await.is_ok());
    let events = bench.events();
    assert_eq!(events.iter().filter(|event| *event == "hold").count(), 1, "handed over once: {events:?}");
    let world = bench.world.lock();
    assert_eq!(world.pipelines.len(), 1, "{events:?}");
    assert!(world.named(&old).is_none());
    assert!(world.pipelines[0].query.ends_with("-- begins at 17,18\n"), "the one that flapped had read on");
}

#[tokio::test]
async fn a_first_version_that_flaps_is_stopped_and_its_source_set_back() {
    let bench = Bench::new().await;
    bench.with(|world| world.flaps = Some("flaps".to_owned()));
    let wrong = bench.changed("'fetched' AS stage", "'flaps' AS stage");
    let error = bench.outcome(&wrong).await.unwrap_err();
    assert!(matches!(error, DeployError::NotRunning { .. }), "{error}");
    let name = wrong.pipelines[0].full_name();
    let wanted =
        ["set [5, 6]".to_owned(), format!("created {name}"), format!("stop immediate {name}"), "set [5, 6]".to_owned()];
    assert!(bench.events().ends_with(&wanted), "{:?}", bench.events());
    assert_eq!(bench.world.lock().group, (vec![5, 6], true));
}

#[tokio::test]
async fn a_first_version_that_flaps_after_a_checkpoint_is_stopped_and_its_source_stays() {
    let bench = Bench::new().await;
    bench.with(|world| (world.flaps, world.flaps_late) = (Some("flaps".to_owned()), true));
    let wrong = bench.changed("'fetched' AS stage", "'flaps' AS stage");
    let error = bench.outcome(&wrong).await.unwrap_err();
    assert!(matches!(error, DeployError::NotRunning { .. }), "{error}");
    let wanted = format!("stop immediate {}", wrong.pipelines[0].full_name());
    assert_eq!(bench.events().last(), Some(&wanted));
    assert_eq!(bench.world.lock().group, (vec![40, 41], false), "what it made was seen");
}

#[tokio::test]
async fn a_version_without_a_finished_checkpoint_leaves_its_source_where_it_began() {
    let mut bench = Bench::new().await;
    bench.running(&bench.plan()).await;
    bench.with(|world| world.is_blocked = true);
    bench.options.start_timeout = Duration::from_millis(60);
    let blocked = bench.changed("'fetched' AS stage", "'unread' AS stage");
    let error = bench.outcome(&blocked).await.unwrap_err();
    assert!(matches!(&error, DeployError::NotYetRunning { state, .. } if state.contains("checkpoint")), "{error}");
    assert!(matches!(bench.outcome(&blocked).await, Err(DeployError::NotYetRunning { .. })), "it may come to it");
    assert_eq!(bench.world.lock().group, (vec![40, 41], false));
    bench.with(|world| (world.is_blocked, _) = (false, world.events.clear()));
    // While it does not run, its checkpoint is one that failed.
    bench.with(|world| {
        let blocked = world.pipelines.iter_mut().find(|pipeline| pipeline.query.contains("'unread'")).unwrap();
        (blocked.state, blocked.next) = ("Recovering".to_owned(), vec!["Recovering"; 50]);
    });
    let (name, plan) = (blocked.pipelines[0].full_name(), bench.changed("'fetched' AS stage", "'gone' AS stage"));
    bench.options.start_timeout = Duration::from_secs(30);
    assert!(bench.outcome(&plan).await.is_ok());
    let created = format!("created {}", plan.pipelines[0].full_name());
    let wanted = [format!("stop immediate {name}"), "set [17, 18]".to_owned(), format!("deleted {name}"), created];
    assert_eq!(bench.events()[..4], wanted);
}

#[tokio::test]
async fn a_version_of_an_older_deployer_that_moved_is_discarded_only_when_mail_may_be_doubled() {
    let mut bench = Bench::new().await;
    bench.with(|world| {
        world.add("10_reception@0123456789ab", "Failed");
        world.pipelines[0].checkpoints = 0;
    });
    assert!(matches!(bench.outcome(&bench.plan()).await, Err(DeployError::Lost { .. })));
    bench.options.rewind = Some(Duration::from_secs(900));
    assert_eq!(bench.outcome(&bench.plan()).await.unwrap(), Outcome::Started);
    assert!(bench.events().contains(&"set [3, 4]".to_owned()), "{:?}", bench.events());
}

#[tokio::test]
async fn a_version_that_never_gets_ahead_is_replaced_when_mail_may_be_doubled() {
    for is_stopping in [false, true] {
        let mut bench = Bench::new().await;
        let old = bench.running(&bench.plan()).await;
        bench.source.is_reached = is_stopping;
        bench.with(|world| {
            world.never_stops = true;
            world.pipelines[0].next = ["Recovering", "Running"].repeat(if is_stopping { 0 } else { 2_000 });
        });
        let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
        let error = bench.outcome(&plan).await.unwrap_err();
        let is_expected = match error {
            DeployError::NotStopped { .. } => is_stopping,
            DeployError::NotHandedOver { .. } => !is_stopping,
            _ => false,
        };
        assert!(is_expected && error.to_string().contains("--rewind-s"), "{error}");
        bench.options.rewind = Some(Duration::from_secs(900));
        bench.with(|world| world.events.clear());
        assert_eq!(bench.outcome(&plan).await.unwrap(), Outcome::TookOver(vec![old.clone()]));
        let created = format!("created {}", plan.pipelines[0].full_name());
        let wanted = [format!("stop immediate {old}"), "set [3, 4]".to_owned(), created, format!("deleted {old}")];
        assert!(bench.events().ends_with(&wanted), "{:?}", bench.events());
    }
}

#[tokio::test]
async fn of_two_versions_that_run_none_is_handed_over() {
    let bench = Bench::new().await;
    bench.running(&bench.plan()).await;
    bench.with(|world| world.add("10_reception@0123456789ab", "Running"));
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    for plan in [bench.plan(), plan] {
        let error = bench.outcome(&plan).await.unwrap_err();
        assert!(matches!(error, DeployError::TwoRun { .. }), "{error}");
    }
    assert_eq!(bench.events(), [""; 0]);
    assert_eq!(running(&bench.client, NAME).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_version_is_taken_back_when_another_was_made_meanwhile() {
    let bench = Bench::new().await;
    bench.with(|world| world.rival = Some("10_reception@0123456789ab".to_owned()));
    let plan = bench.plan();
    let error = bench.outcome(&plan).await.unwrap_err();
    assert!(matches!(&error, DeployError::TakenBack { other, .. } if other.ends_with("ab")), "{error}");
    assert_eq!(running(&bench.client, NAME).await.unwrap(), ["10_reception@0123456789ab"]);
    assert!(bench.world.lock().named(&plan.pipelines[0].full_name()).is_none());
}

#[tokio::test]
async fn variables_that_arroyo_does_not_take_are_told() {
    let mut bench = Bench::new().await;
    bench.options.variables.insert("MILLRACE_STORAGE".to_owned(), "cluster".to_owned());
    bench.with(|world| world.takes_no_variables = true);
    let report = bench.deploy(&bench.plan()).await;
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.pipelines[0].untold, ["MILLRACE_SCREENING_PATIENCE_S", "MILLRACE_STORAGE"]);
    assert!(report.to_string().contains("dead letters: MILLRACE_SCREENING_PATIENCE_S, MILLRACE_STORAGE"), "{report}");
}

#[tokio::test]
async fn arroyo_may_go_away_at_any_change_and_a_repetition_mends_it() {
    for changes in 0..12 {
        let bench = Bench::new().await;
        let old = bench.running(&bench.plan()).await;
        let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
        bench.with(|world| world.away_after = Some(changes));
        let first = deploy(&plan, &bench.client, &bench.source, &bench.options).await;
        let is_done = first.is_ok_and(|report| report.is_complete());
        bench.with(|world| (world.is_away, world.away_after) = (false, None));
        let report = bench.deploy(&plan).await;
        assert!(report.is_complete(), "away after {changes} changes (done: {is_done}): {report}");
        let world = bench.world.lock();
        let states: Vec<_> = world.pipelines.iter().map(|it| (it.name.clone(), it.state.clone())).collect();
        assert_eq!(states, [(plan.pipelines[0].full_name(), "Running".to_owned())], "away after {changes}");
        let events = &world.events;
        let stopped = events.iter().rposition(|event| *event == format!("stop checkpoint {old}")).unwrap();
        let created = events.iter().position(|event| event.starts_with("created")).unwrap();
        assert!(stopped < created, "{events:?}");
        let set = events.iter().rposition(|event| event == "set [17, 18]").unwrap();
        assert!(stopped < set && set < created, "{events:?}");
    }
}

#[tokio::test]
async fn an_old_version_that_was_stopped_by_hand_goes_on_before_it_hands_over() {
    let bench = Bench::new().await;
    let old = bench.running(&bench.plan()).await;
    bench.with(|world| world.pipelines[0].state = "Stopped".to_owned());
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    assert!(bench.outcome(&plan).await.is_ok());
    assert_eq!(bench.events()[..3], [format!("stop none {old}"), "hold".to_owned(), format!("stop checkpoint {old}")]);
}

#[tokio::test]
async fn an_old_version_that_failed_is_replaced_only_when_mail_may_be_doubled() {
    let mut bench = Bench::new().await;
    bench.running(&bench.plan()).await;
    bench.with(|world| {
        world.pipelines[0].state = "Failed".to_owned();
        world.fails = Some("no text has this".to_owned());
    });
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    assert!(matches!(bench.outcome(&plan).await, Err(DeployError::Lost { .. })));
    bench.options.rewind = Some(Duration::from_secs(900));
    bench.with(|world| world.events.clear());
    assert!(bench.outcome(&plan).await.is_ok());
    assert!(bench.events().contains(&"set [3, 4]".to_owned()), "{:?}", bench.events());
}

#[tokio::test]
async fn the_planned_version_is_started_again_when_it_was_stopped() {
    let bench = Bench::new().await;
    let plan = bench.plan();
    let name = bench.running(&plan).await;
    bench.with(|world| world.pipelines[0].state = "Stopped".to_owned());
    assert_eq!(bench.outcome(&plan).await.unwrap(), Outcome::StartedAgain);
    assert_eq!(bench.events(), [format!("stop none {name}")]);
}

#[tokio::test]
async fn versions_are_found_on_any_page() {
    let bench = Bench::new().await;
    let old = bench.running(&bench.plan()).await;
    bench.with(|world| (0..170).for_each(|other| world.add(&format!("somebody's {other}"), "Running")));
    let plan = bench.changed("'fetched' AS stage", "'unread' AS stage");
    bench.with(|world| world.lists = 0);
    assert_eq!(bench.outcome(&plan).await.unwrap(), Outcome::TookOver(vec![old]));
    assert_eq!(bench.world.lock().lists, 12, "pages of 50, three times");
    let report = list(&built_in().unwrap(), Some(&bench.client)).await.unwrap();
    assert_eq!(report.versions.as_ref().map(Vec::len), Some(1), "{report}");
}

#[tokio::test]
async fn nothing_is_deployed_beside_the_local_runner() {
    let mut bench = Bench::new().await;
    bench.source.members = 2;
    let error = bench.outcome(&bench.plan()).await.unwrap_err().to_string();
    assert!(error.contains("stop those of the role 'pipelines'"), "{error}");
}

#[tokio::test]
async fn an_arroyo_that_is_not_there_is_named() {
    let bench = Bench::new().await;
    let client = ArroyoClient::new("http://127.0.0.1:1").unwrap();
    let error = deploy(&bench.plan(), &client, &bench.source, &bench.options).await.unwrap_err().to_string();
    assert!(error.starts_with("Arroyo at http://127.0.0.1:1 cannot be reached"), "{error}");
    assert!(ArroyoClient::new("127.0.0.1:5115").is_err());
}
